"""Labelled imagery in Parquet: a file, a folder of shards, or a data set as the Hugging Face hub lays it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.image_set import ImageSource
from splitmodel.imagery.layouts.encoded import EncodedColumn
from splitmodel.imagery.layouts.labels import LabelColumn, hub_class_names, is_mask_column, targets_of
from splitmodel.imagery.layouts.subsets import ALLOWED, subset_in, subsets_in_column
from splitmodel.imagery.rasters import RasterError, read_mask, read_raster
from splitmodel.imagery.reading import Reading
from splitmodel.imagery.targets import masks

IMAGE, LABEL, SPLIT = "image", "label", "split"


def open_parquet(path: Path, reading: Reading) -> ImageSource:
    """Open a Parquet file, or all of a folder and of the folders below it.

    Labels, subsets, sensors and places are read at once, images when they are asked for.

    Raises:
        ImageryError: A file is not readable, a column is missing, or a label or subset is not allowed.
    """
    files = _files(path)
    image, label = reading.image_column or IMAGE, reading.label_column or LABEL
    tables, schemas = [], []
    for file in files:
        schema = _schema(file)
        split = reading.split_column or (SPLIT if SPLIT in schema.names else "")
        _require_columns(file, schema.names, image, label, split, reading)
        columns = [name for name in (split, *reading.row_columns) if name]
        if not is_mask_column(
            LabelColumn(file, label, values=pa.chunked_array([], schema.field(label).type))
        ):
            columns.append(label)
        tables.append(pq.read_table(file, columns=list(dict.fromkeys(columns))))
        schemas.append(schema)
    starts = np.cumsum([0, *(pq.read_metadata(file).num_rows for file in files)])
    if not starts[-1]:
        raise ImageryError(f"{path}: holds no image")

    def name(row: int) -> str:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        return f"{files[number]}: row {row - starts[number]}"

    def base(row: int) -> Path:
        return files[int(np.searchsorted(starts, row, side="right")) - 1].parent

    encoded = EncodedColumn(files, image)
    labels = [
        LabelColumn(file, label, values=table[label], class_names=hub_class_names(schema.metadata, label))
        for file, table, schema in zip(files, tables, schemas, strict=True)
        if label in table.column_names
    ]
    if len(labels) not in (0, len(files)):
        raise ImageryError(
            f"{path}: column {label} holds masks in some files only; allowed: in all or in none"
        )
    if not labels or is_mask_column(labels[0]):
        read = _mask_reader(EncodedColumn(files, label), label, name, base)
        targets = masks(int(starts[-1]), read)
    else:
        targets = targets_of(labels)
    return ImageSource(
        where=str(path),
        decode=lambda row: read_raster(_content(encoded[row], image, base(row))),
        name=name,
        targets=targets,
        subsets=_subsets(path, files, tables, starts, reading),
        columns={column: _texts(tables, files, column) for column in reading.row_columns},
        reading=reading,
        hold=encoded.hold,
    )


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*.parquet")
        if not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    if not files:
        raise ImageryError(f"{path}: holds no *.parquet file")
    configurations = sorted({_configuration(file.relative_to(path)) for file in files})
    if len(configurations) > 1:
        listed = ", ".join(name or "(the folder itself)" for name in configurations)
        raise ImageryError(
            f"{path}: holds several data sets: {listed}; name one: data.path = {str(path / configurations[-1])!r}"
        )
    return files


def _configuration(file: Path) -> str:
    """The folders of a file that neither are the hub's ``data`` nor name a subset."""
    return "/".join(part for part in file.parent.parts if part != "data" and subset_in(part) is None)


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (OSError, ValueError) as error:
        raise ImageryError(f"{file}: not readable as Parquet: {error}") from error


def _require_columns(
    file: Path, columns: Sequence[str], image: str, label: str, split: str, reading: Reading
) -> None:
    wanted = {
        image: "data.image_column",
        label: "data.label_column",
        **({split: "data.split_column"} if split else {}),
        **({reading.sensor_column: "data.sensor_column"} if reading.sensor_column else {}),
        **({reading.partition_column: "data.partition_column"} if reading.partition_column else {}),
    }
    missing = [column for column in wanted if column not in columns]
    if missing:
        keys = " and ".join(wanted[column] for column in missing)
        raise ImageryError(
            f"{file}: column {', '.join(missing)} is missing; found {', '.join(columns)}; "
            f"allowed: one of these, named in {keys}"
        )


def _subsets(
    path: Path, files: Sequence[Path], tables: Sequence[pa.Table], starts: NDArray, reading: Reading
) -> list[str | None]:
    """The subset of each row, by its column, else by the names of files and folders."""
    subsets: list[str | None] = []
    by_name = [_subset_of(file, path) for file in files]
    for file, table, subset, start, end in zip(files, tables, by_name, starts[:-1], starts[1:], strict=True):
        column = reading.split_column or SPLIT
        if column in table.column_names:
            [texts] = _column_texts([table], [file], column)
            subsets += subsets_in_column(texts, str(file), column)
            continue
        if subset is None and any(by_name):
            raise ImageryError(f"{file}: its name contains no subset, but other names do; allowed: {ALLOWED}")
        subsets += [subset] * int(end - start)
    return subsets


def _subset_of(file: Path, path: Path) -> str | None:
    if not path.is_dir():
        return None
    relative = file.relative_to(path)
    return next(
        (s for s in (subset_in(part) for part in (relative.stem, *reversed(relative.parent.parts))) if s),
        None,
    )


def _texts(tables: Sequence[pa.Table], files: Sequence[Path], column: str) -> NDArray[np.str_]:
    """A column as text; a missing value is an error."""
    texts_so_far = []
    for file, texts in zip(files, _column_texts(tables, files, column), strict=True):
        if None in texts:
            raise ImageryError(
                f"{file}: row {texts.index(None)}: {column} is missing; allowed: a value for every image"
            )
        texts_so_far += texts
    return np.array(texts_so_far, np.str_)


def _column_texts(tables: Sequence[pa.Table], files: Sequence[Path], column: str) -> list[list[str | None]]:
    texts: list[list[str | None]] = []
    for file, table in zip(files, tables, strict=True):
        values = table[column]
        names = hub_class_names(table.schema.metadata, column)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_nested(values.type) or pa.types.is_binary(values.type):
            raise ImageryError(
                f"{file}: column {column} is of type {values.type}; allowed: text or whole numbers"
            )
        texts.append(
            [
                None if value is None else names[value] if names and isinstance(value, int) else str(value)
                for value in values.to_pylist()
            ]
        )
    return texts


def _mask_reader(
    encoded: EncodedColumn, column: str, name: Callable[[int], str], base: Callable[[int], Path]
) -> Callable[[int], NDArray]:
    def read(row: int) -> NDArray:
        try:
            return read_mask(_content(encoded[row], column, base(row)))
        except RasterError as error:
            raise ImageryError(f"{name(row)}: column {column}: not readable as a mask: {error}") from error

    return read


def _content(value: Any, column: str, base: Path) -> Path | bytes:
    """The encoded image of a row: its bytes, or the file that it names beside the table."""
    path = value
    if isinstance(value, dict):
        if value.get("bytes") is not None:
            value = value["bytes"]
        path = value.get("path") if isinstance(value, dict) else None
    if isinstance(value, bytes):
        return value
    if isinstance(path, str) and (file := base / path).is_file():
        return file
    spoken = "a missing value" if path is None else repr(path)[:80]
    raise RasterError(
        f"column {column} holds {spoken}; allowed: encoded bytes, a struct with bytes, or the path of a file from "
        f"{base}"
    )
