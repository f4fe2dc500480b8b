"""Labelled imagery: synthetic scenes, EuroSAT, a Parquet file or an image folder, as train and test sets.

An :class:`ImageSet` knows all labels but decodes only the images that are asked for, so that a satellite
which opens the whole set holds no more than its own share of the pixels.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from splitmodel.scenes import HELD_BACK_CLASSES, render, split_seed

EUROSAT_HUB_NAME = "blanchon/EuroSAT_RGB"
SYNTHETIC_TRAIN, SYNTHETIC_TEST = 960, 400
_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}


class ImageryError(ValueError):
    """What is wrong with the imagery: the file, what was found, what is allowed."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels.

    Attributes:
        labels: Class indices, int64 of shape (N,).
        classes: Names of the classes.
        read: Decodes one image to uint8 of shape (height, width, 3).
        names: What to call image i in an error.
    """

    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    read: Callable[[int], NDArray[np.uint8]]
    names: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decoded images, uint8 of shape (len(indices), height, width, 3).

        Raises:
            ImageryError: An image cannot be decoded, or the images differ in size.
        """
        images = [self._decoded(int(index)) for index in indices]
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            raise ImageryError(
                f"images differ in size: {sorted(shapes)}; allowed: one size for the whole set"
            )
        return np.stack(images) if images else np.empty((0, 1, 1, 3), np.uint8)

    def pixels_BCHW(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """As :meth:`pixels`, a uint8 tensor of shape (len(indices), 3, height, width)."""
        return to_BCHW(self.pixels(indices))

    def take(self, indices: NDArray[np.int64]) -> ImageSet:
        """The subset of these indices, in their order."""
        return ImageSet(
            labels=self.labels[indices],
            classes=self.classes,
            read=lambda i: self.read(int(indices[i])),
            names=lambda i: self.names(int(indices[i])),
        )

    def _decoded(self, index: int) -> NDArray[np.uint8]:
        try:
            return self.read(index)
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise ImageryError(f"{self.names(index)}: not readable as an image: {error}") from error


def to_BCHW(pixels_BHWC: NDArray[np.uint8]) -> Tensor:
    """Images with channels last as a uint8 tensor with channels first."""
    return torch.from_numpy(np.moveaxis(pixels_BHWC, -1, 1).copy())


class Imagery(NamedTuple):
    """A training set, which the satellites share out, and a test set, which only scores the result."""

    train: ImageSet
    test: ImageSet


def open_imagery(
    source: str, path: Path | None, *, seed: int, train_samples: int = 0, test_samples: int = 0
) -> Imagery:
    """Open a data source.

    Args:
        source: ``synthetic``, ``eurosat``, ``parquet`` or ``folder``.
        path: The file or folder; ``None`` for synthetic scenes and for EuroSAT from the hub.
        seed: Decides the synthetic scenes, and the split of a set that comes without one (80/20).
        train_samples: Cap on the training set, drawn evenly over the classes; 0 is no cap.
        test_samples: Cap on the test set.

    Raises:
        ImageryError: The source is unreadable, has no labels, or lacks a train or test image.
    """
    if source == "synthetic":
        return Imagery(
            _synthetic(seed, "train", train_samples or SYNTHETIC_TRAIN),
            _synthetic(seed, "test", test_samples or SYNTHETIC_TEST),
        )
    if path is None:
        if source != "eurosat":
            raise ImageryError(f'data.path: found "", but data.source = "{source}" needs a path')
        imagery = _from_hub(EUROSAT_HUB_NAME)
    elif source == "folder":
        imagery = _from_folder(path, seed)
    else:
        imagery = _from_parquet(path, seed)
    train = _capped(imagery.train, train_samples, seed)
    test = _capped(imagery.test, test_samples, seed)
    for name, images in (("train", train), ("test", test)):
        if not len(images):
            raise ImageryError(f"{path or EUROSAT_HUB_NAME}: holds no {name} image")
    return Imagery(train, test)


def _synthetic(seed: int, split: str, count: int) -> ImageSet:
    classes = HELD_BACK_CLASSES
    labels = np.arange(count, dtype=np.int64) % len(classes)

    def read(index: int) -> NDArray[np.uint8]:
        return render(classes[labels[index]], index // len(classes), seed=split_seed(seed, split))

    return ImageSet(labels, tuple(classes), read, lambda index: f"synthetic {split} scene {index}")


def _from_parquet(path: Path, seed: int) -> Imagery:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise ImageryError(f"{path}: holds no *.parquet file")
    blobs: list[Any] = []
    labels: list[int] = []
    splits: list[str | None] = []
    classes: tuple[str, ...] = ()
    for file in files:
        try:
            table = pq.read_table(file)
        except (OSError, ValueError) as error:
            raise ImageryError(f"{file}: not readable as Parquet: {error}") from error
        missing = {"image", "label"} - set(table.column_names)
        if missing:
            raise ImageryError(
                f"{file}: column {', '.join(sorted(missing))} is missing; found {', '.join(table.column_names)}; "
                "allowed: image (bytes, or a struct with bytes), label (int), and split (text, optional)"
            )
        blobs += [
            entry["bytes"] if isinstance(entry, dict) else entry for entry in table["image"].to_pylist()
        ]
        labels += table["label"].to_pylist()
        named = file.stem.split("-")[0] if path.is_dir() else None
        splits += table["split"].to_pylist() if "split" in table.column_names else [named] * len(table)
        classes = classes or _hub_class_names(table.schema.metadata or {})
    return _split(
        read=lambda i: _decode(io.BytesIO(blobs[i])),
        names=lambda i: f"{path}: row {i}",
        labels=_checked_labels(labels, path),
        classes=classes,
        splits=splits,
        seed=seed,
    )


def _from_folder(path: Path, seed: int) -> Imagery:
    if not path.is_dir():
        raise ImageryError(
            f"{path}: not a folder; allowed: CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"
        )
    parts = [part for part in ("train", "test") if (path / part).is_dir()] or [""]
    files = sorted(
        (file, part or None)
        for part in parts
        for file in (path / part).glob("*/*")
        if file.suffix.lower() in _SUFFIXES
    )
    if not files:
        raise ImageryError(
            f"{path}: holds no image; allowed: CLASS/IMAGE with {', '.join(sorted(_SUFFIXES))}"
        )
    classes = tuple(sorted({file.parent.name for file, _ in files}))
    return _split(
        read=lambda i: _decode(files[i][0]),
        names=lambda i: str(files[i][0]),
        labels=np.array([classes.index(file.parent.name) for file, _ in files], np.int64),
        classes=classes,
        splits=[part for _, part in files],
        seed=seed,
    )


def _from_hub(name: str) -> Imagery:
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
            f"{name}: cannot be had from the hub ({error}); name a local copy with data.path"
        ) from error
    return Imagery(_hub_split(loaded["train"], f"{name} train"), _hub_split(loaded["test"], f"{name} test"))


def _hub_split(split: Any, name: str) -> ImageSet:
    return ImageSet(
        labels=np.asarray(split["label"], np.int64),
        classes=tuple(split.features["label"].names),
        read=lambda i: np.asarray(split[i]["image"].convert("RGB")),
        names=lambda i: f"{name}: row {i}",
    )


def _split(
    *,
    read: Callable[[int], NDArray[np.uint8]],
    names: Callable[[int], str],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    splits: Sequence[str | None],
    seed: int,
) -> Imagery:
    named = np.array([split or "" for split in splits])
    if (named == "train").any():
        train, test = np.flatnonzero(named == "train"), np.flatnonzero(named == "test")
    else:
        order = np.random.default_rng([seed, len(labels)]).permutation(len(labels))
        train, test = np.sort(order[len(order) // 5 :]), np.sort(order[: len(order) // 5])
    names_of_classes = classes or tuple(str(label) for label in range(int(labels.max()) + 1))
    if labels.max() >= len(names_of_classes):
        raise ImageryError(
            f"{names(0)}: label {labels.max()} has no name among {len(names_of_classes)} classes"
        )
    whole = ImageSet(labels, names_of_classes, read, names)
    return Imagery(whole.take(train), whole.take(test))


def _checked_labels(labels: Sequence[Any], path: Path) -> NDArray[np.int64]:
    for row, label in enumerate(labels):
        if not isinstance(label, int) or label < 0:
            raise ImageryError(f"{path}: row {row}: label {label!r}; allowed: an integer from 0")
    if not labels:
        raise ImageryError(f"{path}: holds no image")
    return np.array(labels, np.int64)


def _hub_class_names(metadata: dict[bytes, bytes]) -> tuple[str, ...]:
    """Class names as Hugging Face ``datasets`` writes them into Parquet metadata."""
    try:
        return tuple(json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"])
    except (KeyError, ValueError, TypeError):
        return ()


def _decode(file: Any) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def _capped(images: ImageSet, cap: int, seed: int) -> ImageSet:
    if not cap or len(images) <= cap:
        return images
    rng = np.random.default_rng([seed, cap])
    by_class = [rng.permutation(np.flatnonzero(images.labels == c)) for c in range(len(images.classes))]
    turns = [
        index for turn in range(max(map(len, by_class))) for c in by_class for index in c[turn : turn + 1]
    ]
    return images.take(np.sort(np.array(turns[:cap], np.int64)))
