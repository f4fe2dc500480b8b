"""An independent judge of plans: replays one against the contact plan and names what cannot be.

Nothing of the planner is imported but the form of a plan.  An activity is a window in which its bytes or FLOPs are
served; a link or processor can serve all its windows exactly if earliest deadline first can (Liu and Layland, 1973;
Horn, 1974).  Because the windows of small crossings stand for many micro-batches, a link may be late by a few of them.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.plan import ON_NO_LINK, Kind, Plan
from strategies.workload import ComputeRates, Resources, Workload

_SLACK_S = 1e-6
_EARTH = -1  # where features and answers of the ground are: all stations are one


class InfeasiblePlanError(ValueError):
    """The plan cannot be flown; the message lists the first violations."""


@dataclass(frozen=True)
class Violation:
    """One thing that cannot be."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def check_plan(
    plan: Plan, contact_plan: ContactPlan, workload: Workload, rates: ComputeRates, resources: Resources
) -> list[Violation]:
    """All violations of a plan, none for one that can be flown."""
    judge = _Judge(plan, contact_plan, workload, rates, resources)
    return list(
        itertools.chain(
            judge.times(),
            judge.windows(),
            judge.antennas(),
            judge.lasers(),
            judge.links(),
            judge.processors(),
            judge.delivery(),
            judge.order(),
            judge.buffers(),
        )
    )


def require_feasible(
    plan: Plan, contact_plan: ContactPlan, workload: Workload, rates: ComputeRates, resources: Resources
) -> None:
    """Raises ``InfeasiblePlanError`` with the first violations, if there is any."""
    found = check_plan(plan, contact_plan, workload, rates, resources)
    if found:
        raise InfeasiblePlanError("; ".join(str(violation) for violation in found[:5]))


