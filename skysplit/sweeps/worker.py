"""What a process of a sweep does: compute a contact plan, or plan one round on it. No torch, no Flower."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import ScenarioError, scenario_from_json
from orbit.contact_plan import ContactPlan
from orbit.files.contact_plan_files import load, save
from strategies.aggregation.quorum import Quorum, cut
from strategies.analysis.mission_totals import Case, LinkRates, World, energy_j, plan_figures, plan_mission
from strategies.analysis.stored_images import storage_figures, storage_totals
from strategies.checker.capacity import least_charge
from strategies.planner.checked_plan import checked_plan
from strategies.problem.network import PlanningError
from strategies.problem.plan import SPLIT_COLUMNS
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.storage import Storage
from strategies.problem.workload import ComputeRates, Resources, StrategyConfig, Workload
from strategies.uncertainty.draws import draw_columns, fly_draws
from strategies.uncertainty.outages import OutageModel

_PLANS_KEPT = 4  # contact plans of a process


@dataclass(frozen=True)
class RoundJob:
    """A round to be planned.

    Attributes:
        identity: Of all that it depends on.
        contacts: File of the contact plan.
        quorum: Which planes end the round.
        mission: The workloads of all rounds, where the whole mission is planned instead.
        storage: Of satellites that take images.
        outages: Of the scenario, where the round is flown through draws of them.
        draws: Through how many.
        reason: Why there is nothing to plan, where that is known already; else "".
    """

    identity: str
    contacts: Path
    _: KW_ONLY
    workload: Workload
    rates: ComputeRates
    resources: Resources
    strategy_config: StrategyConfig
    quorum: Quorum
    start_s: float
    mission: tuple[Workload, ...] = ()
    storage: Storage | None = None
    outages: OutageModel | None = None
    draws: int = 0
    reason: str = ""


def start_process() -> None:
    """Prepare a process of the pool: Ctrl-C is for the one that waits, with which it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def write_contacts(scenario: str, path: Path) -> tuple[Path, str]:
    """Compute the contact plan of a resolved scenario, as JSON, and write it unless it is there.

    Returns the file, and why there is none, as where no satellite ever sees a station.
    """
    if not path.exists():
        resolved = scenario_from_json(scenario)
        try:
            contact_plan = contact_plan_of(resolved, constellation_of(resolved))
        except ScenarioError as error:
            return path, str(error)
        save(contact_plan, path)
    return path, ""


def without_plan(job: RoundJob, reason: str) -> dict[str, Any]:
    """The figures of a round that cannot be planned."""
    return {"identity": job.identity, "state": "no plan", "reason": reason}


def plan_job(job: RoundJob) -> dict[str, Any]:
    """Plan a round and have it checked; its figures as JSON values.

    ``state`` is ``planned``, or ``no plan`` with a ``reason`` where the contacts do not suffice.

    Raises:
        strategies.checker.check.InfeasiblePlanError: The checker does not accept the plan.
        strategies.registry.StrategyError: The strategy of another package fails.
    """
    if job.reason:
        return without_plan(job, job.reason)
    if job.mission:
        return _plan_mission(job)
    begun_s = time.process_time()
    contact_plan, link_rates = _contacts(job.contacts)
    problem = PlanningProblem(
        contact_plan,
        job.workload,
        rates=job.rates,
        resources=job.resources,
        start_s=job.start_s,
        storage=job.storage,
    )
    try:
        if job.outages is None:
            whole, drawn_figures = checked_plan(problem, job.strategy_config), dict[str, Any]()
        else:
            rounds = fly_draws(problem, job.strategy_config, job.outages, job.draws)
            whole, drawn_figures = rounds.plan, draw_columns(rounds.to_json())
        plan = cut(whole, job.quorum.end_s(whole))
    except PlanningError as error:
        return without_plan(job, str(error))
    figures, drawn = plan_figures(plan, link_rates, job.rates), job.resources.drawn
    return {
        "identity": job.identity,
        "state": "planned",
        "reason": "",
        "makespan_s": plan.makespan_s,
        # A round that does not wait for all planes has no bound.
        "lower_bound_s": plan.lower_bound_s or None,
        "gap_to_bound": plan.gap if plan.lower_bound_s else None,
        "down_bytes": figures.down_bytes,
        "up_bytes": figures.up_bytes,
        "isl_bytes": figures.isl_bytes,
        "ground_compute_s": figures.ground_flops / job.rates.ground_flops,
        "onboard_compute_s": figures.onboard_flops / job.rates.satellite_flops,
        "onboard_energy_j": energy_j([figures], job.rates, drawn) if drawn.known else None,
        "lowest_charge": least_charge(plan, problem),
        **storage_totals(storage_figures(plan, problem)),
        **drawn_figures,
        **dict(zip(SPLIT_COLUMNS, plan.time_split().mean(axis=0).tolist(), strict=True)),
        "intra_orbit_used": str(plan.strategy_config.intra_orbit),
        "space_ground_used": str(plan.strategy_config.space_ground),
        "inter_orbit_used": str(plan.strategy_config.inter_orbit),
        "planning_cpu_s": time.process_time() - begun_s,
    }


def _plan_mission(job: RoundJob) -> dict[str, Any]:
    """Plan all rounds of a mission, each checked; a mission has no bound, its rounds have."""
    begun_s = time.process_time()
    case = Case("mission", "", workloads=job.mission, strategy_config=job.strategy_config)
    world = World(_contacts(job.contacts)[0], (case,), rates=job.rates, resources=job.resources)
    try:
        totals = plan_mission(world, case, job.start_s)
    except PlanningError as error:
        return without_plan(job, str(error))
    return {
        "identity": job.identity,
        "state": "planned",
        "reason": "",
        "rounds": totals.rounds,
        "makespan_s": totals.length_s,
        "lower_bound_s": None,
        "gap_to_bound": None,
        "down_bytes": totals.down_bytes,
        "up_bytes": totals.up_bytes,
        "isl_bytes": totals.isl_bytes,
        "ground_compute_s": totals.ground_compute_s,
        "onboard_compute_s": totals.onboard_compute_s,
        "onboard_energy_j": totals.onboard_energy_j,
        "binds": totals.binds,
        "planning_cpu_s": time.process_time() - begun_s,
    }


@lru_cache(maxsize=_PLANS_KEPT)
def _contacts(path: Path) -> tuple[ContactPlan, LinkRates]:
    contact_plan = load(path)
    return contact_plan, LinkRates(contact_plan)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
