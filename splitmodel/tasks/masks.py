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
from splitmodel.training import view

IGNORED = 255  # what data sets write where a pixel has no class


def prepared_masks(
    images: ImageSet, indices: Sequence[int] | NDArray[np.int64], preprocess: Preprocess, *, classes: int
) -> Tensor:
    """Return the class of each pixel of the model's grid, int64 of shape (len(indices), height, width).

    A mask of another size is resized by taking the nearest pixel, so that no class comes about that was not there.

    Args:
        images: A set with masks.
        indices: Which of them.
        preprocess: The model's; it gives the grid.
        classes: How many there are; 255 is no class.

    Raises:
        ImageryError: A mask holds another number; its image is named.
    """
    ready = []
    for index in indices:
        mask = images.mask(int(index)).astype(np.int64)
        wrong = mask[((mask < 0) | (mask >= classes)) & (mask != IGNORED)]
        if wrong.size:
            raise ImageryError(
                f"{images.name(int(index))}: its mask holds {wrong[0]}; allowed: 0 to {classes - 1}, or "
                f"{IGNORED} for no class"
            )
        grid = torch.from_numpy(mask)[None, None].float()
        if grid.shape[-2:] != (preprocess.height, preprocess.width):
            grid = F.interpolate(grid, (preprocess.height, preprocess.width), mode="nearest-exact")
        ready.append(grid[0, 0].long())
    return torch.stack(ready)


def masks_under_views(masks_BHW: Tensor, views_B: NDArray[np.int64]) -> Tensor:
    """Return each mask under the view of its image; see :func:`splitmodel.training.view`."""
    return view(masks_BHW[:, None], views_B)[:, 0]
