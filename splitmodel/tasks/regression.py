"""Numbers of an image, and a number at every pixel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.dense_heads import PatchGrid
from splitmodel.imagery import ImageSet
from splitmodel.preprocess import Preprocess
from splitmodel.tasks.masks import prepared_rasters
from splitmodel.tasks.scores import Score, Scorer, Tally
from splitmodel.tasks.task import Task, TaskKind


@dataclass(frozen=True, eq=False)
class _Numbers(Task):
    """Numbers, which outputs give in units of their deviation; mean squared error, R² and the error in their own."""

    score_name = "R²"
    target_dtype = np.dtype(np.float32)

    @property
    def needs_scaling(self) -> bool:
        """Numbers are."""
        return True

    def shares_right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """No number is right or wrong."""
        return torch.full((len(targets),), torch.nan)

    def scorer(self) -> Scorer:
        """Score numbers in the targets' own units."""
        return Scorer(partial(_NumberTally, self), self.losses)

    @abstractmethod
    def pairs(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions and targets that count, in the targets' own units, both of shape (N, K)."""

    @property
    def _units(self) -> Scaling:
        """Before satellites have told, numbers are as they are."""
        return self.scaling or Scaling(torch.zeros(self.outputs), torch.ones(self.outputs))


@dataclass(frozen=True, eq=False)
class Regression(_Numbers):
    """Numbers of an image."""

    kind = TaskKind.REGRESSION

    def targets(
        self, images: ImageSet, indices: Sequence[int] | NDArray[np.int64], preprocess: Preprocess
    ) -> Tensor:
        """Return the numbers, shape (B, K)."""
        return torch.from_numpy(images.targets.values[np.asarray(indices)].astype(np.float32))

    def target_shape(self, grid: PatchGrid) -> tuple[int, ...]:
        """The numbers."""
        return (self.outputs,)

    def moments(self, targets: Tensor) -> Moments:
        """Moments of the targets."""
        return Moments.of(targets)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error, mean over the numbers."""
        return ((outputs - self._units.standardise(targets)) ** 2).mean(1)

    def pairs(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """All of them."""
        return self._units.restore(outputs), targets

    @property
    def allowed(self) -> str:
        """Any number."""
        return "finite"

    def is_allowed(self, array: NDArray) -> bool:
        """Whether all are finite."""
        return bool(np.isfinite(array).all())


@dataclass(frozen=True, eq=False)
class PixelRegression(_Numbers):
    """A number at every pixel; where none was measured (NaN), nothing counts."""

    kind = TaskKind.PIXEL_REGRESSION

    def targets(
        self, images: ImageSet, indices: Sequence[int] | NDArray[np.int64], preprocess: Preprocess
    ) -> Tensor:
        """Return the rasters on the model's grid, float32 of shape (B, H, W)."""
        return prepared_rasters(images, indices, preprocess)

    def target_shape(self, grid: PatchGrid) -> tuple[int, ...]:
        """The pixels of an image."""
        return grid.height, grid.width

    def moments(self, targets: Tensor) -> Moments:
        """Moments of all pixels that count."""
        return Moments.of(targets[~targets.isnan()][:, None])

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error, mean over the pixels that count; 0 where none does."""
        units = self._units
        known = ~targets.isnan()
        wanted = (targets.nan_to_num() - units.mean_D) / units.deviation_D
        squared = (outputs[:, 0] - wanted) ** 2 * known
        return squared.flatten(1).sum(1) / known.flatten(1).sum(1).clamp_min(1)

    def pairs(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Those of pixels that count."""
        known = ~targets.isnan()
        return self._units.restore(outputs[:, 0][known][:, None]), targets[known][:, None]

    @property
    def allowed(self) -> str:
        """Any number, or none."""
        return "finite, or NaN for none"

    def is_allowed(self, array: NDArray) -> bool:
        """Whether none is infinite."""
        return not bool(np.isinf(array).any())


class _NumberTally(Tally):
    def __init__(self, task: _Numbers) -> None:
        # Imported by who scores: it takes seconds, and satellites only train.
        from torchmetrics import MeanSquaredError, R2Score

        self._task = task
        self._squares = MeanSquaredError(squared=False, num_outputs=task.outputs)
        self._explained = R2Score(multioutput="raw_values")
        self._count = 0

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        predicted, wanted = self._task.pairs(outputs, targets)
        if not len(wanted):
            return
        self._count += len(wanted)
        is_single = self._task.outputs == 1
        self._squares.update(
            predicted[:, 0] if is_single else predicted, wanted[:, 0] if is_single else wanted
        )
        # Sums of squares of large numbers lose their digits: around the mean of all satellites they do not.
        mean_D = self._task.scaling.mean_D if self._task.scaling else torch.zeros(self._task.outputs)
        self._explained.update((predicted - mean_D).double(), (wanted - mean_D).double())

    def score(self, loss: float) -> Score:
        """R² needs two numbers or more."""
        names = self._task.names
        if self._count < 2:
            return Score(loss, float("nan"))
        explained_K = torch.atleast_1d(self._explained.compute()).float()
        errors_K = torch.atleast_1d(self._squares.compute())
        by_class = dict(zip(names, explained_K.tolist(), strict=True)) if len(names) > 1 else {}
        figures = {
            "RMSE" if len(names) == 1 else f"RMSE of {name}": float(error)
            for name, error in zip(names, errors_K, strict=True)
        }
        return Score(loss, float(explained_K.mean()), accuracy=None, by_class=by_class, figures=figures)
