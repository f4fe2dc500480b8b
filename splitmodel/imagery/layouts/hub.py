"""Data sets that the Hugging Face ``datasets`` library fetches (extra ``hub``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.image_set import ImageSource
from splitmodel.imagery.rasters import RGB, Raster
from splitmodel.imagery.reading import Reading
from splitmodel.imagery.targets import classes


def open_hub(name: str, reading: Reading) -> ImageSource:
    """Open the train and test subsets of a data set of RGB pictures with classes.

    Raises:
        ImageryError: The extra is not installed, or the hub cannot be reached.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ImageryError(
            f"{name}: reading from the hub needs the extra: pip install 'skysplit[hub]'; "
            "or name a local copy with data.path"
        ) from error
    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:  # the library raises what its network layer raises
        raise ImageryError(
            f"{name}: cannot be fetched from the hub ({error}); name a local copy with data.path"
        ) from error
    parts: list[tuple[str, Any]] = [(subset, loaded[subset]) for subset in ("train", "test")]
    rows = [(subset, part, row) for subset, part in parts for row in range(len(part))]
    return ImageSource(
        where=name,
        decode=lambda i: Raster(np.asarray(rows[i][1][rows[i][2]]["image"].convert("RGB")), RGB),
        name=lambda i: f"{name} {rows[i][0]}: row {rows[i][2]}",
        targets=classes(
            np.concatenate([np.asarray(part["label"], np.int64) for _, part in parts]),
            tuple(parts[0][1].features["label"].names),
        ),
        subsets=[subset for subset, _, _ in rows],
        reading=reading,
    )
