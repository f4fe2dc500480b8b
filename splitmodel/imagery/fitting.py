"""A model's preprocessing for the images at hand: their no-data value, and statistics that were computed of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.image_set import ImageSet
from splitmodel.preprocess import Preprocess

_BYTES = 1 / 255


def fitted(
    preprocess: Preprocess, images: ImageSet, *, mean: Sequence[float] = (), deviation: Sequence[float] = ()
) -> Preprocess:
    """Return the preprocessing for images in the model's bands.

    Args:
        preprocess: The model's own.
        images: They say which value stands for no measurement.
        mean, deviation: Of the raw values of each band, where they were computed; empty keeps the model's.

    Raises:
        ImageryError: The model normalises bytes, and the images are none.
    """
    known = replace(preprocess, no_data=images.no_data)
    if mean:
        return replace(known, mean=tuple(mean), std=tuple(deviation), rescale_factor=1.0)
    require_statistics(preprocess, images)
    return known


def require_statistics(preprocess: Preprocess, images: ImageSet) -> None:
    """Raise ImageryError where the model's mean and deviation are those of bytes, and the images are none."""
    dtype = images.source.format.dtype
    if dtype != np.uint8 and math.isclose(preprocess.rescale_factor, _BYTES, rel_tol=1e-3):
        raise ImageryError(
            f"{images.source.where}: found {dtype} values, but mean and deviation of this model are those of 8-bit "
            'pictures; allowed: data.statistics = "computed", or a model whose preprocessor_config.json is for such '
            "values"
        )
