"""The protocol of a task: what images are labelled with, what an output is worth, how outputs are scored.

Shapes in names: B images, K outputs, H×W pixels of the model's grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.dense_heads import Decoder, PatchGrid
from splitmodel.heads import HeadMaker
from splitmodel.imagery import ImageSet
from splitmodel.imagery.views import view
from splitmodel.preprocess import Preprocess
from splitmodel.tasks.scores import Score, Scorer


class TaskKind(StrEnum):
    """The kinds, as ``task.kind`` names them."""

    CLASSIFICATION = "classification"
    MULTI_LABEL = "multi-label"
    REGRESSION = "regression"
    SEGMENTATION = "segmentation"
    PIXEL_REGRESSION = "pixel-regression"


DENSE_KINDS = (TaskKind.SEGMENTATION, TaskKind.PIXEL_REGRESSION)


@dataclass(frozen=True, eq=False)
class Task(ABC):
    """The task that a model is trained for.

    A batch's loss is the mean over its images of each image's own, so that the gradients of parts of a batch, weighted
    by their images, sum to those of the batch.

    Attributes:
        names: Of the outputs: classes, or numbers.
        decoder: Of the head; ``None`` where it answers for the whole image.
        head: What makes one that does, of another package; ``None`` for one linear layer.
        scaling: Mean and deviation of the targets over all satellites, for numbers; the head's outputs are in these
            units.
    """

    names: tuple[str, ...]
    decoder: Decoder | None = None
    _: KW_ONLY
    head: HeadMaker | None = None
    scaling: Scaling | None = None

    kind: ClassVar[TaskKind]
    score_name: ClassVar[str]  # higher is better
    target_dtype: ClassVar[np.dtype]  # as targets cross to a ground that trains by itself

    @property
    def outputs(self) -> int:
        """Return the number of outputs of the head, for an image or for each pixel."""
        return len(self.names)

    @property
    def is_dense(self) -> bool:
        """Whether the head answers at every pixel."""
        return self.kind in DENSE_KINDS

    @property
    def has_classes(self) -> bool:
        """Whether each image is of one class, which partitions and averages may go by."""
        return self.kind is TaskKind.CLASSIFICATION

    @property
    def needs_scaling(self) -> bool:
        """Whether satellites tell mean and deviation of their targets before training."""
        return False

    def scaled(self, scaling: Scaling | None) -> Self:
        """Return the task with targets that are scaled so."""
        return replace(self, scaling=scaling)

    @abstractmethod
    def targets(
        self, images: ImageSet, indices: Sequence[int] | NDArray[np.int64], preprocess: Preprocess
    ) -> Tensor:
        """Return the targets of images as they are, B rows.

        Raises:
            splitmodel.imagery.ImageryError: One is none that is allowed; its image is named.
        """

    @abstractmethod
    def target_shape(self, grid: PatchGrid) -> tuple[int, ...]:
        """Return the shape of one image's target."""

    def target_costs(self, grid: PatchGrid) -> dict[str, Any]:
        """Return what a :class:`splitmodel.costs.published.Profile` says of one image's target."""
        return {"target_shape": self.target_shape(grid), "target_dtype": self.target_dtype.name}

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each image, shape (B,)."""

    @abstractmethod
    def shares_right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return which share of each image's answers is right, shape (B,); NaN where there is no such thing."""

    @abstractmethod
    def scorer(self) -> Scorer:
        """Return what scores batches."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return self.losses(outputs, targets).mean()

    def moments(self, targets: Tensor) -> Moments | None:
        """Return what the ground needs of targets to scale them; ``None`` where they are not scaled."""
        return None

    def under_views(self, targets: Tensor, views_B: NDArray[np.int64]) -> Tensor:
        """Return targets under the views of their images.

        Args:
            targets: As :meth:`targets` gives them.
            views_B: Of each image, see :func:`splitmodel.imagery.views.view`.
        """
        return view(targets[:, None], views_B)[:, 0] if self.is_dense else targets

    def to_wire(self, targets: Tensor) -> NDArray:
        """Return targets as they cross."""
        return targets.numpy().astype(self.target_dtype)

    def require_on_wire(self, array: NDArray, grid: PatchGrid) -> None:
        """Raise ValueError where an array that has crossed holds no targets of this task."""
        shape = self.target_shape(grid)
        if array.dtype != self.target_dtype or array.shape[1:] != shape or not self.is_allowed(array):
            raise ValueError(
                f"targets as {array.dtype}{list(array.shape)}; allowed: {self.target_dtype}"
                f"[B{''.join(f', {size}' for size in shape)}], {self.allowed}"
            )

    @property
    @abstractmethod
    def allowed(self) -> str:
        """Describe the values that targets may have, for messages."""

    @abstractmethod
    def is_allowed(self, array: NDArray) -> bool:
        """Whether targets that have crossed have no other values."""


def mean_score(score: Score, weights: Mapping[str, int]) -> float:
    """Return the mean of a score's groups, weighted; NaN where none of them was scored."""
    scored = {name: weight for name, weight in weights.items() if weight and name in score.by_group}
    if not scored:
        return float("nan")
    return float(np.average([score.by_group[name] for name in scored], weights=list(scored.values())))
