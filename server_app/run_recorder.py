"""What comes out of a run: scores on the test split, rows of the record, checkpoints, the final weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from logging import WARNING
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from flwr.app import ArrayRecord, MetricRecord
from flwr.common.logger import log
from torch import nn

from mission.clock import VirtualClock
from mission.divergence import require_sensible_loss
from mission.record import RunRecord, checkpoint_name
from mission.schema import Scenario
from orbit.constellation import Constellation
from report.run_report import write_report
from server_app.backbone.centralized import CentralizedTrainer
from server_app.backbone.executor import BackboneExecutor
from server_app.backbone.service import BackboneService
from server_app.checkpoint import Checkpoint
from server_app.planning import RoundPlanner
from server_app.predictions import save_predictions
from server_app.rounds import describe_window, round_rows
from server_app.scoring import score
from splitmodel.export import CardFields, export_final
from splitmodel.imagery import ImageSet
from splitmodel.lora.adapters import exchanged_parts, load_trainable_state
from splitmodel.parts import SplitModel
from splitmodel.tasks import Score, Task
from splitmodel.tasks.task import mean_score
from strategies.aggregation.server_optimizer import ServerOptimizer
from strategies.enrolment import EnrolledClients
from strategies.federated import RoundOutcome

if TYPE_CHECKING:
    from peft import PeftModel

_KEPT_CHECKPOINTS = 2


@dataclass(frozen=True, eq=False)
class RunRecorder:
    """Scores and records the rounds of one run.

    Attributes:
        scenario: The resolved scenario.
        record: The run directory.
        constellation: The satellites.
        model: The split model; its head is set to the average of every round.
        adapter: LoRA as ``peft`` writes it, none in ``head`` mode.
        base: What the model was loaded from.
        steps: The backbone's steps, which hold the trained adapter.
        ground: What it has trained is kept in checkpoints.
        test: Images that only score the result.
        task: What they are labelled for.
        clock: Mission time.
        enrolled_clients: Who takes part, with what images.
        server_optimizer: Its state is kept in checkpoints.
        planner: What the late of a round had done is kept there, too.
        scores: Before training and after each round.
    """

    scenario: Scenario
    record: RunRecord
    constellation: Constellation
    model: SplitModel
    adapter: PeftModel | None
    base: str | Path
    steps: BackboneExecutor
    ground: BackboneService | CentralizedTrainer
    test: ImageSet
    task: Task
    clock: VirtualClock
    enrolled_clients: EnrolledClients
    server_optimizer: ServerOptimizer
    planner: RoundPlanner
    scores: list[Score] = field(default_factory=list)

    @property
    def exchanged(self) -> nn.ModuleDict:
        """The parts whose weights the satellites exchange."""
        on_board = self.scenario.training.trains_on_board
        return exchanged_parts(self.model.head, self.model.backbone if on_board else None)

    def evaluate(self, number: int, arrays: ArrayRecord) -> MetricRecord:
        """Score the whole model with averaged weights; round 0 is before training."""
        load_trainable_state(self.exchanged, arrays.to_torch_state_dict())
        column = self.scenario.data.sensor_column
        self.scores.append(score(self.model, self.steps, self.test, self.task, column))
        if number:
            require_sensible_loss(self.scores[-1].loss, number, self.scenario.training.mode)
        named = self.task.score_name.lower().replace(" ", "-")
        return MetricRecord({"test-loss": self.scores[-1].loss, f"test-{named}": self.scores[-1].value})

    def on_round(self, outcome: RoundOutcome) -> bool:
        """Record a finished round and keep its weights; whether the accuracy that was asked for is reached."""
        self.record.add_activities({"round": outcome.number, **row} for row in outcome.plan.to_rows())
        self.record.add_round(
            round_rows(outcome, self.constellation, self.scores[-1], self.own_scores(), self.clock.departed_s)
        )
        checkpoint = self.record.directory / "checkpoints" / checkpoint_name(outcome.number)
        self._export(checkpoint, outcome.number)
        Checkpoint(
            outcome.number,
            self.clock.now_s,
            self.scores,
            outcome.arrays.to_torch_state_dict(),
            self.ground.state(),
            {key: torch.from_numpy(array) for key, array in self.server_optimizer.state().items()},
            outcome.pending_updates,
            self.planner.carry_over,
        ).save(checkpoint)
        self.record.prune_checkpoints(_KEPT_CHECKPOINTS)
        self.record.note(
            progress={
                "round": outcome.number,
                "test_accuracy": self.scores[-1].accuracy,
                "test_score": self.scores[-1].value,
                "scores": self.scores[-1].to_json(),
                "mission_time_s": self.clock.now_s,
                "wall_time_s": self.record.wall_time_s(),
                "window": describe_window(outcome.plan),
            }
        )
        target = self.scenario.training.target_accuracy
        return 0.0 < target <= self.scores[-1].value

    def own_scores(self) -> dict[str, float]:
        """Return the newest score by satellite, on test images of the classes or sensors that it sees, as often.

        Where neither is known, it is the score of all test images.
        """
        newest, enrolled_clients = self.scores[-1], self.enrolled_clients
        if self.task.has_classes:
            return {name: newest.accuracy_for(labels) for name, labels in enrolled_clients.labels.items()}
        if not newest.by_group:
            return dict.fromkeys(enrolled_clients.labels, newest.value)
        return {name: mean_score(newest, sensors) for name, sensors in enrolled_clients.sensors.items()}

    def finish(self) -> None:
        """Write the final weights, the result and the report."""
        rounds = len(self.scores) - 1
        own, newest, first = self.own_scores(), self.scores[-1], self.scores[0]
        worst = min(own, key=own.__getitem__)
        self._export(self.record.directory / "final", rounds)
        self.record.finish(
            score=self.task.score_name,
            test_score=newest.value,
            initial_test_score=first.value,
            test_accuracy=newest.accuracy,
            test_loss=newest.loss,
            initial_test_accuracy=first.accuracy,
            worst_satellite=worst,
            worst_satellite_score=own[worst],
            worst_satellite_accuracy=own[worst] if self.task.has_classes else None,
            scores=newest.to_json(),
            mission_time_s=self.clock.now_s,
            rounds=rounds,
            backbone_s=self.steps.busy_s,
        )
        if self.task.is_dense:
            save_predictions(self.record.directory, self.model, self.steps, self.test, self.task)
        try:
            write_report(self.record.directory)
        except OSError as error:  # the run is complete, all of it is on disk
            log(WARNING, "No report (%s); skysplit report %s writes it", error, self.record.directory)

    def _export(self, directory: Path, rounds: int) -> None:
        scenario = self.scenario
        name = self.base if isinstance(self.base, str) else self.base.name
        stayed = scenario.training.mode != "downlink"
        labels = ", labels on the ground" if scenario.training.labels == "ground" else ""
        imagery = (
            "Fine-tuned on synthetic scenes (procedural, not satellite images)."
            if scenario.data.source.startswith("synthetic")
            else f"Fine-tuned on {scenario.data.source} imagery that "
            f"{'stayed on the satellites' if stayed else 'was brought to the ground'}."
        )
        card = CardFields(
            title=f"{scenario.name}: {name}, fine-tuned in orbit",
            base_model=self.base if isinstance(self.base, str) else str(self.base.resolve()),
            classes=self.task.names,
            data=imagery,
            training=f"Mode {scenario.training.mode}{labels}, {rounds} rounds over {len(self.constellation)} "
            f"satellites, seed {scenario.seed}.",
            metrics=_metrics(self.task, self.scores[-1]),
            kind=str(self.task.kind),
            target_scaling=self.task.scaling,
        )
        export_final(
            directory,
            self.model.backbone,
            self.model.preprocess,
            self.adapter,
            self.model.head,
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
