"""How good a model is on images that only score it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from server_app.backbone.executor import BackboneExecutor
from splitmodel.imagery import ImageSet
from splitmodel.parts import SplitModel

_BATCH = 128


@dataclass(frozen=True, eq=False)
class Score:
    """What a model reaches on a set of images.

    Attributes:
        loss: Mean cross-entropy.
        correct_K, images_K: By class, how many were recognised and how many there are.
    """

    loss: float
    correct_K: NDArray[np.int64]
    images_K: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Share of all images."""
        return float(self.correct_K.sum() / self.images_K.sum())

    def accuracy_for(self, labels_K: Sequence[int]) -> float:
        """Accuracy for who sees classes this often, as a satellite does; NaN where none of them is in the set."""
        weights = np.where(self.images_K, labels_K, 0)
        if not weights.any():
            return float("nan")
        return float(np.average(self.correct_K / np.maximum(1, self.images_K), weights=weights))


@torch.no_grad()
def score(model: SplitModel, steps: BackboneExecutor, images: ImageSet) -> Score:
    """Score the whole model, its backbone where ``steps`` has it."""
    loss_sum = 0.0
    correct_K, images_K = (np.zeros(len(images.classes), np.int64) for _ in range(2))
    for start in range(0, len(images), _BATCH):
        indices = np.arange(start, min(start + _BATCH, len(images)))
        labels_B = torch.from_numpy(images.labels[indices])
        features = model.embedding(images.prepared(indices, model.preprocess))
        logits = model.head(steps.infer(features))
        loss_sum += float(F.cross_entropy(logits, labels_B, reduction="sum"))
        images_K += np.bincount(labels_B, minlength=len(images_K))
        correct_K += np.bincount(labels_B[logits.argmax(-1) == labels_B], minlength=len(images_K))
    return Score(loss_sum / len(images), correct_K, images_K)