class _Judge:
    def __init__(
        self,
        plan: Plan,
        contact_plan: ContactPlan,
        workload: Workload,
        rates: ComputeRates,
        resources: Resources,
    ) -> None:
        self.plan, self.contact_plan = plan, contact_plan
        self.workload, self.rates, self.resources = workload, rates, resources
        self.rows = plan.activities
        self.on_link = self.rows[(self.rows["link"] != ON_NO_LINK) & (self.rows["kind"] > Kind.LASER)]
        self.moving = self.on_link[self.on_link["bytes"] > 0]
        self.satellites = len(contact_plan.satellites)

    def name(self, node: int) -> str:
        return self.plan.names[node] if node >= 0 else "ground"

    def times(self) -> Iterator[Violation]:
        rows = self.rows
        backwards = rows["end_s"] < rows["start_s"] - _SLACK_S
        outside = (rows["start_s"] < self.plan.start_s - _SLACK_S) | (
            rows["end_s"] > self.plan.end_s + _SLACK_S
        )
        for row in rows[backwards | outside | ~np.isfinite(rows["end_s"])][:10]:
            yield Violation(
                "time", f"{Kind(row['kind']).name} {row['start_s']}–{row['end_s']} s is outside the round"
            )
        if self.plan.makespan_s < self.plan.lower_bound_s * (1.0 - 1e-6):
            yield Violation(
                "bound", f"{self.plan.makespan_s} s is below the lower bound, {self.plan.lower_bound_s} s"
            )

    def windows(self) -> Iterator[Violation]:
        """Every transfer lies inside one contact of its link."""
        inside = self._contact_of(self.moving) >= 0
        for row in self.moving[~inside][:10]:
            yield Violation("window", f"{self._transfer(row)} is outside the contacts of that link")

    def antennas(self) -> Iterator[Violation]:
        """Beams per station, one antenna per satellite, set-up before data, no data outside a session."""
        sessions = self.rows[self.rows["kind"] == Kind.SESSION]
        for column, limit in (("peer", self.resources.beams), ("node", 1)):
            for node in np.unique(sessions[column]):
                most, when_s = _most_at_once(sessions[sessions[column] == node])
                if most > limit:
                    yield Violation(
                        "antenna", f"{self.name(node)} serves {most} at {when_s:.3f} s, allowed is {limit}"
                    )
        data = self.moving[np.isin(self.moving["link"], (LinkKind.DOWNLINK, LinkKind.UPLINK))]
        down = data["link"] == LinkKind.DOWNLINK
        satellite, station = (
            np.where(down, data["node"], data["peer"]),
            np.where(down, data["peer"], data["node"]),
        )
        held = _inside(
            satellite, station, data["start_s"] - self.resources.setup_s, data["end_s"],
            sessions["node"], sessions["peer"], sessions["start_s"], sessions["end_s"],
        )  # fmt: skip
        for row in data[held < 0][:10]:
            yield Violation("session", f"{self._transfer(row)} has no session, or cuts into its set-up")

    def lasers(self) -> Iterator[Violation]:
        """Side terminals per satellite, acquisition before data."""
        holds = self.rows[self.rows["kind"] == Kind.LASER]
        both = np.concatenate([holds, holds])
        both["node"][len(holds) :] = holds["peer"]
        for node in np.unique(both["node"]):
            most, when_s = _most_at_once(both[both["node"] == node])
            if most > self.resources.side_terminals:
                yield Violation("laser", f"{self.name(node)} points {most} side terminals at {when_s:.3f} s")
        data = self.moving[self.moving["link"] == LinkKind.INTER_ISL]
        low, high = np.minimum(data["node"], data["peer"]), np.maximum(data["node"], data["peer"])
        held = _inside(
            low, high, data["start_s"] - self.resources.acquisition_s, data["end_s"],
            np.minimum(holds["node"], holds["peer"]), np.maximum(holds["node"], holds["peer"]),
            holds["start_s"], holds["end_s"],
        )  # fmt: skip
        for row in data[held < 0][:10]:
            yield Violation(
                "laser", f"{self._transfer(row)} is not between acquisition and the end of a link"
            )

    def links(self) -> Iterator[Violation]:
        """Each directed link serves all its windows at its rate."""
        contacts = self.contact_plan.contacts
        of_row = self._contact_of(self.moving)
        rows, of_row = self.moving[of_row >= 0], of_row[of_row >= 0]
        work_s = rows["bytes"] * 8.0 / contacts["rate_bps"][of_row]
        slack_s = 0.05 + 4.0 * self._micro_batch_bytes() * 8.0 / contacts["rate_bps"][of_row]
        order = np.argsort(of_row, kind="stable")
        for part in _parts(of_row[order]):
            mine = order[part]
            late_s = _lateness_s(rows["start_s"][mine], rows["end_s"][mine], work_s[mine])
            if late_s > slack_s[mine[0]]:
                yield Violation(
                    "capacity", f"{self._transfer(rows[mine[0]])} and others: the link is {late_s:.3f} s late"
                )

    def processors(self) -> Iterator[Violation]:
        """Each satellite, and the ground, computes all its windows at its rate."""
        rows = self.rows[self.rows["flops"] > 0]
        for node in np.unique(rows["node"]):
            mine = rows[rows["node"] == node]
            rate = self.rates.ground_flops if node == _EARTH else self.rates.satellite_flops
            late_s = _lateness_s(mine["start_s"], mine["end_s"], mine["flops"] / rate)
            if late_s > 1e-3:
                yield Violation("compute", f"{self.name(node)} is {late_s:.3f} s late with its computation")

    def delivery(self) -> Iterator[Violation]:
        """Every sample's features reach the ground once, unless cached; it is computed once per pass; no hole."""
        passes = self.workload.passes
        at_ground = self.rows[(self.rows["kind"] == Kind.FEATURES) & (self.rows["link"] == LinkKind.DOWNLINK)]
        for satellite, count in enumerate(self.workload.samples):
            if self.workload.on_board:
                yield from self._covered(satellite, Kind.TRAIN, 0, 0, count)
                continue
            aboard = self.plan.onboard_samples[satellite] if self.plan.onboard_samples else 0
            split = count - aboard
            cached = min(int(np.floor(count * self.workload.cached_fraction)), split)
            mine = at_ground[at_ground["satellite"] == satellite]
            yield from self._tiles(
                satellite, "features", mine, cached if self.workload.c1_bytes else split, split
            )
            for epoch in range(passes if self.workload.crosses else 0):
                yield from self._covered(satellite, Kind.BACKBONE, epoch, 0, split)
            yield from self._covered(satellite, Kind.TRAIN, 0, split, count)

    def _covered(self, satellite: int, kind: Kind, epoch: int, first: int, end: int) -> Iterator[Violation]:
        rows = self._computed.get((int(kind), satellite, epoch), self.rows[:0])
        yield from self._tiles(satellite, f"{kind.name.lower()} in pass {epoch}", rows, first, end)

    @property
    def _computed(self) -> dict[tuple[int, int, int], np.ndarray]:
        if not hasattr(self, "_computed_rows"):
            rows = self.rows[np.isin(self.rows["kind"], (Kind.BACKBONE, Kind.TRAIN))]
            order = np.lexsort([rows["first_sample"], rows["epoch"], rows["satellite"], rows["kind"]])
            rows = rows[order]
            key = np.stack([rows["kind"], rows["satellite"], rows["epoch"]], axis=1)
            change = np.flatnonzero((key[1:] != key[:-1]).any(axis=1)) + 1
            self._computed_rows = {
                (int(key[part[0], 0]), int(key[part[0], 1]), int(key[part[0], 2])): rows[part]
                for part in np.split(np.arange(len(rows)), change)
                if len(part)
            }
        return self._computed_rows

    def _tiles(
        self, satellite: int, what: str, rows: np.ndarray, first: int, end: int
    ) -> Iterator[Violation]:
        """Rows tile the samples ``[first, end)``."""
        rows = np.sort(rows, order="first_sample")
        edge = first
        for row in rows:
            if row["first_sample"] != edge:
                yield Violation(
                    "once",
                    f"{self.name(satellite)}: {what}, sample {edge} is followed by {row['first_sample']}",
                )
                return
            edge = int(row["end_sample"])
        if edge != max(end, first):
            yield Violation(
                "once", f"{self.name(satellite)}: {what}, found samples to {edge}, wanted to {end}"
            )

    def order(self) -> Iterator[Violation]:
        """Features are embedded, hop on, are computed, answered and learnt from, in this order, light time included."""
        owlt_s = self._owlt_s()
        for key, rows in _by_range(self.rows):
            by_kind = {kind: rows[rows["kind"] == kind] for kind in np.unique(rows["kind"])}
            ready = (self.plan.start_s, self.plan.start_s)
            where = key[0]
            if Kind.EMBED in by_kind:
                ready = _span(by_kind[Kind.EMBED])
            if Kind.FEATURES in by_kind:
                yield from self._hops(by_kind[Kind.FEATURES], where, ready, owlt_s)
        yield from self._answers()

    def _hops(
        self, rows: np.ndarray, origin: int, ready: tuple[float, float], owlt_s: dict
    ) -> Iterator[Violation]:
        here, remaining = origin, rows
        while len(remaining):
            onward = remaining["node"] == here
            if onward.sum() != 1:
                yield Violation(
                    "order", f"{self._transfer(remaining[0])}: no single hop leads on from {self.name(here)}"
                )
                return
            row = remaining[onward][0]
            if row["start_s"] < ready[0] - _SLACK_S or row["end_s"] < ready[1] - _SLACK_S:
                yield Violation("order", f"{self._transfer(row)} runs ahead of what it carries")
            here, remaining = int(row["peer"]), remaining[~onward]
            flight_s = owlt_s[int(row["node"]), int(row["peer"])]
            ready = (float(row["start_s"]) + flight_s, float(row["end_s"]) + flight_s)
        if here < self.satellites:
            yield Violation("order", f"{self._transfer(rows[0])}: the samples stay at {self.name(here)}")

    def _answers(self) -> Iterator[Violation]:
        """The ground computes what has arrived; answers and gradients follow the computation."""
        rows = self.rows
        arrived: dict[int, list[tuple[int, int, float, float]]] = {}
        for row in rows[(rows["kind"] == Kind.FEATURES) & (rows["link"] == LinkKind.DOWNLINK)]:
            entry = (
                int(row["first_sample"]),
                int(row["end_sample"]),
                float(row["start_s"]),
                float(row["end_s"]),
            )
            arrived.setdefault(int(row["satellite"]), []).append(entry)
        previous: dict[int, tuple[int, int, float]] = {}
        backbone = rows[rows["kind"] == Kind.BACKBONE]
        keys = [backbone["first_sample"], backbone["start_s"], backbone["satellite"]]
        for row in backbone[np.lexsort(keys)]:
            satellite = int(row["satellite"])
            for first, end, start_s, end_s in arrived.get(satellite, ()):
                low, high = max(first, int(row["first_sample"])), min(end, int(row["end_sample"]))
                if low >= high:
                    continue
                pace_s = (end_s - start_s) / (end - first)
                if (
                    row["end_s"] < start_s + pace_s * (high - first) - _SLACK_S
                    or row["start_s"] < start_s - _SLACK_S
                ):
                    yield Violation(
                        "order",
                        f"{self.name(satellite)}: the ground computes samples {low}–{high} before it has them",
                    )
            if self.workload.chained:
                earlier = previous.get(satellite)
                if earlier and row["start_s"] < earlier[2] - _SLACK_S:
                    yield Violation(
                        "order",
                        f"{self.name(satellite)}: two runs of steps overlap at {row['start_s']:.3f} s",
                    )
                previous[satellite] = (int(row["first_sample"]), int(row["end_sample"]), float(row["end_s"]))
        yield from self._follows(Kind.BACKBONE, Kind.HIDDEN)
        yield from self._follows(Kind.HIDDEN, Kind.HEAD)
        yield from self._follows(Kind.HEAD, Kind.GRADIENT)

    def _follows(self, before: Kind, after: Kind) -> Iterator[Violation]:
        """Of each run of samples, ``after`` starts and ends later than ``before``."""
        first, second = self._runs(before), self._runs(after)
        for key in second.keys() & first.keys():
            if second[key][0] < first[key][0] - _SLACK_S or second[key][1] < first[key][1] - _SLACK_S:
                yield Violation(
                    "order",
                    f"{self.name(key[0])}: {after.name} of samples {key[1]}–{key[2]} precedes {before.name}",
                )

    def _runs(self, kind: Kind) -> dict[tuple[int, int, int, int], tuple[float, float]]:
        """When the last hop of each run of samples starts and ends."""
        found: dict[tuple[int, int, int, int], tuple[float, float]] = {}
        for row in self.rows[self.rows["kind"] == kind]:
            key = (int(row["satellite"]), int(row["first_sample"]), int(row["end_sample"]), int(row["epoch"]))
            start_s, end_s = found.get(key, (-np.inf, -np.inf))
            found[key] = (max(start_s, float(row["start_s"])), max(end_s, float(row["end_s"])))
        return found

    def buffers(self) -> Iterator[Violation]:
        """What has come to a satellite and not yet left it fits its buffer."""
        if not np.isfinite(self.resources.buffer_bytes):
            return
        rows = self.rows[(self.rows["kind"] == Kind.FEATURES) & (self.rows["peer"] >= 0)]
        for node in np.unique(rows["peer"][rows["peer"] < self.satellites]):
            came, went = (
                rows[rows["peer"] == node],
                rows[(rows["node"] == node) & (rows["satellite"] != node)],
            )
            time_s = np.unique(
                np.concatenate([came["start_s"], came["end_s"], went["start_s"], went["end_s"]])
            )
            held = _served(came, time_s) - _served(went, time_s)
            if held.max(initial=0.0) > self.resources.buffer_bytes * (1.0 + 1e-6) + 1.0:
                yield Violation("buffer", f"{self.name(node)} holds {held.max():.0f} bytes of others")

    def _owlt_s(self) -> dict[tuple[int, int], float]:
        """The least light time of every pair of nodes."""
        contacts = self.contact_plan.contacts
        least: dict[tuple[int, int], float] = {}
        pairs, which = np.unique(
            np.stack([contacts["source"], contacts["target"]], axis=1), axis=0, return_inverse=True
        )
        shortest = np.full(len(pairs), np.inf)
        np.minimum.at(shortest, which.ravel(), contacts["owlt_s"])
        for (source, target), owlt_s in zip(pairs.tolist(), shortest.tolist(), strict=True):
            least[source, target] = owlt_s
        return least

    def _contact_of(self, rows: np.ndarray) -> np.ndarray:
        """Index of the contact in which each transfer lies, -1 where there is none."""
        contacts = self.contact_plan.contacts
        nodes = len(self.contact_plan.nodes)
        kinds = len(LinkKind)
        return _inside(
            rows["node"].astype(np.int64) * nodes + rows["peer"], rows["link"].astype(np.int64),
            rows["start_s"], rows["end_s"],
            contacts["source"].astype(np.int64) * nodes + contacts["target"], contacts["kind"].astype(np.int64),
            contacts["start_s"], contacts["end_s"], factor=kinds,
        )  # fmt: skip

    def _micro_batch_bytes(self) -> float:
        return self.workload.micro_batch * max(self.workload.c3_bytes, self.workload.up_bytes)

    def _transfer(self, row: np.void) -> str:
        kind, link = Kind(row["kind"]).name.lower(), LinkKind(row["link"]).name.lower()
        where = f"{self.name(row['node'])} → {self.name(row['peer'])}"
        return f"{kind} over {link} {where}, {row['start_s']:.3f}–{row['end_s']:.3f} s"


