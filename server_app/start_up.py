"""What comes before the first round: satellites are enrolled, and the mission is planned with what they have."""

from __future__ import annotations

import dataclasses
from logging import WARNING

from flwr.common.logger import log
from flwr.serverapp import Grid

from mission.run_config import RunConfig
from mission.schema import Scenario
from server_app.assembly import GroundSegment
from server_app.checkpoint import Checkpoint
from server_app.environment import Environment
from server_app.labelled import task_facts
from server_app.mission_inputs import MissionInputs
from server_app.planning.advice import advice
from server_app.planning.arriving_planner import ArrivingPlanner
from server_app.planning.mission_planner import MissionPlanner, PlaneRoundsPlanner
from server_app.planning.round_planner import RoundPlanner, framing_of
from server_app.planning.uncertainty import drawn_outages_of
from server_app.results.rounds import before_round_1_facts, enrolment_facts
from server_app.run import ServerRun
from splitmodel.imagery.statistics import BandStatistics, merge
from strategies.asynchronous.buffered_strategy import BufferedStrategy
from strategies.asynchronous.plane_rounds_strategy import PlaneRoundsStrategy
from strategies.enrolment import EnrolledClients, band_statistics, enrol
from strategies.federated import SplitFederatedStrategy


def enrol_satellites(
    grid: Grid, run: ServerRun, mission: MissionInputs, run_config: RunConfig
) -> tuple[RunConfig, EnrolledClients]:
    """Have every satellite open its images and model, and send the features of a few images.

    Returns:
        What satellites are told of the run from now on, and who takes part.

    Raises:
        strategies.enrolment.FederationError: A satellite is missing, or cannot train.
    """
    record, scenario = run.record, run.scenario
    record.note(
        phase="asking the satellites for their data",
        satellites=mission.satellites,
        planes=run_config.planes,
        classes=mission.task.names,
        task=task_facts(mission.task),
    )
    if scenario.data.statistics == "computed":
        means, deviations = _band_statistics(grid, run, mission, run_config)
        run_config = dataclasses.replace(run_config, band_means=means, band_deviations=deviations)
        mission.fit_bands(means, deviations)
    clients = enrol(grid, run_config, timeout_s=scenario.training.enrolment_timeout_s)
    record.note(no_data=dict(clients.no_data))
    return run_config, clients


def plan_mission(
    run: ServerRun,
    mission: MissionInputs,
    environment: Environment,
    ground: GroundSegment,
    clients: EnrolledClients,
    checkpoint: Checkpoint | None,
) -> tuple[RoundPlanner, float]:
    """Return the planner of the rounds, and the mission time at which the first one starts.

    Raises:
        strategies.problem.network.PlanningError: A satellite is not enrolled, or has no labels, before the horizon.
    """
    record, scenario, samples = run.record, run.scenario, list(clients.samples.values())
    planner = _planner_of(scenario)(
        scenario,
        mission.contact_plan,
        costs=mission.costs,
        samples=samples,
        summed_on_board=environment.sums_planes,
        signature_bytes=environment.signature_bytes,
    )
    if checkpoint is None:
        # An emulation enrols before launch; its rounds come when they would with the enrolment in orbit.
        enrolment = planner.enrolment(start_s=0.0)
        record.add_activities({"round": 0, **row} for row in enrolment.to_rows())
        sent, flown = ground.enrolment.enrolment_bytes, environment.flies_enrolment
        record.note(enrolment=enrolment_facts(enrolment, sent, flown=flown))
        start_s = enrolment.end_s
        if (labels := planner.labels(start_s)) is not None:
            record.add_activities({"round": 0, **row} for row in labels.to_rows())
            record.note(labels=before_round_1_facts(labels, flown=flown))
            start_s = labels.end_s
    else:
        started = {name: late.started for name, late in checkpoint.pending_updates.items()}
        planner.resume(checkpoint.carry_over, started)
        if isinstance(planner, ArrivingPlanner):
            planner.taken[:] = checkpoint.taken
        start_s = checkpoint.mission_time_s
    if (model := drawn_outages_of(scenario)).happens:
        outages = model.draw(mission.contact_plan, 0)
        planner.fly_through(outages, model.notice_s)
        environment.fly_through(outages)
    environment.begin_rounds(planner.carry_over.pointed)
    warnings = advice(scenario, mission.costs, samples, framing_of(mission.contact_plan))
    for line in warnings:
        log(WARNING, "%s", line)
    record.note(warnings=warnings)
    return planner, start_s


def _planner_of(scenario: Scenario) -> type[RoundPlanner]:
    """Return who plans a scenario: its rounds, on all images or those on board, or a mission without rounds."""
    if scenario.strategy.averaging == "plane-rounds":
        return PlaneRoundsPlanner
    if scenario.strategy.averaging != "rounds":
        return MissionPlanner
    return ArrivingPlanner if scenario.imaging.enabled else RoundPlanner


def flower_strategy(scenario: Scenario) -> type[SplitFederatedStrategy]:
    """Return the Flower strategy of a scenario: rounds, of planes or of all, or averages of what has come."""
    if scenario.strategy.averaging == "plane-rounds":
        return PlaneRoundsStrategy
    return SplitFederatedStrategy if scenario.strategy.averaging == "rounds" else BufferedStrategy


def _band_statistics(
    grid: Grid, run: ServerRun, mission: MissionInputs, run_config: RunConfig
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each band over all satellites' images, as recorded, or computed by them now."""
    recorded = run.record.band_statistics
    if recorded is None:
        merged = merge(BandStatistics.from_rows(rows) for rows in band_statistics(grid, run_config))
        recorded = {"mean": merged.mean.tolist(), "deviation": merged.deviation.tolist()}
        images = mission.test
        run.record.note(
            band_statistics={
                **recorded,
                "values": merged.count.astype(int).tolist(),
                "bands": list(images.model or images.source.reading.bands),
            }
        )
    return tuple(recorded["mean"]), tuple(recorded["deviation"])
