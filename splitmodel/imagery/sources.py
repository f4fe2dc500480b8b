"""From the ``[data]`` table of a scenario to a train and a test set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.image_set import Imagery, ImageSet, ImageSource
from splitmodel.imagery.layouts.folder import open_folder
from splitmodel.imagery.layouts.hub import open_hub
from splitmodel.imagery.layouts.parquet import open_parquet
from splitmodel.imagery.layouts.subsets import TEST, TRAIN, VALIDATION, divide
from splitmodel.imagery.rasters import RGB, Raster
from splitmodel.imagery.reading import Reading
from splitmodel.imagery.targets import TargetKind, classes, masks
from splitmodel.synthetic.cloud_scenes import BANDS, CLOUD_CLASSES, SENSORS, Scenes, render_clouds
from splitmodel.synthetic.scenes import HELD_BACK_CLASSES, render, split_seed

EUROSAT_HUB_NAME = "blanchon/EuroSAT_RGB"
SYNTHETIC_TRAIN, SYNTHETIC_TEST = 960, 400
CLOUDS_TRAIN, CLOUDS_TEST = 240, 60


def open_imagery(
    source: str,
    path: Path | None,
    *,
    seed: int,
    train_samples: int = 0,
    test_samples: int = 0,
    reading: Reading | None = None,
    own: Callable[..., ImageSource] | None = None,
) -> Imagery:
    """Open a data source.

    Args:
        source: ``synthetic``, ``synthetic-clouds``, ``eurosat``, ``parquet``, ``folder``, or the name of ``own``.
        path: The file or folder; ``None`` for synthetic scenes and for EuroSAT from the hub.
        seed: Decides the synthetic scenes, and the split of a set that comes without one (80/20).
        train_samples: Cap on the training set, drawn evenly over the classes; 0 is no cap.
        test_samples: Cap on the test set.
        reading: How files are read.
        own: Opens a source of another package: ``own(path, seed)`` returns all images, which are divided and capped
            here.

    Raises:
        ImageryError: The source is unreadable, has no labels, or lacks a train or test image; or another package's
            fails, or returns what is none.
    """
    reading = reading or Reading()
    if source == "synthetic-clouds":
        return Imagery(
            _synthetic_clouds(seed, "train", train_samples or CLOUDS_TRAIN, reading),
            _synthetic_clouds(seed, "test", test_samples or CLOUDS_TEST, reading),
        )
    if source == "synthetic":
        return Imagery(
            _synthetic(seed, "train", train_samples or SYNTHETIC_TRAIN, reading),
            _synthetic(seed, "test", test_samples or SYNTHETIC_TEST, reading),
        )
    if own is not None:
        images = replace(_images_of(own, source, path, seed), reading=reading)
    elif path is None:
        if source != "eurosat":
            raise ImageryError(f'data.path: found "", but data.source = "{source}" needs a path')
        images = open_hub(EUROSAT_HUB_NAME, reading)
    elif source == "folder":
        images = open_folder(path, reading)
    else:
        images = open_parquet(path, reading)
    train_rows, test_rows = divide(images.subsets, seed, images.where)
    train = _capped(ImageSet(images, train_rows), train_samples, seed)
    test = _capped(ImageSet(images, test_rows), test_samples, seed)
    for name, part in (("train", train), ("test", test)):
        if not len(part):
            raise ImageryError(f"{images.where}: holds no {name} image")
    return Imagery(train, test)


def _images_of(own: Callable[..., ImageSource], name: str, path: Path | None, seed: int) -> ImageSource:
    """The images of another package's source, checked."""
    source = f"data.source {name!r}"
    try:
        images = own(path, seed)
    except ImageryError:
        raise
    except Exception as error:  # whatever a package's code does
        raise ImageryError(f"{source}: failed: {type(error).__name__}: {error}") from error
    if not isinstance(images, ImageSource):
        raise ImageryError(
            f"{source}: returned a {type(images).__name__}; allowed: a splitmodel.imagery.ImageSource"
        )
    labels, subsets = len(images.targets), images.subsets
    columns = {column: len(values) for column, values in images.columns.items()}
    if not labels or {labels, len(subsets), *columns.values()} != {labels}:
        counted = "".join(f", {count} values of {column}" for column, count in columns.items())
        raise ImageryError(
            f"{source}: gave {labels} labels, {len(subsets)} subsets{counted}; "
            "allowed: one of each for every image, and an image at least"
        )
    wrong = [subset for subset in subsets if subset not in (None, TRAIN, VALIDATION, TEST)]
    if wrong:
        raise ImageryError(
            f"{source}: found the subset {wrong[0]!r}; allowed: {TRAIN}, {VALIDATION}, {TEST}, None"
        )
    return images


def _synthetic(seed: int, subset: str, count: int, reading: Reading) -> ImageSet:
    names = HELD_BACK_CLASSES
    labels = np.arange(count, dtype=np.int64) % len(names)
    of_subset = split_seed(seed, subset)

    def decode(index: int) -> Raster:
        return Raster(_scene(names[labels[index]], index // len(names), of_subset).copy(), RGB)

    images = ImageSource(
        where="synthetic scenes",
        decode=decode,
        name=lambda index: f"synthetic {subset} scene {index}",
        targets=classes(labels, tuple(names)),
        subsets=[subset] * count,
        reading=reading,
    )
    return ImageSet(images, np.arange(count))


def _synthetic_clouds(seed: int, subset: str, count: int, reading: Reading) -> ImageSet:
    of_subset = split_seed(seed, subset)
    images = ImageSource(
        where="synthetic scenes with clouds",
        decode=lambda index: Raster(_cloud_scene(index, of_subset).pixels[0].copy(), BANDS),
        name=lambda index: f"synthetic {subset} scene {index}",
        targets=replace(
            masks(count, lambda index: _cloud_scene(index, of_subset).clouds[0].copy()), names=CLOUD_CLASSES
        ),
        subsets=[subset] * count,
        columns={"sensor": np.array([SENSORS[index % len(SENSORS)] for index in range(count)])},
        reading=reading,
    )
    return ImageSet(images, np.arange(count))


# Drawing a scene takes longer than a step of a small model on it, and each epoch asks for it again: more than the
# default sets are kept, in 13 MB here and 15 MB below.
@lru_cache(maxsize=4096)
def _scene(name: str, index: int, seed: int) -> NDArray[np.uint8]:
    return render(name, index, seed=seed)


@lru_cache(maxsize=1024)
def _cloud_scene(index: int, seed: int) -> Scenes:
    return render_clouds([index], seed=seed)


def _capped(images: ImageSet, cap: int, seed: int) -> ImageSet:
    if not cap or len(images) <= cap:
        return images
    rng = np.random.default_rng([seed, cap])
    if images.targets.kind is not TargetKind.CLASS:
        return images.take(np.sort(rng.permutation(len(images))[:cap]))
    by_class = [rng.permutation(np.flatnonzero(images.labels == c)) for c in range(len(images.classes))]
    turns = [
        index for turn in range(max(map(len, by_class))) for c in by_class for index in c[turn : turn + 1]
    ]
    return images.take(np.sort(np.array(turns[:cap], np.int64)))
