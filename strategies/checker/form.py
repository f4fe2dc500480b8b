"""Rules of the checker for single activities: fields that fit their kind, times inside the round, links that exist."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from strategies.checker.judged_plan import MOVES, SLACK_S, JudgedPlan, Violation
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


def form(judged: JudgedPlan) -> Iterator[Violation]:
    """Every field of an activity is one that its kind can have, and the mode has such activities."""
    for row in judged.plan.activities[~judged.sane][:10]:
        yield Violation(
            "form", f"place, link, amount or samples that an activity of its kind cannot have: {row}"
        )
    allowed = (*_KINDS[judged.workload.mode], Kind.SESSION, Kind.ISL_POINTING)
    if judged.workload.aggregate_bytes > 0:
        allowed = (*allowed, Kind.REDUCE, Kind.UPDATE)
    elif judged.workload.update_bytes > 0:
        allowed = (*allowed, Kind.UPDATE)
    for row in judged.rows[~np.isin(judged.rows["kind"], allowed)][:10]:
        yield Violation("form", f"{judged.words(row)}: a round of mode {judged.workload.mode} has none")


def times(judged: JudgedPlan) -> Iterator[Violation]:
    """Every activity lies inside the round, which starts when it was asked to and is no shorter than its bound."""
    rows, plan = judged.rows, judged.plan
    if abs(plan.start_s - judged.problem.start_s) > SLACK_S:
        yield Violation("time", f"the round starts at {plan.start_s} s instead of {judged.problem.start_s} s")
    backwards = rows["end_s"] < rows["start_s"] - SLACK_S
    outside = (rows["start_s"] < plan.start_s - SLACK_S) | (rows["end_s"] > plan.end_s + SLACK_S)
    for row in rows[backwards | outside][:10]:
        yield Violation("time", f"{judged.words(row)} is outside the round, {plan.start_s}–{plan.end_s} s")
    if plan.makespan_s < plan.lower_bound_s * (1.0 - 1e-6):
        yield Violation("bound", f"{plan.makespan_s} s is below the lower bound, {plan.lower_bound_s} s")


def windows(judged: JudgedPlan) -> Iterator[Violation]:
    """Every transfer lies inside one contact of its link."""
    moves = np.isin(judged.rows["kind"], MOVES)
    for row in judged.rows[moves & (judged.contact < 0)][:10]:
        yield Violation("window", f"{judged.words(row)} is outside the contacts of that link")
