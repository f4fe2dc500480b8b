"""Rules of the checker for what serves one thing after another: links, processors, and buffers that fill up.

A link or processor can serve all that is asked of it within its windows exactly if preemptive earliest deadline first
can (Horn, "Some simple scheduling algorithms", Naval Research Logistics Quarterly 21, 1974).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from strategies.checker.intervals import lateness_s, parts, served
from strategies.checker.judged_plan import COMPUTES, MOVES, JudgedPlan, Violation
from strategies.checker.steps import Hops
from strategies.problem.plan import Kind

_SLACK_S = 1e-3


def links(judged: JudgedPlan, hops: list[Hops]) -> Iterator[Violation]:
    """Each directed link serves everything that crosses it at its rate; small crossings step by step."""
    by_step = np.zeros(len(judged.rows), bool)
    by_step[[hop.row for hop in hops]] = True
    whole = np.flatnonzero(np.isin(judged.rows["kind"], MOVES) & (judged.contact >= 0) & ~by_step)
    hops = [hop for hop in hops if judged.contact[hop.row] >= 0]
    row = np.concatenate([whole, *(np.full(len(hop.work_s), hop.row) for hop in hops)]).astype(int)
    start_s = np.concatenate([judged.rows["start_s"][whole], *(hop.release_s for hop in hops)])
    due_s = np.concatenate([judged.rows["end_s"][whole], *(hop.due_s for hop in hops)])
    work_s = np.concatenate(
        [judged.rows["bytes"][whole] * 8.0 / judged.rate_bps[whole], *(hop.work_s for hop in hops)]
    )
    contact = judged.contact[row]
    order = np.argsort(contact, kind="stable")
    for part in parts(contact[order]):
        mine = order[part]
        late_s = lateness_s(start_s[mine], due_s[mine], work_s[mine])
        if late_s > _SLACK_S:
            one = judged.rows[row[mine[0]]]
            yield Violation("capacity", f"{judged.words(one)} and others: the link is {late_s:.3f} s late")


def computers(judged: JudgedPlan) -> Iterator[Violation]:
    """Each satellite computes all its windows at its rate; the ground where it trains by itself."""
    rows = judged.rows[np.isin(judged.rows["kind"], COMPUTES)]
    rows = rows[rows["kind"] != Kind.BACKBONE] if judged.demand.has_steps else rows
    for node in np.unique(rows["node"]):
        mine = rows[rows["node"] == node]
        rate = judged.rates.ground_flops if node < 0 else judged.rates.satellite_flops
        # The head's steps need no sunlight: they are a trifle, which is left out where it is the condition.
        lit = judged.resources.sunlight is not None and node >= 0
        mine = mine[mine["kind"] != Kind.HEAD] if lit else mine
        start_s, end_s = (_powered_s(judged, int(node), mine[edge]) for edge in ("start_s", "end_s"))
        late_s = lateness_s(start_s, end_s, mine["flops"] / rate)
        # Heads' steps go before whatever else a satellite computes, whose windows leave no room for them.
        heads = mine["kind"] == Kind.HEAD
        trifle_s = float(mine["flops"][heads].sum()) / rate if judged.workload.chained else 0.0
        if late_s > _SLACK_S + trifle_s:
            yield Violation("compute", f"{judged.name(node)} is {late_s:.3f} s late with its computation")


def _powered_s(judged: JudgedPlan, node: int, time_s: np.ndarray) -> np.ndarray:
    """How long a computer has had power by a time: always, or while its satellite was in sunlight."""
    if judged.resources.sunlight is None or node < 0:
        return time_s
    lit_s = judged.resources.sunlight.lit_s[node]
    return (np.clip(time_s[:, None], lit_s[:, 0], lit_s[:, 1]) - lit_s[:, 0]).sum(axis=1)


def buffers(judged: JudgedPlan) -> Iterator[Violation]:
    """What has come to a satellite and not yet left it fits its buffer."""
    if not np.isfinite(judged.resources.buffer_bytes):
        return
    features = judged.rows[judged.rows["kind"] == Kind.FEATURES]
    copied = judged.rows[judged.rows["kind"] == Kind.GATHER]
    relays = features["peer"][features["peer"] < judged.satellites]
    for node in np.unique(np.concatenate([relays, copied["peer"]])):
        copies = copied[copied["peer"] == node]  # kept: what leaves from them frees nothing
        came = np.concatenate([features[features["peer"] == node], copies])
        went = features[(features["node"] == node) & (features["satellite"] != node)]
        went = went[~np.isin(went["satellite"], copies["satellite"])]
        time_s = np.unique(np.concatenate([came["start_s"], came["end_s"], went["start_s"], went["end_s"]]))
        held = served(came, time_s) - served(went, time_s)
        if held.max(initial=0.0) > judged.resources.buffer_bytes * (1.0 + 1e-6) + 1.0:
            when_s = float(time_s[np.argmax(held)])
            yield Violation(
                "buffer", f"{judged.name(node)} holds {held.max():.0f} bytes of others at {when_s:.3f} s, allowed are "
                f"{judged.resources.buffer_bytes:.0f}"
            )  # fmt: skip
