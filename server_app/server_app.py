"""The ServerApp: the ground station.

Read top to bottom it is the run: imagery, model, orbits, satellites, rounds, what is left behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shlex
from collections.abc import Callable, Mapping
from logging import INFO, WARNING
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp

from mission.clock import VirtualClock
from mission.first_cause import cause_of
from mission.orbits import constellation_of, contact_plan_of
from mission.record import RunRecord, make_run_directory
from mission.run_config import GROUND, RunConfig
from mission.scenario import ScenarioError, given_path, load_scenario, scalar_keys
from mission.schema import Scenario
from orbit.files.contact_plan_files import save
from relay.client import control
from relay.client.direct import GroundEndpoint
from relay.node.settings import LocalRelay, local_relay
from server_app.advice import advice
from server_app.assembly import ground_segment
from server_app.awaited_grid import WatchedGrid
from server_app.backbone.feature_cache import FeatureCache, shares
from server_app.calibration import measured_rates
from server_app.checkpoint import Checkpoint, newest
from server_app.emulated_clock import EmulatedClock
from server_app.labelled import constants_of, in_units, task_facts, task_of
from server_app.planning import RoundPlanner, framing_of, kept_row_bytes, kept_rows, resources_of
from server_app.rounds import enrolment_facts
from server_app.run_recorder import RunRecorder
from splitmodel.costs.profile import profile
from splitmodel.dense_heads import standardised
from splitmodel.families import ModelInput
from splitmodel.imagery import ImageSet, Reading, open_imagery
from splitmodel.imagery.fitting import fitted
from splitmodel.imagery.statistics import BandStatistics, merge
from splitmodel.lora.adapters import LoraSettings, load_trainable_state, make_trainable, trainable_state
from splitmodel.parts import load_split
from splitmodel.shipped import locate
from strategies.aggregation.client_updates import Averaging
from strategies.aggregation.server_optimizer import ServerOptimizer
from strategies.enrolment import band_statistics, enrol
from strategies.federated import RoundOutcome, SplitFederatedStrategy

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a mission; ``context.run_config`` names the scenario and overrides its keys."""
    config = context.run_config
    if config["resume"]:
        record = RunRecord.reopen(Path(str(config["resume"])))
        scenario = record.scenario
    else:
        overrides = {key: config[key] for key, _ in scalar_keys() if config.get(key, "") != ""}
        scenario = load_scenario(str(config["scenario"]), overrides)
        directory = make_run_directory(str(config["out"]), scenario.name)
        record = RunRecord(directory, scenario, _command(str(config["scenario"]), overrides))
    log(INFO, "Run directory: %s", record.directory.resolve())
    try:
        fine_tune(
            grid,
            scenario,
            record,
            run=f"run-{context.run_id}",
            address=str(config["backbone-address"]),
            relay=local_relay(Path(str(config["relay"]))) if config["relay"] else None,
            resume=bool(config["resume"]),
            max_concurrency=int(config["max-concurrency"]) or None,
        )
    except Exception as error:
        with contextlib.suppress(OSError):  # a full disk, which is the error then
            record.fail(cause_of(f"{type(error).__name__}: {error}"))
        raise
    except BaseException:  # ended from outside
        record.interrupt()
        raise


