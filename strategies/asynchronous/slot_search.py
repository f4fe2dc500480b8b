"""In which slots to average, by predicted contacts: the search of FedSpace (So et al., arXiv 2202.01267).

Averaging often leaves few satellites without a newer model (*idle*), averaging seldom leaves few updates behind newer
averages (*stale*). A schedule of averages is worth what its updates count, (1 + s)^-a for one that s averages have
overtaken. The paper learns that worth from a run on other data instead.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.asynchronous.mission import PlannedSlots
from strategies.problem.network import passes_of
from strategies.problem.planning_problem import PlanningProblem


@dataclass(frozen=True, eq=False)
class SlotStates:
    """The states of several schedules' predictions.

    Attributes:
        version: The newest average of each, shape (schedules,).
        base: The average that each satellite has, shape (schedules, satellites).
        trained: Whether it has an update from it that is not down yet, shape (schedules, satellites).
        waiting: What the updates count that are on the ground and in no average yet, shape (schedules,).
    """

    version: NDArray[np.int64]
    base: NDArray[np.int64]
    _: KW_ONLY
    trained: NDArray[np.bool_]
    waiting: NDArray[np.float64]

    @classmethod
    def fresh(cls, satellites: int) -> SlotStates:
        """Return the one state in which all have trained from what they began with."""
        return cls(
            np.zeros(1, int), np.zeros((1, satellites), int),
            trained=np.ones((1, satellites), bool), waiting=np.zeros(1),
        )  # fmt: skip

    def of(self, schedules: NDArray[np.int64]) -> SlotStates:
        """Return these, in this order."""
        return SlotStates(
            self.version[schedules], self.base[schedules],
            trained=self.trained[schedules], waiting=self.waiting[schedules],
        )  # fmt: skip


def flown(
    states: SlotStates, connected: NDArray[np.bool_], schedules: NDArray[np.bool_], exponent: float
) -> tuple[NDArray[np.float64], SlotStates]:
    """Return what each schedule is worth, shape (schedules,), and the states after them.

    In each slot the connected satellites send what they have trained, the ground averages if the schedule says so, and
    they get the newest average unless they have trained from it; until the next slot they train.

    Args:
        states: At the beginning, one for each schedule.
        connected: Which satellites have a contact in each slot, shape (slots, satellites).
        schedules: Shape (schedules, slots). Where nothing has come, no average is made.
        exponent: a.
    """
    version, waiting = states.version.copy(), states.waiting.copy()
    base, trained = states.base.copy(), states.trained.copy()
    worth = np.zeros(len(schedules))
    for here, wanted in zip(connected, schedules.T, strict=True):
        sending = here & trained
        # No average comes between now and the one that an update is part of.
        counts = (1.0 + version[:, None] - base) ** -exponent
        waiting += np.where(sending, counts, 0.0).sum(axis=1)
        trained &= ~sending
        averages = wanted & (waiting > 0.0)
        worth += np.where(averages, waiting, 0.0)
        version, waiting = version + averages, np.where(averages, 0.0, waiting)
        getting = here & ~trained & (base < version[:, None])
        base = np.where(getting, version[:, None], base)
        trained |= getting
    return worth, SlotStates(version, base, trained=trained, waiting=waiting)


def planned_averages_s(problem: PlanningProblem, slots: PlannedSlots) -> NDArray[np.float64]:
    """Return the mission times at which the ground is to average, to the end of the contact plan."""
    connected = connections(problem, slots.slot_s)
    rng = np.random.default_rng(slots.seed)
    state, chosen = SlotStates.fresh(connected.shape[1]), np.zeros(len(connected), bool)
    for first in range(0, len(connected), slots.window):
        window = connected[first : first + slots.window]
        candidates = _drawn(rng, len(window), slots)
        each = state.of(np.zeros(len(candidates), int))
        worth, after = flown(each, window, candidates, slots.exponent)
        best = int(np.argmax(worth))  # of equals the first
        chosen[first : first + len(window)] = candidates[best]
        state = after.of(np.array([best]))
    return (problem.start_s + slots.slot_s * (np.flatnonzero(chosen) + 1.0)).astype(np.float64)


def connections(problem: PlanningProblem, slot_s: float) -> NDArray[np.bool_]:
    """Return which satellites with images are in a pass over a station in each slot, shape (slots, satellites)."""
    contact_plan = problem.contact_plan
    trainers = np.flatnonzero(problem.workload.samples)
    count = max(1, int((contact_plan.horizon_s - problem.start_s) // slot_s))
    connected = np.zeros((count, len(contact_plan.satellites)), bool)
    for one_pass in passes_of(contact_plan, problem.start_s, contact_plan.horizon_s):
        first, last = ((one_pass[edge] - problem.start_s) / slot_s for edge in ("start_s", "end_s"))
        connected[int(first) : int(last) + 1, one_pass["satellite"]] = True
    return connected[:, trainers]


def _drawn(rng: np.random.Generator, length: int, slots: PlannedSlots) -> NDArray[np.bool_]:
    """Random schedules, shape (tried, length), each of which averages ``fewest`` to ``most`` times."""
    counts = np.minimum(rng.integers(slots.fewest, slots.most + 1, slots.tried), length)
    ranks = rng.random((slots.tried, length)).argsort(axis=1).argsort(axis=1)
    return ranks < counts[:, None]
