"""How well masks are predicted: intersection over union by class, of all images and of each sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splitmodel.tasks.masks import IGNORED


@dataclass(frozen=True, eq=False)
class SegmentationScore:
    """Scores computed from a confusion matrix.

    Attributes:
        confusion_KK: Pixels by true class (row) and predicted class (column), int64.
    """

    confusion_KK: Tensor

    @property
    def iou_K(self) -> Tensor:
        """Intersection over union of each class; NaN for one that neither is there nor was predicted."""
        confusion = self.confusion_KK.double()
        hits = confusion.diagonal()
        return hits / (confusion.sum(0) + confusion.sum(1) - hits)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that are there or were predicted; NaN where no pixel was scored."""
        return float(self.iou_K.nanmean())

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels whose class was predicted."""
        return float(self.confusion_KK.diagonal().sum() / self.confusion_KK.sum())


class SegmentationScorer:
    """Counts predictions of batches, altogether and by group (the sensor).

    Args:
        classes: How many there are.
        ignored: Pixels of this number are not counted.
    """

    def __init__(self, classes: int, *, ignored: int = IGNORED) -> None:
        self._classes, self._ignored = classes, ignored
        self._groups: dict[str, Tensor] = {}  # confusion matrices

    def add(self, logits_BKHW: Tensor, masks_BHW: Tensor, groups: Sequence[str] | None = None) -> None:
        """Count a batch.

        Args:
            logits_BKHW: A score of each class at each pixel.
            masks_BHW: True classes.
            groups: Group of each image.

        Raises:
            ValueError: Logits are not those of these masks and so many classes.
        """
        images, height, width = masks_BHW.shape
        if logits_BKHW.shape != (images, self._classes, height, width):
            raise ValueError(
                f"logits must be of shape ({images}, {self._classes}, {height}, {width}); "
                f"found {tuple(logits_BKHW.shape)}"
            )
        predicted = logits_BKHW.argmax(1)
        names = list(groups) if groups is not None else [""] * images
        for name in dict.fromkeys(names):
            rows = torch.tensor([other == name for other in names], device=masks_BHW.device)
            counted = self._counted(predicted[rows], masks_BHW[rows])
            self._groups[name] = counted + self._groups.get(name, 0)

    def _counted(self, predicted: Tensor, masks: Tensor) -> Tensor:
        """Pixels by true and predicted class. Counted here, because importing torchmetrics takes seconds."""
        known = masks != self._ignored
        pairs = masks[known].long() * self._classes + predicted[known]
        return pairs.bincount(minlength=self._classes**2).view(self._classes, self._classes).cpu()

    def score(self) -> SegmentationScore:
        """Return the score of all that was counted."""
        empty = torch.zeros(self._classes, self._classes, dtype=torch.int64)
        return SegmentationScore(sum((score.confusion_KK for score in self.by_group().values()), empty))

    def by_group(self) -> dict[str, SegmentationScore]:
        """Return the score of each group."""
        return {name: SegmentationScore(confusion) for name, confusion in sorted(self._groups.items())}
