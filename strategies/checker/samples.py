"""Rules of the checker for features: embedded once, passed on hop by hop, on the ground once, with all their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from orbit.contact_plan import LinkKind
from strategies.checker.intervals import parts
from strategies.checker.judged_plan import SAME, SLACK_S, JudgedPlan, Violation
from strategies.problem.plan import Kind
from strategies.problem.workload import IntraOrbit


def amounts(judged: JudgedPlan) -> Iterator[Violation]:
    """FLOPs and bytes of embedding, features and training on board are those of their samples."""
    rows, work = judged.rows, judged.workload
    count = rows["end_sample"] - rows["first_sample"]
    for kind, field, each in (
        (Kind.EMBED, "flops", work.embedding_flops),
        (Kind.TRAIN, "flops", work.onboard_flops * work.epochs),
        (Kind.FEATURES, "bytes", work.c1_bytes),
        (Kind.GATHER, "bytes", work.c1_bytes),
    ):
        due = count * each
        for index in np.flatnonzero(
            (rows["kind"] == kind) & ~np.isclose(rows[field], due, rtol=SAME, atol=1e-9)
        )[:10]:
            row = rows[index]
            yield Violation(
                "amount", f"{judged.words(row)}: found {row[field]:.6g} {field}, wanted {due[index]:.6g}"
            )


def delivery(judged: JudgedPlan) -> Iterator[Violation]:
    """Every sample is embedded once unless on the ground, gets there once, or is trained on board once."""
    demand, work = judged.demand, judged.workload
    features = judged.of_kind(Kind.FEATURES)
    at_ground = by_satellite(judged, features[judged.rows["link"][features] == LinkKind.DOWNLINK])
    embedded = by_satellite(judged, judged.of_kind(Kind.EMBED))
    trained = by_satellite(judged, judged.of_kind(Kind.TRAIN))
    embeds = work.embeds
    for satellite, count in enumerate(work.samples):
        ground, split = int(demand.on_ground[satellite]), int(demand.split[satellite])
        yield from tiles(judged, satellite, "features on the ground", at_ground, ground, split)
        yield from tiles(judged, satellite, "embedding", embedded, ground if embeds else split, split)
        yield from tiles(judged, satellite, "training on board", trained, split, count)
    yield from _share(judged)


def by_satellite(judged: JudgedPlan, index: np.ndarray) -> dict[int, list[tuple[int, int, int]]]:
    """The rows with these indices as (first sample, end, index), by satellite and first sample."""
    rows, ranges = judged.rows, dict[int, list[tuple[int, int, int]]]()
    index = index[np.lexsort([rows["first_sample"][index], rows["satellite"][index]])]
    fields = (rows[name][index].tolist() for name in ("satellite", "first_sample", "end_sample"))
    for satellite, first, end, row in zip(*fields, index.tolist(), strict=True):
        ranges.setdefault(satellite, []).append((first, end, row))
    return ranges


def tiles(
    judged: JudgedPlan,
    satellite: int,
    what: str,
    rows: Mapping[int, Sequence[tuple[int, int, int]]],
    first: int,
    end: int,
) -> Iterator[Violation]:
    """The rows of a satellite, as :func:`by_satellite` gives them, tile its samples ``[first, end)``, each once."""
    edge = first
    for begin, until, index in rows.get(satellite, ()):
        if begin != edge:
            yield Violation(
                "once",
                f"{judged.name(satellite)}: {what}, sample {edge} should be next, not {begin} "
                f"({judged.words(judged.rows[index])})",
            )
            return
        edge = until
    if edge != max(first, end):
        yield Violation("once", f"{judged.name(satellite)}: {what}, found samples to {edge}, wanted to {end}")


def _share(judged: JudgedPlan) -> Iterator[Violation]:
    """Satellites train a share of their samples only where the workload allows it."""
    share, samples = judged.plan.onboard_samples, judged.workload.samples
    if not any(share):
        return
    if len(share) != len(samples) or any(
        not 0 <= own <= all_ for own, all_ in zip(share, samples, strict=False)
    ):
        yield Violation(
            "share", f"samples trained on board: found {share[:8]}, allowed is 0 to each one's samples"
        )
    elif not judged.workload.onboard_share:
        yield Violation(
            "share", f"{sum(share)} samples are trained on board, which the workload does not allow"
        )


@dataclass(frozen=True)
class _Held:
    """When samples come to a place: the first micro-batch, and all."""

    first_s: float
    last_s: float


def order(judged: JudgedPlan) -> Iterator[Violation]:
    """Features leave when they are embedded and hop on when they are there, from their satellite to a station."""
    copies: dict[tuple[int, int], tuple[np.void, float]] = {}
    yield from _copies(judged, copies)
    yield from _copied(judged)
    features = judged.of_kind(Kind.FEATURES)
    rows = judged.rows[features]
    by_block = np.lexsort([rows["start_s"], rows["end_sample"], rows["first_sample"], rows["satellite"]])
    features = features[by_block]
    key = judged.rows[features][["satellite", "first_sample", "end_sample"]]
    _, block = np.unique(key, return_inverse=True)
    for part in parts(block):
        yield from _block(judged, features[part], copies)


def _block(
    judged: JudgedPlan, hops: np.ndarray, copies: dict[tuple[int, int], tuple[np.void, float]]
) -> Iterator[Violation]:
    rows = judged.rows[hops]
    source, first, end = (int(rows[0][field]) for field in ("satellite", "first_sample", "end_sample"))
    lead = min(judged.workload.micro_batch, end - first)
    lead_bits = lead * judged.workload.c1_bytes * 8.0
    nodes = rows["node"].tolist()
    starts = set(nodes).difference(rows["peer"].tolist())
    here = starts.pop() if len(starts) == 1 else source
    if here == source:
        held = _Held(_embedded_s(judged, source, first + lead), _embedded_s(judged, source, end))
    elif (source, here) in copies:
        copy, owlt_s = copies[source, here]
        held = _Held(_passed_s(copy, first + lead) + owlt_s, _passed_s(copy, end) + owlt_s)
    else:
        yield Violation(
            "order",
            f"{judged.words(rows[0])}: its samples are on {judged.name(source)}, not {judged.name(here)}",
        )
        return
    left = list(range(len(hops)))
    ahead = False
    while left:
        onward = [index for index in left if nodes[index] == here]
        if len(onward) != 1:
            yield Violation(
                "hops",
                f"{judged.samples(rows[left[0]])}: no single hop leads on from {judged.name(here)} "
                f"({judged.words(rows[left[0]])})",
            )
            return
        index = onward[0]
        left.remove(index)
        row, bps, owlt_s = rows[index], judged.rate_bps[hops[index]], judged.owlt_s[hops[index]]
        last_s = held.last_s + (lead_bits / bps if ahead else 0.0)
        if row["start_s"] < held.first_s - SLACK_S or row["end_s"] < last_s - SLACK_S:
            yield Violation(
                "order", f"{judged.words(row)} of {judged.samples(row)} runs ahead of what it carries"
            )
        held = _Held(row["start_s"] + lead_bits / bps + owlt_s, row["end_s"] + owlt_s)
        here, ahead = int(row["peer"]), True
    if here < judged.satellites:
        yield Violation("hops", f"{judged.samples(rows[0])} stay at {judged.name(here)}")


def _copies(judged: JudgedPlan, copies: dict[tuple[int, int], tuple[np.void, float]]) -> Iterator[Violation]:
    """Copies passed round a plane spread hop by hop from where the samples were embedded, once to each."""
    gathered = judged.of_kind(Kind.GATHER)
    if len(gathered) and judged.plan.strategy_config.intra_orbit is not IntraOrbit.ALL_GATHER:
        yield Violation(
            "label", f"{judged.words(judged.rows[gathered[0]])}, and the plan is not labelled all-gather"
        )
    wanted: dict[int, tuple[int, int]] = {}
    for index in gathered:
        row = judged.rows[index]
        source, node, peer = int(row["satellite"]), int(row["node"]), int(row["peer"])
        samples = (int(row["first_sample"]), int(row["end_sample"]))
        whole = (int(judged.demand.on_ground[source]), int(judged.demand.split[source]))
        if samples != whole or wanted.setdefault(source, samples) != samples:
            yield Violation(
                "once",
                f"{judged.words(row)}: copies samples {samples} of {judged.name(source)}, due are {whole}",
            )
        lead = min(judged.workload.micro_batch, samples[1] - samples[0])
        lead_s = lead * judged.workload.c1_bytes * 8.0 / judged.rate_bps[index]
        held = copies.get((source, node))
        if node == source:
            first_s, last_s = (
                _embedded_s(judged, source, until) for until in (samples[0] + lead, samples[1])
            )
        elif held is not None:
            sent, owlt_s = held
            first_s = sent["start_s"] + lead_s + owlt_s
            last_s = sent["end_s"] + owlt_s + lead_s
        if (node != source and held is None) or peer == source or (source, peer) in copies:
            yield Violation("once", f"{judged.words(row)}: not there to be sent, or sent twice")
            continue
        if row["start_s"] < first_s - SLACK_S or row["end_s"] < last_s - SLACK_S:
            yield Violation(
                "order", f"{judged.words(row)} of {judged.samples(row)} runs ahead of what it carries"
            )
        copies[source, peer] = (row, float(judged.owlt_s[index]))


def _copied(judged: JudgedPlan) -> Iterator[Violation]:
    """Labelled all-gather, every satellite of a plane gets a copy, as far as the plane's links stand all the time."""
    if judged.plan.strategy_config.intra_orbit is not IntraOrbit.ALL_GATHER:
        return
    contacts = judged.contact_plan.of_kind(LinkKind.INTRA_ISL)
    stands = (contacts["start_s"] <= judged.plan.start_s) & (contacts["end_s"] >= judged.plan.end_s)
    stands &= contacts["rate_bps"] > 0
    ends = (contacts["source"][stands], contacts["target"][stands])
    graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(judged.satellites, judged.satellites))
    label = connected_components(graph, directed=False)[1]
    rows = judged.rows[judged.rows["kind"] == Kind.GATHER]
    holders = set(zip(rows["satellite"].tolist(), rows["peer"].tolist(), strict=True))
    for source in np.flatnonzero(judged.demand.split > judged.demand.on_ground).tolist():
        for peer in np.flatnonzero(label == label[source]).tolist():
            if peer != source and (source, peer) not in holders:
                yield Violation(
                    "once", f"{judged.name(peer)} gets no copy of {judged.name(source)}'s features"
                )


