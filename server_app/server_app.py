"""The ServerApp: the ground station.

Read top to bottom, :func:`fine_tune` is the method of the paper: the satellites keep embedding, head and images, the
ground trains the backbone, and one planner says which tensor crosses which link when.
"""

from __future__ import annotations

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from server_app.assembly import ground_segment
from server_app.awaited_grid import WatchedGrid
from server_app.environment import environment_of
from server_app.labelled import constants_of
from server_app.mission_inputs import load_mission
from server_app.results.run_recorder import RunRecorder
from server_app.run import ServerRun, recorded_run
from server_app.start_up import enrol_satellites, flower_strategy, plan_mission
from splitmodel.lora.adapters import trainable_state
from strategies.aggregation.server_optimizer import ServerOptimizer

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a mission; ``context.run_config`` names the scenario and overrides its keys."""
    with recorded_run(context) as run:
        fine_tune(grid, run)


def fine_tune(grid: Grid, run: ServerRun) -> None:
    """Fine-tune the model of a run's scenario over its constellation."""
    checkpoint = run.restore()
    scenario, training, record = run.scenario, run.scenario.training, run.record
    mission = load_mission(run)  # imagery, split model, orbits, contact plan
    environment = environment_of(run, mission)  # a simulation, or an emulation over relays
    ground = ground_segment(run, mission)  # the backbone with LoRA, and what feeds it

    with environment.serve(ground) as run_config:
        # Every satellite opens its images; features of a few say how tensors are scaled where they cross.
        environment.begin_enrolment()
        run_config, clients = enrol_satellites(grid, run, mission, run_config)
        planner, start_s = plan_mission(run, mission, environment, ground, clients, checkpoint)
        scaling = ground.enrolment.end_enrolment(mission.satellites)
        mission = mission.with_scaled_head(scaling.pooled).in_units_of(clients)
        ground.begin_training(mission.model, mission.task, clients.samples)
        record.note(phase="training", samples=dict(clients.samples), start_up_s=record.wall_time_s())

        # Rounds: planned, trained over the split, averaged, scored on the ground, recorded.
        optimizer = ServerOptimizer(training.server_optimizer, training.server_learning_rate)
        recorder = RunRecorder(
            run, mission, environment=environment, ground=ground, clients=clients, planner=planner,
            server_optimizer=optimizer,
        )  # fmt: skip
        strategy = flower_strategy(scenario)(
            enrolled_clients=clients,
            run_config=run_config,
            constants=ArrayRecord(constants_of(scaling, mission.task)),
            planner=planner,
            ground=ground.service,
            server_optimizer=optimizer,
            environment=environment,
            on_round=recorder.on_round,
        )
        environment.clock.advance_to(start_s)
        if checkpoint is not None:
            recorder.resume(checkpoint)
            strategy.resume(checkpoint.round, checkpoint.pending_updates)
        with ground.cached_features(scenario, mission.costs, clients.samples, record.features):
            strategy.start(
                WatchedGrid(grid, clients.names, on_change=lambda awaited: record.note(awaited=awaited)),
                ArrayRecord(trainable_state(recorder.exchanged)),
                num_rounds=training.rounds,
                timeout=training.round_timeout_s,
                evaluate_fn=recorder.evaluate,
            )
    recorder.finish()
