"""Rules of the checker for single activities: fields that fit their kind, times inside the round, links that exist."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.checker_case import COMPUTES, MOVES, SLACK_S, Case, Violation
from strategies.plan import ON_NO_LINK, Kind
from strategies.workload import Mode

_KINDS = {
    Mode.LORA: (Kind.EMBED, Kind.FEATURES, Kind.BACKBONE, Kind.HIDDEN, Kind.HEAD, Kind.GRADIENT, Kind.TRAIN, Kind.GATHER),
    Mode.HEAD: (Kind.EMBED, Kind.FEATURES, Kind.BACKBONE, Kind.HIDDEN, Kind.HEAD, Kind.GATHER),
    Mode.DOWNLINK: (Kind.EMBED, Kind.FEATURES, Kind.BACKBONE, Kind.GATHER),
    Mode.ONBOARD_FULL: (Kind.TRAIN,),
    Mode.ONBOARD_LORA: (Kind.TRAIN,),
}  # fmt: skip


def form(case: Case) -> Iterator[Violation]:
    """Every field of an activity is one that its kind can have, and the mode has such activities."""
    for row in case.plan.activities[~case.sane][:10]:
        yield Violation("form", f"an activity that no plan can have: {row}")
    rows = case.rows
    allowed = (*_KINDS[case.workload.mode], Kind.SESSION, Kind.LASER)
    if case.workload.aggregate_bytes > 0:
        allowed = (*allowed, Kind.REDUCE, Kind.UPDATE)
    for row in rows[~np.isin(rows["kind"], allowed)][:10]:
        yield Violation("form", f"{case.words(row)}: a round of mode {case.workload.mode} has none")
    computes, moves = np.isin(rows["kind"], COMPUTES), np.isin(rows["kind"], MOVES)
    held = ~computes & ~moves
    place = np.where(rows["kind"] == Kind.BACKBONE, -1, rows["satellite"])
    wrong = computes & ((rows["node"] != place) | (rows["peer"] != -1) | (rows["link"] != ON_NO_LINK))
    wrong |= computes & ((rows["bytes"] != 0) | (rows["satellite"] < 0))
    wrong |= moves & ((rows["link"] > max(LinkKind)) | (rows["flops"] != 0) | (rows["node"] == rows["peer"]))
    wrong |= ~computes & ((rows["node"] < 0) | (rows["peer"] < 0))
    wrong |= held & ((rows["bytes"] != 0) | (rows["flops"] != 0))
    of_samples = np.isin(rows["kind"], (*COMPUTES, Kind.FEATURES, Kind.HIDDEN, Kind.GRADIENT, Kind.GATHER))
    limit = np.append(np.asarray(case.workload.samples), 0)[rows["satellite"]]
    wrong |= of_samples & (
        (rows["satellite"] < 0) | (rows["first_sample"] < 0) | (rows["end_sample"] > limit)
    )
    wrong |= of_samples & (rows["end_sample"] <= rows["first_sample"])
    wrong |= of_samples & ((rows["epoch"] < 0) | (rows["epoch"] >= case.workload.passes))
    for row in rows[wrong][:10]:
        yield Violation("form", f"{case.words(row)}: place, link, amount or samples that it cannot have")


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
