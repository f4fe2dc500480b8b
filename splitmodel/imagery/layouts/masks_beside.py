"""Which mask belongs to which image of a folder."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.layouts.subsets import composed
from splitmodel.imagery.reading import Reading

IMAGE_FOLDERS = frozenset({"images", "image", "img", "imgs"})
MASK_FOLDERS = frozenset({"masks", "mask", "labels", "label", "annotations", "annotation", "gt"})


def is_in(folders: frozenset[str], parts: Sequence[str]) -> bool:
    """Whether one of the folders on the way to a file is called so, in upper or lower case."""
    return any(part.casefold() in folders for part in parts)


def pair_masks(path: Path, files: Sequence[Path], reading: Reading) -> list[tuple[Path, Path]]:
    """Return images with their masks, sorted.

    An image and its mask lie in the same place below ``images/`` and ``masks/``, or in one folder; their names differ
    by suffix, or as ``data.image_pattern`` and ``data.mask_pattern`` say: what the ``*`` of each stands for pairs them.

    Raises:
        ImageryError: An image has no mask or several, or a mask no image.
    """
    patterns = {
        "data.image_pattern": reading.image_pattern or "*",
        "data.mask_pattern": reading.mask_pattern or "*",
    }
    for option, pattern in patterns.items():
        if pattern.count("*") != 1:
            raise ImageryError(
                f"{option}: found {pattern!r}; allowed: a file name with one *, for example *_mask.tif"
            )
    is_apart = any(is_in(MASK_FOLDERS, file.relative_to(path).parts[:-1]) for file in files)
    if not is_apart and patterns["data.image_pattern"] == patterns["data.mask_pattern"]:
        raise ImageryError(
            f"{path}: images and masks lie in one folder; allowed: patterns that tell them apart"
        )
    images: dict[tuple[str, ...], Path] = {}
    masks: dict[tuple[str, ...], Path] = {}
    for file in files:
        parts = file.relative_to(path).parts[:-1]
        place = tuple(composed(part) for part in parts if part.casefold() not in IMAGE_FOLDERS | MASK_FOLDERS)
        mask_stem = (
            _stem(file, patterns["data.mask_pattern"]) if not is_apart or is_in(MASK_FOLDERS, parts) else None
        )
        image_stem = (
            _stem(file, patterns["data.image_pattern"])
            if not is_apart or is_in(IMAGE_FOLDERS, parts)
            else None
        )
        if not is_apart and mask_stem is not None:
            image_stem = None  # what is a mask by its pattern is no image, whatever * stands for
        for stem, kept, what in ((image_stem, images, "images"), (mask_stem, masks, "masks")):
            if stem is None:
                continue
            key = (*place, composed(stem))
            if key in kept:
                raise ImageryError(
                    f"{file}: {kept[key].name} is of the same name; allowed: one of the {what} a name"
                )
            kept[key] = file
    for key, file in images.items():
        if key not in masks:
            raise ImageryError(
                f"{file}: has no mask; allowed: one of the same name below masks/, or as data.image_pattern and "
                "data.mask_pattern say"
            )
    for key, file in masks.items():
        if key not in images:
            raise ImageryError(
                f"{file}: is the mask of no image; allowed: one of the same name below images/"
            )
    if not images:
        raise ImageryError(f"{path}: holds no image that fits {patterns['data.image_pattern']!r}")
    return sorted((file, masks[key]) for key, file in images.items())


def _stem(file: Path, pattern: str) -> str | None:
    """What the ``*`` of a pattern stands for in a file's name; a pattern of ``*`` alone leaves out the suffix."""
    if pattern == "*":
        return file.stem
    before, after = (re.escape(part) for part in pattern.split("*"))
    matched = re.fullmatch(f"{before}(.*){after}", file.name)
    if matched is None and fnmatch.fnmatch(file.stem, pattern):  # a pattern without suffix
        matched = re.fullmatch(f"{before}(.*){after}", file.stem)
    return matched.group(1) if matched else None
