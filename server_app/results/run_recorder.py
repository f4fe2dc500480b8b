"""What comes out of a run: scores on the test split, rows of the record, checkpoints, the final weights."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from logging import WARNING
from pathlib import Path

import torch
from flwr.app import ArrayRecord, MetricRecord
from flwr.common.logger import log
from torch import nn

from mission.divergence import require_sensible_loss
from mission.record import checkpoint_name
from report.run_report import write_report
from server_app.assembly import GroundSegment
from server_app.checkpoint import Checkpoint
from server_app.environment import Environment
from server_app.mission_inputs import MissionInputs
from server_app.planning.arriving_planner import ArrivingPlanner
from server_app.planning.round_planner import RoundPlanner
from server_app.results.predictions import save_predictions
from server_app.results.rounds import describe_window, round_rows
from server_app.results.scoring import score
from server_app.run import ServerRun
from splitmodel.export.final import CardFields, export_final
from splitmodel.lora.adapters import exchanged_parts, load_trainable_state
from splitmodel.tasks import Score, Task
from splitmodel.tasks.task import mean_score
from strategies.aggregation.server_optimizer import ServerOptimizer
from strategies.enrolment import EnrolledClients
from strategies.federated import RoundOutcome

_CROSSED = ("downlink_bytes", "uplink_bytes", "isl_bytes")
_KEPT_CHECKPOINTS = 2


@dataclass(frozen=True, eq=False)
class RunRecorder:
    """Scores and records the rounds of one run.

    Attributes:
        run: The scenario and its record.
        mission: The model, whose head is set to the average of every round, its orbits, and the test images.
        environment: Mission time, and what relays measure.
        ground: What the backbone has trained is kept in checkpoints.
        clients: Who takes part, with what images.
        planner: What suspended satellites of a round had done is kept there, too.
        server_optimizer: Its state is kept in checkpoints.
        scores: Before training and after each round.
    """

    run: ServerRun
    mission: MissionInputs
    _: KW_ONLY
    environment: Environment
    ground: GroundSegment
    clients: EnrolledClients
    planner: RoundPlanner
    server_optimizer: ServerOptimizer
    scores: list[Score] = field(default_factory=list)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take over weights, scores and the optimisers' states from a checkpoint."""
        load_trainable_state(self.exchanged, checkpoint.exchanged)
        self.scores.extend(checkpoint.scores)
        self.ground.service.load_state(checkpoint.steps)
        state = {key: tensor.numpy() for key, tensor in checkpoint.server.items()}
        self.server_optimizer.load_state(state)

    @property
    def exchanged(self) -> nn.ModuleDict:
        """The parts whose weights the satellites exchange."""
        model, on_board = self.mission.model, self.run.scenario.training.trains_on_board
        return exchanged_parts(model.head, model.backbone if on_board else None)

    def evaluate(self, number: int, arrays: ArrayRecord) -> MetricRecord:
        """Score the whole model with averaged weights; round 0 is before training."""
        load_trainable_state(self.exchanged, arrays.to_torch_state_dict())
        mission, column = self.mission, self.run.scenario.data.sensor_column
        self.scores.append(score(mission.model, self.ground.steps, mission.test, mission.task, column))
        if number:
            require_sensible_loss(self.scores[-1].loss, number, self.run.scenario.training.mode)
        named = mission.task.score_name.lower().replace(" ", "-")
        return MetricRecord({"test-loss": self.scores[-1].loss, f"test-{named}": self.scores[-1].value})

    def on_round(self, outcome: RoundOutcome) -> bool:
        """Record a finished round and keep its weights; whether the score that was asked for is reached."""
        record, clock = self.run.record, self.environment.clock
        if measured := list(self.environment.transfer_records(outcome.number)):
            record.add_transfer_records(measured)
        record.add_activities({"round": outcome.number, **row} for row in outcome.plan.to_rows())
        constellation = self.mission.constellation
        rows = list(round_rows(outcome, constellation, self.scores[-1], self.own_scores(), clock.departed_s))
        record.add_round(rows)
        checkpoint = record.directory / "checkpoints" / checkpoint_name(outcome.number)
        self._export(checkpoint, outcome.number)
        Checkpoint(
            outcome.number,
            clock.now_s,
            scores=self.scores,
            exchanged=outcome.arrays.to_torch_state_dict(),
            steps=self.ground.service.state(),
            server={key: torch.from_numpy(array) for key, array in self.server_optimizer.state().items()},
            pending_updates=outcome.pending_updates,
            carry_over=self.planner.carry_over,
            taken=self.planner.taken if isinstance(self.planner, ArrivingPlanner) else (),
        ).save(checkpoint)
        record.prune_checkpoints(_KEPT_CHECKPOINTS)
        record.note(
            progress={
                "round": outcome.number,
                "test_score": self.scores[-1].value,
                "test_accuracy": self.scores[-1].accuracy,
                "test_loss": self.scores[-1].loss,
                "initial_test_score": self.scores[0].value,
                "initial_test_loss": self.scores[0].loss,
                "scores": self.scores[-1].to_json(),
                **{column: sum(row[column] for row in rows) for column in _CROSSED},
                "mission_time_s": clock.now_s,
                "wall_time_s": record.wall_time_s(),
                "window": describe_window(outcome.plan),
                "interruptions": self.planner.interruptions,
            }
        )
        target = self.run.scenario.training.target_accuracy
        return 0.0 < target <= self.scores[-1].value

    def own_scores(self) -> dict[str, float]:
        """Return the newest score by satellite, on test images of the classes or sensors that it sees, as often.

        Where neither is known, it is the score of all test images.
        """
        newest, clients = self.scores[-1], self.clients
        if self.mission.task.has_classes:
            return {name: newest.accuracy_for(labels) for name, labels in clients.labels.items()}
        if not newest.by_group:
            return dict.fromkeys(clients.labels, newest.value)
        return {name: mean_score(newest, sensors) for name, sensors in clients.sensors.items()}

    def finish(self) -> None:
        """Write the final weights, the result and the report."""
        rounds = len(self.scores) - 1
        own, newest, first, task = self.own_scores(), self.scores[-1], self.scores[0], self.mission.task
        worst = min(own, key=own.__getitem__)
        self._export(self.run.record.directory / "final", rounds)
        self.run.record.finish(
            score=task.score_name,
            test_score=newest.value,
            initial_test_score=first.value,
            initial_test_loss=first.loss,
            test_accuracy=newest.accuracy,
            test_loss=newest.loss,
            initial_test_accuracy=first.accuracy,
            worst_satellite=worst,
            worst_satellite_score=own[worst],
            worst_satellite_accuracy=own[worst] if task.has_classes else None,
            scores=newest.to_json(),
            mission_time_s=self.environment.clock.now_s,
            rounds=rounds,
            backbone_s=self.ground.steps.busy_s,
        )
        if task.is_dense:
            save_predictions(
                self.run.record.directory, self.mission.model, self.ground.steps, self.mission.test, task
            )
        try:
            write_report(self.run.record.directory)
        except OSError as error:  # the run is complete, all of it is on disk
            log(WARNING, "No report (%s); skysplit report %s writes it", error, self.run.record.directory)

    def _export(self, directory: Path, rounds: int) -> None:
        scenario, mission, base = self.run.scenario, self.mission, self.mission.base
        name = base if isinstance(base, str) else base.name
        stayed = scenario.training.mode != "downlink"
        labels = {"ground": ", labels on the ground", "uplinked": ", labels from the ground"}.get(
            scenario.training.labels, ""
        )
        imagery = (
            "Fine-tuned on synthetic scenes (procedural, not satellite images)."
            if scenario.data.source.startswith("synthetic")
            else f"Fine-tuned on {scenario.data.source} imagery that "
            f"{'stayed on the satellites' if stayed else 'was brought to the ground'}."
        )
        card = CardFields(
            title=f"{scenario.name}: {name}, fine-tuned in orbit",
            base_model=base if isinstance(base, str) else str(base.resolve()),
            classes=mission.task.names,
            data=imagery,
            training=f"Mode {scenario.training.mode}{labels}, rounds: {rounds}, satellites: "
            f"{len(mission.constellation)}, seed: {scenario.seed}.",
            metrics=_metrics(mission.task, self.scores[-1]),
            kind=str(mission.task.kind),
            target_scaling=mission.task.scaling,
        )
        export_final(
            directory,
            mission.model.backbone,
            mission.model.preprocess,
            mission.adapter,
            mission.model.head,
            card,
            with_base=scenario.model.random_init,
        )


def _metrics(task: Task, reached: Score) -> dict[str, float]:
    """What the model card says of a score."""
    metrics = {task.score_name: reached.value, "loss": reached.loss}
    if reached.accuracy is not None and reached.accuracy != reached.value:
        metrics["accuracy"] = reached.accuracy
    of_classes = {f"{task.score_name}, {name}": value for name, value in reached.by_class.items()}
    of_sensors = {f"{task.score_name}, sensor {name}": value for name, value in reached.by_group.items()}
    return metrics | dict(reached.figures) | (of_classes if not task.has_classes else {}) | of_sensors
