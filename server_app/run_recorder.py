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
from server_app.planning.round_planner import RoundPlanner
from server_app.rounds import describe_window, round_rows
from server_app.run import Run
from server_app.scoring import Score, score
from splitmodel.export import CardFields, export_final
from splitmodel.lora.adapters import exchanged_parts, load_trainable_state
from strategies.aggregation.server_optimizer import ServerOptimizer
from strategies.enrolment import EnrolledClients
from strategies.federated import RoundOutcome

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

    run: Run
    mission: MissionInputs
    environment: Environment
    ground: GroundSegment
    _: KW_ONLY
    clients: EnrolledClients
    planner: RoundPlanner
    server_optimizer: ServerOptimizer
    scores: list[Score] = field(default_factory=list)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take over weights, scores and the optimisers' states from a checkpoint."""
        load_trainable_state(self.exchanged, checkpoint.exchanged)
        self.scores.extend(checkpoint.scores)
        self.ground.service.go_on(checkpoint.steps)
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
        self.scores.append(score(self.mission.model, self.ground.steps, self.mission.test))
        if number:
            require_sensible_loss(self.scores[-1].loss, number, self.run.scenario.training.mode)
        return MetricRecord({"test-loss": self.scores[-1].loss, "test-accuracy": self.scores[-1].accuracy})

    def on_round(self, outcome: RoundOutcome) -> bool:
        """Record a finished round and keep its weights; whether the accuracy that was asked for is reached."""
        record, clock = self.run.record, self.environment.clock
        if measured := list(self.environment.transfer_records(outcome.number)):
            record.add_transfer_records(measured)
        record.add_activities({"round": outcome.number, **row} for row in outcome.plan.to_rows())
        constellation = self.mission.constellation
        record.add_round(
            round_rows(outcome, constellation, self.scores[-1], self.clients.labels, clock.departed_s)
        )
        checkpoint = record.directory / "checkpoints" / checkpoint_name(outcome.number)
        self._export(checkpoint, outcome.number)
        Checkpoint(
            outcome.number,
            clock.now_s,
            self.scores,
            outcome.arrays.to_torch_state_dict(),
            self.ground.service.state(),
            {key: torch.from_numpy(array) for key, array in self.server_optimizer.state().items()},
            outcome.pending_updates,
            self.planner.carry_over,
        ).save(checkpoint)
        record.prune_checkpoints(_KEPT_CHECKPOINTS)
        record.note(
            progress={
                "round": outcome.number,
                "test_accuracy": self.scores[-1].accuracy,
                "mission_time_s": clock.now_s,
                "wall_time_s": record.wall_time_s(),
                "window": describe_window(outcome.plan),
            }
        )
        target = self.run.scenario.training.target_accuracy
        return 0.0 < target <= self.scores[-1].accuracy

    def finish(self) -> None:
        """Write the final weights, the result and the report."""
        rounds = len(self.scores) - 1
        own = {name: self.scores[-1].accuracy_for(labels) for name, labels in self.clients.labels.items()}
        worst = min(own, key=own.__getitem__)
        self._export(self.run.record.directory / "final", rounds)
        self.run.record.finish(
            test_accuracy=self.scores[-1].accuracy,
            test_loss=self.scores[-1].loss,
            initial_test_accuracy=self.scores[0].accuracy,
            worst_satellite=worst,
            worst_satellite_accuracy=own[worst],
            mission_time_s=self.environment.clock.now_s,
            rounds=rounds,
            backbone_s=self.ground.steps.busy_s,
        )
        try:
            write_report(self.run.record.directory)
        except OSError as error:  # the run is complete, all of it is on disk
            log(WARNING, "No report (%s); skysplit report %s writes it", error, self.run.record.directory)

    def _export(self, directory: Path, rounds: int) -> None:
        scenario, mission, base = self.run.scenario, self.mission, self.mission.base
        name = base if isinstance(base, str) else base.name
        stayed = scenario.training.mode != "downlink"
        labels = ", labels on the ground" if scenario.training.labels == "ground" else ""
        imagery = (
            "Fine-tuned on synthetic scenes (procedural, not satellite images)."
            if scenario.data.source == "synthetic"
            else f"Fine-tuned on {scenario.data.source} imagery that "
            f"{'stayed on the satellites' if stayed else 'was brought to the ground'}."
        )
        card = CardFields(
            title=f"{scenario.name}: {name}, fine-tuned in orbit",
            base_model=base if isinstance(base, str) else str(base.resolve()),
            classes=mission.test.classes,
            data=imagery,
            training=f"Mode {scenario.training.mode}{labels}, {rounds} rounds over {len(mission.constellation)} "
            f"satellites, seed {scenario.seed}.",
            metrics={"test_accuracy": self.scores[-1].accuracy, "test_loss": self.scores[-1].loss},
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
