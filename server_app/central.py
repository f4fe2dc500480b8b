"""The baseline that brings all imagery down: the ground trains adapters and head on it, in one place.

Its steps are those of split training, as many and as large, but for two things: each mixes the images of all
satellites, and nothing is encoded on the way. The muster is that of split training, so that the head starts alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from flwr.app import ArrayRecord
from torch import Tensor
from torch.nn import functional as F

from mission.briefing import GROUND
from mission.schema import Scenario
from relay.wire import Buffer, Kind, Manifest
from server_app.arrivals import UnexpectedParcel
from server_app.backbone import BackboneSteps, Request
from server_app.ground import SHARED, Ground, Parcels
from splitmodel import step as split_step
from splitmodel.adapters import exchanged_parts, trainable_state
from splitmodel.crossing import EXACT
from splitmodel.imagery import to_BCHW
from splitmodel.parts import SplitModel
from splitmodel.training import VIEWS, learning_rate, round_batches, round_seed, view
from strategies.federated import TrainedOnGround
from strategies.schedule import Schedule


class CentralGround:
    """The ground's side of a run in mode ``downlink``; it holds all images in memory.

    Args:
        muster: Answers what satellites send before training.
        steps: The backbone's training steps, with one adapter.
        scenario: The resolved scenario.
        run: Name of the run, as manifests carry it.
    """

    def __init__(self, muster: Ground, steps: BackboneSteps, scenario: Scenario, run: str) -> None:
        self._muster = muster
        self._steps = steps
        self._scenario = scenario
        self._run = run
        self._round = 0
        self._model: SplitModel
        self._samples: Mapping[str, int] = {}
        self._images: dict[str, list[np.ndarray]] = {}
        self._labels: dict[str, list[np.ndarray]] = {}

    def expect(self, model: SplitModel, samples: Mapping[str, int]) -> None:
        """Train this model, in place, on so many images of each satellite."""
        self._model = model
        self._samples = samples

    def state(self) -> dict[str, Tensor]:
        """The adapter's, see :meth:`server_app.backbone.BackboneSteps.state`."""
        return self._steps.state()

    def go_on(self, state: Mapping[str, Tensor]) -> None:
        """Take over the adapter of an earlier run; the images come again."""
        self._steps.load_state(state)
        self._steps.publish(SHARED)

    def begin_round(self, number: int, schedule: Schedule) -> None:
        """Accept the images of a round."""
        self._round = number

    def first_served(self, satellites: Collection[str]) -> str | None:
        """Any may come."""
        return None

    async def handle(self, satellite: str, manifest: Manifest, payload: Buffer) -> Parcels:
        """Take images or their labels, which are acknowledged.

        Raises:
            UnexpectedParcel: It belongs to another round, or its images are none that can be trained on.
        """
        if self._round == 0:
            return await self._muster.handle(satellite, manifest, payload)
        if manifest.round != self._round or manifest.kind not in (Kind.IMAGES, Kind.LABELS):
            raise UnexpectedParcel(
                f"{satellite} sends {manifest.kind.name} of round {manifest.round}; allowed: images and labels of "
                f"round {self._round}"
            )
        array = np.frombuffer(payload, manifest.dtype).reshape(manifest.shape)
        if manifest.kind is Kind.IMAGES:
            self._require_images(satellite, array)
            self._images.setdefault(satellite, []).append(array)
            return []
        self._require_labels(satellite, array)
        self._labels.setdefault(satellite, []).append(array)
        return [self._acknowledgement(manifest)]

    def end_round(self, weights: Mapping[str, float], total: float) -> TrainedOnGround:
        """Train on all images, now that they are here.

        Raises:
            UnexpectedParcel: Images of a satellite are missing.
        """
        for name, count in self._samples.items():
            found = [sum(map(len, kept.get(name, ()))) for kept in (self._images, self._labels)]
            if found != [count, count]:
                raise UnexpectedParcel(
                    f"{name}: found {found[0]} images and {found[1]} labels, wanted {count} of both"
                )
        loss_N, correct_N = self._train(
            np.concatenate([part for name in self._samples for part in self._images[name]]),
            torch.from_numpy(np.concatenate([part for name in self._samples for part in self._labels[name]])),
        )
        self._steps.publish(SHARED)
        edges = np.cumsum(list(self._samples.values()))[:-1]
        reports = {
            name: {"train-loss": float(loss.mean()), "train-accuracy": float(correct.mean())}
            for name, loss, correct in zip(
                self._samples, np.split(loss_N, edges), np.split(correct_N, edges), strict=True
            )
        }
        return TrainedOnGround(ArrayRecord(trainable_state(exchanged_parts(self._model.head))), reports)

    def _train(self, pixels_NHWC: np.ndarray, labels_N: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """One round; of each image, how its loss was and how often it was recognised, means over its passes."""
        training, model = self._scenario.training, self._model
        head = torch.optim.AdamW(
            model.head.parameters(), lr=training.head_learning_rate, weight_decay=training.weight_decay
        )
        batches = round_batches(
            len(labels_N),
            training.batch_size,
            training.local_epochs,
            VIEWS[training.augment],
            round_seed(self._scenario.seed, 0, self._round),
        )
        loss_N, correct_N = np.zeros((2, len(labels_N)))
        for number, batch in enumerate(batches):
            progress = (self._round - 1 + number / len(batches)) / training.rounds
            pixels = view(model.preprocess(to_BCHW(pixels_NHWC[batch.indices])), batch.views)
            (pooled_BD,) = self._steps.forward(
                number, [Request(SHARED, split_step.embed(model.embedding, pixels))]
            )
            labels_B = labels_N[batch.indices]
            head.param_groups[0]["lr"] = learning_rate(
                training.head_learning_rate, training.schedule, progress
            )
            head.zero_grad()
            result = split_step.head_step(model.head, pooled_BD, labels_B)
            head.step()
            self._steps.backward(number, [result.grad_pooled_BD])
            self._steps.update(SHARED, learning_rate(training.learning_rate, training.schedule, progress))
            loss_N[batch.indices] += F.cross_entropy(result.logits, labels_B, reduction="none").numpy()
            correct_N[batch.indices] += (result.logits.argmax(-1) == labels_B).numpy()
        return loss_N / training.local_epochs, correct_N / training.local_epochs

    def _require_images(self, satellite: str, images: np.ndarray) -> None:
        first = next(iter(self._images.values()), [images])[0]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise UnexpectedParcel(
                f"{satellite} sends images as {images.dtype}{list(images.shape)}; allowed: uint8[B, height, width, 3]"
            )
        if images.shape[1:] != first.shape[1:]:
            raise UnexpectedParcel(
                f"{satellite} sends images of {images.shape[1:3]} pixels, others came with {first.shape[1:3]}; "
                "allowed: one size"
            )
        if sum(map(len, self._images.get(satellite, ()))) + len(images) > self._samples[satellite]:
            raise UnexpectedParcel(
                f"{satellite} sends more than the {self._samples[satellite]} images that it reported"
            )

    def _require_labels(self, satellite: str, labels: np.ndarray) -> None:
        classes = self._model.head.out_features
        if labels.dtype != np.int64 or labels.ndim != 1 or not ((labels >= 0) & (labels < classes)).all():
            raise UnexpectedParcel(
                f"{satellite} sends labels as {labels.dtype}{list(labels.shape)}; allowed: int64[B], 0 to {classes - 1}"
            )

    def _acknowledgement(self, request: Manifest) -> tuple[Manifest, Buffer]:
        manifest = Manifest.describe(
            b"",
            run=self._run,
            kind=Kind.LABELS,
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
