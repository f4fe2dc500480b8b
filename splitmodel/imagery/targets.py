"""What images are labelled with: a class, several, numbers, or a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from splitmodel.imagery.errors import ImageryError


class TargetKind(StrEnum):
    """Kinds of label, as a message names them."""

    CLASS = "one class per image"
    MULTI_LABEL = "several classes per image"
    NUMBERS = "numbers per image"
    MASK = "segmentation masks"
    RASTER = "rasters of numbers"


@dataclass(frozen=True, eq=False)
class Targets:
    """The labels of N images.

    Attributes:
        kind: What they are.
        names: Names of the classes; empty for numbers and rasters, and for masks whose files do not name them.
        values: CLASS: class indices, int64 of shape (N,); MULTI_LABEL: 0 or 1, uint8 of shape (N, classes); NUMBERS:
            float64 of shape (N, numbers); MASK and RASTER: nothing, shape (N, 0).
        read_mask: Decodes the mask of image i, shape (height, width), whole numbers (MASK) or float32 (RASTER).
    """

    kind: TargetKind
    names: tuple[str, ...]
    _: KW_ONLY
    values: NDArray
    read_mask: Callable[[int], NDArray] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: NDArray[np.int64]) -> Targets:
        """Return the targets of these images, in their order."""
        read = self.read_mask
        return replace(
            self,
            values=self.values[indices],
            read_mask=None if read is None else lambda i: read(int(indices[i])),
        )

    def require_classes(self, where: str) -> None:
        """Raise ImageryError where the images are not of one class each."""
        if self.kind is not TargetKind.CLASS:
            raise ImageryError(
                f"{where}: {self.kind} were found; allowed: {TargetKind.CLASS} (folders CLASS/IMAGE, or a column of "
                "class numbers or names)"
            )


def classes(labels: NDArray[np.int64], names: tuple[str, ...]) -> Targets:
    """Return targets of one class per image."""
    return Targets(TargetKind.CLASS, names, values=labels)


def masks(count: int, read: Callable[[int], NDArray]) -> Targets:
    """Return targets that are masks; the first one tells whole numbers from floating point, if it is readable."""
    try:
        is_float = bool(count) and np.issubdtype(read(0).dtype, np.floating)
    except ImageryError:
        is_float = False  # it is named when it is asked for
    kind = TargetKind.RASTER if is_float else TargetKind.MASK
    return Targets(kind, (), values=np.zeros((count, 0)), read_mask=read)
