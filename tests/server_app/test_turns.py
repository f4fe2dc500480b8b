"""The shared adapter takes the steps in the plan's order, however many satellites run at once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_app.turns import Parked, Pass, Span, Turn, TurnError, Turns, plan_order, plan_passes


def test_satellites_served_together_take_turns_and_a_later_contact_comes_later() -> None:
    order = plan_order([Span("a", 2, 0.0, 10.0), Span("b", 2, 0.0, 10.0), Span("c", 1, 50.0, 60.0)])
    assert order == [Turn("a", 0), Turn("b", 0), Turn("a", 1), Turn("b", 1), Turn("c", 0)]


def test_passes_are_neighbours_in_the_plan_that_are_served_at_the_same_time() -> None:
    spans = [
        Span("a", 2, 0.0, 10.0),
        Span("b", 2, 0.0, 10.0),
        Span("c", 2, 9.0, 60.0),
        Span("d", 1, 70.0, 80.0),
    ]
    passes = plan_passes(spans, 2)
    assert [turn for together in passes for turn in together] == plan_order(spans)
    assert passes == [
        (Turn("a", 0), Turn("b", 0)),
        (Turn("a", 1), Turn("b", 1)),
        (Turn("c", 0),),
        (Turn("c", 1),),
        (Turn("d", 0),),
    ]
    assert plan_passes(spans, 1) == [(turn,) for turn in plan_order(spans)]


async def played(passes: list[Pass], at_once: int, arrival: list[str], *, in_order: bool) -> list[Turn]:
    """Play a round with so many places; the turns in the order in which they came.

    Parked satellites leave their place and queue again; nobody waits for a step to be over.
    """
    turns = Turns(passes, in_order=in_order, patience_s=0.02)
    steps = {
        name: [turn.step for one in passes for turn in one if turn.satellite == name] for name in arrival
    }
    queue: asyncio.Queue[str] = asyncio.Queue()
    for name in arrival:
        queue.put_nowait(name)
    taken: list[Turn] = []

    async def place() -> None:
        while not turns.done:
            try:
                name = await asyncio.wait_for(queue.get(), 0.005)
            except TimeoutError:
                continue
            try:
                while steps[name]:
                    turn = Turn(name, steps[name][0])
                    await turns.wait(turn)
                    taken.append(turn)
                    await asyncio.sleep(0)
                    await turns.take(turn)
                    steps[name].pop(0)
            except Parked:
                queue.put_nowait(name)

    await asyncio.wait_for(asyncio.gather(*(place() for _ in range(at_once))), 30)
    return taken


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    at_once=st.integers(1, 6),
    shuffle=st.randoms(use_true_random=False),
)
def test_the_order_is_the_plan_s_whoever_comes_first_and_however_few_fit(steps, at_once, shuffle) -> None:
    order = plan_order([Span(f"s{i}", count, 0.0, 1.0) for i, count in enumerate(steps)])
    arrival = [f"s{i}" for i in range(len(steps))]
    shuffle.shuffle(arrival)
    assert asyncio.run(played([(turn,) for turn in order], at_once, arrival, in_order=True)) == order


def test_nobody_is_parked_where_all_run_at_once() -> None:
    async def one(turns: Turns, name: str, late_s: float) -> None:
        await asyncio.sleep(late_s)
        for step in range(3):
            await turns.wait(Turn(name, step))
            await turns.take(Turn(name, step))

    async def play() -> None:
        passes = plan_passes([Span(name, 3, 0.0, 1.0) for name in "abc"], 1)
        turns = Turns(passes, in_order=True, patience_s=5.0)
        await asyncio.gather(one(turns, "c", 0.0), one(turns, "b", 0.01), one(turns, "a", 0.05))
        assert turns.done

    asyncio.run(play())


def test_a_satellite_whose_turn_is_far_makes_room_at_once() -> None:
    async def play() -> None:
        passes = plan_passes([Span(name, 2, 0.0, 1.0) for name in "abc"], 1)
        turns = Turns(passes, in_order=True, at_once=2, patience_s=None)
        assert turns.first_of("cab") == "a"
        await turns.wait(Turn("a", 0))
        await turns.take(Turn("a", 0))
        with pytest.raises(Parked, match="a makes room"):
            await asyncio.wait_for(turns.wait(Turn("a", 1)), 1.0)
        assert turns.first_of("ac") == "c"
        soon = asyncio.create_task(turns.wait(Turn("c", 0)))  # b, whose turn it is, and c fit
        await asyncio.sleep(0.01)
        assert not soon.done()
        await turns.wait(Turn("b", 0))
        await turns.take(Turn("b", 0))
        await asyncio.wait_for(soon, 1.0)

    asyncio.run(play())


def test_a_step_that_is_not_planned_or_comes_twice_is_refused() -> None:
    async def play() -> None:
        turns = Turns([(Turn("a", 0),), (Turn("b", 0),)], in_order=True)
        with pytest.raises(TurnError, match="step 1 of a"):
            await turns.wait(Turn("a", 1))
        with pytest.raises(TurnError, match="out of turn"):
            await turns.take(Turn("b", 0))
        await turns.wait(Turn("a", 0))
        await turns.take(Turn("a", 0))
        with pytest.raises(TurnError, match="was taken"):
            await turns.wait(Turn("a", 0))

    asyncio.run(play())


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    most=st.integers(1, 4),
    at_once=st.integers(1, 6),
    shuffle=st.randoms(use_true_random=False),
)
def test_every_pass_is_made_after_those_of_its_satellites_before_however_few_fit(
    steps, most, at_once, shuffle
) -> None:
    passes = plan_passes([Span(f"s{i}", count, 0.0, 1.0) for i, count in enumerate(steps)], most)
    arrival = [f"s{i}" for i in range(len(steps))]
    shuffle.shuffle(arrival)
    taken = asyncio.run(played(passes, at_once, arrival, in_order=False))
    assert sorted(taken) == sorted(turn for together in passes for turn in together)
    for together in passes:
        for turn in together:
            before = [other for name, step in together for other in taken if other == (name, step - 1)]
            assert all(taken.index(other) < taken.index(turn) for other in before)


def test_a_pass_waits_until_the_passes_before_it_are_over_for_all_its_satellites() -> None:
    async def play() -> None:
        a0, b0, a1 = Turn("a", 0), Turn("b", 0), Turn("a", 1)
        turns = Turns([(a0, b0), (a1,)], in_order=False, patience_s=None)
        await asyncio.gather(turns.wait(a0), turns.wait(b0))
        await turns.take(a0)
        second = asyncio.create_task(turns.wait(a1))
        await asyncio.sleep(0.01)
        assert not second.done()
        await turns.take(b0)
        await asyncio.wait_for(second, 1.0)

    asyncio.run(play())
