"""Who goes next, and with whom: the order in which steps reach a shared adapter, and the passes they make together.

Both are the plan's, so that the result of a round does not depend on who is fast or on how many satellites
run at the same time. Where fewer can run at once than take part (a simulation on few cores), a satellite that waits
for one which cannot start is *parked*: it leaves, makes room, and comes back for the same step.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple


class Turn(NamedTuple):
    """One satellite's step of the round."""

    satellite: str
    step: int


Pass = tuple[Turn, ...]  # steps of different satellites that go through the backbone together


class Span(NamedTuple):
    """When the plan has the ground serve a satellite, in mission time, and how many steps it takes then."""

    satellite: str
    steps: int
    start_s: float
    end_s: float


class Parked(Exception):
    """Not now: leave, and come back for the same step."""


class TurnError(ValueError):
    """A step that is not in the round's order, or comes twice."""


def plan_order(spans: Iterable[Span]) -> list[Turn]:
    """The turns of a round in the order of the plan.

    A satellite's steps lie evenly over the time that the plan gives it, so that satellites which are served at the same
    time take turns, those of an earlier contact first: a stretch of steps looks like the images of all of them.
    """
    timed = [
        (start_s + (step + 0.5) / steps * (end_s - start_s), position, Turn(name, step))
        for position, (name, steps, start_s, end_s) in enumerate(_served(spans))
        for step in range(steps)
    ]
    return [turn for _, _, turn in sorted(timed)]


def plan_passes(spans: Sequence[Span], most: int) -> list[Pass]:
    """The turns of :func:`plan_order`, or where up to ``most`` share a pass, those of as many satellites side by side.

    Only satellites that the plan serves at the same time share one: nobody waits for another's contact. They are the
    same throughout the round, so that few have to run at once.
    """
    if most == 1:
        return [(turn,) for turn in plan_order(spans)]
    span_of = {span.satellite: span for span in spans}
    passes: list[Pass] = []
    served = _served(spans)
    for first in range(0, len(served), most):
        own: list[Pass] = []
        for turn in plan_order(served[first : first + most]):
            together = (*own[-1], turn) if own else (turn,)
            theirs = [span_of[satellite] for satellite, _ in together]
            at_once = max(span.start_s for span in theirs) <= min(span.end_s for span in theirs)
            if own and len({*theirs}) == len(together) and at_once:
                own[-1] = together
            else:
                own.append((turn,))
        passes += own
    return passes


def _served(spans: Iterable[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: span.start_s)


class Turns:
    """The passes of one round, as coroutines of one event loop wait for them.

    Args:
        passes: All passes of the round; each turn is in one of them.
        in_order: Whether a pass waits for those before it, as on a shared adapter.
        at_once: Satellites that run at the same time; ``None`` where that has to be learnt.
        patience_s: How long a satellite waits for one that is absent while there may be room for it; ``None``: ever.

    Attributes:
        at_once: As it was given, or as far as it has been learnt by now.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        *,
        in_order: bool,
        at_once: int | None = None,
        patience_s: float | None = 10.0,
    ) -> None:
        self._order = list(passes)
        self._in_order = in_order
        self._pass_of = {turn: together for together in passes for turn in together}
        self._left = Counter(turn.satellite for turn in self._pass_of)
        self._next = 0  # of the order, the first pass that is not over
        self._came: set[Turn] = set()
        self._taken: set[Turn] = set()
        self._present: set[str] = set()
        self.at_once = at_once
        self._patience_s = patience_s
        self._changed = asyncio.Condition()

    @property
    def done(self) -> bool:
        """Whether every turn has been taken."""
        return len(self._taken) == len(self._pass_of)

    def first_of(self, satellites: Collection[str]) -> str | None:
        """The satellite among these whose turn comes first, if one of them has any left."""
        for turn in self._ahead():
            if turn.satellite in satellites and turn not in self._taken:
                return turn.satellite
        return None

    def pass_of(self, turn: Turn) -> Pass:
        """The steps that go through the backbone together with this one, itself among them.

        Raises:
            TurnError: There is no such turn, or it is over.
        """
        if turn not in self._pass_of or turn in self._taken:
            raise TurnError(
                f"step {turn.step} of {turn.satellite} is not in this round's order, or was taken"
            )
        return self._pass_of[turn]

    async def wait(self, turn: Turn) -> None:
        """Return when the pass of this turn can be made: all of its satellites came, and what goes before is over.

        A satellite that is parked has come: its pass does not wait for it again.

        Raises:
            Parked: A satellite that is waited for cannot come as long as this one stays.
            TurnError: There is no such turn, or it is over.
        """
        together = self.pass_of(turn)
        async with self._changed:
            self._came.add(turn)
            self._present.add(turn.satellite)
            if self.at_once is not None:
                self.at_once = max(self.at_once, len(self._present))
            self._changed.notify_all()
            try:
                while (awaited := self._awaited(together)) is not None:
                    if self._is_far(turn):
                        raise Parked(f"{turn.satellite} makes room for those whose turns come sooner")
                    if awaited in self._present:
                        await self._changed.wait()
                    elif not await self._comes():
                        raise Parked(f"{turn.satellite} waits for {awaited}")
            except BaseException:  # its stream may also have ended
                self._present.discard(turn.satellite)
                raise

    async def take(self, turn: Turn) -> None:
        """The step has been taken; its pass is over with the last of them.

        Raises:
            TurnError: There is no such turn, it is over, or it has not begun.
        """
        async with self._changed:
            if self._awaited(self.pass_of(turn)) is not None:
                raise TurnError(f"step {turn.step} of {turn.satellite} was taken out of turn")
            self._taken.add(turn)
            while self._next < len(self._order) and self._taken.issuperset(self._order[self._next]):
                self._next += 1
            self._left[turn.satellite] -= 1
            if not self._left[turn.satellite]:
                self._present.discard(turn.satellite)
            self._changed.notify_all()

    def _awaited(self, together: Pass) -> str | None:
        """A satellite that has to come, or to finish a step, before this pass can be made."""
        if self._in_order:
            before = [self._order[self._next]]
        else:
            before = [self._pass_of[Turn(name, step - 1)] for name, step in together if step]
        for earlier in before:
            for turn in earlier:
                if earlier is not together and turn not in self._taken:
                    return turn.satellite
        return next((turn.satellite for turn in together if turn not in self._came), None)

    def _ahead(self) -> Iterator[Turn]:
        """The turns of the passes that are not over, in order."""
        return itertools.chain.from_iterable(itertools.islice(self._order, self._next, None))

    def _is_far(self, turn: Turn) -> bool:
        """Whether as many others as can run at once come to their turns before this one is: it leaves at once, so that
        those that it makes room for are there in time."""
        if not self._in_order or self.at_once is None:
            return False
        sooner: set[str] = set()
        for other in self._ahead():
            if other.satellite == turn.satellite or len(sooner) == self.at_once:
                break
            sooner.add(other.satellite)
        return len(sooner) == self.at_once

    async def _comes(self) -> bool:
        if self.at_once is not None and len(self._present) >= self.at_once:
            return False
        try:
            await asyncio.wait_for(self._changed.wait(), self._patience_s)
        except TimeoutError:
            self.at_once = max(self.at_once or 0, len(self._present))
            return False
        return True
