"""A class for every pixel."""

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
from splitmodel.tasks.masks import IGNORED, prepared_masks
from splitmodel.tasks.scores import Score, Scorer, Tally
from splitmodel.tasks.segmentation_scores import SegmentationScorer
from splitmodel.tasks.task import Task, TaskKind


@dataclass(frozen=True, eq=False)
class Segmentation(Task):
    """A class for every pixel; cross-entropy, mean intersection over union.

    Attributes:
        ignore_index: The value of masks that is no class; such pixels count for nothing.
    """

    ignore_index: int = IGNORED

    kind = TaskKind.SEGMENTATION
    score_name = "mean IoU"
    target_dtype = np.dtype(np.uint8)

    def targets(
        self, images: ImageSet, indices: Sequence[int] | NDArray[np.int64], preprocess: Preprocess
    ) -> Tensor:
        """Return the classes on the model's grid, uint8 of shape (B, H, W), 255 where there is none."""
        masks = prepared_masks(
            images, indices, preprocess, classes=self.outputs, ignore_index=self.ignore_index
        )
        return masks.to(torch.uint8)

    def target_shape(self, grid: PatchGrid) -> tuple[int, ...]:
        """The pixels of an image."""
        return grid.height, grid.width

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, mean over the pixels of a class; 0 where there is none."""
        of_pixels = F.cross_entropy(outputs, targets.long(), reduction="none", ignore_index=IGNORED)
        known = (targets != IGNORED).flatten(1).sum(1).clamp_min(1)
        return of_pixels.flatten(1).sum(1) / known

    def shares_right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Share of the pixels of a class that are recognised; 0 where there is none."""
        right = (outputs.argmax(1) == targets).flatten(1).sum(1)
        return right / (targets != IGNORED).flatten(1).sum(1).clamp_min(1)

    def scorer(self) -> Scorer:
        """Count pixels by class and predicted class."""
        return Scorer(partial(_PixelTally, self.names), self.losses)

    @property
    def allowed(self) -> str:
        """Class numbers, or none."""
        return f"0 to {self.outputs - 1}, or {IGNORED} for no class"

    def is_allowed(self, array: NDArray) -> bool:
        """Whether all are classes, or none."""
        return bool(((array < self.outputs) | (array == IGNORED)).all())


class _PixelTally(Tally):
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._scorer = SegmentationScorer(len(names))

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self._scorer.add(outputs, targets.long())

    def score(self, loss: float) -> Score:
        scored = self._scorer.score()
        by_class = dict(zip(self._names, scored.iou_K.tolist(), strict=True))
        return Score(
            loss,
            scored.mean_iou,
            accuracy=scored.pixel_accuracy,
            by_class=by_class,
            confusion_KK=scored.confusion_KK.numpy(),
        )
