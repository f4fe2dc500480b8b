"""Images and labels that satellites have given away: the ground holds all of them in memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mission.schema import Scenario
from relay.wire.manifest import Buffer, Manifest, MessageKind
from server_app.backbone.feature_assembler import UnexpectedBundle
from server_app.backbone.mixed_batches import first_pass_of, own_batches
from splitmodel import step as split_step
from splitmodel.dense_heads import PatchGrid
from splitmodel.imagery import prepare
from splitmodel.imagery.views import view
from splitmodel.parts import SplitModel
from splitmodel.tasks import Task
from splitmodel.training import Batch

_DTYPES = ("uint8", "uint16", "int16", "float32")


class GivenImages:
    """Raw images, of mode ``downlink``.

    Args:
        scenario: The resolved scenario.
    """

    kind, what = MessageKind.IMAGES, "images"

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._model: SplitModel
        self._task: Task
        self._samples: Mapping[str, int] = {}
        self._images: dict[str, list[np.ndarray]] = {}
        self._labels: dict[str, list[np.ndarray]] = {}
        self._pixels: list[np.ndarray] = []

    def configure(self, model: SplitModel, task: Task, samples: Mapping[str, int]) -> None:
        """So many images of each satellite, for this model."""
        self._model, self._task, self._samples = model, task, samples

    def begin_round(self, number: int) -> None:
        """They come in whatever round."""

    def take(self, satellite: str, manifest: Manifest, payload: Buffer) -> None:
        """Take images or labels.

        Raises:
            UnexpectedBundle: They are none that can be trained on.
        """
        array = np.frombuffer(payload, manifest.dtype).reshape(manifest.shape)
        if manifest.kind is MessageKind.LABELS:
            require_targets(satellite, array, self._task, self._model.embedding.grid)
            self._labels.setdefault(satellite, []).append(array)
        else:
            self._require_images(satellite, array)
            self._images.setdefault(satellite, []).append(array)

    def end_round(self) -> Tensor:
        """The labels of all images, in the order of the satellites, now that they are here.

        Raises:
            UnexpectedBundle: Some are missing.
        """
        for name, count in self._samples.items():
            counts = [sum(map(len, kept.get(name, ()))) for kept in (self._images, self._labels)]
            if counts != [count, count]:
                raise UnexpectedBundle(
                    f"{name}: found {counts[0]} images and {counts[1]} labels, wanted {count} of both"
                )
        self._pixels = self._in_order(self._images)
        return torch.from_numpy(np.stack(self._in_order(self._labels)))

    def _in_order(self, came: Mapping[str, list[np.ndarray]]) -> list[np.ndarray]:
        """All satellites' images or labels one after the other; they came in the order of the first pass of round 1."""
        scenario, ordered = self._scenario, []
        for satellite, (name, count) in enumerate(self._samples.items()):
            if not count:
                continue
            own = own_batches(scenario.training, scenario.seed, satellite, count, 1)
            order = np.concatenate([batch.indices for batch in first_pass_of(own, scenario.training)])
            single = [array_row for array in came[name] for array_row in array]
            ordered += [single[position] for position in np.argsort(order)]
        return ordered

    def features(self, batch: Batch) -> Tensor:
        """Features of a batch, shape (B, tokens, hidden)."""
        pixels_BCHW = prepare([self._pixels[index] for index in batch.indices], self._model.preprocess)
        return split_step.embed(self._model.embedding, view(pixels_BCHW, batch.views))

    def _require_images(self, satellite: str, images: np.ndarray) -> None:
        first = next(iter(self._images.values()), [images])[0]
        preprocess = self._model.preprocess
        channels = len(preprocess.mean)
        if images.dtype not in _DTYPES or images.ndim != 4 or images.shape[3] != channels:
            raise UnexpectedBundle(
                f"{satellite} sends images as {images.dtype}{list(images.shape)}; allowed: {', '.join(_DTYPES)} of "
                f"[B, height, width, {channels}]"
            )
        if images.dtype != first.dtype:
            raise UnexpectedBundle(
                f"{satellite} sends {images.dtype} images, others came as {first.dtype}; allowed: one depth"
            )
        size = preprocess.height, preprocess.width
        if not preprocess.resize and images.shape[1:3] != size:
            raise UnexpectedBundle(
                f"{satellite} sends images of {images.shape[1:3]} pixels; allowed: {size}, the model's preprocessor "
                "does not resize"
            )
        if sum(map(len, self._images.get(satellite, ()))) + len(images) > self._samples[satellite]:
            raise UnexpectedBundle(
                f"{satellite} sends more than the {self._samples[satellite]} images that it reported"
            )


def require_targets(satellite: str, targets: np.ndarray, task: Task, grid: PatchGrid) -> None:
    """Raise ``UnexpectedBundle`` for what are no targets of this task."""
    try:
        task.require_on_wire(targets, grid)
    except ValueError as error:
        raise UnexpectedBundle(f"{satellite} sends {error}") from error
