"""Rules of the checker for what serves one thing after another: links, processors, and buffers that fill up.

A link or processor can serve all that is asked of it within its windows exactly if preemptive earliest deadline first
can (Horn, "Some simple scheduling algorithms", Naval Research Logistics Quarterly 21, 1974).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from strategies.checker.case import COMPUTES, MOVES, Case, Violation
from strategies.checker.intervals import lateness_s, parts, served
from strategies.checker.steps import Hops
from strategies.problem.plan import Kind

_SLACK_S = 1e-3


def links(case: Case, hops: list[Hops]) -> Iterator[Violation]:
    """Each directed link serves everything that crosses it at its rate; small crossings step by step."""
    by_step = np.zeros(len(case.rows), bool)
    by_step[[hop.row for hop in hops]] = True
    whole = np.flatnonzero(np.isin(case.rows["kind"], MOVES) & (case.contact >= 0) & ~by_step)
    hops = [hop for hop in hops if case.contact[hop.row] >= 0]
    row = np.concatenate([whole, *(np.full(len(hop.work_s), hop.row) for hop in hops)]).astype(int)
    start_s = np.concatenate([case.rows["start_s"][whole], *(hop.release_s for hop in hops)])
    due_s = np.concatenate([case.rows["end_s"][whole], *(hop.due_s for hop in hops)])
    work_s = np.concatenate(
        [case.rows["bytes"][whole] * 8.0 / case.rate_bps[whole], *(hop.work_s for hop in hops)]
    )
    contact = case.contact[row]
    order = np.argsort(contact, kind="stable")
    for part in parts(contact[order]):
        mine = order[part]
        late_s = lateness_s(start_s[mine], due_s[mine], work_s[mine])
        if late_s > _SLACK_S:
            one = case.rows[row[mine[0]]]
            yield Violation("capacity", f"{case.words(one)} and others: the link is {late_s:.3f} s late")


def computers(case: Case) -> Iterator[Violation]:
    """Each satellite computes all its windows at its rate; the ground where it trains by itself."""
    rows = case.rows[np.isin(case.rows["kind"], COMPUTES)]
    rows = rows[rows["kind"] != Kind.BACKBONE] if case.demand.has_steps else rows
    for node in np.unique(rows["node"]):
        mine = rows[rows["node"] == node]
        rate = case.rates.ground_flops if node < 0 else case.rates.satellite_flops
        # The head's steps need no sunlight: they are a trifle, which is left out where it is the condition.
        lit = case.resources.sunlight is not None and node >= 0
        mine = mine[mine["kind"] != Kind.HEAD] if lit else mine
        start_s, end_s = (_powered_s(case, int(node), mine[edge]) for edge in ("start_s", "end_s"))
        late_s = lateness_s(start_s, end_s, mine["flops"] / rate)
        # Heads' steps go before whatever else a satellite computes, whose windows leave no room for them.
        heads = mine["kind"] == Kind.HEAD
        trifle_s = float(mine["flops"][heads].sum()) / rate if case.workload.chained else 0.0
        if late_s > _SLACK_S + trifle_s:
            yield Violation("compute", f"{case.name(node)} is {late_s:.3f} s late with its computation")


def _powered_s(case: Case, node: int, time_s: np.ndarray) -> np.ndarray:
    """How long a computer has had power by a time: always, or while its satellite was in sunlight."""
    if case.resources.sunlight is None or node < 0:
        return time_s
    lit_s = case.resources.sunlight.lit_s[node]
    return (np.clip(time_s[:, None], lit_s[:, 0], lit_s[:, 1]) - lit_s[:, 0]).sum(axis=1)


def buffers(case: Case) -> Iterator[Violation]:
    """What has come to a satellite and not yet left it fits its buffer."""
    if not np.isfinite(case.resources.buffer_bytes):
        return
    features = case.rows[case.rows["kind"] == Kind.FEATURES]
    copied = case.rows[case.rows["kind"] == Kind.GATHER]
    relays = features["peer"][features["peer"] < case.satellites]
    for node in np.unique(np.concatenate([relays, copied["peer"]])):
        copies = copied[copied["peer"] == node]  # kept: what leaves from them frees nothing
        came = np.concatenate([features[features["peer"] == node], copies])
        went = features[(features["node"] == node) & (features["satellite"] != node)]
        went = went[~np.isin(went["satellite"], copies["satellite"])]
        time_s = np.unique(np.concatenate([came["start_s"], came["end_s"], went["start_s"], went["end_s"]]))
        held = served(came, time_s) - served(went, time_s)
        if held.max(initial=0.0) > case.resources.buffer_bytes * (1.0 + 1e-6) + 1.0:
            when_s = float(time_s[np.argmax(held)])
            yield Violation(
                "buffer", f"{case.name(node)} holds {held.max():.0f} bytes of others at {when_s:.3f} s, allowed are "
                f"{case.resources.buffer_bytes:.0f}"
            )  # fmt: skip
