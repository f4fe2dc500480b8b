"""Labelled imagery in folders: a folder a class, images beside masks, or images that a manifest lists."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.image_set import ImageSource
from splitmodel.imagery.layouts.manifest import ImageTable, folder_columns, open_manifest_rows, read_manifest
from splitmodel.imagery.layouts.manifest_files import SUFFIXES as MANIFEST_SUFFIXES
from splitmodel.imagery.layouts.masks_beside import IMAGE_FOLDERS, MASK_FOLDERS, is_in, pair_masks
from splitmodel.imagery.layouts.subsets import composed, subset_called
from splitmodel.imagery.rasters import SUFFIXES, RasterError, read_mask, read_raster
from splitmodel.imagery.reading import Reading
from splitmodel.imagery.targets import Targets, classes, masks

_ALLOWED = (
    "CLASS/IMAGE, SUBSET/CLASS/IMAGE, images/ beside masks/, or a manifest.csv that lists the images; images are "
    + ", ".join(sorted(SUFFIXES))
)


def open_folder(path: Path, reading: Reading) -> ImageSource:
    """Open a folder of images, or the manifest that lists them.

    Raises:
        ImageryError: It holds no image, or is laid out in a way that cannot be told; what is allowed is listed.
    """
    if path.is_file() and path.suffix.lower() in MANIFEST_SUFFIXES:
        return open_manifest_rows(read_manifest(path), reading)
    if not path.is_dir():
        raise ImageryError(f"{path}: not a folder; allowed: {_ALLOWED}")
    manifest = read_manifest(path)
    levels = _sensor_levels(reading)
    files = images_below(path)
    if _is_dense(path, files, reading, levels):
        return _of_masks(path, files, reading, manifest)
    if manifest is not None and (manifest.has_labels(reading) or not _class_files(path, files, levels)):
        return open_manifest_rows(manifest, reading)
    return _of_classes(path, files, reading, manifest, levels)


def images_below(path: Path) -> list[Path]:
    """Return all files that are images by their suffix, sorted; hidden folders and files are left out.

    Folders that are links are followed, each place once.
    """
    images: list[Path] = []
    been: set[str] = set()
    for folder, folders, files in os.walk(path, followlinks=True):
        place = os.path.realpath(folder)
        if place in been:
            folders.clear()
            continue
        been.add(place)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        images += [
            Path(folder, name)
            for name in files
            if Path(name).suffix.lower() in SUFFIXES and not _is_hidden(name)
        ]
    return sorted(images)


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _sensor_levels(reading: Reading) -> frozenset[int]:
    """Levels of folders that name sensor or place, from 0, and so no class and no subset."""
    return frozenset(
        int(name.removeprefix("folder")) - 1
        for name in reading.row_columns
        if name.startswith("folder") and name.removeprefix("folder").isdigit()
    )


def _parts(file: Path, path: Path, levels: frozenset[int]) -> tuple[str, ...]:
    """Folders on the way to a file, without those that name sensor or place."""
    parts = file.relative_to(path).parts[:-1]
    return tuple(composed(part) for level, part in enumerate(parts) if level not in levels)


def _class_files(
    path: Path, files: Sequence[Path], levels: frozenset[int]
) -> list[tuple[Path, str | None, str]]:
    """Images with their subset and class."""
    ways = {file: _parts(file, path, levels) for file in files}
    nested = {way[0] for way in ways.values() if len(way) == 2 and subset_called(way[0])}
    flat = {way[0] for way in ways.values() if len(way) == 1}
    if not nested:
        return [(file, None, way[0]) for file, way in ways.items() if len(way) == 1]
    if flat:
        raise ImageryError(
            f"{path}: holds classes in the subset{'s' if len(nested) > 1 else ''} {', '.join(sorted(nested))} and "
            f"images right in {', '.join(sorted(flat))}; allowed: all images in SUBSET/CLASS/, or all in CLASS/"
        )
    strangers = sorted({way[0] for way in ways.values() if len(way) == 2} - nested)
    if strangers:
        raise ImageryError(
            f"{path}: holds the subset{'s' if len(nested) > 1 else ''} {', '.join(sorted(nested))} and beside them "
            f"{', '.join(strangers)}, which is none; allowed: train, val, test, by these words or longer ones"
        )
    return [(file, subset_called(way[0]), way[1]) for file, way in ways.items() if len(way) == 2]


def _of_classes(
    path: Path, files: Sequence[Path], reading: Reading, manifest: ImageTable | None, levels: frozenset[int]
) -> ImageSource:
    entries = _class_files(path, files, levels)
    if not entries:
        deeper = f"; found images in {files[0].parent.relative_to(path)}" if files else ""
        raise ImageryError(f"{path}: holds no image{deeper}; allowed: {_ALLOWED}")
    names = tuple(sorted({name for _, _, name in entries}))
    position = {name: index for index, name in enumerate(names)}
    labels = np.array([position[name] for _, _, name in entries], np.int64)
    subsets = [subset for _, subset, _ in entries]
    return _source(path, [file for file, _, _ in entries], classes(labels, names), subsets, reading, manifest)


def _is_dense(path: Path, files: Iterable[Path], reading: Reading, levels: frozenset[int]) -> bool:
    if reading.mask_pattern or reading.image_pattern:
        return True
    ways = [_parts(file, path, levels) for file in files]
    roots = {way[:depth] for way in ways for depth in (1, 2) if len(way) >= depth}
    beside = {root[:-1]: {other[-1] for other in roots if other[:-1] == root[:-1]} for root in roots}
    return any(
        is_in(IMAGE_FOLDERS, [*names]) and is_in(MASK_FOLDERS, [*names]) and _only_subsets(above)
        for above, names in beside.items()
    )


def _only_subsets(parts: Sequence[str]) -> bool:
    return all(subset_called(part) for part in parts)


def _of_masks(
    path: Path, files: Sequence[Path], reading: Reading, manifest: ImageTable | None
) -> ImageSource:
    pairs = pair_masks(path, files, reading)
    images = [image for image, _ in pairs]

    def read(row: int) -> np.ndarray:
        try:
            return read_mask(pairs[row][1])
        except RasterError as error:
            raise ImageryError(f"{pairs[row][1]}: not readable as a mask: {error}") from error

    subsets = [
        next((s for s in map(subset_called, image.relative_to(path).parts[:-1]) if s), None)
        for image in images
    ]
    return _source(path, images, masks(len(images), read), subsets, reading, manifest)


def _source(
    path: Path,
    files: list[Path],
    targets: Targets,
    subsets: list[str | None],
    reading: Reading,
    manifest: ImageTable | None,
) -> ImageSource:
    columns = folder_columns(path, files, reading.row_columns)
    listed = [name for name in reading.row_columns if name not in columns]
    if listed or reading.split_column:
        if manifest is None:
            keys = {
                "data.sensor_column": reading.sensor_column,
                "data.partition_column": reading.partition_column,
                "data.split_column": reading.split_column,
            }
            key, name = next((k, n) for k, n in keys.items() if n and n not in columns)
            raise ImageryError(
                f"{path}: {key}: found {name!r}, but no manifest.csv with such a column; allowed: a manifest.csv"
                + (
                    ""
                    if key == "data.split_column"
                    else ", or folder1, folder2 … for a folder on the way to an image"
                )
            )
        rows = manifest.rows_of(files, path, reading)
        columns |= {name: manifest.texts(name, rows) for name in listed}
        if reading.split_column:
            subsets = list(manifest.subsets(reading.split_column, rows))
    return ImageSource(
        where=str(path),
        decode=lambda row: read_raster(files[row]),
        name=lambda row: str(files[row]),
        targets=targets,
        subsets=subsets,
        columns=columns,
        reading=reading,
    )