def fine_tune(
    grid: Grid,
    scenario: Scenario,
    record: RunRecord,
    *,
    run: str,
    address: str,
    relay: LocalRelay | None = None,
    resume: bool = False,
    max_concurrency: int | None = None,
) -> None:
    """Fine-tune the scenario's model over its constellation.

    Args:
        grid: Flower's nodes, one a satellite.
        scenario: The resolved scenario.
        record: Where the run is recorded.
        run: Name of the run on the wire.
        address: ``host:port`` of the backbone service; port 0 takes a free one.
        relay: The ground's relay, in an emulation: satellites reach the backbone over it instead.
        resume: Go on after the newest checkpoint in the record's directory.
        max_concurrency: Satellites that Flower runs at the same time, where that is known.
    """
    training = scenario.training
    torch.manual_seed(scenario.seed)
    if "OMP_NUM_THREADS" not in os.environ:  # which torch follows by itself
        # Half of the cores: in a simulation the satellites compute on the others, and threads that wait for one spin.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))

    if relay is not None:
        _require_emulable(scenario)
    checkpoint = None
    if resume:
        checkpoint = Checkpoint.load(newest(record.directory / "checkpoints"))
        record.forget_after(checkpoint.round)

    # The imagery: satellites share out the training set, the ground scores the result on the test set.
    test = open_imagery(
        scenario.data.source,
        given_path(scenario.data.path, "data.path"),
        seed=scenario.seed,
        train_samples=scenario.data.train_samples,
        test_samples=scenario.data.test_samples,
        reading=Reading(**scenario.data.reading),
    ).test
    task = task_of(scenario, test)

    # The model.
    base = locate(scenario.model.name, given_path(scenario.model.path, "model.path"))
    model = load_split(
        base,
        num_labels=task.outputs,
        pooling=scenario.model.pooling,
        random_init=scenario.model.random_init,
        seed=scenario.seed,
        wanted=ModelInput(**scenario.model.image_options),
        onboard_blocks=scenario.split.onboard_blocks,
        decoder=task.decoder,
        bottleneck=scenario.split.bottleneck,
    )
    test = test.for_model(model.preprocess)
    own_preprocess = model.preprocess
    if scenario.data.statistics == "model":
        model.embedding.preprocess = fitted(own_preprocess, test)
    lora = LoraSettings(**scenario.lora.model_dump())
    costs = dataclasses.replace(
        profile(model, lora), image_bytes=test.typical_bytes(), **task.target_costs(model.embedding.grid)
    )
    adapter = make_trainable(
        model.backbone, training.mode, lora, seed=scenario.seed, adapted_blocks=training.adapted_blocks
    )

    # The orbits.
    record.note(phase="computing the contact plan")
    constellation = constellation_of(scenario)
    contact_plan = contact_plan_of(scenario, constellation)
    save(contact_plan, record.directory / "contacts.parquet")
    satellites = constellation.names
    planes = tuple(constellation.plane.tolist())
    record.note(
        phase="asking the satellites for their data",
        satellites=satellites,
        planes=planes,
        classes=task.names,
        task=task_facts(task),
    )

    # The ground segment.
    segment = ground_segment(scenario, model, lora, costs, satellites, run, max_concurrency=max_concurrency)
    steps, ground = segment.steps, segment.ground
    row_bytes = kept_row_bytes(scenario, costs)
    secret = secrets.token_urlsafe(32)  # told to satellites alone, in the record that each message carries
    with segment.endpoint(satellites, address, relay, secret) as endpoint:
        # The satellites, and how what crosses the split is scaled.
        backbone = endpoint.address if isinstance(endpoint, GroundEndpoint) else ""
        run_config = RunConfig(
            scenario,
            satellites,
            planes,
            run,
            GROUND,
            backbone,
            keeps_features=row_bytes is not None,
            secret=secret,
        )
        if relay is not None:
            control.enrol(relay.address, relay.node)
        if scenario.data.statistics == "computed":
            means, deviations = _band_statistics(grid, run_config, record, test)
            run_config = dataclasses.replace(run_config, band_means=means, band_deviations=deviations)
            model.embedding.preprocess = fitted(own_preprocess, test, mean=means, deviation=deviations)
        enrolled_clients = enrol(grid, run_config, timeout_s=training.enrolment_timeout_s)
        record.note(no_data=dict(enrolled_clients.no_data))
        if relay is not None:
            # A run that goes on keeps the rates that it began with: its steps come in the order of an unbroken run.
            rates = record.calibration or measured_rates(scenario, costs, steps, enrolled_clients)
            scenario = scenario.model_copy(update={"compute": rates})
            record.note(calibration=rates.model_dump())
        planner = RoundPlanner(
            scenario,
            contact_plan,
            costs,
            list(enrolled_clients.samples.values()),
            summed_on_board=relay is not None and not training.shares_head,
            signature_bytes=relay.identity.signature_bytes
            if relay is not None and relay.identity is not None
            else 0,
        )
        enrolled_s = 0.0
        if checkpoint is None:
            # An emulation enrols on the bench; its rounds come when they would with the enrolment in orbit.
            enrolment = planner.enrolment(start_s=0.0)
            enrolled_s = enrolment.end_s
            record.add_activities({"round": 0, **row} for row in enrolment.to_rows())
            facts = enrolment_facts(enrolment, segment.enrolment.enrolment_bytes, flown=relay is None)
            record.note(enrolment=facts)
        else:
            planner.carry_over = checkpoint.carry_over
        clock, start_round = VirtualClock(scenario.epoch), lambda plan: None
        if relay is not None:
            pointed = planner.carry_over.pointed
            clock = EmulatedClock(scenario.epoch, relay, contact_plan, resources_of(scenario), pointed)
            start_round = clock.start_round
        warnings = advice(scenario, costs, list(enrolled_clients.samples.values()), framing_of(contact_plan))
        for line in warnings:
            log(WARNING, "%s", line)
        record.note(warnings=warnings)
        record.note(phase="training", samples=dict(enrolled_clients.samples), start_up_s=record.wall_time_s())
        scaling = segment.enrolment.end_enrolment(satellites)
        task = in_units(task, enrolled_clients)
        model = dataclasses.replace(model, head=standardised(model.head, scaling.pooled))
        segment.expect(model, task, enrolled_clients.samples)

        cache = None
        if row_bytes is not None:
            rows = kept_rows(scenario, row_bytes, sum(enrolled_clients.samples.values()))
            path = record.directory / "features.safetensors"
            own_rows = dict(
                zip(
                    enrolled_clients.samples,
                    shares(rows, list(enrolled_clients.samples.values())),
                    strict=True,
                )
            )
            cache = FeatureCache(path, row_bytes, own_rows)
            segment.assembler.keep_in(cache)

        # The rounds.
        optimizer = ServerOptimizer(training.server_optimizer, training.server_learning_rate)
        results = RunRecorder(
            scenario,
            record,
            constellation,
            model,
            adapter,
            base,
            steps,
            ground,
            test,
            task,
            clock,
            enrolled_clients,
            optimizer,
            planner,
        )
        finished_rounds, pending_updates = 0, {}
        if checkpoint is None:
            clock.advance_to(enrolled_s)
        else:
            load_trainable_state(results.exchanged, checkpoint.exchanged)
            finished_rounds, pending_updates = checkpoint.round, dict(checkpoint.pending_updates)
            clock.advance_to(checkpoint.mission_time_s)
            results.scores.extend(checkpoint.scores)
            ground.go_on(checkpoint.steps)
            optimizer.load_state({key: tensor.numpy() for key, tensor in checkpoint.server.items()})
        strategy = SplitFederatedStrategy(
            enrolled_clients,
            run_config,
            ArrayRecord(constants_of(scaling, task)),
            planner,
            planner.quorum,
            Averaging(
                enrolled_clients.labels,
                scenario.strategy.staleness_exponent,
                training.head_rows == "by-class",
            ),
            planner.orders,
            ground,
            optimizer,
            clock,
            start_round,
            _with_transfer_records(results.on_round, record, clock, run),
            exchange=relay is not None and not training.shares_head,
            finished_rounds=finished_rounds,
            max_concurrency=max_concurrency,
            pending_updates=pending_updates,
        )
        names = {node: name for name, node in enrolled_clients.nodes.items()}
        strategy.start(
            WatchedGrid(grid, names, lambda awaited: record.note(awaited=awaited)),
            ArrayRecord(trainable_state(results.exchanged)),
            num_rounds=training.rounds,
            timeout=training.round_timeout_s,
            evaluate_fn=results.evaluate,
        )
    if cache is not None:
        cache.remove()
    results.finish()


