"""What all rules of the checker share: the plan under judgement, what it has to keep to, and how a violation reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.checker.demand import RoundDemand
from strategies.checker.intervals import inside, parts
from strategies.problem.plan import ON_NO_LINK, Kind, Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState
from strategies.problem.workload import ComputeRates, Resources, Workload

MOVES = (Kind.FEATURES, Kind.HIDDEN, Kind.GRADIENT, Kind.REDUCE, Kind.UPDATE, Kind.GATHER)
COMPUTES = (Kind.EMBED, Kind.BACKBONE, Kind.HEAD, Kind.TRAIN)
OF_SAMPLES = (*COMPUTES, Kind.FEATURES, Kind.HIDDEN, Kind.GRADIENT, Kind.GATHER)
# Amounts are sums of products of the workload's numbers; times are sums of a few of them.
SAME = 1e-6
SLACK_S = 1e-5


@dataclass(frozen=True)
class Violation:
    """One thing that cannot be."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


class EmbeddedSamples(NamedTuple):
    """A satellite's windows of embedding: the samples ``[first, end)`` of each, and when it is."""

    first: np.ndarray
    end: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray


@dataclass(frozen=True, eq=False)
class JudgedPlan:
    """A plan beside the problem that it has to solve, whose lost nodes are taken out."""

    plan: Plan
    problem: PlanningProblem

    @property
    def contact_plan(self) -> ContactPlan:
        """All contacts of the horizon."""
        return self.problem.contact_plan

    @property
    def workload(self) -> Workload:
        """Return the data and the computation of the round."""
        return self.problem.workload

    @property
    def rates(self) -> ComputeRates:
        """Return the compute rates of satellites and ground."""
        return self.problem.rates

    @cached_property
    def resources(self) -> Resources:
        """Beams, terminals, buffers; its sunlight is when satellites have power, where batteries limit it by these."""
        return self.problem.powered().resources

    @property
    def state(self) -> RoundState:
        """Return the state of the round when the plan was made."""
        return self.problem.state

    @cached_property
    def rows(self) -> np.ndarray:
        """The activities whose fields make sense; ``checker_form`` names the others."""
        return self.plan.activities[self.sane]

    @cached_property
    def sane(self) -> np.ndarray:
        """Return the activities whose places, links, amounts and samples are possible for their kind."""
        rows, nodes = self.plan.activities, len(self.contact_plan.nodes)
        good = rows["kind"] <= max(Kind)
        for field, count in (("node", nodes), ("peer", nodes), ("satellite", self.satellites)):
            good &= (rows[field] >= -1) & (rows[field] < count)
        for field in ("start_s", "end_s", "bytes", "flops"):
            good &= np.isfinite(rows[field])
        good &= (rows["bytes"] >= 0) & (rows["flops"] >= 0)
        moves, computes = np.isin(rows["kind"], MOVES), np.isin(rows["kind"], COMPUTES)
        ends = (rows["node"] >= 0) & (rows["peer"] >= 0) & (rows["node"] != rows["peer"])
        from_space, to_space = rows["node"] < self.satellites, rows["peer"] < self.satellites
        isl = np.isin(rows["link"], (LinkKind.INTRA_ISL, LinkKind.INTER_ISL)) & from_space & to_space
        down = (rows["link"] == LinkKind.DOWNLINK) & from_space & ~to_space
        up = (rows["link"] == LinkKind.UPLINK) & ~from_space & to_space
        place = np.where(rows["kind"] == Kind.BACKBONE, -1, rows["satellite"])
        in_place = (rows["node"] == place) & (rows["peer"] == -1) & (rows["link"] == ON_NO_LINK)
        good &= ~moves | (ends & (isl | down | up) & (rows["flops"] == 0))
        good &= ~computes | (in_place & (rows["satellite"] >= 0) & (rows["bytes"] == 0))
        good &= moves | computes | (ends & (rows["bytes"] == 0) & (rows["flops"] == 0))
        return good & self._samples_exist(rows)

    def _samples_exist(self, rows: np.ndarray) -> np.ndarray:
        """Which rows are of no samples, or of some that their satellite has, in a pass that there is."""
        limit = np.append(np.asarray(self.workload.samples), 0)
        count = limit[
            np.where((rows["satellite"] >= 0) & (rows["satellite"] < self.satellites), rows["satellite"], -1)
        ]
        exist = (rows["satellite"] >= 0) & (rows["first_sample"] >= 0) & (rows["end_sample"] <= count)
        exist &= (
            (rows["end_sample"] > rows["first_sample"])
            & (rows["epoch"] >= 0)
            & (rows["epoch"] < self.workload.passes)
        )
        once = np.isin(rows["kind"], (Kind.EMBED, Kind.FEATURES, Kind.GATHER, Kind.TRAIN))
        exist &= ~once | (rows["epoch"] == 0)
        return exist | ~np.isin(rows["kind"], OF_SAMPLES)

    @cached_property
    def contact(self) -> np.ndarray:
        """For each row the contact in which it lies, -1 where it moves nothing or lies in none."""
        contacts, rows = self.contact_plan.contacts, self.rows
        nodes = len(self.contact_plan.nodes)
        contact_of = np.full(len(rows), -1)
        moves = np.flatnonzero(np.isin(rows["kind"], MOVES) & (rows["link"] != ON_NO_LINK))
        moving = rows[moves]
        contact_of[moves] = inside(
            moving["node"].astype(np.int64) * nodes + moving["peer"], moving["link"].astype(np.int64),
            moving["start_s"], moving["end_s"],
            contacts["source"].astype(np.int64) * nodes + contacts["target"], contacts["kind"].astype(np.int64),
            contacts["start_s"], contacts["end_s"], factor=len(LinkKind),
        )  # fmt: skip
        return contact_of

    @cached_property
    def rate_bps(self) -> np.ndarray:
        """Rate of each row's link; infinite where it has none, so that one fault is named once."""
        rate_bps = self.contact_plan.contacts["rate_bps"]
        return np.where(self.contact >= 0, rate_bps[np.maximum(self.contact, 0)], np.inf)

    @cached_property
    def owlt_s(self) -> np.ndarray:
        """One-way light time of each row's link, 0 where it has none."""
        owlt_s = self.contact_plan.contacts["owlt_s"]
        return np.where(self.contact >= 0, owlt_s[np.maximum(self.contact, 0)], 0.0)

    @cached_property
    def demand(self) -> RoundDemand:
        """Return the work that the round has to do."""
        return RoundDemand.of(self.workload, self.state, self.plan.onboard_samples)

    @cached_property
    def satellites(self) -> int:
        """Return the number of satellites; stations are the nodes from this index on."""
        return len(self.contact_plan.satellites)

    @cached_property
    def trainers(self) -> np.ndarray:
        """Satellites with samples."""
        return np.flatnonzero(self.workload.samples)

    @cached_property
    def embedded(self) -> dict[int, EmbeddedSamples]:
        """The embedding of each satellite, by sample."""
        rows = self.rows[self.rows["kind"] == Kind.EMBED]
        rows = rows[np.lexsort([rows["first_sample"], rows["satellite"]])]
        fields = [
            np.ascontiguousarray(rows[name]) for name in ("first_sample", "end_sample", "start_s", "end_s")
        ]
        return {
            int(rows["satellite"][part[0]]): EmbeddedSamples(*(field[part] for field in fields))
            for part in parts(rows["satellite"])
        }

    def of_kind(self, *kinds: Kind) -> np.ndarray:
        """Indices of the rows of these kinds, by start."""
        index = np.flatnonzero(np.isin(self.rows["kind"], kinds))
        return index[np.argsort(self.rows["start_s"][index], kind="stable")]

    def name(self, node: int) -> str:
        """A node's name."""
        return self.contact_plan.nodes[node].name if 0 <= node < len(self.contact_plan.nodes) else "ground"

    def words(self, row: np.void) -> str:
        """An activity in words."""
        kind = Kind(row["kind"]).name.lower()
        when = f"{row['start_s']:.3f}–{row['end_s']:.3f} s"
        if row["peer"] < 0:
            return f"{kind} at {self.name(row['node'])}, {when}"
        link = LinkKind(row["link"]).name.lower() if row["link"] < len(LinkKind) else "no link"
        return f"{kind} over {link} {self.name(row['node'])} → {self.name(row['peer'])}, {when}"

    def samples(self, row: np.void) -> str:
        """Return in words whose samples a row is about."""
        return f"{self.name(row['satellite'])}: samples {row['first_sample']}–{row['end_sample']}"
