"""What the strategies gain: every case over many starts, against each other, the bound and a closed form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbit.contact_plan import ContactPlan
from strategies.checker import require_feasible
from strategies.network import NoRouteError
from strategies.plan import SPLIT_COLUMNS, Plan
from strategies.planner import plan_round
from strategies.regime import break_even, regime_law
from strategies.workload import ComputeRates, Mode, Resources, Switches, Workload

_THROUGH_GROUND = ("parallel", "own-window", "none")


@dataclass(frozen=True)
class Case:
    """A way to run the round: a workload under switches."""

    name: str
    title: str
    workload: Workload
    switches: Switches


def standard_cases(
    workload_in: Callable[[Mode, bool], Workload], inter_orbit: str = "min-latency"
) -> tuple[Case, ...]:
    """The ablation: ``workload_in(mode, onboard_share)`` gives the round of one model in each mode.

    ``inter_orbit`` is the method of the cases that use links between planes.
    """
    split = workload_in(Mode.LORA, False)
    full, lora = workload_in(Mode.ONBOARD_FULL, False), workload_in(Mode.ONBOARD_LORA, False)
    own = Switches.parse("none", "own-window", "none")
    joint = Switches.parse("parallel", "topology-aware", inter_orbit)
    return (
        Case("a", "on-board full fine-tuning, own window", full, own),
        Case("a2", "on-board full fine-tuning, plane and sink", full, Switches.parse(*_THROUGH_GROUND)),
        Case("a3", "on-board LoRA, inter-satellite links only", lora, joint),
        Case("b", "split, own window", split, own),
        Case("c", "split + parallel intra-orbit", split, Switches.parse(*_THROUGH_GROUND)),
        Case(
            "d",
            "… + topology-aware space-ground",
            split,
            Switches.parse("parallel", "topology-aware", "none"),
        ),
        Case("e", "… + inter-orbit links", split, joint),
        Case(
            "f", "e once the ground has the features", dataclasses.replace(split, cached_fraction=1.0), joint
        ),
        Case("j", "… + a share trained on board", workload_in(Mode.LORA, True), joint),
        Case("raw", "raw images down, own window", workload_in(Mode.DOWNLINK, False), own),
    )


def even_starts(contact_plan: ContactPlan, count: int, part: float = 0.4) -> tuple[float, ...]:
    """``count`` start times spread over the first ``part`` of the contact plan, so that rounds end inside it."""
    return tuple(float(time_s) for time_s in np.arange(count) / count * part * contact_plan.horizon_s)


def compare(
    contact_plan: ContactPlan,
    cases: Sequence[Case],
    rates: ComputeRates,
    resources: Resources,
    starts_s: Sequence[float],
    *,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Every case from every start, each plan checked; JSON values.

    ``cases`` holds an object per case with ``name, title, median_s, p95_s, gap_to_bound, bound_s, ratio_to`` (of
    medians, by name of the other case), ``starts`` that were planned, ``unplanned`` starts whose round does not end
    inside the contact plan, and the mean seconds of ``SPLIT_COLUMNS``; ``rho`` the split over the on-board LoRA round
    by the regime law and as planned; ``break_even`` where the split begins to win.
    """
    results: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        plans: list[Plan] = []
        for position, start_s in enumerate(starts_s):
            try:
                plan = plan_round(
                    contact_plan, case.workload, rates, resources, case.switches, start_s=start_s
                )
            except NoRouteError:
                continue
            finally:
                if progress:
                    progress((number + (position + 1) / len(starts_s)) / len(cases))
            require_feasible(plan, contact_plan, case.workload, rates, resources)
            plans.append(plan)
        results.append(_summary(case, plans, len(starts_s)))
    median_s = {result["name"]: result["median_s"] for result in results}
    for result in results:
        result["ratio_to"] = {
            name: result["median_s"] / other_s
            for name, other_s in median_s.items()
            if name != result["name"] and other_s and result["median_s"]
        }
    found: dict[str, Any] = {"cases": results, "starts": len(starts_s)}
    by_name = {case.name: case for case in cases}
    if {"a3", "e"} <= by_name.keys() and median_s["a3"] and median_s["e"]:
        split, onboard = by_name["e"].workload, by_name["a3"].workload
        found["rho"] = {
            **regime_law(contact_plan, split, onboard, rates, resources),
            "planned": median_s["e"] / median_s["a3"],
        }
        found["break_even"] = break_even(contact_plan, split, onboard, rates, resources, median_s["e"])
    return found


def _summary(case: Case, plans: Sequence[Plan], starts: int) -> dict[str, Any]:
    makespan_s = np.array([plan.makespan_s for plan in plans])
    split = np.mean([plan.time_split().mean(axis=0) for plan in plans], axis=0) if plans else np.zeros(5)
    return {
        "name": case.name,
        "title": case.title,
        "median_s": float(np.median(makespan_s)) if plans else None,
        "p95_s": float(np.percentile(makespan_s, 95)) if plans else None,
        "bound_s": float(np.median([plan.lower_bound_s for plan in plans])) if plans else None,
        "gap_to_bound": float(np.median([plan.gap for plan in plans])) if plans else None,
        "starts": len(plans),
        "unplanned": starts - len(plans),
        "makespans_s": makespan_s.tolist(),
        **dict(zip(SPLIT_COLUMNS, split.tolist(), strict=True)),
    }


def sweep(
    contact_plan: ContactPlan,
    cases: Sequence[Case],
    resources: Resources,
    starts_s: Sequence[float],
    rates: Sequence[ComputeRates],
) -> list[dict[str, Any]]:
    """Cases over compute rates: where the split holds, by N·F_s/F_g; a row per rate with medians and ρ."""
    rows = []
    for rate in rates:
        found = compare(contact_plan, cases, rate, resources, starts_s)
        satellites = sum(count > 0 for count in cases[0].workload.samples)
        rows.append(
            {
                "satellite_tflops": rate.satellite_flops / 1e12,
                "ground_tflops": rate.ground_flops / 1e12,
                "n_fs_over_fg": satellites * rate.satellite_flops / rate.ground_flops,
                **{case["name"]: case["median_s"] for case in found["cases"]},
                "rho_law": found["rho"]["law"] if "rho" in found else None,
                "rho_planned": found["rho"]["planned"] if "rho" in found else None,
            }
        )
    return rows


def table_rows(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """The cases of ``compare`` as text, a row each."""
    rows = []
    for case in found["cases"]:
        planned = case["median_s"] is not None
        times = [case[key] if planned else None for key in ("median_s", "p95_s", "bound_s", *SPLIT_COLUMNS)]
        rows.append(
            {
                "case": case["name"],
                "what": case["title"],
                **{
                    key: "–" if value is None else f"{value:.0f}"
                    for key, value in zip(
                        ("median", "p95", "bound", *(column[:-2] for column in SPLIT_COLUMNS)),
                        times,
                        strict=True,
                    )
                },
                "gap": "–" if case["gap_to_bound"] is None else f"{100 * case['gap_to_bound']:.0f} %",
                **{
                    f"÷ {other}": f"{case['ratio_to'][other]:.2f}" if other in case["ratio_to"] else "–"
                    for other in ("a2", "a3", "b")
                },
                **{
                    heading: f"{case[key]:.0f}" if case[key] else "–"
                    for key, heading in (("per_point_s", "s/point"), ("to_target_s", "to best"))
                    if key in case
                },
            }
        )
    return rows
