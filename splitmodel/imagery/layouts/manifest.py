"""A manifest that lists images, with what folders do not say: labels, subset, sensor, place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.image_set import ImageSource
from splitmodel.imagery.layouts.labels import LabelColumn, is_mask_column, targets_of
from splitmodel.imagery.layouts.manifest_files import column_called, read_rows
from splitmodel.imagery.layouts.subsets import composed, subset_called, subsets_in_column
from splitmodel.imagery.rasters import SUFFIXES, RasterError, read_mask, read_raster
from splitmodel.imagery.reading import Reading
from splitmodel.imagery.targets import masks

_IMAGE_COLUMNS = ("image", "file_name", "filename", "file", "path", "tile", "name")
_LABEL, _MASK, _SPLITS = "label", "mask", ("split", "subset")


@dataclass(frozen=True, eq=False)
class ImageTable:
    """A manifest and what it says.

    Attributes:
        file: The manifest.
        table: Its rows; of a CSV, every column as text.
        base: The folder from which it names images.
    """

    file: Path
    table: pa.Table
    _: KW_ONLY
    base: Path

    def image_column(self, reading: Reading) -> str:
        """Return the column that names the images."""
        if reading.image_column:
            self.require(reading.image_column, "data.image_column")
            return reading.image_column
        column = column_called(self.table, *_IMAGE_COLUMNS)
        if column is None:
            raise ImageryError(
                f"{self.file}: no column names the images; found {', '.join(self.table.column_names)}; allowed: one of "
                f"{', '.join(_IMAGE_COLUMNS)}, or another one that data.image_column names"
            )
        return column

    def has_labels(self, reading: Reading) -> bool:
        """Whether it says what the images are labelled with."""
        return bool(reading.label_column) or column_called(self.table, _LABEL, _MASK) is not None

    def require(self, column: str, key: str) -> None:
        """Raise ImageryError where a column is missing."""
        if column not in self.table.column_names:
            raise ImageryError(
                f"{self.file}: column {column} is missing; found {', '.join(self.table.column_names)}; allowed: one of "
                f"these, named in {key}"
            )

    def texts(self, column: str, rows: Sequence[int] | None = None) -> NDArray[np.str_]:
        """Return a column as text, in the order of ``rows``; a missing value is an error."""
        self.require(column, "the [data] table")
        values = self.table[column].cast(pa.string()).to_pylist()
        for row in range(len(values)) if rows is None else rows:
            if values[row] is None:
                raise ImageryError(
                    f"{self.file}: row {row}: {column} is missing; allowed: a value for every image"
                )
        return np.array(values if rows is None else [values[row] for row in rows], np.str_)

    def subsets(self, column: str, rows: Sequence[int] | None = None) -> list[str]:
        """Return the subset that each row names."""
        self.require(column, "data.split_column")
        values = self.table[column].cast(pa.string()).to_pylist()
        return subsets_in_column(
            values if rows is None else [values[row] for row in rows], str(self.file), column
        )

    def rows_of(self, files: Sequence[Path], root: Path, reading: Reading) -> list[int]:
        """Return the row of each image: the one that names its path, or its name alone where that is unique.

        Raises:
            ImageryError: An image has no row, or several.
        """
        column = self.image_column(reading)
        by_name: dict[str, list[int]] = defaultdict(list)
        for row, value in enumerate(self.table[column].cast(pa.string()).to_pylist()):
            if value is not None:
                by_name[composed(value.strip())].append(row)
        splits = column_called(self.table, *_SPLITS)
        words = self.table[splits].cast(pa.string()).to_pylist() if splits else []
        rows = []
        for file in files:
            own_rows = next((by_name[name] for name in _calls(file, root) if name in by_name), [])
            if len(own_rows) > 1 and words:  # the same name in several subsets
                own = {subset for part in file.relative_to(root).parts if (subset := subset_called(part))}
                own_rows = [row for row in own_rows if subset_called(words[row] or "") in own]
            if len(own_rows) != 1:
                raise ImageryError(
                    f"{self.file}: {len(own_rows) or 'no'} rows name {file.relative_to(root)} in column {column}; "
                    "allowed: one row an image, by its path, its name, or its name without suffix"
                )
            rows.append(own_rows[0])
        return rows


def read_manifest(path: Path) -> ImageTable | None:
    """Read a manifest, or that of a folder; ``None`` where a folder has none.

    Raises:
        ImageryError: It is not readable.
    """
    rows = read_rows(path, _IMAGE_COLUMNS)
    return None if rows is None else ImageTable(rows.file, rows.table, base=rows.base)


def open_manifest_rows(manifest: ImageTable | None, reading: Reading) -> ImageSource:
    """Open the images that a manifest lists, with its labels or masks."""
    assert manifest is not None
    column = manifest.image_column(reading)
    base = manifest.base
    files = [_with_suffix(base / name) for name in manifest.texts(column)]
    first_rows: dict[Path, int] = {}
    for row, file in enumerate(files):
        if not file.is_file():
            raise ImageryError(
                f"{manifest.file}: row {row}: {column} {str(file.relative_to(base))!r} is no file; "
                f"allowed: a path from {base}"
            )
        if (first := first_rows.setdefault(file, row)) != row:
            raise ImageryError(
                f"{manifest.file}: row {row}: {column} {str(file.relative_to(base))!r} is the image of row {first}, "
                "too; allowed: one row an image"
            )
    if not files:
        raise ImageryError(f"{manifest.file}: holds no image")
    label = reading.label_column or column_called(manifest.table, _LABEL, _MASK) or _LABEL
    manifest.require(label, "data.label_column")
    labels = LabelColumn(manifest.file, label, values=_typed(manifest.table[label]))
    if is_mask_column(labels):
        names = manifest.texts(label)

        def read(row: int) -> np.ndarray:
            try:
                return read_mask(base / str(names[row]))
            except RasterError as error:
                raise ImageryError(f"{base / str(names[row])}: not readable as a mask: {error}") from error

        targets = masks(len(files), read)
    else:
        targets = targets_of([labels])
    split = reading.split_column or column_called(manifest.table, *_SPLITS) or ""
    columns = folder_columns(base, files, reading.row_columns)
    return ImageSource(
        where=str(manifest.file),
        decode=lambda row: read_raster(files[row]),
        name=lambda row: str(files[row]),
        targets=targets,
        subsets=manifest.subsets(split) if split else [None] * len(files),
        columns=columns | {n: manifest.texts(n) for n in reading.row_columns if n not in columns},
        reading=reading,
    )


def folder_columns(path: Path, files: Sequence[Path], wanted: Sequence[str]) -> dict[str, NDArray[np.str_]]:
    """Return the columns ``folder1``, ``folder2`` … that are asked for: the folders on the way to each image."""
    columns = {}
    for name in wanted:
        number = name.removeprefix("folder")
        if name == number or not number.isdigit() or int(number) < 1:
            continue
        ways = [file.relative_to(path).parts[:-1] for file in files]
        for file, way in zip(files, ways, strict=True):
            if len(way) < int(number):
                raise ImageryError(f"{file}: {name}: only {len(way)} folders lead to it from {path}")
        columns[name] = np.array([way[int(number) - 1] for way in ways], np.str_)
    return columns


def _with_suffix(file: Path) -> Path:
    """The file, or the one image that is called so but for its suffix."""
    if file.is_file():
        return file
    files = [other for suffix in SUFFIXES if (other := file.with_name(file.name + suffix)).is_file()]
    return files[0] if len(files) == 1 else file


def _calls(file: Path, root: Path) -> list[str]:
    """What a manifest may call an image, the longest first."""
    relative = PurePath(file.relative_to(root))
    tails = [PurePath(*relative.parts[start:]) for start in range(len(relative.parts))]
    plain = [tail.with_suffix("") if tail.suffix.lower() in SUFFIXES else tail for tail in tails]
    return [composed(name) for pair in zip(tails, plain, strict=True) for name in map(str, pair)]


def _typed(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column that was read as text as the numbers that it holds, where all are numbers."""
    if not pa.types.is_string(values.type):
        return values
    try:
        numbers = values.cast(pa.int64())
        return numbers if numbers.cast(pa.string()).equals(values) else values
    except pa.ArrowInvalid:
        pass
    try:
        return values.cast(pa.float64())
    except pa.ArrowInvalid:
        return values
