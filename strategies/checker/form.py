"""Rules of the checker for single activities: fields that fit their kind, times inside the round, links that exist."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from strategies.checker.case import MOVES, SLACK_S, Case, Violation
from strategies.problem.plan import Kind
from strategies.problem.workload import Mode

_CROSSES = (Kind.EMBED, Kind.FEATURES, Kind.GATHER, Kind.BACKBONE)
_KINDS = {
    Mode.LORA: (*_CROSSES, Kind.HIDDEN, Kind.HEAD, Kind.GRADIENT, Kind.TRAIN),
    Mode.HEAD: (*_CROSSES, Kind.HIDDEN, Kind.HEAD),
    Mode.DOWNLINK: (Kind.FEATURES, Kind.GATHER, Kind.BACKBONE),
    Mode.ONBOARD_FULL: (Kind.TRAIN,),
    Mode.FEATURES: _CROSSES,
    Mode.ONBOARD_LORA: (Kind.TRAIN,),
    Mode.ONBOARD_HEAD: (Kind.TRAIN,),
}


def form(case: Case) -> Iterator[Violation]:
    """Every field of an activity is one that its kind can have, and the mode has such activities."""
    for row in case.plan.activities[~case.sane][:10]:
        yield Violation(
            "form", f"place, link, amount or samples that an activity of its kind cannot have: {row}"
        )
    allowed = (*_KINDS[case.workload.mode], Kind.SESSION, Kind.LASER)
    if case.workload.aggregate_bytes > 0:
        allowed = (*allowed, Kind.REDUCE, Kind.UPDATE)
    elif case.workload.update_bytes > 0:
        allowed = (*allowed, Kind.UPDATE)
    for row in case.rows[~np.isin(case.rows["kind"], allowed)][:10]:
        yield Violation("form", f"{case.words(row)}: a round of mode {case.workload.mode} has none")


def times(case: Case) -> Iterator[Violation]:
    """Every activity lies inside the round, which is no shorter than its bound."""
    rows, plan = case.rows, case.plan
    backwards = rows["end_s"] < rows["start_s"] - SLACK_S
    outside = (rows["start_s"] < plan.start_s - SLACK_S) | (rows["end_s"] > plan.end_s + SLACK_S)
    for row in rows[backwards | outside][:10]:
        yield Violation("time", f"{case.words(row)} is outside the round, {plan.start_s}–{plan.end_s} s")
    if plan.makespan_s < plan.lower_bound_s * (1.0 - 1e-6):
        yield Violation("bound", f"{plan.makespan_s} s is below the lower bound, {plan.lower_bound_s} s")


def windows(case: Case) -> Iterator[Violation]:
    """Every transfer lies inside one contact of its link."""
    moves = np.isin(case.rows["kind"], MOVES)
    for row in case.rows[moves & (case.contact < 0)][:10]:
        yield Violation("window", f"{case.words(row)} is outside the contacts of that link")
