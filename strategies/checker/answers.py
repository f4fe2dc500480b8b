"""Rules of the checker for what the ground computes and satellites answer: amounts, samples and paths of each crossing.

A *leg* is one crossing of a run of samples: its hops, of equal samples, from a station to the satellite or back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.checker.intervals import parts
from strategies.checker.judged_plan import SAME, SLACK_S, JudgedPlan, Violation
from strategies.checker.samples import by_satellite, tiles
from strategies.problem.plan import Kind
from strategies.problem.workload import Mode


@dataclass(frozen=True, eq=False)
class Leg:
    """Hops of a run of samples in the order of their path; ``rows`` are indices into ``JudgedPlan.rows``."""

    satellite: int
    epoch: int
    _: KW_ONLY
    first: int
    end: int
    rows: np.ndarray


def answers(judged: JudgedPlan) -> Iterator[Violation]:
    """Backbone, hidden states, head and gradients: every sample once per pass, with its bytes and FLOPs."""
    yield from _amounts(judged)
    demand, work = judged.demand, judged.workload
    due = {
        Kind.BACKBONE: work.ground_flops > 0 and (demand.has_steps or work.central),
        Kind.HEAD: work.head_flops > 0 and demand.has_steps and work.mode is Mode.LORA,
    }
    for kind, wanted in due.items():
        if kind is Kind.HEAD and work.mode is Mode.HEAD:
            continue
        index = judged.of_kind(kind)
        for epoch in range(work.passes):
            of_epoch = by_satellite(judged, index[judged.rows["epoch"][index] == epoch])
            for satellite in range(judged.satellites):
                split = int(demand.split[satellite])
                first = int(demand.begun(epoch)[satellite]) if wanted else split
                yield from tiles(
                    judged, satellite, f"{kind.name.lower()} in pass {epoch}", of_epoch, first, split
                )
    if work.mode is Mode.HEAD:
        yield from _head_training(judged)
    if work.central:
        yield from _trained_by_the_ground(judged)


def _amounts(judged: JudgedPlan) -> Iterator[Violation]:
    rows, work = judged.rows, judged.workload
    count = rows["end_sample"] - rows["first_sample"]
    amounts = [
        (Kind.BACKBONE, "flops", work.ground_flops),
        (Kind.HIDDEN, "bytes", work.up_bytes),
        (Kind.GRADIENT, "bytes", work.c3_bytes),
        (Kind.HEAD, "flops", work.head_flops * (work.epochs if work.mode is Mode.HEAD else 1)),
    ]
    for kind, field, each in amounts:
        due = count * each
        wrong = (rows["kind"] == kind) & ~np.isclose(rows[field], due, rtol=SAME, atol=1e-9)
        for index in np.flatnonzero(wrong)[:10]:
            row = rows[index]
            yield Violation(
                "amount", f"{judged.words(row)}: found {row[field]:.6g} {field}, wanted {due[index]:.6g}"
            )


def legs_of(judged: JudgedPlan, kind: Kind) -> tuple[list[Leg], list[Violation]]:
    """The legs of hidden states or gradients by satellite, pass and sample, and what is wrong with their hops."""
    index = judged.of_kind(kind)
    rows = judged.rows[index]
    key = [rows[name] for name in ("end_sample", "first_sample", "epoch", "satellite")]
    order = np.lexsort(key)
    index = index[order]
    _, run = np.unique(
        judged.rows[index][["satellite", "epoch", "first_sample", "end_sample"]], return_inverse=True
    )
    legs, wrong = [], []
    for part in parts(run):
        of_batch = index[part]
        row = judged.rows[of_batch[0]]
        path = _path(judged, kind, of_batch)
        if isinstance(path, Violation):
            wrong.append(path)
        else:
            legs.append(
                Leg(
                    int(row["satellite"]),
                    int(row["epoch"]),
                    first=int(row["first_sample"]),
                    end=int(row["end_sample"]),
                    rows=path,
                )
            )
    return legs, wrong


def crossings(judged: JudgedPlan, kind: Kind, legs: list[Leg]) -> Iterator[Violation]:
    """The legs carry every sample once per pass, where it is due."""
    work, demand = judged.workload, judged.demand
    each = work.up_bytes if kind is Kind.HIDDEN else work.c3_bytes
    wanted = demand.has_steps and each > 0 and (kind is Kind.HIDDEN or work.chained)
    for epoch in range(work.passes):
        of_pass = by_satellite(
            judged, np.array([leg.rows[0] for leg in legs if leg.epoch == epoch], np.int64)
        )
        begun = demand.begun(epoch)
        for satellite in range(judged.satellites):
            split = int(demand.split[satellite])
            first = int(begun[satellite]) if wanted else split
            what = f"{'hidden states' if kind is Kind.HIDDEN else 'gradients'} in pass {epoch}"
            yield from tiles(judged, satellite, what, of_pass, first, split)


def _path(judged: JudgedPlan, kind: Kind, index: np.ndarray) -> np.ndarray | Violation:
    """Rows in the order of their path: station to satellite for hidden states, back for gradients."""
    rows = judged.rows
    satellite = int(rows["satellite"][index[0]])
    node, peer, link = (rows[name][index].tolist() for name in ("node", "peer", "link"))
    down = kind is Kind.HIDDEN
    crossing = int(LinkKind.UPLINK if down else LinkKind.DOWNLINK)
    begins = [leg for leg in range(len(node)) if (link[leg] == crossing if down else node[leg] == satellite)]

    def what() -> str:
        row = rows[index[0]]
        return f"{kind.name.lower()} of {judged.samples(row)} in pass {row['epoch']}"

    if len(begins) != 1:
        start = "an uplink" if down else f"{judged.name(satellite)}"
        return Violation(
            "hops",
            f"{what()}: {len(begins)} hops from {start}, allowed is one ({judged.words(rows[index[0]])})",
        )
    path, left = begins, set(range(len(node))) - set(begins)
    while left:
        onward = [leg for leg in left if node[leg] == peer[path[-1]]]
        if len(onward) != 1:
            where = judged.name(peer[path[-1]])
            return Violation("hops", f"{what()}: {len(onward)} hops lead on from {where}, allowed is one")
        path.append(onward[0])
        left.discard(onward[0])
    arrives = peer[path[-1]] == satellite if down else link[path[-1]] == crossing
    if not arrives or link.count(crossing) != 1:
        end, last = judged.name(satellite) if down else "the ground", rows[index[path[-1]]]
        return Violation("hops", f"{what()} do not get to {end} ({judged.words(last)})")
    return index[path]


def _head_training(judged: JudgedPlan) -> Iterator[Violation]:
    """With a frozen backbone each satellite trains its head once, when all its hidden states are on board."""
    demand, work = judged.demand, judged.workload
    heads = judged.of_kind(Kind.HEAD)
    for satellite in range(judged.satellites):
        of_satellite = judged.rows[heads[judged.rows["satellite"][heads] == satellite]]
        split, done = int(demand.split[satellite]), int(demand.begun(0)[satellite])
        due = split > done and work.head_flops > 0
        if not due:
            if len(of_satellite) and split == 0:
                yield Violation(
                    "once", f"{judged.words(of_satellite[0])}: there is nothing to train a head on"
                )
            continue
        firsts = (0, done) if demand.has_steps else (done,)
        if (
            len(of_satellite) != 1
            or of_satellite[0]["end_sample"] != split
            or of_satellite[0]["first_sample"] not in firsts
        ):
            spans = [(int(row["first_sample"]), int(row["end_sample"])) for row in of_satellite]
            yield Violation(
                "once",
                f"{judged.name(satellite)}: its head is trained on {spans or 'nothing'}, wanted once on (0, {split})",
            )


def _trained_by_the_ground(judged: JudgedPlan) -> Iterator[Violation]:
    """Training in one place takes samples when they have come, on one processor, and pass after pass."""
    rows, demand, start_s = judged.rows, judged.demand, judged.plan.start_s
    each_s = judged.workload.ground_flops / judged.rates.ground_flops
    down = judged.of_kind(Kind.FEATURES)
    down = down[rows["link"][down] == LinkKind.DOWNLINK]
    come = [_come(judged, index) for index in down.tolist()]
    come += [
        _Come(satellite, 0, end=int(demand.on_ground[satellite]), first_s=start_s, last_s=start_s)
        for satellite in np.flatnonzero(demand.on_ground).tolist()
    ]
    by_satellite: dict[int, list[_Come]] = defaultdict(list)
    for leg in come:
        by_satellite[leg.satellite].append(leg)
    backbone = rows[rows["kind"] == Kind.BACKBONE]
    for row in backbone[backbone["epoch"] == 0]:
        first, end = int(row["first_sample"]), int(row["end_sample"])
        matching = [leg for leg in by_satellite[int(row["satellite"])] if leg.first < end and first < leg.end]
        begins_s = min((leg.first_s for leg in matching), default=np.inf)
        last_s = max((leg.last_s for leg in matching), default=np.inf)
        over_s = last_s + each_s  # the last one at least is computed when it is there
        if row["start_s"] < begins_s - SLACK_S or row["end_s"] < over_s - SLACK_S:
            yield Violation(
                "order",
                f"{judged.samples(row)} are computed at {row['start_s']:.3f}–{row['end_s']:.3f} s, they come at "
                f"{begins_s:.3f}–{last_s:.3f} s",
            )
    now_s = _computed_s(come, demand.begun(0), judged.workload.micro_batch, each_s, start_s)
    over_s = start_s
    for epoch in range(judged.workload.passes):
        matching = backbone[backbone["epoch"] == epoch]
        if not len(matching):
            continue
        if epoch:
            work_s = float((demand.split - demand.begun(epoch)).sum()) * each_s
            if matching["start_s"].min() < over_s - SLACK_S:
                yield Violation(
                    "order",
                    f"pass {epoch} begins at {matching['start_s'].min():.3f} s, before the pass before it is over",
                )
            now_s = max(now_s, float(matching["start_s"].min())) + work_s
        over_s = float(matching["end_s"].max())
        if over_s < now_s - SLACK_S:
            yield Violation(
                "compute", f"the ground ends pass {epoch} at {over_s:.3f} s, it can at {now_s:.3f} s"
            )


@dataclass(frozen=True)
class _Come:
    """Samples of a satellite, of which the first micro-batch and the last are on the ground at these times."""

    satellite: int
    first: int
    _: KW_ONLY
    end: int
    first_s: float
    last_s: float


def _come(judged: JudgedPlan, index: int) -> _Come:
    """Return the samples that a downlink activity brings, in micro-batches one after the other."""
    row, owlt_s = judged.rows[index], float(judged.owlt_s[index])
    first, end = int(row["first_sample"]), int(row["end_sample"])
    lead = min(judged.workload.micro_batch, end - first)
    lead_s = lead * judged.workload.c1_bytes * 8.0 / float(judged.rate_bps[index])
    return _Come(
        int(row["satellite"]),
        first,
        end=end,
        first_s=float(row["start_s"]) + lead_s + owlt_s,
        last_s=float(row["end_s"]) + owlt_s,
    )


def _computed_s(
    come: list[_Come], begun: np.ndarray, micro_batch: int, each_s: float, start_s: float
) -> float:
    """When one processor can be done at the earliest with samples that come in micro-batches at an even pace.

    The first ``begun[k]`` samples of satellite ``k`` are done: what comes at or after some time is computed after it.
    """
    edges_s = np.unique([start_s, *(edge_s for leg in come for edge_s in (leg.first_s, leg.last_s))])
    left = np.zeros(len(edges_s))  # samples that come at or after each edge
    for leg in come:
        count, todo = leg.end - leg.first, leg.end - max(leg.first, min(int(begun[leg.satellite]), leg.end))
        length_s = max(leg.last_s - leg.first_s, 1e-9)
        after = (count - min(micro_batch, count)) * (leg.last_s - edges_s) / length_s
        after = np.where(edges_s <= leg.first_s, count, np.where(edges_s <= leg.last_s, after, 0.0))
        left += np.minimum(after, todo)
    return float(np.where(left > 0, edges_s + left * each_s, start_s).max())
