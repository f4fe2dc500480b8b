"""The ServerApp: the ground station.

Read top to bottom it is the run: the scenario, the orbits, the model, the satellites, the rounds, what is left behind.
"""

from __future__ import annotations

import functools
import shlex
from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from mission.clock import VirtualClock
from mission.orbits import constellation_of, contact_plan_of
from mission.record import RunRecord, new_run_directory
from mission.scenario import given_path, load_scenario, scalar_keys, scenario_to_json
from mission.schema import Scenario
from orbit.contact_plan_files import save
from relay.direct import GroundEndpoint
from server_app.backbone import BackboneSteps, choose_device
from server_app.ground import GROUND, SHARED, Ground, score
from server_app.planning import RoundPlanner
from server_app.report import write_report
from server_app.rounds import describe_window, round_rows, services_of
from splitmodel.adapters import LoraSettings, add_lora
from splitmodel.export import CardFields, export_final
from splitmodel.imagery import open_imagery
from splitmodel.parts import load_split
from splitmodel.profile import profile
from splitmodel.shipped import locate
from splitmodel.training import steps_per_round
from strategies.federated import RoundOutcome, SplitFederatedStrategy, muster

_KEPT_CHECKPOINTS = 2

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a mission; ``context.run_config`` names the scenario and overrides its keys."""
    config = context.run_config
    overrides = {key: config[key] for key, _ in scalar_keys() if config.get(key, "") != ""}
    scenario = load_scenario(str(config["scenario"]), overrides)
    directory = new_run_directory(str(config["out"]), scenario.name)
    record = RunRecord(directory, scenario, _command(str(config["scenario"]), overrides))
    try:
        fine_tune(
            grid, scenario, record, run=f"run-{context.run_id}", address=str(config["backbone-address"])
        )
    except BaseException as error:
        record.fail(f"{type(error).__name__}: {error}")
        raise


def fine_tune(grid: Grid, scenario: Scenario, record: RunRecord, *, run: str, address: str) -> None:
    """Fine-tune the scenario's model over its constellation.

    Args:
        grid: Flower's nodes, one a satellite.
        scenario: The resolved scenario.
        record: Where the run is recorded.
        run: Name of the run on the wire.
        address: ``host:port`` of the backbone service; port 0 takes a free one.
    """
    training = scenario.training
    torch.manual_seed(scenario.seed)

    # The imagery: satellites share out the training set, the ground scores the result on the test set.
    test = open_imagery(
        scenario.data.source,
        given_path(scenario.data.path, "data.path"),
        seed=scenario.seed,
        train_samples=scenario.data.train_samples,
        test_samples=scenario.data.test_samples,
    ).test

    # The model.
    base = locate(scenario.model.name, given_path(scenario.model.path, "model.path"))
    model = load_split(
        base,
        num_labels=len(test.classes),
        pooling=scenario.model.pooling,
        random_init=scenario.model.random_init,
        seed=scenario.seed,
    )
    lora = LoraSettings(rank=scenario.lora.rank, alpha=scenario.lora.alpha)
    costs = profile(model, lora)
    adapter = add_lora(model.backbone, lora, seed=scenario.seed) if training.mode == "lora" else None

    # The orbits.
    record.note(phase="contact plan")
    constellation = constellation_of(scenario)
    contact_plan = contact_plan_of(scenario, constellation)
    save(contact_plan, record.directory / "contacts.parquet")
    satellites = list(constellation.names)
    planes = [int(plane) for plane in constellation.plane]

    # The satellites.
    record.note(phase="muster", satellites=satellites, planes=planes, classes=list(test.classes))
    told = ConfigRecord(
        {"scenario": scenario_to_json(scenario), "planes": planes, "run": run, "ground": GROUND}
    )
    roster = muster(grid, satellites, told)
    record.note(phase="training", samples=dict(roster.samples), nodes=len(roster.nodes))

    # The plan of a round, and what a round is.
    planner = RoundPlanner(scenario, contact_plan, costs, list(roster.samples.values()))
    steps_of = {
        name: steps_per_round(count, training.batch_size, training.local_epochs)
        for name, count in roster.samples.items()
    }
    adapters = [] if adapter is None else [SHARED] if training.adapter == SHARED else satellites
    steps = BackboneSteps(
        model.backbone,
        choose_device(training.device),
        adapters,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
    )
    ground = Ground(model, steps, scenario, run)
    clock = VirtualClock(scenario.epoch)
    scores: list[tuple[float, float]] = []

    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        model.head.load_state_dict(arrays.to_torch_state_dict())
        scores.append(score(model, steps, test))
        loss, accuracy = scores[-1]
        return MetricRecord({"test-loss": loss, "test-accuracy": accuracy})

    def export(directory: Path, rounds: int) -> None:
        card = CardFields(
            title=f"{scenario.name}: {base if isinstance(base, str) else base.name}, fine-tuned in orbit",
            base_model=str(base),
            classes=test.classes,
            data=_data_line(scenario),
            training=f"Mode {training.mode}, {rounds} rounds over {len(satellites)} satellites, seed {scenario.seed}.",
            metrics={"test_accuracy": scores[-1][1], "test_loss": scores[-1][0]},
        )
        export_final(directory, model.backbone, model.preprocess, adapter, model.head, card)

    def on_round(outcome: RoundOutcome) -> None:
        record.add_activities({"round": outcome.number, **row} for row in outcome.plan.to_rows())
        record.add_round(round_rows(outcome, constellation, scores[-1]))
        checkpoints = record.directory / "checkpoints"
        export(checkpoints / f"round-{outcome.number:05d}", outcome.number)
        record.prune_checkpoints(_KEPT_CHECKPOINTS)
        record.note(
            progress={
                "round": outcome.number,
                "test_accuracy": scores[-1][1],
                "mission_time_s": clock.now_s,
                "window": describe_window(outcome.plan),
            }
        )

    host, _, port = address.rpartition(":")
    with GroundEndpoint(ground.handle, satellites, host=host, port=int(port)) as endpoint:
        strategy = SplitFederatedStrategy(
            roster, planner, functools.partial(services_of, steps=steps_of), ground, clock, on_round
        )
        strategy.start(
            grid,
            ArrayRecord(model.head.state_dict()),
            num_rounds=training.rounds,
            train_config=ConfigRecord({**told, "backbone": endpoint.address}),
            evaluate_fn=evaluate,
        )

    export(record.directory / "final", training.rounds)
    record.finish(
        test_accuracy=scores[-1][1],
        test_loss=scores[-1][0],
        initial_test_accuracy=scores[0][1],
        mission_time_s=clock.now_s,
        rounds=training.rounds,
    )
    write_report(record.directory)


def _data_line(scenario: Scenario) -> str:
    if scenario.data.source == "synthetic":
        return "Fine-tuned on synthetic scenes (procedural, not satellite images)."
    return f"Fine-tuned on {scenario.data.source} imagery that stayed on the satellites."


def _command(scenario: str, overrides: dict[str, object]) -> str:
    return shlex.join(
        ["skysplit", "run", scenario, *(f"--set={key}={value}" for key, value in overrides.items())]
    )
