"""What a model reaches on images that only score it: one figure, and what it is made of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Score:
    """The score of a model on a set of images.

    Attributes:
        loss: Mean loss of the images.
        value: The task's score, of which more is better.
        accuracy: Share of right answers: of images, labels or pixels; ``None`` where answers are numbers.
        by_class: The same kind of score by class, or by number.
        by_group: The task's score by group of images: by sensor.
        figures: Other figures by name, for example an error in the targets' own units.
        confusion_KK: Images or pixels by true class (row) and predicted class (column); ``None`` without classes.
    """

    loss: float
    value: float
    _: KW_ONLY
    accuracy: float | None = None
    by_class: Mapping[str, float] = field(default_factory=dict)
    by_group: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    confusion_KK: NDArray[np.int64] | None = None

    def accuracy_for(self, labels_K: Sequence[int]) -> float:
        """Return the accuracy where classes are seen this often, as by a satellite; NaN where none of them was scored.

        Raises:
            ValueError: The images are not of one class each.
        """
        if self.confusion_KK is None or len(labels_K) != len(self.confusion_KK):
            raise ValueError("only images of one class each have an accuracy by class")
        images_K = self.confusion_KK.sum(axis=1)
        weights = np.where(images_K, labels_K, 0)
        if not weights.any():
            return math.nan
        return float(np.average(self.confusion_KK.diagonal() / np.maximum(1, images_K), weights=weights))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; figures that are not numbers, as of a class that is nowhere, are ``None``."""
        return {
            "loss": _plain(self.loss),
            "value": _plain(self.value),
            "accuracy": _plain(self.accuracy),
            "by_class": {name: _plain(value) for name, value in self.by_class.items()},
            "by_group": {name: _plain(value) for name, value in self.by_group.items()},
            "figures": {name: _plain(value) for name, value in self.figures.items()},
            "confusion": None if self.confusion_KK is None else self.confusion_KK.tolist(),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        confusion = plain["confusion"]
        return cls(
            loss=_number(plain["loss"]),
            value=_number(plain["value"]),
            accuracy=plain["accuracy"],
            by_class={name: _number(value) for name, value in plain["by_class"].items()},
            by_group={name: _number(value) for name, value in plain["by_group"].items()},
            figures={name: _number(value) for name, value in plain["figures"].items()},
            confusion_KK=None if confusion is None else np.array(confusion, np.int64),
        )


def _plain(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


class Tally(ABC):
    """Counts outputs and targets of one group of images."""

    @abstractmethod
    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch."""

    @abstractmethod
    def score(self, loss: float) -> Score:
        """Return the score of what was counted, without groups."""


class Scorer:
    """Scores batches, all together and by group.

    Args:
        tally: Makes an empty tally.
        losses: The task's loss of each image.
    """

    def __init__(self, tally: Callable[[], Tally], losses: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._tally, self._losses = tally, losses
        self._all = tally()
        self._groups: dict[str, Tally] = {}
        self._loss_sum, self._images = 0.0, 0

    @torch.no_grad()
    def add(self, outputs: Tensor, targets: Tensor, groups: Sequence[str] | None = None) -> None:
        """Count a batch.

        Args:
            outputs: Of the head.
            targets: Of the same images.
            groups: Group of each image; ``None`` where there are none.
        """
        self._loss_sum += float(self._losses(outputs, targets).sum())
        self._images += len(targets)
        self._all.add(outputs, targets)
        names = np.array(groups if groups is not None else [], dtype=str)
        for name in np.unique(names):
            rows = torch.from_numpy(np.flatnonzero(names == name))
            self._groups.setdefault(str(name), self._tally()).add(outputs[rows], targets[rows])

    def score(self) -> Score:
        """Return the score of all that was counted."""
        whole = self._all.score(self._loss_sum / max(1, self._images))
        by_group = {name: tally.score(0.0).value for name, tally in sorted(self._groups.items())}
        return Score(
            whole.loss,
            whole.value,
            accuracy=whole.accuracy,
            by_class=whole.by_class,
            by_group=by_group,
            figures=whole.figures,
            confusion_KK=whole.confusion_KK,
        )
