"""Images and labels that satellites have given away: the ground holds all of them in memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mission.schema import Scenario
from relay.wire import Buffer, Kind, Manifest
from server_app.arrivals import UnexpectedParcel
from server_app.mixed_batches import first_pass_of, own_batches
from splitmodel import step as split_step
from splitmodel.imagery import to_BCHW
from splitmodel.parts import SplitModel
from splitmodel.training import Batch, view


class GivenImages:
    """Raw images, of mode ``downlink``.

    Args:
        scenario: The resolved scenario.
    """

    kind, what = Kind.IMAGES, "images"

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._model: SplitModel
        self._samples: Mapping[str, int] = {}
        self._images: dict[str, list[np.ndarray]] = {}
        self._labels: dict[str, list[np.ndarray]] = {}
        self._pixels_NHWC: np.ndarray

    def expect(self, model: SplitModel, samples: Mapping[str, int]) -> None:
        """So many images of each satellite, for this model."""
        self._model, self._samples = model, samples

    def begin_round(self, number: int) -> None:
        """They come in whatever round."""

    def take(self, satellite: str, manifest: Manifest, payload: Buffer) -> None:
        """Take images or labels.

        Raises:
            UnexpectedParcel: They are none that can be trained on.
        """
        array = np.frombuffer(payload, manifest.dtype).reshape(manifest.shape)
        if manifest.kind is Kind.LABELS:
            require_labels(satellite, array, self._model.head.out_features)
            self._labels.setdefault(satellite, []).append(array)
        else:
            self._require_images(satellite, array)
            self._images.setdefault(satellite, []).append(array)

    def end_round(self) -> Tensor:
        """The labels of all images, in the order of the satellites, now that they are here.

        Raises:
            UnexpectedParcel: Some are missing.
        """
        for name, count in self._samples.items():
            found = [sum(map(len, kept.get(name, ()))) for kept in (self._images, self._labels)]
            if found != [count, count]:
                raise UnexpectedParcel(
                    f"{name}: found {found[0]} images and {found[1]} labels, wanted {count} of both"
                )
        self._pixels_NHWC = self._in_order(self._images)
        return torch.from_numpy(self._in_order(self._labels))

    def _in_order(self, came: Mapping[str, list[np.ndarray]]) -> np.ndarray:
        """All satellites' arrays one after the other, by image; they came in the order of the first pass of round 1."""
        scenario, parts = self._scenario, []
        for satellite, (name, count) in enumerate(self._samples.items()):
            if not count:
                continue
            own = own_batches(scenario.training, scenario.seed, satellite, count, 1)
            order = np.concatenate([batch.indices for batch in first_pass_of(own, scenario.training)])
            parts.append(np.concatenate(came[name])[np.argsort(order)])
        return np.concatenate(parts)

    def features(self, batch: Batch) -> Tensor:
        """Features of a batch, shape (B, tokens, hidden)."""
        pixels_BCHW = self._model.preprocess(to_BCHW(self._pixels_NHWC[batch.indices]))
        return split_step.embed(self._model.embedding, view(pixels_BCHW, batch.views))

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


def require_labels(satellite: str, labels: np.ndarray, classes: int) -> None:
    """Raise ``UnexpectedParcel`` for what are no labels of so many classes."""
    if labels.dtype != np.int64 or labels.ndim != 1 or not ((labels >= 0) & (labels < classes)).all():
        raise UnexpectedParcel(
            f"{satellite} sends labels as {labels.dtype}{list(labels.shape)}; allowed: int64[B], 0 to {classes - 1}"
        )
