"""Features that have crossed the split once, kept on the ground: with a frozen embedding they never change.

The rows lie, as the codec encoded them, in one memory-mapped safetensors file of a fixed size, each beside its name, so
that a run which is resumed finds them again. A name is a hash of all that a row depends on (see
:func:`client_app.cached_features.name_of`); nothing is ever replaced. Each satellite has rows of its own, in
proportion to its images: which features are kept does not depend on whose come first, and when a satellite's rows are
full no more of its features are taken.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mission.run_config import FEATURE_NAME_BYTES

_KEYS, _ROWS = "names", "rows"

Names = NDArray[np.uint8]  # (B, FEATURE_NAME_BYTES)
Rows = NDArray[np.uint8]  # (B, row_bytes)


class FeaturesMissing(LookupError):
    """A satellite names features that are not here; it has to send them."""


class FeatureCache:
    """Encoded features by satellite and name.

    Args:
        path: The file; one of the same measures is gone on with, another is replaced.
        row_bytes: Bytes of one image's features.
        rows: Rows of each satellite (:func:`shares`). The file is sparse: what is not used takes no room on most file
            systems.
    """

    def __init__(self, path: Path, row_bytes: int, *, rows: Mapping[str, int]) -> None:
        self.path = path
        capacity = sum(rows.values())
        ends = list(accumulate(rows.values()))
        header = _header(row_bytes, capacity)
        size = len(header) + capacity * (FEATURE_NAME_BYTES + row_bytes)
        if not _starts_with(path, header) or path.stat().st_size != size:
            path.unlink(missing_ok=True)
            # What satellites saw can be guessed from features: they are for the owner of the run alone.
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(header)
                file.truncate(size)
        start = len(header)
        self._names = np.memmap(path, np.uint8, "r+", start, (capacity, FEATURE_NAME_BYTES))
        self._rows = np.memmap(
            path, np.uint8, "r+", start + capacity * FEATURE_NAME_BYTES, (capacity, row_bytes)
        )
        used = np.asarray(self._names.any(axis=1))
        self._slots = {self._names[slot].tobytes(): int(slot) for slot in np.flatnonzero(used)}
        self._free = {
            satellite: [end - count + int(slot) for slot in np.flatnonzero(~used[end - count : end])]
            for (satellite, count), end in zip(rows.items(), ends, strict=True)
        }

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, satellite: str, names: Names, rows: Rows) -> bool:
        """Keep rows; those that are here already stay. False, and nothing is kept, where its own are too few."""
        own_names = [_own_name(satellite, name) for name in names]
        new = {own: row for own, row in zip(own_names, rows, strict=True) if own not in self._slots}
        free = self._free.get(satellite, [])
        if len(new) > len(free):
            return False
        for own, row in new.items():
            slot = free.pop(0)
            self._rows[slot] = row
            self._names[slot] = np.frombuffer(own, np.uint8)  # last, so that a torn write leaves a free slot
            self._slots[own] = slot
        return True

    def get(self, satellite: str, names: Names) -> Rows:
        """The rows of these names.

        Raises:
            FeaturesMissing: One of them is not here.
        """
        try:
            slots = [self._slots[_own_name(satellite, name)] for name in names]
        except KeyError:
            raise FeaturesMissing(f"{satellite} names features that the ground does not keep") from None
        return self._rows[slots]

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


def shares(rows: int, images: Sequence[int]) -> list[int]:
    """Share out the rows of a cache over the satellites, in proportion to their images, rounded down."""
    total = max(1, sum(images))
    return [rows * count // total for count in images]


def _own_name(satellite: str, name: NDArray[np.uint8]) -> bytes:
    """Bound to its satellite, so that none can plant features under the name of another's image."""
    return hashlib.blake2b(
        name.tobytes(), digest_size=FEATURE_NAME_BYTES, key=satellite.encode()[: hashlib.blake2b.MAX_KEY_SIZE]
    ).digest()


def _header(row_bytes: int, capacity: int) -> bytes:
    """The start of a safetensors file of both tensors, see https://huggingface.co/docs/safetensors."""
    names, rows = capacity * FEATURE_NAME_BYTES, capacity * row_bytes
    tensors = {
        _KEYS: {"dtype": "U8", "shape": [capacity, FEATURE_NAME_BYTES], "data_offsets": [0, names]},
        _ROWS: {"dtype": "U8", "shape": [capacity, row_bytes], "data_offsets": [names, names + rows]},
    }
    text = json.dumps(tensors, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _starts_with(path: Path, header: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(header)) == header
