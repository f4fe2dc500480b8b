"""What a satellite adds to an average: its weights times what they count, and what they count, as one vector.

Such vectors are added up – by the satellites of a plane among themselves, or by the ground – and only the sum of all
is divided, and rounded once. Space and ground both make them, so that either can take the other's place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

PIECE_BYTES = 1 << 16
_MOST_PIECES = 256
_HEAD = "head."  # splitmodel.lora.adapters.exchanged_parts

Vector = NDArray[np.float64]


def client_update(arrays: Mapping[str, NDArray], counts: Sequence[float] | Vector) -> Vector:
    """One satellite's vector: every value times what it counts, the arrays by name; then the counts themselves.

    Args:
        arrays: Trained weights by name.
        counts: What they count; behind that, where rows of the head have a count of their own, one for each row.
    """
    counts = np.asarray(counts, np.float64)
    weighted = [
        np.asarray(arrays[name], np.float64) * _count(name, arrays[name], counts) for name in sorted(arrays)
    ]
    return np.concatenate([*(weights_of.ravel() for weights_of in weighted), counts])


def pieces_of(size_bytes: float) -> int:
    """In how many pieces weights pass over links that follow each other, so that all of them work at once.

    Each is a message of its own, of :data:`PIECE_BYTES` at most unless there would be more than 256: then a chain of
    ten links takes 4 per cent longer than one link, and headers are a trifle.
    """
    return max(1, min(_MOST_PIECES, math.ceil(size_bytes / PIECE_BYTES)))


def average(total: Vector, like: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The arrays that a sum of :func:`client_update` stands for, each rounded once to the type of its like."""
    ends = np.cumsum([like[name].size for name in sorted(like)])
    *values, counts = np.split(total, ends)
    averaged = {}
    for name, value in zip(sorted(like), values, strict=True):
        array = like[name]
        averaged[name] = (value.reshape(array.shape) / _count(name, array, counts)).astype(array.dtype)
    return {name: averaged[name] for name in like}


def counts_in(total: Vector, like: Mapping[str, NDArray]) -> Vector:
    """The counts at the end of a sum of :func:`client_update`."""
    return total[sum(array.size for array in like.values()) :]


def _count(name: str, array: NDArray, counts: Vector) -> Vector:
    """What the values of an array count, of a shape to be multiplied with it."""
    by_row = counts[1:]
    if not (len(by_row) and name.startswith(_HEAD)):
        return counts[0]
    return by_row.reshape(-1, *[1] * (array.ndim - 1))
