"""A plan in words: one sentence first, then what goes over each kind of link and through each station."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from mission.text.quantities import spoken_bytes, spoken_energy, spoken_time, utc_text
from orbit.contact_plan import ContactPlan, LinkKind
from strategies.analysis.mission_totals import LinkRates, PlanFigures, energy_j, plan_figures, what_binds
from strategies.analysis.stored_images import storage_facts, storage_figures, storage_totals
from strategies.checker.capacity import least_charge
from strategies.problem.plan import SPLIT_COLUMNS, Kind, Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.workload import OUR_PLANNER

_LINKS = {
    "down": (LinkKind.DOWNLINK,),
    "up": (LinkKind.UPLINK,),
    "within planes": (LinkKind.INTRA_ISL,),
    "between planes": (LinkKind.INTER_ISL,),
}
_PARTS = {
    "compute_s": "computing",
    "isl_s": "inter-satellite links",
    "sgl_s": "space-ground links",
    "waiting_s": "waiting",
    "idle_s": "idle",
}


def answer(
    plan: Plan, problem: PlanningProblem, epoch: datetime, cost_per_min: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Return what there is to know first, as JSON values: when the round ends, its passes and bytes, what binds.

    With ``cost_per_min`` by station, what their antennas cost where any of them has a price.
    """
    contact_plan, rates = problem.contact_plan, problem.rates
    figures = plan_figures(plan, LinkRates(contact_plan), rates)
    return {
        "starts_utc": utc_text(epoch, plan.start_s),
        "ends_utc": utc_text(epoch, plan.end_s),
        "passes": passes_used(plan, contact_plan),
        "downlink_bytes": round(figures.down_bytes),
        "uplink_bytes": round(figures.up_bytes),
        "isl_bytes": round(figures.isl_bytes),
        "ground_compute_s": figures.ground_flops / rates.ground_flops,
        "onboard_compute_s": figures.onboard_flops / rates.satellite_flops,
        "binds": what_binds([figures], problem.workload),
        **_energy(plan, problem, figures),
        **_price(plan, cost_per_min or {}),
        **_imaging(plan, problem),
    }


def _price(plan: Plan, cost_per_min: Mapping[str, float]) -> dict[str, float]:
    """Minutes in which antennas of stations are held, and what they cost; nothing where no station has a price."""
    if not any(cost_per_min.values()):
        return {}
    sessions = plan.of_kind(Kind.SESSION)
    held_min = (sessions["end_s"] - sessions["start_s"]) / 60.0
    price = np.array([cost_per_min.get(plan.names[station], 0.0) for station in sessions["peer"]])
    return {"antenna_min": float(held_min.sum()), "antenna_cost": float(held_min @ price)}


def _energy(plan: Plan, problem: PlanningProblem, figures: PlanFigures) -> dict[str, Any]:
    """What satellites draw for computing and sending, and how low batteries go, as far as the scenario says it."""
    energy: dict[str, Any] = {}
    if problem.resources.drawn.known:
        drawn_j = energy_j([figures], problem.rates, problem.resources.drawn)
        energy["onboard_energy_j"] = drawn_j
        energy["onboard_energy_per_sample_j"] = drawn_j / max(sum(problem.workload.samples), 1)
    charge = least_charge(plan, problem)
    return energy if charge is None else {**energy, "lowest_charge": charge}


def _imaging(plan: Plan, problem: PlanningProblem) -> dict[str, Any]:
    """The storage of satellites that take images, in all and of each; nothing where all images are there already."""
    figures = storage_figures(plan, problem)
    return {"imaging": {**storage_totals(figures), "satellites": figures}} if figures else {}


def sentence(plan: Plan, result: Mapping[str, Any]) -> str:
    """The answer as one sentence: ``Ends 01:13:05 UTC on 2026-01-01, after 73.2 min: 24 passes, …``."""
    day, clock = result["ends_utc"].removesuffix("Z").split("T")
    passes = f"{result['passes']} pass{'es' * (result['passes'] != 1)}"
    return (
        f"Ends {clock} UTC on {day}, after {spoken_time(plan.makespan_s)}: {passes}, "
        f"{spoken_bytes(result['downlink_bytes'])} down, {spoken_bytes(result['uplink_bytes'])} up, "
        f"{spoken_bytes(result['isl_bytes'])} between satellites; binds: {result['binds']}."
    )


