"""The backbone takes batched steps in the plan's order, however many satellites run at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_missions import batched

from server_app.backbone.scheduling import Backward, Forward, StepSequence, Suspended, Update
from strategies.planner.step_order import Schedule, ScheduledStep, ScheduleError
from strategies.problem.plan import ACTIVITY, STEP, Plan
from strategies.problem.workload import StrategyConfig


def planned(rows: Sequence[tuple[int, int, int]], names: str, updates: Sequence[int] = ()) -> Plan:
    """A plan that holds nothing but steps, given as (batch, satellite, step)."""
    steps = np.zeros(len(rows), STEP)
    for field, column in zip(("batch", "satellite", "step"), zip(*rows, strict=True), strict=True):
        steps[field] = column
    if updates:
        steps["updates"] = updates
    nothing = np.zeros(len(names))
    return Plan(
        0.0,
        1.0,
        lower_bound_s=0.0,
        strategy_config=StrategyConfig(),
        activities=np.empty(0, ACTIVITY),
        finish_s=nothing,
        delivered_s=nothing,
        names=tuple(names),
        steps=steps,
    )


def test_a_schedule_is_the_plan_s_table_of_steps() -> None:
    rows = [(0, 2, 0), (0, 0, 0), (1, 1, 0), (2, 0, 1), (2, 1, 1)]
    schedule = Schedule.of(planned(rows, "abc", updates=[0, 0, 0, 1, 1]), "abc")
    assert schedule == batched(
        "ca", "b", "ab", delay=1
    )  # in a batch, too: members are answered in this order
    assert dict(schedule.steps_of) == {"c": 1, "a": 2, "b": 2}
    assert {name: schedule.turns_of(name) for name in "abcd"} == {"a": [0, 2], "b": [1, 2], "c": [0], "d": []}


def test_satellites_that_started_in_an_earlier_round_take_no_step() -> None:
    rows = [(0, 0, 0), (0, 2, 3), (1, 2, 4), (2, 0, 1), (2, 1, 0)]
    assert Schedule.of(planned(rows, "abc", updates=[0, 0, 1, 2, 2]), "ab") == batched("a", "ab")


def test_a_plan_whose_batch_uses_what_comes_of_it_is_refused() -> None:
    with pytest.raises(ScheduleError, match="batch 1 follows 2 updates; allowed: 0 to 1"):
        Schedule(batched("a", "b").batches, (0, 2))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(0, 0, 0), (1, 0, 2)], "steps of a: found 2 where 1 is the next"),
        ([(0, 0, 1)], "steps of a: found 1 where 0 is the next"),
        ([(0, 0, 0), (0, 0, 1)], "two steps of one satellite"),
    ],
)
def test_a_plan_without_one_of_a_satellite_s_steps_is_refused(rows: list, says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        Schedule.of(planned(rows, "a"), "a")


async def played(
    schedule: Schedule, max_concurrency: int, arrival: Sequence[str], *, shared: bool
) -> list[Forward | Backward | Update]:
    """Play a round with so many places; return what the backbone was given, in order.

    Suspended satellites leave their place and queue again. Gradients come when the pooled states have.
    """
    sequence = StepSequence(schedule, shared=shared, timeout_s=0.02)
    left = {name: list(range(schedule.steps_of[name])) for name in arrival}
    queue: asyncio.Queue[str] = asyncio.Queue()
    for name in arrival:
        queue.put_nowait(name)
    computed: list[Forward | Backward | Update] = []
    here: set[ScheduledStep] = set()

    async def place() -> None:
        while not sequence.done:
            try:
                name = await asyncio.wait_for(queue.get(), 0.005)
            except TimeoutError:
                continue
            try:
                while left[name]:
                    step = ScheduledStep(name, left[name][0])
                    if step not in here:
                        sequence.add_features(step, 0, 1)
                        computed.extend(sequence.due())
                        here.add(step)
                    await sequence.wait_for_forward(step, 0)
                    await asyncio.sleep(0)
                    end_step(sequence, step)
                    computed.extend(sequence.due())
                    left[name].pop(0)
            except Suspended:
                queue.put_nowait(name)

    await asyncio.wait_for(asyncio.gather(*(place() for _ in range(max_concurrency))), 30)
    return computed


def end_step(sequence: StepSequence, step: ScheduledStep) -> None:
    """Give the sequence the gradients of a step of one micro-batch."""
    sequence.add_gradient(step, 0)
    sequence.end_step(step)


async def turns_of_the_loop(count: int = 100) -> None:
    """Let every task run as far as it gets without what has not come."""
    for _ in range(count):
        await asyncio.sleep(0)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    left = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    batches = []
    while any(left):
        able = [index for index, count in enumerate(left) if count]
        members = draw(st.lists(st.sampled_from(able), min_size=1, max_size=len(able), unique=True))
        for index in members:
            left[index] -= 1
        batches.append("".join("abcdef"[index] for index in members))
    return batched(*batches, delay=draw(st.integers(0, 3)))


@settings(max_examples=40, deadline=None)
@given(
    schedule=schedules(),
    max_concurrency=st.integers(1, 6),
    shuffle=st.randoms(use_true_random=False),
)
async def test_a_shared_adapter_takes_the_schedule_s_order_whoever_comes_first_and_however_few_fit(
    schedule: Schedule, max_concurrency: int, shuffle
) -> None:
    arrival = list(schedule.steps_of)
    shuffle.shuffle(arrival)
    computed = await played(schedule, max_concurrency, arrival, shared=True)
    count = len(schedule.batches)
    assert [one.batch for one in computed if isinstance(one, Forward)] == list(range(count))
    assert [one.batch for one in computed if isinstance(one, Update)] == list(range(count))
    for position, batch in enumerate(schedule.batches):
        before = computed[: computed.index(Forward(position, 0))]
        assert len([one for one in before if isinstance(one, Update)]) >= schedule.updates[position]
        for name, step in batch:
            assert step == 0 or Update(schedule.batch_of[ScheduledStep(name, step - 1)]) in before


async def test_one_place_is_left_where_a_step_waits_for_the_updates_that_an_earlier_one_needs() -> None:
    # The step of "d" and "f" needs three updates, but that of "a" before it, whose features are here, needs five.
    schedule = batched("bf", "acdef", "ae", "e", "a", "a", "df", "d", "d", delay=3)
    computed = await played(schedule, 1, "bfacde", shared=True)
    assert len(computed) == 3 * len(schedule.batches)


@settings(max_examples=40, deadline=None)
@given(schedule=schedules(), max_concurrency=st.integers(1, 6), shuffle=st.randoms(use_true_random=False))
async def test_with_an_adapter_each_a_batch_comes_after_those_before_of_its_own_satellites(
    schedule: Schedule, max_concurrency: int, shuffle
) -> None:
    arrival = list(schedule.steps_of)
    shuffle.shuffle(arrival)
    computed = await played(schedule, max_concurrency, arrival, shared=False)
    assert len(computed) == 3 * len(schedule.batches) == len(set(computed))
    for position, batch in enumerate(schedule.batches):
        before = computed[: computed.index(Forward(position, 0))]
        assert Update(position) not in before
        for name, step in batch:
            assert step == 0 or Update(schedule.batch_of[ScheduledStep(name, step - 1)]) in before


def test_a_delay_lets_a_forward_pass_go_before_the_gradients_of_the_last_one_are_here() -> None:
    sequence = StepSequence(batched("a", "b", "c", "a", delay=1), shared=True)
    for name in "abc":
        sequence.add_features(ScheduledStep(name, 0), 0, 1)
    assert list(sequence.due()) == [Forward(0, 0), Forward(1, 0)]
    end_step(sequence, ScheduledStep("b", 0))
    assert list(sequence.due()) == []
    end_step(sequence, ScheduledStep("a", 0))
    assert list(sequence.due()) == [Backward(0, 0), Update(0), Backward(1, 0), Update(1), Forward(2, 0)]


def test_micro_batches_go_one_by_one_each_when_all_that_have_it_have_sent_it() -> None:
    sequence = StepSequence(batched("ab"), shared=True)
    a, b = ScheduledStep("a", 0), ScheduledStep("b", 0)
    sequence.add_features(a, 0, 2)
    sequence.add_features(a, 1, 2)
    assert list(sequence.due()) == []
    sequence.add_features(b, 0, 1)
    assert list(sequence.due()) == [Forward(0, 0), Forward(0, 1)]
    sequence.add_gradient(a, 1)
    sequence.add_gradient(b, 0)
    assert list(sequence.due()) == []
    sequence.add_gradient(a, 0)
    assert list(sequence.due()) == [Backward(0, 0), Backward(0, 1)]
    sequence.end_step(a)
    assert list(sequence.due()) == []
    sequence.end_step(b)
    assert list(sequence.due()) == [Update(0)]


def test_micro_batches_of_a_shared_adapter_do_not_go_back_before_the_last_step_is_over() -> None:
    sequence = StepSequence(batched("a", "b", delay=1), shared=True)
    a, b = ScheduledStep("a", 0), ScheduledStep("b", 0)
    for step in (a, b):
        sequence.add_features(step, 0, 1)
    list(sequence.due())
    sequence.add_gradient(b, 0)
    sequence.add_gradient(a, 0)
    assert list(sequence.due()) == [Backward(0, 0)]
    sequence.end_step(a)
    assert list(sequence.due()) == [Update(0), Backward(1, 0)]


def test_a_step_is_not_over_before_the_whole_batch_was_forwarded() -> None:
    sequence = StepSequence(batched("ab"), shared=True)
    sequence.add_features(ScheduledStep("a", 0), 0, 1)
    with pytest.raises(ScheduleError, match="before its batch was forwarded"):
        end_step(sequence, ScheduledStep("a", 0))


async def test_nobody_is_suspended_where_all_run_at_once() -> None:
    async def one(sequence: StepSequence, name: str, after: asyncio.Event, begun: asyncio.Event) -> None:
        await after.wait()
        begun.set()
        for number in range(3):
            step = ScheduledStep(name, number)
            sequence.add_features(step, 0, 1)
            list(sequence.due())
            await sequence.wait_for_forward(step, 0)
            end_step(sequence, step)
            list(sequence.due())

    async def play(schedule: Schedule) -> None:
        """The last of the plan comes first."""
        sequence = StepSequence(schedule, shared=True, timeout_s=600.0)
        first, second, third, last = (asyncio.Event() for _ in range(4))
        first.set()
        await asyncio.gather(
            one(sequence, "c", first, second),
            one(sequence, "b", second, third),
            one(sequence, "a", third, last),
        )
        assert sequence.done

    await play(batched(*"abcabcabc"))
    await play(batched("abc", "abc", "abc"))


async def test_a_satellite_whose_step_is_far_makes_room_at_once() -> None:
    sequence = StepSequence(batched(*"abcabc"), shared=True, max_concurrency=2, timeout_s=60.0)
    assert sequence.first_needed("cab") == "a"

    async def take(name: str, number: int) -> None:
        step = ScheduledStep(name, number)
        sequence.add_features(step, 0, 1)
        list(sequence.due())
        await sequence.wait_for_forward(step, 0)
        end_step(sequence, step)
        list(sequence.due())

    await take("a", 0)
    with pytest.raises(Suspended, match="a makes room"):
        await asyncio.wait_for(take("a", 1), 1.0)
    assert sequence.first_needed("ac") == "c"
    soon = asyncio.create_task(take("c", 0))  # b, whose step comes first, and c fit
    await turns_of_the_loop()
    assert not soon.done()
    await take("b", 0)
    await asyncio.wait_for(soon, 1.0)


async def test_one_that_leaves_late_does_not_make_room_where_there_is_none() -> None:
    """Three are seen for a moment where two run: the third is not waited for later on."""
    sequence = StepSequence(batched("abcd"), shared=True, max_concurrency=2, timeout_s=60.0)

    async def take(name: str) -> None:
        step = ScheduledStep(name, 0)
        sequence.add_features(step, 0, 1)
        await sequence.wait_for_forward(step, 0)

    waits = [asyncio.create_task(take(name)) for name in "abc"]
    await turns_of_the_loop()
    assert sequence.max_concurrency == 2
    with pytest.raises(Suspended):
        await asyncio.wait_for(asyncio.gather(*waits), 1.0)


def test_satellites_are_called_by_what_they_can_do_for_the_round() -> None:
    """Of a joint step first those whose features are missing, then, when all are here, those that owe gradients."""
    sequence = StepSequence(batched("abc", "abc"), shared=True, max_concurrency=1)
    for name in "ab":
        sequence.add_features(ScheduledStep(name, 0), 0, 1)
    assert list(sequence.due()) == []
    assert sequence.first_needed("abc") == "c"
    assert sequence.first_needed("ab") == "a"
    sequence.add_features(ScheduledStep("c", 0), 0, 1)
    assert list(sequence.due()) == [Forward(0, 0)]
    assert sequence.first_needed("abc") == "a"
    end_step(sequence, ScheduledStep("a", 0))
    sequence.add_features(ScheduledStep("a", 1), 0, 1)
    assert sequence.first_needed("ac") == "c"
    assert sequence.first_needed("") is None


def test_a_step_that_is_not_planned_or_comes_twice_is_refused() -> None:
    sequence = StepSequence(batched("a", "b"), shared=True)
    with pytest.raises(ScheduleError, match="step 1 of a"):
        sequence.add_features(ScheduledStep("a", 1), 0, 1)
    with pytest.raises(ScheduleError, match="before its batch was forwarded"):
        end_step(sequence, ScheduledStep("b", 0))
    sequence.add_features(ScheduledStep("a", 0), 0, 1)
    list(sequence.due())
    end_step(sequence, ScheduledStep("a", 0))
    with pytest.raises(ScheduleError, match="was taken"):
        sequence.add_features(ScheduledStep("a", 0), 0, 1)
