"""Where the manifest of a folder lies, and its rows: a CSV or JSON lines, beside the images or one in each subset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.layouts.subsets import subset_called

SUFFIXES = (".csv", ".jsonl")
_NAMES = ("manifest.csv", "metadata.csv", "metadata.jsonl")
_SEPARATORS = ",;\t"
_MISSING = ["", "NA", "nan", "NaN", "null"]
SUBSET = "split"


class ManifestRows(NamedTuple):
    """The rows of one or more manifests.

    Attributes:
        file: The manifest, or the pattern that several fit.
        base: The folder from which they name images.
        table: Their rows. Columns of a CSV are text, without spaces around it.
    """

    file: Path
    base: Path
    table: pa.Table


def read_rows(path: Path, image_columns: Sequence[str]) -> ManifestRows | None:
    """Read a manifest, that of a folder, or those of its subsets; ``None`` where a folder has none.

    Args:
        path: The manifest or the folder.
        image_columns: What a column of file names may be called: those of a subset's manifest are from its folder.

    Raises:
        ImageryError: One is not readable.
    """
    if path.is_file():
        return ManifestRows(path, path.parent, table=_read(path))
    own = _manifest_in(path)
    if own is not None:
        return ManifestRows(own, path, table=_read(own))
    folders = sorted(folder for folder in path.glob("*") if folder.is_dir() and subset_called(folder.name))
    manifests = [(folder, file) for folder in folders if (file := _manifest_in(folder))]
    if not manifests:
        return None
    tables = [_below(folder.name, _read(file), image_columns) for folder, file in manifests]
    rows = pa.concat_tables(tables, promote_options="permissive")
    return ManifestRows(path / "*" / manifests[0][1].name, path, table=rows)


def column_called(table: pa.Table, *names: str) -> str | None:
    """Return the first column that is called so, in upper or lower case; ``None`` where none is."""
    by_name = {column.casefold(): column for column in reversed(table.column_names)}
    return next((by_name[name.casefold()] for name in names if name.casefold() in by_name), None)


def _manifest_in(folder: Path) -> Path | None:
    return next((folder / name for name in _NAMES if (folder / name).is_file()), None)


def _read(file: Path) -> pa.Table:
    try:
        if file.suffix.lower() == ".jsonl":
            return pa.json.read_json(file)
        parse = pa.csv.ParseOptions(delimiter=_separator(file))
        with pa.csv.open_csv(file, parse_options=parse) as reader:
            names = reader.schema.names
        as_text = dict.fromkeys(names, pa.string())  # tile 007 stays 007
        options = pa.csv.ConvertOptions(column_types=as_text, strings_can_be_null=True, null_values=_MISSING)
        table = pa.csv.read_csv(file, parse_options=parse, convert_options=options)
    except (OSError, ValueError, pa.ArrowException) as error:
        kind = "JSON lines" if file.suffix.lower() == ".jsonl" else "CSV"
        raise ImageryError(f"{file}: not readable as {kind}: {error}") from error
    trimmed = [pc.utf8_trim_whitespace(column) for column in table.columns]
    return pa.table(dict(zip([name.strip() for name in names], trimmed, strict=True)))


def _separator(file: Path) -> str:
    """The one of comma, semicolon and tab that its first line has most of."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        line = stream.readline()
    return max(_SEPARATORS, key=line.count)


def _below(folder: str, table: pa.Table, image_columns: Sequence[str]) -> pa.Table:
    """A subset's rows as the folder above would list them."""
    images = column_called(table, *image_columns)
    if images is not None:
        position = table.column_names.index(images)
        files = pc.binary_join_element_wise(folder, table[images].cast(pa.string()), "/")
        table = table.set_column(position, images, files)
    if column_called(table, SUBSET) is None:
        table = table.append_column(SUBSET, pa.array([folder] * len(table), pa.string()))
    return table
