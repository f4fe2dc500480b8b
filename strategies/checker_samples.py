"""Rules of the checker for what happens to samples: each once, and every step after the one that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.checker_rules import Rules, Violation
from strategies.intervals import SLACK_S
from strategies.plan import Kind


class SampleRules(Rules):
    """Every sample is delivered and learnt from exactly once per pass, in order; less what was done before."""

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
            cached = int(np.floor(split * self.workload.cached_fraction))
            if self.state.on_ground:
                cached = min(max(cached, self.state.on_ground[satellite]), split)
            done = self.state.done[satellite] if self.state.done else 0
            mine = at_ground[at_ground["satellite"] == satellite]
            yield from self._tiles(
                satellite, "features", mine, cached if self.workload.c1_bytes else split, split
            )
            for epoch in range(passes if self.workload.crosses else 0):
                before = min(max(done - epoch * split, 0), split)
                yield from self._covered(satellite, Kind.BACKBONE, epoch, before, split)
            yield from self._covered(satellite, Kind.TRAIN, 0, split, count)

    def _covered(self, satellite: int, kind: Kind, epoch: int, first: int, end: int) -> Iterator[Violation]:
        rows = self._computed.get((int(kind), satellite, epoch), self.rows[:0])
        yield from self._tiles(satellite, f"{kind.name.lower()} in pass {epoch}", rows, first, end)

    @cached_property
    def _computed(self) -> dict[tuple[int, int, int], np.ndarray]:
        rows = self.rows[np.isin(self.rows["kind"], (Kind.BACKBONE, Kind.TRAIN))]
        rows = rows[np.lexsort([rows["first_sample"], rows["epoch"], rows["satellite"], rows["kind"]])]
        key = np.stack([rows["kind"], rows["satellite"], rows["epoch"]], axis=1)
        change = np.flatnonzero((key[1:] != key[:-1]).any(axis=1)) + 1
        return {
            (int(key[part[0], 0]), int(key[part[0], 1]), int(key[part[0], 2])): rows[part]
            for part in np.split(np.arange(len(rows)), change)
            if len(part)
        }

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
        copies: dict[
            tuple[int, int], np.void
        ] = {}  # (source, holder) → the last hop of a copy, at its arrival
        yield from self._copies(owlt_s, copies)
        for (source, first, end), rows in _by_range(self.rows):
            by_kind = {kind: rows[rows["kind"] == kind] for kind in np.unique(rows["kind"])}
            if Kind.FEATURES not in by_kind:
                continue
            hops = by_kind[Kind.FEATURES]
            ready = (self.plan.start_s, self.plan.start_s)
            if Kind.EMBED in by_kind:
                ready = _span(by_kind[Kind.EMBED])
            origins = np.setdiff1d(hops["node"], hops["peer"])
            origin = int(origins[0]) if len(origins) and (source, int(origins[0])) in copies else source
            if (source, origin) in copies:
                copy = copies[source, origin]
                pace_s = (copy["end_s"] - copy["start_s"]) / (copy["end_sample"] - copy["first_sample"])
                ready = tuple(
                    copy["start_s"] + pace_s * (edge - copy["first_sample"]) for edge in (first, end)
                )
            yield from self._hops(hops, origin, ready, owlt_s)
        yield from self._answers()

    def _copies(
        self, owlt_s: dict[tuple[int, int], float], found: dict[tuple[int, int], np.void]
    ) -> Iterator[Violation]:
        """Copies passed round a plane spread hop by hop from where the samples were embedded, once to each."""
        gathered = self.rows[self.rows["kind"] == Kind.GATHER]
        embedded = self.rows[self.rows["kind"] == Kind.EMBED]
        for source in np.unique(gathered["satellite"]).tolist():
            mine = gathered[gathered["satellite"] == source]
            own = mine[0].copy()
            own["start_s"] = own["end_s"] = self.plan.start_s
            same = embedded[
                (embedded["satellite"] == source) & (embedded["first_sample"] == own["first_sample"])
            ]
            if len(same):
                own["start_s"], own["end_s"] = _span(same)
            found[source, source] = own
            for row in mine[np.argsort(mine["start_s"], kind="stable")]:
                node, peer = int(row["node"]), int(row["peer"])
                held = found.get((source, node))
                if held is None or (source, peer) in found:
                    yield Violation("once", f"{self.transfer(row)}: not there to be sent, or sent twice")
                    continue
                if row["start_s"] < held["start_s"] - SLACK_S or row["end_s"] < held["end_s"] - SLACK_S:
                    yield Violation("order", f"{self.transfer(row)} runs ahead of what it carries")
                arrived = row.copy()
                arrived["start_s"] += owlt_s.get((node, peer), 0.0)
                arrived["end_s"] += owlt_s.get((node, peer), 0.0)
                found[source, peer] = arrived

    def _hops(
        self, rows: np.ndarray, origin: int, ready: tuple[float, ...], owlt_s: dict[tuple[int, int], float]
    ) -> Iterator[Violation]:
        here, remaining = origin, rows
        while len(remaining):
            onward = remaining["node"] == here
            if onward.sum() != 1:
                yield Violation(
                    "order", f"{self.transfer(remaining[0])}: no single hop leads on from {self.name(here)}"
                )
                return
            row = remaining[onward][0]
            if row["start_s"] < ready[0] - SLACK_S or row["end_s"] < ready[1] - SLACK_S:
                yield Violation("order", f"{self.transfer(row)} runs ahead of what it carries")
            here, remaining = int(row["peer"]), remaining[~onward]
            flight_s = owlt_s.get((int(row["node"]), int(row["peer"])), 0.0)
            ready = (float(row["start_s"]) + flight_s, float(row["end_s"]) + flight_s)
        if here < self.satellites:
            yield Violation("order", f"{self.transfer(rows[0])}: the samples stay at {self.name(here)}")

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
                    row["end_s"] < start_s + pace_s * (high - first) - SLACK_S
                    or row["start_s"] < start_s - SLACK_S
                ):
                    yield Violation(
                        "order",
                        f"{self.name(satellite)}: the ground computes samples {low}–{high} before it has them",
                    )
            if self.workload.chained:
                earlier = previous.get(satellite)
                if earlier and row["start_s"] < earlier[2] - SLACK_S:
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
            if second[key][0] < first[key][0] - SLACK_S or second[key][1] < first[key][1] - SLACK_S:
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