def _band_statistics(
    grid: Grid, run_config: RunConfig, record: RunRecord, images: ImageSet
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each band over all satellites' images, as recorded, or computed by them now."""
    found = record.band_statistics
    if found is None:
        merged = merge(BandStatistics.from_rows(rows) for rows in band_statistics(grid, run_config))
        found = {"mean": merged.mean.tolist(), "deviation": merged.deviation.tolist()}
        record.note(
            band_statistics={
                **found,
                "values": merged.count.astype(int).tolist(),
                "bands": list(images.model or images.source.reading.bands),
            }
        )
    return tuple(found["mean"]), tuple(found["deviation"])


def _require_emulable(scenario: Scenario) -> None:
    """Raise ScenarioError for what only a simulation can do."""
    if scenario.training.labels == "ground":
        raise ScenarioError(
            'training.labels: found "ground"; an emulation moves the tensors of the split, allowed: "on-board"'
        )
    if scenario.training.mode not in ("head", "lora"):
        raise ScenarioError(
            f"training.mode: found {scenario.training.mode!r}; an emulation moves the tensors of the split, "
            "allowed: head, lora"
        )
    if scenario.strategy.planes_per_round:
        raise ScenarioError(
            f"strategy.planes_per_round: found {scenario.strategy.planes_per_round}; an emulation waits for every "
            "satellite, allowed: 0"
        )


def _with_transfer_records(
    on_round: Callable[[RoundOutcome], bool], record: RunRecord, clock: VirtualClock, run: str
) -> Callable[[RoundOutcome], bool]:
    """Record what relays have measured in a round, in an emulation, before anything else comes of it."""
    if not isinstance(clock, EmulatedClock):
        return on_round

    def measured(outcome: RoundOutcome) -> bool:
        record.add_transfer_records(clock.transfer_records(run, outcome.number))
        return on_round(outcome)

    return measured


def _command(scenario: str, overrides: Mapping[str, object]) -> str:
    """The command that repeats the run."""
    settings = [f"--set={key}={value}" for key, value in overrides.items()]
    return shlex.join(["skysplit", "run", scenario, *settings])
