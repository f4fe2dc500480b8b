"""What a column of labels says: classes by number or name, several classes, numbers, or masks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.layouts.subsets import composed
from splitmodel.imagery.rasters import SUFFIXES
from splitmodel.imagery.targets import TargetKind, Targets, classes

ALLOWED = (
    "class numbers from 0, class names, lists of them, lists of 0 and 1, numbers, or masks (encoded images); "
    "data.label_column names another column"
)


@dataclass(frozen=True)
class LabelColumn:
    """A column of labels in one file.

    Attributes:
        file: The file, for messages.
        name: Of the column.
        values: Its values.
        class_names: Names that the file's metadata gives class numbers; empty where it gives none.
    """

    file: Path
    name: str
    _: KW_ONLY
    values: pa.ChunkedArray
    class_names: tuple[str, ...] = ()


def hub_class_names(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """Return the class names that Hugging Face ``datasets`` writes into the metadata of a Parquet file."""
    try:
        feature = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]
        while isinstance(feature, list) or "feature" in feature:
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        return tuple(feature["names"])
    except (KeyError, ValueError, TypeError, IndexError):
        return ()


def is_mask_column(column: LabelColumn) -> bool:
    """Whether the labels are encoded images, or paths of images beside the file."""
    kind = column.values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return True
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    if (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and len(column.values):
        first = column.values[0].as_py() or ""
        return Path(first).suffix.lower() in SUFFIXES and (column.file.parent / first).is_file()
    return False


def targets_of(columns: Sequence[LabelColumn]) -> Targets:
    """Return the targets that the columns of all files of a table hold together; masks are left to their reader.

    Class numbers with names are matched by name, whatever their order in each file. Numbers without names are classes
    called by their numbers.

    Raises:
        ImageryError: A label is missing or of no kind that is allowed; file, row and column are named.
    """
    decoded = [_decoded(column) for column in columns]
    kinds = {_kind(column) for column in decoded}
    if len(kinds) > 1:
        raise ImageryError(
            f"{columns[0].file.parent}: column {columns[0].name} is of several types in these files: "
            f"{', '.join(sorted({str(column.values.type) for column in decoded}))}; allowed: one"
        )
    match kinds.pop():
        case "numbers":
            return _numbers(decoded)
        case "list":
            return _lists(decoded)
        case "classes":
            words = [word for column in decoded for word in _class_words(column)]
            return _classes(words, decoded)
    raise AssertionError


def _decoded(column: LabelColumn) -> LabelColumn:
    values = column.values
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    missing = (
        pc.is_null(values, nan_is_null=True) if pa.types.is_floating(values.type) else pc.is_null(values)
    )
    rows = np.flatnonzero(np.asarray(missing))
    if len(rows):
        raise _error(column, int(rows[0]), None)
    return LabelColumn(column.file, column.name, values=values, class_names=column.class_names)


def _kind(column: LabelColumn) -> str:
    kind = column.values.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_text(kind):
        return "classes"
    if pa.types.is_floating(kind):
        return "numbers"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        if (
            pa.types.is_integer(inner)
            or pa.types.is_boolean(inner)
            or pa.types.is_floating(inner)
            or _is_text(inner)
        ):
            return "list"
    raise ImageryError(f"{column.file}: column {column.name} is of type {kind}; allowed: {ALLOWED}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _class_words(column: LabelColumn) -> list[Any]:
    """Return names of classes, or numbers where they have none."""
    values = column.values.to_pylist()
    return [_class_word(column, row, value) for row, value in enumerate(values)]


def _class_word(column: LabelColumn, row: int, value: Any) -> Any:
    names = column.class_names
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if not value.strip():
            raise _error(column, row, value)
        return composed(value)
    if not isinstance(value, int) or value < 0:
        raise _error(column, row, value)
    if not names:
        return value
    if value >= len(names):
        raise ImageryError(
            f"{column.file}: row {row}: {column.name} {value} has no name among {len(names)} classes"
        )
    return names[value]


def _class_names(words: Sequence[Any], columns: Sequence[LabelColumn]) -> tuple[Any, ...]:
    """All classes in order: as the first file names them, else sorted; numbers by size."""
    kinds = {isinstance(word, int) for word in words}
    if len(kinds) > 1:
        raise ImageryError(
            f"{columns[0].file.parent}: column {columns[0].name} has class names in some files and numbers without "
            "names in others; allowed: one of the two"
        )
    declared = dict.fromkeys(name for column in columns for name in column.class_names)
    return (*declared, *sorted(set(words) - declared.keys()))


def _classes(words: Sequence[Any], columns: Sequence[LabelColumn]) -> Targets:
    names = _class_names(words, columns)
    position = {name: index for index, name in enumerate(names)}
    labels = np.array([position[word] for word in words], np.int64)
    return classes(labels, tuple(str(name) for name in names))


def _numbers(columns: Sequence[LabelColumn]) -> Targets:
    values = np.concatenate([np.asarray(column.values, np.float64) for column in columns])
    return Targets(TargetKind.NUMBERS, (), values=values[:, None])


def _lists(columns: Sequence[LabelColumn]) -> Targets:
    rows = [row for column in columns for row in column.values.to_pylist()]
    lengths = {len(row) for row in rows}
    entries = {entry for row in rows for entry in row}
    if None in entries or any(entry != entry for entry in entries):
        column, row = _row_where(columns, lambda entry: None in entry or any(e != e for e in entry))
        raise _error(column, row, "a list with a missing value")
    if len(lengths) == 1 and lengths != {0} and entries <= {0, 1} and not _are_named(columns):
        names = tuple(str(index) for index in range(lengths.pop()))
        return Targets(TargetKind.MULTI_LABEL, names, values=np.array(rows, np.float64).astype(np.uint8))
    if any(isinstance(entry, float) for entry in entries):
        if len(lengths) > 1:
            column, row = _row_where(columns, lambda entry: len(entry) != len(rows[0]))
            raise _error(
                column, row, f"a list of other length than the {len(rows[0])} numbers of the first row"
            )
        return Targets(TargetKind.NUMBERS, (), values=np.array(rows, np.float64))
    worded = [
        [_class_word(column, row, entry) for entry in entries_of_row]
        for column in columns
        for row, entries_of_row in enumerate(column.values.to_pylist())
    ]
    names = _class_names([word for row in worded for word in row], columns)
    position = {name: index for index, name in enumerate(names)}
    hot = np.zeros((len(worded), len(names)), np.uint8)
    for row, words in enumerate(worded):
        hot[row, [position[word] for word in words]] = 1
    return Targets(TargetKind.MULTI_LABEL, tuple(str(name) for name in names), values=hot)


def _are_named(columns: Sequence[LabelColumn]) -> bool:
    """Whether lists of a class' number are meant: two classes called 0 and 1 are written as [0], [1] or [0, 1]."""
    return any(
        column.class_names and pa.types.is_integer(column.values.type.value_type) for column in columns
    )


def _row_where(columns: Sequence[LabelColumn], wrong: Callable[[list[Any]], bool]) -> tuple[LabelColumn, int]:
    return next(
        (column, row)
        for column in columns
        for row, entry in enumerate(column.values.to_pylist())
        if wrong(entry)
    )


def _error(column: LabelColumn, row: int, value: Any) -> ImageryError:
    spoken = "missing" if value is None else repr(value)[:60]
    return ImageryError(f"{column.file}: row {row}: {column.name} {spoken}; allowed: {ALLOWED}")
