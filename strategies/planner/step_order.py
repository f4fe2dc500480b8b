"""The order in which the ground takes the steps of a round, and which of them it takes together: both are the plan's.

So the result of a round does not depend on which satellite is fast, or on how many of them run at the same time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np

from strategies.problem.plan import Kind, Plan


class ScheduleError(ValueError):
    """A step that the schedule of the round does not have, or has already had."""


class ScheduledStep(NamedTuple):
    """One satellite's step of the round."""

    satellite: str
    step: int


BatchedStep = tuple[ScheduledStep, ...]  # steps of different satellites that go through the backbone together


@dataclass(frozen=True)
class Schedule:
    """The batched steps of a round, in the order of their forward passes; in each, satellites as they are answered.

    ``updates[j]`` is how many updates of this round the shared adapter has had when batch ``j`` uses it: at most
    ``j``.

    ``first_pass`` is for a ground that trains alone, on what still comes: runs of (satellite, samples) in the order in
    which its first pass takes them; empty where nothing comes.

    Raises ``ScheduleError`` where a satellite's steps do not come as 0, 1, 2, …, two of them are in one batch, or a
    batch would use an adapter that its own gradients have made.
    """

    batches: tuple[BatchedStep, ...]
    updates: tuple[int, ...]
    _: KW_ONLY
    first_pass: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        counted: dict[str, int] = {}
        for position, (batch, updates) in enumerate(zip(self.batches, self.updates, strict=True)):
            if not 0 <= updates <= position:
                raise ScheduleError(f"batch {position} follows {updates} updates; allowed: 0 to {position}")
            if len({step.satellite for step in batch}) < len(batch):
                raise ScheduleError(f"a batched step has two steps of one satellite: {list(batch)}")
            for satellite, step in batch:
                expected = counted.get(satellite, 0)
                if step != expected:
                    raise ScheduleError(
                        f"steps of {satellite}: found {step} where {expected} is the next of the round"
                    )
                counted[satellite] = expected + 1

    @classmethod
    def of(cls, plan: Plan, satellites: Collection[str]) -> Self:
        """Return the schedule of a plan for the satellites that start this round.

        A satellite that a quorum did not wait for is still planned; what it computes, it has computed in the round in
        which it started.
        """
        batches: dict[int, list[ScheduledStep]] = {}
        updates: dict[int, int] = {}
        for row in plan.steps:
            name = plan.names[row["satellite"]]
            if name in satellites:
                batches.setdefault(int(row["batch"]), []).append(ScheduledStep(name, int(row["step"])))
                updates[int(row["batch"])] = int(row["updates"])
        numbers = sorted(batches)
        return cls(
            tuple(tuple(batches[number]) for number in numbers),
            # With an adapter each, what counts is the number of the satellite's step.
            tuple(min(updates[number], position) for position, number in enumerate(numbers)),
            first_pass=_first_pass(plan),
        )

    @cached_property
    def steps_of(self) -> Mapping[str, int]:
        """The number of steps of each satellite, in the order of their first steps."""
        counted: dict[str, int] = {}
        for step in self._steps():
            counted[step.satellite] = counted.get(step.satellite, 0) + 1
        return counted

    @cached_property
    def batch_of(self) -> Mapping[ScheduledStep, int]:
        """The position of the batch that a step is in."""
        return {step: position for position, batch in enumerate(self.batches) for step in batch}

    def turns_of(self, satellite: str) -> list[int]:
        """Return the positions of the batches that a satellite's steps are in, from its first step."""
        steps = range(self.steps_of.get(satellite, 0))
        return [self.batch_of[ScheduledStep(satellite, step)] for step in steps]

    def _steps(self) -> Iterable[ScheduledStep]:
        return (step for batch in self.batches for step in batch)


def _first_pass(plan: Plan) -> tuple[tuple[str, int], ...]:
    """Samples in the order of their places in the windows in which the ground computes them."""
    rows = plan.of_kind(Kind.BACKBONE)
    rows = rows[rows["epoch"] == 0]
    if len(plan.steps) or not len(rows) or not len(plan.of_kind(Kind.FEATURES)):
        return ()
    count = rows["end_sample"] - rows["first_sample"]
    satellite, sample = (
        np.repeat(rows["satellite"], count),
        np.concatenate([np.arange(row["first_sample"], row["end_sample"]) for row in rows]),
    )
    part = (sample - np.repeat(rows["first_sample"], count) + 1.0) / np.repeat(count, count)
    time_s = np.repeat(rows["start_s"], count) + part * np.repeat(rows["end_s"] - rows["start_s"], count)
    taken = satellite[np.lexsort([sample, satellite, time_s])]
    edges = np.flatnonzero(np.diff(taken, prepend=-1))
    runs = np.diff(np.append(edges, len(taken)))
    return tuple(
        (plan.names[taken_by], int(length)) for taken_by, length in zip(taken[edges], runs, strict=True)
    )