def round_facts(plan: Plan, result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The round: its length and bound, the strategies that it uses, where the time of a satellite goes."""
    summary = plan.summary()
    facts = [
        ("length", spoken_time(plan.makespan_s)),
        ("lower bound", spoken_time(plan.lower_bound_s)),
        ("above it", f"{100.0 * plan.gap:.1f} %"),
        ("mission time", f"{spoken_time(plan.start_s)} to {spoken_time(plan.end_s)}"),
        ("intra-orbit (S1)", summary["intra_orbit"]),
        ("space-ground (S2)", summary["space_ground"]),
        ("inter-orbit (S3)", summary["inter_orbit"]),
        *([("planner", summary["planner"])] if summary["planner"] != OUR_PLANNER else []),
        ("the ground computes", spoken_time(result["ground_compute_s"])),
        ("all satellites compute", spoken_time(result["onboard_compute_s"])),
    ]
    if (drawn_j := result.get("onboard_energy_j")) is not None:
        facts.append(("energy on board", spoken_energy(drawn_j)))
        facts.append(("… of an image", spoken_energy(result["onboard_energy_per_sample_j"])))
    if (cost := result.get("antenna_cost")) is not None:
        facts.append(("antennas cost", f"{cost:,.2f}, {result['antenna_min']:.1f} min"))
    if (charge := result.get("lowest_charge")) is not None:
        facts.append(("charge, at least", f"{100.0 * charge:.0f} %"))
    if (imaging := result.get("imaging")) is not None:
        facts += storage_facts(imaging)
    return facts + time_facts(summary)


def time_facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the parts of a satellite's time, mean over all, in words, and how long they are."""
    return [
        (f"{_PARTS[column]}, mean of a satellite", spoken_time(summary[column])) for column in SPLIT_COLUMNS
    ]


def link_rows(plan: Plan) -> list[tuple[str, str, str, str]]:
    """A row per kind of link: its name, transfers, bytes of features or images, and bytes of all else."""
    rows = plan.activities
    table = []
    for name, kinds in _LINKS.items():
        sent = rows[np.isin(rows["link"], kinds) & (rows["bytes"] > 0)]
        bulk = np.isin(sent["kind"], (Kind.FEATURES, Kind.GATHER))
        table.append(
            (
                name,
                f"{len(sent):,}",
                spoken_bytes(float(sent["bytes"][bulk].sum())),
                spoken_bytes(float(sent["bytes"][~bulk].sum())),
            )
        )
    return table


def station_rows(plan: Plan, contact_plan: ContactPlan) -> list[tuple[str, str, str, str]]:
    """A row per station that is used: its name, passes, bytes down and up."""
    rows = plan.activities
    sessions = plan.of_kind(Kind.SESSION)
    table = []
    for station in np.unique(sessions["peer"]).tolist():
        down = rows[(rows["link"] == LinkKind.DOWNLINK) & (rows["peer"] == station)]
        up = rows[(rows["link"] == LinkKind.UPLINK) & (rows["node"] == station)]
        size = [float(part["bytes"].sum()) for part in (down, up)]
        if any(size):
            count = len(_passes(sessions[sessions["peer"] == station], contact_plan))
            table.append((plan.names[station], str(count), *map(spoken_bytes, size)))
    return table


def session_rows(plan: Plan, epoch: datetime) -> list[tuple[str, ...]]:
    """A row per session that carries anything: UTC, since the start, how long, gateway and station, bytes, for whom.

    For whom: the satellites whose samples, answers or weights cross in it; with none of them it is the average for all.
    """
    sessions = plan.of_kind(Kind.SESSION)
    rows = plan.activities[np.isin(plan.activities["link"], (LinkKind.DOWNLINK, LinkKind.UPLINK))]
    rows = rows[rows["bytes"] > 0]
    table: list[tuple[str, ...]] = []
    for session in sessions[np.argsort(sessions["start_s"], kind="stable")]:
        ends = session["node"], session["peer"]
        inside = (rows["start_s"] < session["end_s"]) & (rows["end_s"] > session["start_s"])
        down = rows[inside & (rows["node"] == ends[0]) & (rows["peer"] == ends[1])]
        up = rows[inside & (rows["node"] == ends[1]) & (rows["peer"] == ends[0])]
        crossed = np.concatenate([down, up])
        if not len(crossed):
            continue
        served = np.unique(crossed["satellite"][crossed["satellite"] >= 0]).tolist()
        table.append(
            (
                utc_text(epoch, session["start_s"])[11:19],
                spoken_time(session["start_s"] - plan.start_s),
                spoken_time(session["end_s"] - session["start_s"]),
                f"{plan.names[session['node']]} – {plan.names[session['peer']]}",
                spoken_bytes(float(down["bytes"].sum())),
                spoken_bytes(float(up["bytes"].sum())),
                plan.names[served[0]] if len(served) == 1 else str(len(served)) if served else "all",
            )
        )
    return table


def passes_used(plan: Plan, contact_plan: ContactPlan) -> int:
    """Passes in which an antenna is held, each counted once however often it is."""
    return len(_passes(plan.of_kind(Kind.SESSION), contact_plan))


def _passes(sessions: np.ndarray, contact_plan: ContactPlan) -> set[tuple[int, int, float]]:
    """Satellite, station and start of every pass in which one of the sessions is."""
    starts_s: dict[tuple[int, int], list[float]] = {}
    for contact in contact_plan.of_kind(LinkKind.DOWNLINK):
        pair = int(contact["source"]), int(contact["target"])
        starts_s.setdefault(pair, []).append(float(contact["start_s"]))
    passes = set()
    for session in sessions:
        pair = int(session["node"]), int(session["peer"])
        begun = [start_s for start_s in starts_s.get(pair, []) if start_s < session["end_s"]]
        passes.add((*pair, max(begun, default=float(session["start_s"]))))
    return passes
