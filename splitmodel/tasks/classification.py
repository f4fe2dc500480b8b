"""Images of one class, and of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from splitmodel.dense_heads import PatchGrid
from splitmodel.imagery import ImageSet
from splitmodel.preprocess import Preprocess
from splitmodel.tasks.scores import Score, Scorer, Tally
from splitmodel.tasks.task import Task, TaskKind


@dataclass(frozen=True, eq=False)
class Classification(Task):
    """One class per image; cross-entropy, accuracy."""

    kind = TaskKind.CLASSIFICATION
    score_name = "accuracy"
    target_dtype = np.dtype(np.int64)

    def targets(
        self, images: ImageSet, indices: Sequence[int] | NDArray[np.int64], preprocess: Preprocess
    ) -> Tensor:
        """Return class indices, shape (B,)."""
        return torch.from_numpy(images.labels[np.asarray(indices)])

    def target_shape(self, grid: PatchGrid) -> tuple[int, ...]:
        """One number."""
        return ()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs, targets, reduction="none")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def shares_right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the class is recognised, else 0."""
        return (outputs.argmax(-1) == targets).float()

    def scorer(self) -> Scorer:
        """Count images by class and predicted class."""
        return Scorer(partial(_ClassTally, self.names), self.losses)

    @property
    def allowed(self) -> str:
        """Class numbers."""
        return f"0 to {self.outputs - 1}"

    def is_allowed(self, array: NDArray) -> bool:
        """Whether all are classes."""
        return bool(((array >= 0) & (array < self.outputs)).all())


class _ClassTally(Tally):
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._confusion_KK = np.zeros((len(names), len(names)), np.int64)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        pairs = targets * len(self._names) + outputs.argmax(-1)
        self._confusion_KK += np.bincount(pairs.numpy(), minlength=self._confusion_KK.size).reshape(
            self._confusion_KK.shape
        )

    def score(self, loss: float) -> Score:
        hits_K, images_K = self._confusion_KK.diagonal(), self._confusion_KK.sum(axis=1)
        accuracy = float(hits_K.sum() / images_K.sum())
        recall_K = np.where(images_K, hits_K / np.maximum(1, images_K), np.nan)
        by_class = dict(zip(self._names, recall_K.tolist(), strict=True))
        return Score(loss, accuracy, accuracy=accuracy, by_class=by_class, confusion_KK=self._confusion_KK)


@dataclass(frozen=True, eq=False)
class MultiLabel(Task):
    """Several classes per image; binary cross-entropy, mean average precision."""

    kind = TaskKind.MULTI_LABEL
    score_name = "mean average precision"
    target_dtype = np.dtype(np.uint8)

    def targets(
        self, images: ImageSet, indices: Sequence[int] | NDArray[np.int64], preprocess: Preprocess
    ) -> Tensor:
        """Return 0 or 1 of each class, shape (B, K)."""
        return torch.from_numpy(images.targets.values[np.asarray(indices)])

    def target_shape(self, grid: PatchGrid) -> tuple[int, ...]:
        """A number a class."""
        return (self.outputs,)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy, mean over the classes."""
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), reduction="none").mean(
            1
        )

    def shares_right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Share of the classes that are rightly there or not."""
        return ((outputs > 0) == targets.bool()).float().mean(1)

    def scorer(self) -> Scorer:
        """Rank the images of each class."""
        return Scorer(partial(_LabelTally, self.names), self.losses)

    @property
    def allowed(self) -> str:
        """There, or not."""
        return "0 or 1"

    def is_allowed(self, array: NDArray) -> bool:
        """Whether all are 0 or 1."""
        return bool((array <= 1).all())


class _LabelTally(Tally):
    def __init__(self, names: tuple[str, ...]) -> None:
        # Imported by who scores: it takes seconds, and satellites only train.
        from torchmetrics.classification import MultilabelAveragePrecision

        self._names = names
        self._precision = MultilabelAveragePrecision(len(names), average=None)
        self._right, self._answers = 0, 0
        self._there_K = torch.zeros(len(names), dtype=torch.int64)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        # As probabilities: torchmetrics would take a batch whose logits happen to lie in [0, 1] for such.
        self._precision.update(outputs.double().sigmoid(), targets.long())
        self._right += int(((outputs > 0) == targets.bool()).sum())
        self._answers += targets.numel()
        self._there_K += targets.long().sum(0)

    def score(self, loss: float) -> Score:
        """Classes that no image has count for nothing."""
        precision_K = torch.where(self._there_K > 0, self._precision.compute(), torch.nan)
        by_class = dict(zip(self._names, precision_K.tolist(), strict=True))
        return Score(
            loss, float(precision_K.nanmean()), accuracy=self._right / self._answers, by_class=by_class
        )
