"""Who goes next: the order in which the steps of a round reach a shared adapter.

The order is the plan's, so that the result of a round does not depend on who is fast or on how many satellites
run at the same time. Where fewer can run at once than take part (a simulation on few cores), a satellite that waits
for one which cannot start is *parked*: it leaves, makes room, and comes back for the same step.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Flower's simulation runs four satellites more than there are cores, and one that is parked costs ten steps' time. On
# EuroSAT groups of four and five end within half a point of all twelve taking turns.
TOGETHER = 5


class Turn(NamedTuple):
    """One satellite's step of the round."""

    satellite: str
    step: int


class Parked(Exception):
    """Not now: leave, and come back for the same step."""


class TurnError(ValueError):
    """A step that is not in the round's order, or comes twice."""


def plan_order(spans: Iterable[tuple[str, int, float, float]]) -> list[Turn]:
    """The turns of a round in the order of the plan.

    Satellites are served in groups of up to :data:`TOGETHER`, as even as can be, those of an earlier contact first. A
    satellite's steps lie evenly over the time that the plan gives it, so that the satellites of a group take turns.

    Args:
        spans: Per satellite its name, number of steps, and start and end of service in mission time.
    """
    served = sorted(spans, key=lambda span: span[2])
    groups = -(-len(served) // TOGETHER)
    bounds = [len(served) * group // groups for group in range(groups + 1)] if groups else []
    order: list[Turn] = []
    for first, last in itertools.pairwise(bounds):
        timed = [
            (start_s + (step + 0.5) / steps * (end_s - start_s), position, Turn(name, step))
            for position, (name, steps, start_s, end_s) in enumerate(served[first:last])
            for step in range(steps)
        ]
        order += [turn for _, _, turn in sorted(timed)]
    return order


class Turns:
    """The order of one round, as coroutines of one event loop wait for it.

    Args:
        order: All turns of the round.
        patience_s: How long a satellite waits for one that is absent, before the first was parked; ``None``: for ever.
    """

    def __init__(self, order: Sequence[Turn], *, patience_s: float | None = 10.0) -> None:
        self._order = list(order)
        self._known = set(order)
        self._left = Counter(turn.satellite for turn in order)
        self._next = 0
        self._present: set[str] = set()
        self._at_once: int | None = None  # satellites that run at the same time, once we had to learn it
        self._patience_s = patience_s
        self._changed = asyncio.Condition()

    @property
    def done(self) -> bool:
        """Whether every turn has been taken."""
        return self._next == len(self._order)

    async def wait(self, satellite: str, step: int) -> None:
        """Return when it is this satellite's turn.

        Raises:
            Parked: The satellite whose turn it is cannot come as long as this one stays.
            TurnError: There is no such turn, or it is over.
        """
        turn = Turn(satellite, step)
        if turn not in self._known:
            raise TurnError(f"step {step} of {satellite} is not in this round's order, or was taken")
        async with self._changed:
            self._present.add(satellite)
            if self._at_once is not None:
                self._at_once = max(self._at_once, len(self._present))
            self._changed.notify_all()
            while self._order[self._next] != turn:
                if self._order[self._next].satellite in self._present:
                    await self._changed.wait()
                elif not await self._holder_comes():
                    self._present.discard(satellite)
                    raise Parked(f"{satellite} waits for {self._order[self._next].satellite}")

    async def take(self, satellite: str, step: int) -> None:
        """The step has been taken; the next turn begins."""
        async with self._changed:
            if self.done or self._order[self._next] != (satellite, step):
                raise TurnError(f"step {step} of {satellite} was taken out of turn")
            self._known.discard(self._order[self._next])
            self._next += 1
            self._left[satellite] -= 1
            if not self._left[satellite]:
                self._present.discard(satellite)
            self._changed.notify_all()

    async def _holder_comes(self) -> bool:
        if self._at_once is not None and len(self._present) >= self._at_once:
            return False
        try:
            await asyncio.wait_for(self._changed.wait(), self._patience_s)
        except TimeoutError:
            self._at_once = max(self._at_once or 0, len(self._present))
            return False
        return True
