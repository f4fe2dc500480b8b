"""Images and grids under a view: turned and mirrored."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def view(images_BCHW: Tensor, views_B: NDArray[np.int64]) -> Tensor:
    """Return each image under its view: number 0 to 3 turns it by quarters, 4 to 7 mirror it as well.

    Images that are not square keep their shape: they are turned by halves alone, so that 2 is as 0 and 3 as 1. Where
    all are to stay as they are, the tensor itself is returned.
    """
    if not views_B.any():
        return images_BCHW
    quarters = images_BCHW.shape[-1] == images_BCHW.shape[-2]
    result = torch.empty_like(images_BCHW)
    for number in np.unique(views_B):
        rows = torch.from_numpy(np.flatnonzero(views_B == number))
        result[rows] = turned(images_BCHW[rows], int(number), quarters=quarters)
    return result


def turned(grids: Tensor, number: int, *, quarters: bool) -> Tensor:
    """Grids, shape (…, rows, columns), under one view, see :func:`view`; without ``quarters``, by halves alone."""
    result = torch.rot90(grids, (1 if quarters else 2) * (number % 4), dims=(-2, -1))
    return result.flip(-1) if number >= 4 else result
