"""Rules of the checker for what a plan says of itself: when it ends, who is done when, which strategies it used."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.checker.judged_plan import SLACK_S, JudgedPlan, Violation
from strategies.checker.weights import WeightRules
from strategies.problem.plan import Kind
from strategies.problem.workload import InterOrbit, IntraOrbit, SpaceGround

_POINTS = (Kind.SESSION, Kind.ISL_POINTING)


def ends(judged: JudgedPlan, weights: WeightRules) -> Iterator[Violation]:
    """The round ends with the last thing that happens in it, and so does each satellite's part."""
    plan, rows = judged.plan, judged.rows
    doing = ~np.isin(rows["kind"], _POINTS)
    last = np.flatnonzero(doing & np.isin(rows["kind"], (Kind.REDUCE, Kind.UPDATE)))
    times = [plan.start_s, float(rows["end_s"][doing].max(initial=plan.start_s))]
    times.append(float(weights.arrival_s[last].max(initial=plan.start_s)))
    times.append(float(plan.steps["end_s"].max(initial=plan.start_s)))
    if not np.isfinite(plan.end_s) or abs(max(times) - plan.end_s) > SLACK_S:
        yield Violation(
            "end",
            f"the round is said to end at {plan.end_s:.6f} s, its last activity ends at {max(times):.6f} s",
        )
    for field in ("finish_s", "delivered_s"):
        if getattr(plan, field).shape != (judged.satellites,):
            yield Violation(
                "end", f"{field}: found {getattr(plan, field).shape}, wanted one number per satellite"
            )
            return
    if judged.workload.on_board:
        return  # see WeightRules
    finish_s = np.full(judged.satellites, plan.start_s)
    known = (plan.steps["satellite"] >= 0) & (plan.steps["satellite"] < judged.satellites)
    np.maximum.at(finish_s, plan.steps["satellite"][known], plan.steps["end_s"][known])
    own = rows[np.isin(rows["kind"], (Kind.HEAD, Kind.TRAIN))]
    np.maximum.at(finish_s, own["satellite"], own["end_s"])
    if judged.workload.central:
        # Each step mixes the samples of all: everybody's part is over with the last.
        over_s = float(rows["end_s"][rows["kind"] == Kind.BACKBONE].max(initial=plan.start_s))
        finish_s[judged.trainers] = np.maximum(finish_s[judged.trainers], over_s)
    yield from _stated(judged, "finish_s", finish_s, judged.trainers)
    delivered_s = weights.delivered_s if judged.workload.aggregate_bytes > 0 else finish_s
    finite = judged.trainers[np.isfinite(delivered_s[judged.trainers])]
    yield from _stated(judged, "delivered_s", delivered_s, finite)


def _stated(
    judged: JudgedPlan, field: str, true_s: np.ndarray, satellites: np.ndarray
) -> Iterator[Violation]:
    told_s = getattr(judged.plan, field)
    wrong = satellites[~(np.abs(told_s[satellites] - true_s[satellites]) <= SLACK_S)]
    for satellite in wrong[:5]:
        yield Violation(
            "end",
            f"{judged.name(satellite)}: {field} is {told_s[satellite]:.6f} s, wanted {true_s[satellite]:.6f} s",
        )


def label(judged: JudgedPlan) -> Iterator[Violation]:
    """Strategies are used as the plan is labelled, and in the split it is labelled with no more than it uses."""
    strategy_config, rows = judged.plan.strategy_config, judged.rows
    moves = ~np.isin(rows["kind"], _POINTS)
    split = not judged.workload.on_board
    for link, method, none in (
        (LinkKind.INTRA_ISL, strategy_config.intra_orbit, IntraOrbit.NONE),
        (LinkKind.INTER_ISL, strategy_config.inter_orbit, InterOrbit.NONE),
    ):
        used = np.flatnonzero((rows["link"] == link) & moves)
        if method is none and len(used):
            yield Violation(
                "label", f"{judged.words(rows[used[0]])}, in a plan without such links ({method})"
            )
        if split and method is not none and not len(used):
            yield Violation(
                "label", f"the plan is labelled {method}, and nothing crosses a link of that kind"
            )
    held = np.flatnonzero(rows["kind"] == Kind.ISL_POINTING)
    if strategy_config.inter_orbit is InterOrbit.NONE and len(held):
        yield Violation("label", f"{judged.words(rows[held[0]])}, in a plan without inter-orbit links")
    own_windows = dataclasses.replace(
        strategy_config,
        intra_orbit=IntraOrbit.NONE,
        space_ground=SpaceGround.OWN_WINDOW,
        inter_orbit=InterOrbit.NONE,
    )
    if split and strategy_config == own_windows:
        down = rows[(rows["link"] == LinkKind.DOWNLINK) & moves & (rows["satellite"] >= 0)]
        for row in down[down["node"] != down["satellite"]][:10]:
            yield Violation(
                "label", f"{judged.words(row)} of {judged.name(row['satellite'])}, in a plan of own windows"
            )