def _passed_s(row: np.void, sample: int) -> float:
    """When the samples before ``sample`` are over a hop that goes on at an even pace."""
    pace_s = (row["end_s"] - row["start_s"]) / (row["end_sample"] - row["first_sample"])
    return float(row["start_s"] + pace_s * (sample - row["first_sample"]))


def _embedded_s(judged: JudgedPlan, satellite: int, until: int) -> float:
    """When the samples before ``until`` can be embedded, one after the other in the windows of the plan."""
    ready_s = judged.plan.start_s
    if not judged.workload.embeds or satellite not in judged.embedded:
        return ready_s
    each_s = judged.workload.embedding_flops / judged.rates.satellite_flops
    rows = judged.embedded[satellite]
    begun = int(np.searchsorted(rows.first, until))
    whole = rows.end[:begun] <= until
    ready_s = float(rows.end_s[:begun].max(initial=ready_s, where=whole))
    for index in np.flatnonzero(~whole).tolist():
        work_s = (until - int(rows.first[index])) * each_s
        ready_s = max(ready_s, lit_finish_s(judged, satellite, float(rows.start_s[index]), work_s))
    return ready_s


def lit_finish_s(judged: JudgedPlan, satellite: int, start_s: float, work_s: float) -> float:
    """Return the earliest end of ``work_s`` of computing from ``start_s`` on; it pauses without sunlight."""
    if judged.resources.sunlight is None:
        return start_s + work_s
    for begin_s, end_s in judged.resources.sunlight.lit_s[satellite].tolist():
        begin_s = max(begin_s, start_s)
        if end_s - begin_s >= work_s:
            return begin_s + work_s
        work_s -= max(end_s - begin_s, 0.0)
    return float("inf")
