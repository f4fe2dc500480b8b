"""Which of a satellite's images a round trains on, where they come as it flies.

A satellite takes the images of its data in their order, and from the first again when it has taken all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ImageRange = tuple[int, int]  # the number of the first image as they come, from 0, and how many there are


def positions(images: ImageRange, count: int) -> NDArray[np.int64]:
    """Return the positions of images in a satellite's data, which has ``count``; in their order as they came.

    Raises:
        ValueError: An image would be there twice.
    """
    first, length = images
    if length > count:
        raise ValueError(f"images: found {length} in a round, allowed: {count}, those of the satellite")
    return np.arange(first, first + length, dtype=np.int64) % count
