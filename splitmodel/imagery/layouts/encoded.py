"""Encoded images in Parquet files, of which a process holds its own rows only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from splitmodel.imagery.errors import ImageryError

_BATCH_ROWS = 16
_BUFFER_BYTES = 1 << 20
_SPARE_BYTES = 32 << 20  # of rows that nobody asked to hold: those of the batch at hand and some before it


class EncodedColumn:
    """The image column of Parquet files as one sequence of values; rows are read when they are asked for.

    A row group is streamed page by page, so that one of a gigabyte costs no more memory than the rows that are kept.
    Rows that follow one another are read in one go.

    Args:
        files: The files, in order.
        column: Name of the column: bytes, text, or a struct with ``bytes`` and ``path``.
    """

    def __init__(self, files: Sequence[Path], column: str) -> None:
        self._files, self._column = list(files), column
        self._lock = Lock()
        groups: list[tuple[int, int, int]] = []  # first row, number of file, row group
        row = 0
        for number, file in enumerate(self._files):
            metadata = pq.read_metadata(file)
            for group in range(metadata.num_row_groups):
                groups.append((row, number, group))
                row += metadata.row_group(group).num_rows
        self._groups = groups
        self._starts = np.array([start for start, _, _ in groups] + [row])
        self._held: dict[int, Any] = {}
        self._spare: dict[int, Any] = {}
        self._spare_bytes = 0
        self._opened: tuple[int, pq.ParquetFile] | None = None  # number of the file, the file
        self._cursor: tuple[int, int, Iterator[pa.RecordBatch]] | None = None  # group, next row, what follows

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> Any:
        """Return the value of a row: bytes, text, or a mapping."""
        with self._lock:
            if row in self._held:
                return self._held[row]
            if row not in self._spare:
                for index, value in self._read(np.array([row])):
                    self._keep_spare(index, value)
            return self._spare[row]

    def hold(self, rows: NDArray[np.int64]) -> None:
        """Keep these rows in memory, instead of those that were held before."""
        with self._lock:
            wanted = {int(row) for row in rows}
            if wanted == self._held.keys():
                return
            known = {row: value for row, value in (self._held | self._spare).items() if row in wanted}
            self._spare.clear()
            self._spare_bytes = 0
            self._held = known
            missing = np.array(sorted(wanted - known.keys()), np.int64)
            self._held |= {row: value for row, value in self._read(missing) if row in wanted}
            self._cursor = None

    def _keep_spare(self, row: int, value: Any) -> None:
        if row in self._spare:
            return
        self._spare[row] = value
        self._spare_bytes += _size(value)
        while self._spare_bytes > _SPARE_BYTES and len(self._spare) > _BATCH_ROWS:
            self._spare_bytes -= _size(self._spare.pop(next(iter(self._spare))))

    def _read(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        """Yield the rows that are asked for, and those that come to light beside them, as they are read."""
        for group, (start, end) in enumerate(pairwise(self._starts)):
            wanted = rows[(rows >= start) & (rows < end)]
            if not len(wanted):
                continue
            first, last = int(wanted[0]), int(wanted[-1])
            if self._cursor is None or self._cursor[0] != group or self._cursor[1] > first:
                self._cursor = (group, int(start), self._batches(group))
            _, row, batches = self._cursor
            picked = set(wanted.tolist())
            while row <= last:
                batch = self._next(batches, group)
                column = batch.column(0)
                for offset in range(len(column)):
                    if row + offset in picked or row + len(column) > last:
                        yield row + offset, column[offset].as_py()
                row += len(column)
                self._cursor = (group, row, batches)

    def _next(self, batches: Iterator[pa.RecordBatch], group: int) -> pa.RecordBatch:
        try:
            return next(batches)
        except (OSError, pa.ArrowException) as error:
            self._cursor = None
            file = self._files[self._groups[group][1]]
            raise ImageryError(f"{file}: not readable as Parquet: {error}") from error

    def _batches(self, group: int) -> Iterator[pa.RecordBatch]:
        _, file, number = self._groups[group]
        if self._opened is None or self._opened[0] != file:
            opened = pq.ParquetFile(self._files[file], pre_buffer=False, buffer_size=_BUFFER_BYTES)
            self._opened = (file, opened)
        return self._opened[1].iter_batches(
            batch_size=_BATCH_ROWS, row_groups=[number], columns=[self._column], use_threads=False
        )


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return len(value) if isinstance(value, bytes | str) else 0
