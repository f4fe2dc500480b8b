"""The shared adapter takes the steps in the plan's order, however many satellites run at once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_app.turns import Parked, Turn, TurnError, Turns, plan_order


def test_satellites_served_together_take_turns_and_a_later_contact_comes_later() -> None:
    order = plan_order([("a", 2, 0.0, 10.0), ("b", 2, 0.0, 10.0), ("c", 1, 50.0, 60.0)])
    assert order == [Turn("a", 0), Turn("b", 0), Turn("a", 1), Turn("b", 1), Turn("c", 0)]


async def played(order: list[Turn], at_once: int, arrival: list[str]) -> list[Turn]:
    """Play a round with so many places: parked satellites leave theirs and queue again."""
    turns = Turns(order, patience_s=0.02)
    steps = {name: [turn.step for turn in order if turn.satellite == name] for name in arrival}
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
                    await turns.wait(name, steps[name][0])
                    taken.append(Turn(name, steps[name][0]))
                    await asyncio.sleep(0)
                    await turns.take(name, steps[name].pop(0))
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
    order = plan_order([(f"s{i}", count, 0.0, 1.0) for i, count in enumerate(steps)])
    arrival = [f"s{i}" for i in range(len(steps))]
    shuffle.shuffle(arrival)
    assert asyncio.run(played(order, at_once, arrival)) == order


def test_nobody_is_parked_where_all_run_at_once() -> None:
    async def one(turns: Turns, name: str, late_s: float) -> None:
        await asyncio.sleep(late_s)
        for step in range(3):
            await turns.wait(name, step)
            await turns.take(name, step)

    async def play() -> None:
        turns = Turns(plan_order([(name, 3, 0.0, 1.0) for name in "abc"]), patience_s=5.0)
        await asyncio.gather(one(turns, "c", 0.0), one(turns, "b", 0.01), one(turns, "a", 0.05))
        assert turns.done

    asyncio.run(play())


def test_a_step_that_is_not_planned_or_comes_twice_is_refused() -> None:
    async def play() -> None:
        turns = Turns([Turn("a", 0)])
        with pytest.raises(TurnError, match="step 1 of a"):
            await turns.wait("a", 1)
        with pytest.raises(TurnError, match="out of turn"):
            await turns.take("b", 0)
        await turns.wait("a", 0)
        await turns.take("a", 0)
        with pytest.raises(TurnError, match="was taken"):
            await turns.wait("a", 0)

    asyncio.run(play())