def _inside(
    a: np.ndarray, b: np.ndarray, start_s: np.ndarray, end_s: np.ndarray,
    in_a: np.ndarray, in_b: np.ndarray, in_start_s: np.ndarray, in_end_s: np.ndarray, factor: int | None = None,
) -> np.ndarray:  # fmt: skip
    """For each interval the index of the interval of the same key (a, b) that contains it, -1 where none does."""
    if not len(in_a) or not len(a):
        return np.full(len(a), -1)
    factor = factor or int(max(np.max(b), np.max(in_b))) + 1
    key, in_key = a.astype(np.int64) * factor + b, in_a.astype(np.int64) * factor + in_b
    order = np.lexsort([in_start_s, in_key])
    # Compare (key, start) pairs by rank: all starts of both sides on one scale.
    starts = np.concatenate([in_start_s[order], start_s + _SLACK_S])
    keys = np.concatenate([in_key[order], key])
    side = np.concatenate([np.zeros(len(order), int), np.ones(len(key), int)])
    merged = np.lexsort([side, starts, keys])
    last = np.maximum.accumulate(np.where(side[merged] == 0, merged, -1))
    of_query = np.empty(len(key), np.int64)
    query = side[merged] == 1
    of_query[merged[query] - len(order)] = last[query]
    candidate = order[np.maximum(of_query, 0)]
    good = (of_query >= 0) & (in_key[candidate] == key) & (in_end_s[candidate] >= end_s - _SLACK_S)
    return np.where(good, candidate, -1)


