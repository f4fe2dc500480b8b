"""An asynchronous mission as data: who trains from which average, and when the ground makes the next one of what."""

from __future__ import annotations

import enum
from dataclasses import KW_ONLY, dataclass

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.problem.network import groups_of
from strategies.problem.plan import Plan
from strategies.problem.workload import Workload, WorkloadError


class Unit(enum.StrEnum):
    """The sender of an update."""

    SATELLITE = "satellite"
    PLANE = "plane"  # the sum of its satellites, brought down by one of them


@dataclass(frozen=True)
class Buffer:
    """Average as soon as so many updates have come (FedBuff, Nguyen et al., arXiv 2106.06581); 0: one of each member.

    One update at a time is asynchronous averaging (FedAsync, Xie et al., arXiv 1903.03934); one of each member is the
    synchronous round.
    """

    updates: int = 0

    def __post_init__(self) -> None:
        if self.updates < 0:
            raise WorkloadError(f"updates: found {self.updates}, allowed is 0 or more")

    def size(self, members: int) -> int:
        """Return the number of updates that make an average among so many members."""
        return min(self.updates, members) or members


@dataclass(frozen=True)
class PlannedSlots:
    """Average at the ends of chosen slots, by predicted contacts (FedSpace, So et al., arXiv 2202.01267).

    Time is cut into slots of ``slot_s``. For every ``window`` of them, ``tried`` random schedules with ``fewest`` to
    ``most`` averages are compared by what :mod:`strategies.asynchronous.slot_search` predicts, and the best is kept.
    ``exponent`` is a of (1 + s)^-a, what an update counts that s averages have overtaken.
    """

    slot_s: float = 900.0
    window: int = 24
    _: KW_ONLY
    fewest: int = 4
    most: int = 8
    tried: int = 1000
    exponent: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.slot_s > 0 and 1 <= self.fewest <= self.most <= self.window and self.tried >= 1):
            raise WorkloadError(f"slots: found {self}, allowed is 1 ≤ fewest ≤ most ≤ window, and tried ≥ 1")


@dataclass(frozen=True)
class AsyncSchedule:
    """The rules of a mission without rounds.

    Attributes:
        unit: Who delivers one update.
        trigger: When the ground makes an average of what has come.
        trains_on: Whether a satellite trains, in whole rounds of its images, until it can send, instead of once.
        one_way: Whether a satellite sends what it has trained in a later pass than the one in which it got the average.
    """

    unit: Unit
    trigger: Buffer | PlannedSlots
    _: KW_ONLY
    trains_on: bool = False
    one_way: bool = False

    def __post_init__(self) -> None:
        for field in ("trains_on", "one_way"):
            if getattr(self, field) and self.unit is not Unit.SATELLITE:
                raise WorkloadError(f"{field}: found true for planes, allowed for satellites")


@dataclass(frozen=True)
class Goal:
    """The end of a mission: the first average that brings it to at least these numbers of updates and averages."""

    updates: int = 0
    averages: int = 0

    def is_reached(self, updates: int, averages: int) -> bool:
        """Return whether so many updates in so many averages are enough."""
        return updates >= self.updates and averages >= self.averages

    def least_updates(self, trigger: Buffer | PlannedSlots, members: int) -> int:
        """Return the number of updates without which it is not reached."""
        each = trigger.size(members) if isinstance(trigger, Buffer) else 1
        return max(self.updates, each * self.averages)


# One row per update. The activities of its member from ``begin_s`` to the begin of the member's next row are its own:
# weights up and to all satellites of the member, training, the sum, and the way down.
ASYNC_UPDATE = np.dtype(
    [
        ("member", "<i4"),
        ("base", "<i4"),  # the average that it was trained from; 0 is what all had at the start
        ("begin_s", "<f8"),
        ("delivered_s", "<f8"),  # all of it is on the ground
        ("version", "<i4"),  # the average that it is part of, from 1
    ]
)
# The way up of the last average, one row per member.
RETURN = np.dtype([("member", "<i4"), ("begin_s", "<f8"), ("received_s", "<f8")])


@dataclass(frozen=True, eq=False)
class AsyncMission:
    """A mission without rounds, planned.

    Attributes:
        plan: Every activity from the start until all have the last average, as if it were one round.
        updates: dtype ``ASYNC_UPDATE``, in the order in which they came down.
        averaged_s: When version 1, 2, … was made, shape (versions,).
        returns: dtype ``RETURN``, by member.
        members: The satellites of each member.
        goal: What ends it.
    """

    plan: Plan
    updates: np.ndarray
    _: KW_ONLY
    averaged_s: np.ndarray
    returns: np.ndarray
    members: tuple[tuple[int, ...], ...]
    goal: Goal

    @property
    def staleness(self) -> np.ndarray:
        """Return how many averages were made between each update's base and its own, shape (updates,)."""
        return self.updates["version"] - 1 - self.updates["base"]

    @property
    def per_member(self) -> np.ndarray:
        """Return the number of updates of each member, shape (members,)."""
        return np.bincount(self.updates["member"], minlength=len(self.members))

    def reached_s(self, updates: int) -> float:
        """Return when so many updates were averaged; of all, when everybody has the last average."""
        if updates >= len(self.updates):
            return self.plan.end_s
        counts = np.cumsum(np.bincount(self.updates["version"], minlength=len(self.averaged_s) + 1)[1:])
        return float(self.averaged_s[np.searchsorted(counts, updates)])


def members_of(contact_plan: ContactPlan, workload: Workload, unit: Unit) -> tuple[tuple[int, ...], ...]:
    """Return the satellites of each member: those with images, alone or by plane.

    A plane whose links never join it is as many members as they join.
    """
    trainers = np.flatnonzero(workload.samples)
    if unit is Unit.SATELLITE:
        return tuple((int(satellite),) for satellite in trainers)
    group = linked_groups(contact_plan)[trainers]
    return tuple(tuple(trainers[group == label].tolist()) for label in dict.fromkeys(group.tolist()))


def linked_groups(contact_plan: ContactPlan) -> np.ndarray:
    """Return a label of each satellite, shape (satellites,): equal where links inside planes ever join satellites."""
    links = contact_plan.of_kind(LinkKind.INTRA_ISL)
    return groups_of(links[links["rate_bps"] > 0], len(contact_plan.satellites))
