"""What the bands of images measure: mean and deviation, which satellites compute of their own images and merge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.image_set import ImageSet
from splitmodel.preprocess import Preprocess


@dataclass(frozen=True, eq=False)
class BandStatistics:
    """Count, mean and sum of squared differences from the mean of the measured values of each of C bands.

    They merge exactly (Chan, Golub, LeVeque 1979), in any order, up to the rounding of float64.

    Attributes:
        count: Measured values, shape (C,).
        mean: Shape (C,).
        squares: Sum of (value - mean)², shape (C,).
    """

    count: NDArray[np.float64]
    mean: NDArray[np.float64]
    _: KW_ONLY
    squares: NDArray[np.float64]

    @classmethod
    def none(cls, channels: int) -> BandStatistics:
        """Return the statistics of no image."""
        return cls(np.zeros(channels), np.zeros(channels), squares=np.zeros(channels))

    @classmethod
    def of(cls, image_HWC: NDArray, measured_HWC: NDArray[np.bool_] | None) -> BandStatistics:
        """Return the statistics of one image, of the values that were measured (``None``: all)."""
        values = image_HWC.reshape(-1, image_HWC.shape[-1]).astype(np.float64)
        if measured_HWC is None:
            mean = values.mean(0)
            return cls(
                np.full(values.shape[1], float(len(values))), mean, squares=((values - mean) ** 2).sum(0)
            )
        measured = measured_HWC.reshape(values.shape)
        count = measured.sum(0).astype(np.float64)
        values = np.where(measured, values, 0.0)
        mean = values.sum(0) / np.maximum(1, count)
        return cls(count, mean, squares=(np.where(measured, values - mean, 0.0) ** 2).sum(0))

    def merged(self, other: BandStatistics) -> BandStatistics:
        """Return the statistics of both sets of values together."""
        count = self.count + other.count
        share = other.count / np.maximum(1, count)
        step = other.mean - self.mean
        return BandStatistics(
            count,
            self.mean + step * share,
            squares=self.squares + other.squares + step**2 * self.count * share,
        )

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of each band, of all measured values (not of a sample of them)."""
        return np.sqrt(self.squares / np.maximum(1, self.count))

    def to_rows(self) -> list[float]:
        """Return counts, means and sums of squares one after the other, as a Flower record takes them."""
        return [*self.count.tolist(), *self.mean.tolist(), *self.squares.tolist()]

    @classmethod
    def from_rows(cls, rows: Sequence[float]) -> BandStatistics:
        """Read what :meth:`to_rows` wrote."""
        count, mean, squares = np.split(np.asarray(rows, np.float64), 3)
        return cls(count, mean, squares=squares)


@dataclass(frozen=True, eq=False)
class Survey:
    """Findings of a look at every image of a set.

    Attributes:
        bands: Statistics of the measured values.
        no_data: Share of all values that was not measured.
    """

    bands: BandStatistics
    no_data: float


def survey(images: ImageSet, preprocess: Preprocess, *, statistics: bool) -> Survey:
    """Decode every image of a set, which must be readable and of a size that the model takes.

    Args:
        images: In the model's bands.
        preprocess: The model's; it says whether images of another size are resized.
        statistics: Whether to compute them; otherwise all counts are 0.

    Raises:
        ImageryError: An image is damaged, has no measured value, or is of another size; it is named.
    """
    surveyed = BandStatistics.none(len(preprocess.mean))
    values, unknown = 0, 0
    for index in range(len(images)):
        image = images.image(index)
        if not preprocess.resize and image.shape[:2] != (preprocess.height, preprocess.width):
            raise ImageryError(
                f"{images.name(index)}: found {image.shape[1]}×{image.shape[0]} pixels; allowed: "
                f"{preprocess.width}×{preprocess.height}, this model's preprocessor does not resize"
            )
        measured = measured_of(image, images.no_data)
        values += image.size
        if measured is not None:
            unknown += image.size - int(measured.sum())
        if statistics:
            surveyed = surveyed.merged(BandStatistics.of(image, measured))
    return Survey(surveyed, unknown / max(1, values))


def measured_of(image: NDArray, no_data: float | None) -> NDArray[np.bool_] | None:
    """Return the mask of measured values, of the shape of the image, or ``None`` if all are measured."""
    if image.dtype.kind == "f":
        unknown = np.isnan(image)
    elif no_data is not None:
        unknown = image == no_data
    else:
        return None
    return ~unknown if unknown.any() else None


def merge(parts: Iterable[BandStatistics]) -> BandStatistics:
    """Return the statistics of all parts together.

    Raises:
        ImageryError: A band has no measured value, or always the same.
    """
    merged = reduce(BandStatistics.merged, parts)
    flat = np.flatnonzero(merged.deviation == 0.0)
    if len(flat):
        band = flat[0]
        totals = (
            f"the value {merged.mean[band]:g} in all pixels" if merged.count[band] else "no measured value"
        )
        raise ImageryError(
            f'data.statistics: found "computed", but band {band + 1} of those that the model takes has {totals}; '
            'allowed: bands that vary, or "model"'
        )
    return merged