def _most_at_once(rows: np.ndarray) -> tuple[int, float]:
    time_s = np.concatenate([rows["start_s"] + _SLACK_S, rows["end_s"]])
    change = np.concatenate([np.ones(len(rows), int), -np.ones(len(rows), int)])
    order = np.lexsort([change, time_s])
    level = np.cumsum(change[order])
    most = int(np.argmax(level))
    return int(level[most]), float(time_s[order][most])


def _lateness_s(start_s: np.ndarray, end_s: np.ndarray, work_s: np.ndarray) -> float:
    """How late the latest window is served by preemptive earliest deadline first."""
    order = np.argsort(start_s, kind="stable")
    start_s, end_s, work_s = start_s[order], end_s[order], work_s[order]
    if (np.maximum.accumulate(end_s)[:-1] <= start_s[1:] + _SLACK_S).all():  # one after the other
        return float(np.max(start_s + work_s - end_s, initial=0.0))
    now_s, late_s, upcoming = -np.inf, 0.0, 0
    ready: list[list[float]] = []
    while upcoming < len(order) or ready:
        if not ready:
            now_s = max(now_s, float(start_s[upcoming]))
        while upcoming < len(order) and start_s[upcoming] <= now_s:
            heapq.heappush(ready, [float(end_s[upcoming]), float(work_s[upcoming])])
            upcoming += 1
        until_s = float(start_s[upcoming]) if upcoming < len(order) else np.inf
        due = ready[0]
        if now_s + due[1] <= until_s:
            now_s += due[1]
            late_s = max(late_s, now_s - due[0])
            heapq.heappop(ready)
        else:
            due[1] -= until_s - now_s
            now_s = until_s
    return late_s


