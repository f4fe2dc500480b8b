"""Rounds that do not wait for everybody: a round ends when enough planes have delivered, the others go on.

What a late plane delivers counts in a later round, with less weight the older it is; those that have delivered start
anew from the new average.  This is buffered asynchronous aggregation (FedBuff, Nguyen et al., arXiv 2106.06581) with
planes as clients and the planes needed as the size of the buffer; with one plane needed it is asynchronous
aggregation (FedAsync, Xie et al., arXiv 1903.03934), with all of them the synchronous round.
"""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass

import numpy as np

from strategies.problem.plan import Plan
from strategies.problem.round_state import RoundState, pointed_at, state_at
from strategies.problem.workload import Workload, WorkloadError


@dataclass(frozen=True)
class Quorum:
    """The number of planes that end a round.

    ``planes[k]`` is the plane of satellite ``k``, which has ``samples[k]`` images; ``needed`` is how many planes must
    have delivered, 0 for all.  A plane without images has nothing to deliver.  The round ends no sooner than those in
    ``overdue`` have delivered, too, so that no plane stays late for ever.

    Raises ``WorkloadError`` where more planes are needed than there are.
    """

    planes: tuple[int, ...]
    samples: tuple[int, ...]
    _: KW_ONLY
    needed: int = 0
    overdue: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        count = len(set(self.planes))
        if not 0 <= self.needed <= count:
            raise WorkloadError(
                f"strategy.planes_per_round: found {self.needed}, allowed 1 to {count} planes, or 0 for all"
            )

    def deliveries_s(self, plan: Plan) -> dict[int, float]:
        """Return the time at which each plane with images has delivered, by plane."""
        planes, active = np.asarray(self.planes), np.asarray(self.samples) > 0
        return {
            plane: float(plan.delivered_s[active & (planes == plane)].max())
            for plane in np.unique(planes[active]).tolist()
        }

    def end_s(self, plan: Plan) -> float:
        """Return the time at which enough planes, and all overdue ones, have delivered."""
        by_plane = self.deliveries_s(plan)
        if not 0 < self.needed < len(by_plane) or by_plane.keys() <= self.overdue:
            return plan.end_s
        overdue_s = [by_plane[plane] for plane in self.overdue & by_plane.keys()]
        return max(sorted(by_plane.values())[self.needed - 1], *overdue_s, 0.0)

    def delivered(self, plan: Plan) -> np.ndarray:
        """Return the satellites whose weights count when the round ends, shape ``(N,)``."""
        return plan.delivered_s <= self.end_s(plan)

    def carry_over(self, plan: Plan, workload: Workload, before: RoundState) -> RoundState:
        """Return the work of late satellites, which is not planned again, and the antennas that stay pointed.

        ``before`` is what ``plan`` was made with.
        """
        end_s = self.end_s(plan)
        pointed = pointed_at(plan, end_s)
        late = ~self.delivered(plan)
        if not late.any():
            return RoundState(pointed=pointed)
        state = state_at(plan, workload, end_s, before=before)
        done, on_ground = (np.where(late, counts, 0).tolist() for counts in (state.done, state.on_ground))
        return RoundState(tuple(done), tuple(on_ground), pointed=pointed)


def cut(plan: Plan, end_s: float) -> Plan:
    """The plan up to ``end_s``, without bound; of an activity under way then, the part that an even pace has done."""
    if end_s >= plan.end_s:
        return plan
    rows = plan.activities[plan.activities["start_s"] < end_s].copy()
    length_s = np.maximum(rows["end_s"] - rows["start_s"], 1e-9)
    part = np.clip((end_s - rows["start_s"]) / length_s, 0.0, 1.0)
    rows["end_s"] = np.minimum(rows["end_s"], end_s)
    rows["bytes"] *= part
    rows["flops"] *= part
    count = rows["end_sample"] - rows["first_sample"]
    rows["end_sample"] = rows["first_sample"] + np.floor(part * count + 1e-9).astype(int)
    rows.flags.writeable = False
    return dataclasses.replace(
        plan, end_s=end_s, lower_bound_s=0.0, activities=rows, finish_s=np.minimum(plan.finish_s, end_s)
    )
