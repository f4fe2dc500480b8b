"""Where a round stands, so that its rest can be planned anew: after a loss, a change of rate, or ahead of plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.problem.network import PlanningError
from strategies.problem.plan import Kind, Plan
from strategies.problem.workload import Workload


@dataclass(frozen=True)
class AverageState:
    """The state of a round's average: where its weights are on their way, and which satellites have it back.

    ``holders[k]`` is the satellite whose sum has the weights of satellite ``k`` in it, ``k`` itself until it has sent
    them (empty: no one has).  The ground has those of ``delivered``; satellites in ``received`` have the average.
    """

    holders: tuple[int, ...] = ()
    delivered: frozenset[int] = frozenset()
    _: KW_ONLY
    received: frozenset[int] = frozenset()

    def undelivered(self, samples: Sequence[int]) -> np.ndarray:
        """Return the satellites with samples whose weights the ground lacks, in order."""
        return np.array([k for k, count in enumerate(samples) if count and k not in self.delivered], int)

    def senders(self, samples: Sequence[int]) -> np.ndarray:
        """Return the satellites with sums that the ground lacks, in order."""
        undelivered = self.undelivered(samples)
        return np.unique(np.array(self.holders, int)[undelivered]) if self.holders else undelivered

    def waiting(self, samples: Sequence[int]) -> np.ndarray:
        """Return the satellites with samples that lack the average, in order."""
        return np.array([k for k, count in enumerate(samples) if count and k not in self.received], int)


@dataclass(frozen=True)
class RoundState:
    """The part of a round that need not be planned again.

    ``done[k]`` passes over samples of satellite ``k`` are finished (in the order of passes, then samples), the features
    of its first ``on_ground[k]`` samples are on the ground, and ``average`` is how far the weights are; nodes in
    ``lost`` are gone.  Pairs (node, peer) in ``pointed`` have their antennas or lasers on each other when the plan
    starts: that contact needs no set-up while it lasts.
    """

    done: tuple[int, ...] = ()
    on_ground: tuple[int, ...] = ()
    _: KW_ONLY
    average: AverageState = field(default_factory=AverageState)
    lost: frozenset[int] = frozenset()
    pointed: frozenset[tuple[int, int]] = frozenset()


def state_at(
    plan: Plan,
    workload: Workload,
    time_s: float,
    lost: frozenset[int] = frozenset(),
    *,
    before: RoundState | None = None,
) -> RoundState:
    """Return the state of a round at ``time_s`` if all went as planned.

    Only whole micro-batches in progress count, and of sums and averages those that have crossed a link as a whole.

    ``before`` is where the round stood when ``plan`` was made, if that was not its beginning.  Samples that overtook
    others of their satellite count as not done.

    Raises ``PlanningError`` for a plan in which satellites train samples themselves: how far they are is not known.
    """
    if len(plan.of_kind(Kind.TRAIN)):
        raise PlanningError("a round in which samples are trained on board cannot be planned anew")
    before = before or RoundState()
    answered = _last_step(plan, workload)
    features = plan.of_kind(Kind.FEATURES)
    features = features[features["link"] == LinkKind.DOWNLINK]
    done, on_ground = [], []
    for satellite, count in enumerate(workload.samples):
        cached = int(count * workload.cached_fraction) if workload.c1_bytes else count
        if before.on_ground:
            cached = max(cached, before.on_ground[satellite])
        of_satellite = features[features["satellite"] == satellite]
        on_ground.append(_prefix(of_satellite, cached, workload.micro_batch, time_s))
        steps = answered[answered["satellite"] == satellite]
        earlier, finished = before.done[satellite] if before.done else 0, 0
        for epoch in range(workload.passes):
            known = min(max(earlier - epoch * count, 0), count)
            reached = _prefix(steps[steps["epoch"] == epoch], known, workload.micro_batch, time_s)
            finished += reached
            if reached < count:
                break
        done.append(finished)
    return RoundState(
        tuple(done),
        tuple(on_ground),
        average=_average_at(plan, workload, time_s, lost, before=before.average),
        lost=lost,
        pointed=pointed_at(plan, time_s),
    )


def pointed_at(plan: Plan, time_s: float) -> frozenset[tuple[int, int]]:
    """Pairs (node, peer) whose antennas or lasers are on each other at a time of a plan, or after its end.

    During the plan only those that have carried data by then: of the others set-up may not be over.
    """
    if time_s >= plan.end_s:
        return plan.pointed
    rows = plan.activities
    sent = rows[(rows["bytes"] > 0) & (rows["start_s"] <= time_s)]
    carried: dict[frozenset[int], float] = {}  # when data began to cross between a pair last
    for row in sent[np.isin(sent["link"], (LinkKind.DOWNLINK, LinkKind.UPLINK, LinkKind.INTER_ISL))]:
        carried[frozenset((int(row["node"]), int(row["peer"])))] = float(row["start_s"])
    held = plan.of_kind(Kind.SESSION, Kind.ISL_POINTING)
    held = held[(held["start_s"] <= time_s) & (held["end_s"] > time_s)]
    pairs = zip(held["node"].tolist(), held["peer"].tolist(), held["start_s"].tolist(), strict=True)
    return frozenset(
        (node, peer)
        for node, peer, start_s in pairs
        if carried.get(frozenset((node, peer)), -np.inf) >= start_s
    )


def without(contact_plan: ContactPlan, lost: frozenset[int]) -> ContactPlan:
    """The contact plan when nodes are gone."""
    contacts = contact_plan.contacts
    gone = np.isin(contacts["source"], list(lost)) | np.isin(contacts["target"], list(lost))
    return dataclasses.replace(contact_plan, contacts=contacts[~gone])


def slowed(contact_plan: ContactPlan, node: int, factor: float) -> ContactPlan:
    """The contact plan when every link of a node carries ``factor`` of its rate."""
    contacts = contact_plan.contacts.copy()
    touched = (contacts["source"] == node) | (contacts["target"] == node)
    contacts["rate_bps"][touched] *= factor
    return dataclasses.replace(contact_plan, contacts=contacts)


def _average_at(
    plan: Plan, workload: Workload, time_s: float, lost: frozenset[int], *, before: AverageState
) -> AverageState:
    """How far the weights are; those whose sum was on a satellite that is lost are sent again."""
    satellites = len(workload.samples)
    holders = np.array(before.holders or range(satellites), int)
    delivered, received = set(before.delivered), set(before.received)
    sent = plan.of_kind(Kind.REDUCE, Kind.UPDATE)
    for row in np.sort(sent[sent["end_s"] <= time_s], order="end_s"):
        if row["kind"] == Kind.UPDATE:
            received.add(int(row["peer"]))
            continue
        of_sender = holders == row["node"]
        if row["link"] == LinkKind.DOWNLINK:
            delivered.update(np.flatnonzero(of_sender).tolist())
        else:
            holders[of_sender] = row["peer"]
    for satellite in lost & set(holders.tolist()):
        of_lost = np.flatnonzero(holders == satellite)
        holders[of_lost] = of_lost
    return AverageState(tuple(holders.tolist()), frozenset(delivered), received=frozenset(received) - lost)


def _last_step(plan: Plan, workload: Workload) -> np.ndarray:
    """Rows after which nothing more is to come for their samples."""
    if workload.chained and workload.c3_bytes:
        rows = plan.of_kind(Kind.GRADIENT)
        return rows[rows["link"] == LinkKind.DOWNLINK]
    rows = plan.of_kind(Kind.HEAD)
    return rows if len(rows) else plan.of_kind(Kind.BACKBONE)


def _prefix(rows: np.ndarray, reached: int, micro_batch: int, time_s: float) -> int:
    """How many samples from the first on are through by ``time_s``, each row's at an even pace, ``reached`` before."""
    for row in np.sort(rows, order="first_sample"):
        first, end = int(row["first_sample"]), int(row["end_sample"])
        if first > reached:
            break
        length_s = max(float(row["end_s"] - row["start_s"]), 1e-9)
        part = min(max((time_s - float(row["start_s"])) / length_s, 0.0), 1.0)
        through = end if part == 1.0 else first + int(part * (end - first)) // micro_batch * micro_batch
        reached = max(reached, through)
        if through < end:
            break
    return reached