def _parts(sorted_values: np.ndarray) -> Iterator[np.ndarray]:
    cuts = np.flatnonzero(np.diff(sorted_values)) + 1
    return (part for part in np.split(np.arange(len(sorted_values)), cuts) if len(part))


def _by_range(rows: np.ndarray) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    """Embedding and features of each block: same satellite, same samples."""
    rows = rows[np.isin(rows["kind"], (Kind.EMBED, Kind.FEATURES))]
    order = np.lexsort([rows["end_sample"], rows["first_sample"], rows["satellite"]])
    rows = rows[order]
    key = np.stack([rows["satellite"], rows["first_sample"], rows["end_sample"]], axis=1)
    change = np.flatnonzero((key[1:] != key[:-1]).any(axis=1)) + 1
    for part in np.split(np.arange(len(rows)), change):
        if len(part):
            first, second, third = key[part[0]].tolist()
            yield (first, second, third), rows[part]


def _span(rows: np.ndarray) -> tuple[float, float]:
    return float(rows["start_s"].min()), float(rows["end_s"].max())


def _served(rows: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Bytes served by each time, every window at a constant rate."""
    length_s = np.maximum(rows["end_s"] - rows["start_s"], 1e-9)
    part = np.clip((time_s[:, None] - rows["start_s"]) / length_s, 0.0, 1.0)
    return (part * rows["bytes"]).sum(axis=1)
