"""What a sweep has found: a line per finished case, written as it ends, and one table of all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mission.record import write_table
from skysplit.sweeps.preparation import SweepCase

LINES, TABLE = "cases.jsonl", "sweep.parquet"


class SweepResults:
    """The file of finished cases; of a sweep that was killed, those before its end.

    Args:
        directory: Of the sweep.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LINES
        self._known: dict[str, dict[str, Any]] = {}
        whole = 0
        if self._path.exists():
            for line in self._path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):  # the process died as it wrote it
                    break
                result = json.loads(line)
                self._known[result["identity"]] = result
                whole += len(line)
            os.truncate(self._path, whole)

    def __contains__(self, identity: str) -> bool:
        return identity in self._known

    def add(self, result: Mapping[str, Any]) -> None:
        """Write a finished case; it is on disk when this returns."""
        with self._path.open("ab") as file:
            file.write(json.dumps(result).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._known[result["identity"]] = dict(result)

    def rows(self, cases: Iterable[SweepCase]) -> list[dict[str, Any]]:
        """Return the finished ones of these cases, each with its number, what varies and its start."""
        return [
            {"case": case.number, **case.overrides, "start_s": case.job.start_s, **_figures(result)}
            for case in cases
            if (result := self._known.get(case.job.identity))
        ]


def write_rows(directory: Path, rows: list[dict[str, Any]]) -> Path:
    """Write the table of a sweep, a row per case, and return its file."""
    columns = dict.fromkeys(key for row in rows for key in row)
    table = pa.table({key: _column([row.get(key) for row in rows]) for key in columns})
    write_table(directory / TABLE, table)
    return directory / TABLE


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "identity"}


def _column(values: list[Any]) -> list[Any]:
    """Values of one type: text where some are text or truth values and others are not."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or len(kinds) < 2:
        return [float(value) if float in kinds and value is not None else value for value in values]
    return [None if value is None else str(value) for value in values]
