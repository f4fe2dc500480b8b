"""Masks as a model is trained on them: on its pixel grid, under the view of their image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from splitmodel.imagery import ImageryError, ImageSet
from splitmodel.preprocess import Preprocess

IGNORED = 255  # what data sets write where a pixel has no class


def prepared_masks(
    images: ImageSet,
    indices: Sequence[int] | NDArray[np.int64],
    preprocess: Preprocess,
    *,
    classes: int,
    ignore_index: int = IGNORED,
) -> Tensor:
    """Return the class of each pixel of the model's grid, int64 of shape (len(indices), height, width), or 255.

    A mask of another size is resized by taking the nearest pixel, so that no class comes about that was not there. Of a
    mask in floating point, NaN is no class.

    Args:
        images: A set with masks.
        indices: Which of them.
        preprocess: The model's; it gives the grid.
        classes: How many there are.
        ignore_index: The number that masks give a pixel of no class.

    Raises:
        ImageryError: A mask holds another number; its image is named.
    """
    ready = []
    for index in indices:
        mask = _whole(images.mask(int(index)), images.name(int(index)), ignore_index)
        wrong = mask[((mask < 0) | (mask >= classes)) & (mask != ignore_index)]
        if wrong.size:
            raise ImageryError(
                f"{images.name(int(index))}: its mask holds {wrong[0]}; allowed: 0 to {classes - 1}, or "
                f"{ignore_index} for no class (task.ignore_index)"
            )
        mask[mask == ignore_index] = IGNORED
        ready.append(_on_grid(mask, preprocess).long())
    return torch.stack(ready)


def _whole(mask: NDArray, name: str, ignore_index: int) -> NDArray[np.int64]:
    if np.issubdtype(mask.dtype, np.floating):
        mask = np.where(np.isnan(mask), ignore_index, mask)
        if (odd := mask[mask != np.round(mask)]).size:
            raise ImageryError(f"{name}: its mask holds {odd[0]:g}; allowed: whole numbers, the classes")
    return mask.astype(np.int64)


def prepared_rasters(
    images: ImageSet, indices: Sequence[int] | NDArray[np.int64], preprocess: Preprocess
) -> Tensor:
    """Return the number at each pixel of the model's grid, float32 of shape (len(indices), height, width).

    A raster of another size is resized by taking the nearest pixel, so that NaN, which is no number, does not spread.

    Raises:
        ImageryError: A raster holds an infinite number; its image is named.
    """
    ready = []
    for index in indices:
        raster = images.mask(int(index)).astype(np.float32)
        if np.isinf(raster).any():
            raise ImageryError(
                f"{images.name(int(index))}: its raster holds an infinite number; allowed: finite ones, or NaN for none"
            )
        ready.append(_on_grid(raster, preprocess))
    return torch.stack(ready)


def _on_grid(values_HW: NDArray, preprocess: Preprocess) -> Tensor:
    grid = torch.from_numpy(values_HW)[None, None].float()
    if grid.shape[-2:] != (preprocess.height, preprocess.width):
        grid = F.interpolate(grid, (preprocess.height, preprocess.width), mode="nearest-exact")
    return grid[0, 0]
