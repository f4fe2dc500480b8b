"""When a batched step goes through the backbone, and which satellites wait for it meanwhile.

The order is the plan's (:mod:`strategies.planner.step_order`). Where fewer satellites can run at once than take part (a
simulation on few cores), a satellite that waits for another which cannot start is *suspended*: it leaves, makes room,
and resumes with the same step.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from strategies.planner.step_order import Schedule, ScheduledStep, ScheduleError


class Suspended(Exception):
    """Not now: leave, and resume with the same step."""


@dataclass(frozen=True)
class Forward:
    """A micro-batch of a batched step is to go through the backbone."""

    batch: int
    part: int


@dataclass(frozen=True)
class Backward:
    """The gradients of a micro-batch of a batched step are complete: backward pass."""

    batch: int
    part: int


@dataclass(frozen=True)
class Update:
    """The gradients of a batched step are complete, and its micro-batches went back: optimiser step."""

    batch: int


class StepSequence:
    """The batched steps of one round: which may be computed now, and who has to act before others can be.

    With a shared adapter batches are forwarded in their order and updated in their order, each forwarded when the
    updates that the schedule says have been made. With an adapter each, a batch waits only for the previous steps of
    its own satellites. The micro-batches of a batch go back in their order, each as soon as its gradients are here.

    Args:
        schedule: All batched steps of the round.
        shared: Whether all steps train one adapter.
        max_concurrency: Satellites that run at the same time; ``None`` where that has to be learnt.
        learnt: What has been learnt of it in earlier rounds.
        timeout_s: How long a satellite waits for one that is absent while there may be room for it; ``None``: for ever.

    Attributes:
        max_concurrency: As it was given, or as far as it has been learnt by now.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        shared: bool,
        max_concurrency: int | None = None,
        learnt: int | None = None,
        timeout_s: float | None = 10.0,
    ) -> None:
        # A satellite that leaves may still be counted when its successor is here, so a given number is never raised.
        self._learns = max_concurrency is None
        self.max_concurrency = learnt if self._learns else max_concurrency
        self._schedule = schedule
        self._shared = shared
        self._timeout_s = timeout_s
        batches = schedule.batches
        self._parts: dict[ScheduledStep, tuple[int, set[int]]] = {}  # of a step: how many, and which are here
        self._parts_forwarded = [0] * len(batches)
        self._gradient_parts: dict[ScheduledStep, set[int]] = {}  # of a step: which are here
        self._parts_back = [0] * len(batches)
        self._missing_gradients = [set(batch) for batch in batches]
        self._updated = [False] * len(batches)
        self._first_open = 0  # the first batch that is not updated
        self._next_forward = 0  # with a shared adapter
        self._touched: deque[int] = deque()  # without: batches that may be due
        self._previous = [
            [
                schedule.batch_of[ScheduledStep(step.satellite, step.step - 1)]
                for step in batch
                if step.step > 0
            ]
            for batch in batches
        ]
        of_batches = (
            max([schedule.updates[position], *(before + 1 for before in self._previous[position])])
            for position in range(len(batches))
        )
        # A shared adapter forwards in order: what one batch needs, all after it need, too.
        self._updates_needed = list(itertools.accumulate(of_batches, max))
        self._present: set[str] = set()
        self._change = asyncio.Event()

    @property
    def done(self) -> bool:
        """Whether every batch is updated."""
        return self._first_open == len(self._updated)

    def batch_of(self, step: ScheduledStep) -> int:
        """Return the position of the batch of a step that is not over.

        Raises:
            ScheduleError: There is no such step, or its gradients have come.
        """
        position = self._schedule.batch_of.get(step)
        if position is None or step not in self._missing_gradients[position]:
            raise ScheduleError(
                f"step {step.step} of {step.satellite} is not in this round's schedule, or was taken"
            )
        return position

    def is_last(self, step: ScheduledStep) -> bool:
        """Whether it is the satellite's last step of the round."""
        return step.step + 1 == self._schedule.steps_of[step.satellite]

    def add_features(self, step: ScheduledStep, part: int, parts: int) -> None:
        """Note that the features of a micro-batch are here, of so many that the step has."""
        position = self.batch_of(step)
        self._parts.setdefault(step, (parts, set()))[1].add(part)
        self._touched.append(position)
        self._changed()

    def add_gradient(self, step: ScheduledStep, part: int) -> None:
        """Note that the gradient of a micro-batch is here."""
        self._gradient_parts.setdefault(step, set()).add(part)
        self._touched.append(self.batch_of(step))
        self._changed()

    def end_step(self, step: ScheduledStep) -> None:
        """Note that all gradients of a step are here, that of the head among them.

        Raises:
            ScheduleError: There is no such step, it is over, or its batch has not been forwarded.
        """
        position = self.batch_of(step)
        if not self._is_forwarded(position):
            raise ScheduleError(
                f"step {step.step} of {step.satellite} was taken before its batch was forwarded"
            )
        self._missing_gradients[position].discard(step)
        self._touched.append(position)
        if self.is_last(step):
            self._present.discard(step.satellite)
        self._changed()

    def due(self) -> Iterator[Forward | Backward | Update]:
        """Return what is to be computed now, in this order; each once."""
        if self._shared:
            yield from self._due_in_order()
        else:
            yield from self._due_apart()
        self._changed()

    async def wait_for_forward(self, step: ScheduledStep, part: int) -> None:
        """Return when this part of the step's batch has been given to the backbone.

        The features of a satellite that is suspended stay here: its batch does not wait for it again.

        Raises:
            Suspended: A satellite that is waited for cannot come as long as this one stays.
        """
        position = self.batch_of(step)
        satellite = step.satellite
        self._present.add(satellite)
        if self._learns and self.max_concurrency is not None:
            self.max_concurrency = max(self.max_concurrency, len(self._present))
        self._changed()
        try:
            while self._parts_forwarded[position] <= part:
                if self._timeout_s is None:
                    await self._change.wait()
                    continue
                if self._is_far(position, satellite):
                    raise Suspended(f"{satellite} makes room for satellites whose steps come sooner")
                absent = [name for name in self._needed(position) if name not in self._present]
                if not absent:
                    await self._change.wait()
                elif not await self._comes():
                    raise Suspended(f"{satellite} waits for {absent[0]}")
        except BaseException:  # its stream may also have ended
            self._present.discard(satellite)
            raise

    async def wait_for_update(self, position: int) -> None:
        """Return when a batch has been given to the backbone for its update, however long that takes."""
        while not self._updated[position]:
            await self._change.wait()

    def first_needed(self, satellites: Collection[str]) -> str | None:
        """Return the satellite among these that is to run next, if one of them has anything left to do.

        That is the first, by the order of batches, that can let the round go on; else the first that has steps left.
        """
        later: str | None = None
        for position in range(self._first_open, len(self._updated)):
            able = self._able(position)
            for step in self._schedule.batches[position]:
                if step.satellite in satellites and step in self._missing_gradients[position]:
                    if step in able:
                        return step.satellite
                    later = later or step.satellite
        return later

    def _due_in_order(self) -> Iterator[Forward | Backward | Update]:
        while not self.done:
            # One adapter holds the gradients of one step.
            yield from self._backwards(self._first_open)
            if self._missing_gradients[self._first_open]:
                break
            yield self._update(self._first_open)
        while (
            self._next_forward < len(self._updated)
            and self._first_open >= self._updates_needed[self._next_forward]
        ):
            yield from self._forwards(self._next_forward)
            if not self._is_forwarded(self._next_forward):
                return
            self._next_forward += 1

    def _due_apart(self) -> Iterator[Forward | Backward | Update]:
        while self._touched:
            position = self._touched.popleft()
            yield from self._backwards(position)
            if not self._missing_gradients[position] and not self._updated[position]:
                yield self._update(position)
                for satellite, number in self._schedule.batches[position]:
                    following = self._schedule.batch_of.get(ScheduledStep(satellite, number + 1))
                    if following is not None:
                        self._touched.append(following)
            elif all(self._updated[before] for before in self._previous[position]):
                yield from self._forwards(position)

    def _forwards(self, position: int) -> Iterator[Forward]:
        """The parts of a batch that are here with all satellites that have such a part."""
        batch = self._schedule.batches[position]
        while all(step in self._parts for step in batch) and not self._is_forwarded(position):
            part = self._parts_forwarded[position]
            if not all(part in here or part >= parts for parts, here in map(self._parts.__getitem__, batch)):
                return
            self._parts_forwarded[position] += 1
            yield Forward(position, part)

    def _backwards(self, position: int) -> Iterator[Backward]:
        """The parts of a batch whose gradients are here from all satellites that have such a part."""
        batch = self._schedule.batches[position]
        while self._is_forwarded(position) and self._parts_back[position] < self._parts_forwarded[position]:
            part = self._parts_back[position]
            if not all(
                part in self._gradient_parts.get(step, ()) or part >= self._parts[step][0] for step in batch
            ):
                return
            self._parts_back[position] += 1
            yield Backward(position, part)

    def _update(self, position: int) -> Update:
        self._updated[position] = True
        while not self.done and self._updated[self._first_open]:
            self._first_open += 1
        return Update(position)

    def _is_forwarded(self, position: int) -> bool:
        batch = self._schedule.batches[position]
        return all(step in self._parts for step in batch) and self._parts_forwarded[position] == max(
            self._parts[step][0] for step in batch
        )

    def _able(self, position: int) -> Collection[ScheduledStep]:
        """Steps of a batch whose satellites can act: features are missing, or gradients and pooled states are ready."""
        missing = [step for step in self._schedule.batches[position] if not self._is_here(step)]
        if missing:
            return missing
        return self._missing_gradients[position] if self._is_forwarded(position) else ()

    def _is_here(self, step: ScheduledStep) -> bool:
        parts, here = self._parts.get(step, (1, ()))
        return len(here) == parts

    def _needed(self, position: int) -> list[str]:
        """Satellites that can act, and have to before a batch can be forwarded."""
        earlier = range(self._first_open, position) if self._shared else self._previous[position]
        for before in earlier:
            to_update = not self._shared or before < self._updates_needed[position]
            if not self._updated[before] and (to_update or not self._is_forwarded(before)):
                able = [
                    step.satellite for step in self._schedule.batches[before] if step in self._able(before)
                ]
                if able:
                    return able
        return [step.satellite for step in self._schedule.batches[position] if not self._is_here(step)]

    def _is_far(self, position: int, satellite: str) -> bool:
        """Whether as many others as can run at once have to act before a batch can be forwarded.

        Then its satellites leave at once, so that those for which they make room are there in time.
        """
        if not self._shared or self.max_concurrency is None:
            return False
        sooner: set[str] = set()
        for before in range(self._first_open, position + 1):
            last = before == position
            to_update = before < self._updates_needed[position]
            for step in self._schedule.batches[before]:
                missing = step in self._missing_gradients[before] if to_update else not self._is_here(step)
                if missing and not (last and self._is_here(step)):
                    sooner.add(step.satellite)
            sooner.discard(satellite)
            if len(sooner) >= self.max_concurrency:
                return True
        return False

    async def _comes(self) -> bool:
        """Wait for a change while there may be room for a satellite that is absent; false where there is none."""
        if self.max_concurrency is not None and len(self._present) >= self.max_concurrency:
            return False
        try:
            await asyncio.wait_for(self._change.wait(), self._timeout_s)
        except TimeoutError:
            if self._learns:
                self.max_concurrency = max(self.max_concurrency or 0, len(self._present))
            return False
        return True

    def _changed(self) -> None:
        """Wake all who wait."""
        self._change.set()
        self._change = asyncio.Event()
