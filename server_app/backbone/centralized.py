"""The ground trains alone, in one place, on what satellites have given it: images, or features with labels.

Its steps are those of split training, as many and as large, but for two things: each mixes the images of all
satellites, and of what crosses only features are encoded. The first pass of a round in which something comes takes the
images in the order in which they are planned to come, as it begins before all are there; others mix all by chance.
The enrolment is that of split training, so that the head starts alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from flwr.app import ArrayRecord
from torch import Tensor

from mission.run_config import GROUND
from mission.schema import Scenario
from relay.client.answers import Reply
from relay.wire.manifest import Buffer, Manifest, MessageKind
from server_app.backbone.executor import BackboneExecutor, Request
from server_app.backbone.feature_assembler import UnexpectedBundle
from server_app.backbone.given_features import GivenFeatures
from server_app.backbone.given_images import GivenImages
from server_app.backbone.mixed_batches import mixed_batches
from server_app.backbone.service import SHARED, BackboneService, Bundles
from splitmodel import step as split_step
from splitmodel.cached_states import CachedStates
from splitmodel.crossing.codec_sizes import EXACT
from splitmodel.lora.adapters import exchanged_parts, trainable_state
from splitmodel.lora.dropout import row_seeds
from splitmodel.parts import SplitModel
from splitmodel.tasks import Task
from splitmodel.training import VIEWS, Batch, learning_rate, round_seed, take_step
from strategies.federated import TrainedOnGround
from strategies.planner.step_order import Schedule


class CentralizedTrainer:
    """The ground's side of a run in which nobody answers it: mode ``downlink``, or labels on the ground.

    Args:
        enrolment: Answers what satellites send before training.
        steps: The backbone's training steps, with one adapter, or with none where the backbone stays frozen.
        scenario: The resolved scenario.
        run: Name of the run, as manifests carry it.
        given: What it trains on.
    """

    def __init__(
        self,
        enrolment: BackboneService,
        steps: BackboneExecutor,
        *,
        scenario: Scenario,
        run: str,
        given: GivenImages | GivenFeatures,
    ) -> None:
        self._enrolment = enrolment
        self._steps = steps
        self._scenario = scenario
        self._run = run
        self._round = 0
        self._first_pass: list[tuple[int, int]] = []
        self._model: SplitModel
        self._task: Task
        self._samples: Mapping[str, int] = {}
        self._given = given
        self._pooled: CachedStates  # where the backbone is frozen

    def configure(self, model: SplitModel, task: Task, samples: Mapping[str, int]) -> None:
        """Train this model, in place, on so many images of each satellite."""
        self._model = model
        self._task = task
        self._samples = samples
        self._given.configure(model, task, samples)
        views = VIEWS[self._scenario.training.augment]
        self._pooled = CachedStates(sum(samples.values()), views, shape=model.backbone.state_shape)

    def state(self) -> dict[str, Tensor]:
        """The adapter's, see :meth:`server_app.backbone.executor.BackboneExecutor.state`."""
        return self._steps.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over the adapter of an earlier run; what was given comes again."""
        self._steps.load_state(state)
        self._publish()

    def begin_round(self, number: int, schedule: Schedule, samples: Mapping[str, int] | None = None) -> None:
        """Accept what is given in a round; all images are in each."""
        del samples
        self._round = number
        order = list(self._samples)
        self._first_pass = [(order.index(name), count) for name, count in schedule.first_pass]
        self._given.begin_round(number)

    def first_served(self, satellites: Collection[str]) -> str | None:
        """Any may come."""
        return None

    async def handle(self, satellite: str, manifest: Manifest, payload: Buffer) -> Bundles:
        """Take images or features, and then their targets, which are acknowledged.

        Raises:
            UnexpectedBundle: It belongs to another round, or is nothing that can be trained on.
        """
        if self._round == 0:
            return await self._enrolment.handle(satellite, manifest, payload)
        if manifest.round != self._round or manifest.kind not in (self._given.kind, MessageKind.LABELS):
            raise UnexpectedBundle(
                f"{satellite} sends {manifest.kind.name} of round {manifest.round}; allowed: {self._given.what} and "
                f"labels of round {self._round}"
            )
        self._given.take(satellite, manifest, payload)
        return [Reply(*self._acknowledgement(manifest))] if manifest.kind is MessageKind.LABELS else []

    def end_round(self, weights: Mapping[str, float], total: float) -> TrainedOnGround:
        """Train on all images, now that what was to come is here.

        Raises:
            UnexpectedBundle: Something of a satellite is missing.
        """
        loss_N, correct_N = self._train(self._given.end_round())
        self._publish()
        edges = np.cumsum(list(self._samples.values()))[:-1]
        reports = {
            name: {"train-loss": float(loss.mean()), "train-accuracy": float(correct.mean())}
            for name, loss, correct in zip(
                self._samples, np.split(loss_N, edges), np.split(correct_N, edges), strict=True
            )
        }
        return TrainedOnGround(ArrayRecord(trainable_state(exchanged_parts(self._model.head))), reports)

    def _publish(self) -> None:
        if self._steps.adapters:
            self._steps.activate(SHARED)

    def _train(self, targets_N: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """One round; of each image, how its loss was and what share of it was recognised, means over its passes."""
        training, model, task = self._scenario.training, self._model, self._task
        head = torch.optim.AdamW(
            model.head.parameters(), lr=training.head_learning_rate, weight_decay=training.weight_decay
        )
        batches = self._batches(self._round, self._first_pass)
        if not self._steps.adapters:
            self._keep_pooled_states()
        loss_N, correct_N = np.zeros((2, len(targets_N)))
        for number, batch in enumerate(batches):
            progress = (self._round - 1 + number / len(batches)) / training.rounds
            if self._steps.adapters:
                seeds = self._seeds(number, len(batch.indices))
                request = Request(SHARED, self._given.features(batch), seeds=seeds)
                (pooled_BD,) = self._steps.forward(number, [request])
            else:
                pooled_BD = self._pooled.get(batch)
            targets = task.under_views(targets_N[batch.indices], batch.views)
            head.param_groups[0]["lr"] = learning_rate(
                training.head_learning_rate, training.schedule, progress
            )
            head.zero_grad()
            result = split_step.head_step(model.head, pooled_BD, targets, loss=task.loss)
            take_step(head, training.clip_update)
            if self._steps.adapters:
                self._steps.backward(number, [result.grad_pooled_BD])
                self._steps.update(SHARED, learning_rate(training.learning_rate, training.schedule, progress))
            loss_N[batch.indices] += task.losses(result.logits, targets).numpy()
            correct_N[batch.indices] += task.shares_right(result.logits, targets).numpy()
        return loss_N / training.local_epochs, correct_N / training.local_epochs

    def _batches(self, number: int, first_pass: Sequence[tuple[int, int]]) -> list[Batch]:
        counts = list(self._samples.values())
        return mixed_batches(self._scenario.training, self._scenario.seed, number, counts, first_pass)

    def _seeds(self, step: int, rows: int) -> tuple[int, ...]:
        """Of the LoRA dropout of a step; the ground comes after all satellites."""
        if not self._scenario.lora.dropout:
            return ()
        return row_seeds((*round_seed(self._scenario.seed, len(self._samples), self._round), step, 0), rows)

    def _keep_pooled_states(self) -> None:
        """See what is new through the frozen backbone, in the batches in which it was seen before a run was resumed."""
        first = 1 if self._pooled.empty else self._round
        for earlier in range(first, self._round + 1):
            size = self._scenario.training.batch_size
            for batch in self._pooled.missing(self._batches(earlier, ()), size):
                self._pooled.put(batch, self._steps.infer(self._given.features(batch)))

    def _acknowledgement(self, request: Manifest) -> tuple[Manifest, Buffer]:
        manifest = Manifest.describe(
            b"",
            run=self._run,
            kind=MessageKind.LABELS,
            source=GROUND,
            destination=request.source,
            dtype="float32",
            shape=(0,),
            codec=EXACT,
            round=request.round,
            step=request.step,
            attributes=request.attributes,
        )
        return manifest, b""
