"""The average of heads and adapters as numbers: what the all-reduce, the chain and the flooding compute.

Sums run in float64 and in a fixed order; only the result is rounded to the type of the input.  ``weighted_mean`` is
the reference: the order of its arguments.  A chain adds from both ends towards its middle and a ring starts each chunk
at another satellite: both are bit-identical on all satellites and equal to the reference up to the rounding of float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Partial = tuple[np.ndarray, float]  # (sum of weight times value in float64, sum of weights)


class AggregationError(ValueError):
    """Arrays and weights do not fit together."""


def partial_sum(array: np.ndarray, weight: float) -> Partial:
    """One satellite's contribution."""
    return np.asarray(array, np.float64) * weight, float(weight)


def add(left: Partial, right: Partial) -> Partial:
    """Both contributions, ``left`` first."""
    return left[0] + right[0], left[1] + right[1]


def mean(total: Partial, dtype: np.dtype) -> np.ndarray:
    """The average, rounded once to ``dtype``."""
    return (total[0] / total[1]).astype(dtype)


def weighted_mean(arrays: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Mean of equally shaped ``arrays``, summed from first to last; shape and dtype as theirs.

    Raises ``AggregationError`` for differing shapes, differing counts, a negative weight or no weight at all.
    """
    _check(arrays, weights)
    total = partial_sum(arrays[0], weights[0])
    for array, weight in zip(arrays[1:], weights[1:], strict=True):
        total = add(total, partial_sum(array, weight))
    return mean(total, np.asarray(arrays[0]).dtype)


def mean_with_absent(
    current: np.ndarray, arrays: Sequence[np.ndarray], weights: Sequence[float], total: float
) -> np.ndarray:
    """Mean of what was delivered and of ``current``, which stands for whoever is absent or counts for less.

    ``weights`` are those of ``arrays``; what they lack of ``total`` is the weight of ``current``, the last summand.
    With one array this is the update of FedAsync, (1 - α) x + α x_new (Xie et al., arXiv 1903.03934, algorithm 1).

    Raises ``AggregationError`` as :func:`weighted_mean` does, and where ``weights`` exceed ``total``.
    """
    absent = total - sum(weights)
    if absent < 0:
        raise AggregationError(f"weights: found {sum(weights)} together, allowed is {total}")
    if absent == 0:
        return weighted_mean(arrays, weights)
    return weighted_mean([*arrays, current], [*weights, absent])


def chain_reduce_broadcast(arrays: Sequence[np.ndarray], weights: Sequence[float]) -> list[np.ndarray]:
    """What each satellite of an open chain holds after partial sums ran to its middle and the mean ran back.

    Both halves reduce at once; the middle adds the left one, itself, the right one.
    """
    _check(arrays, weights)
    size = len(arrays)
    middle = size // 2
    held = [partial_sum(array, weight) for array, weight in zip(arrays, weights, strict=True)]
    for node in range(middle):  # each satellite adds what comes from the end behind it, and passes the sum on
        held[node + 1] = add(held[node], held[node + 1])
    for node in range(size - 1, middle + 1, -1):
        held[node - 1] = add(held[node - 1], held[node])
    if middle + 1 < size:
        held[middle] = add(held[middle], held[middle + 1])
    result: list[np.ndarray] = [mean(held[middle], np.asarray(arrays[0]).dtype)] * size
    for node in (*range(middle - 1, -1, -1), *range(middle + 1, size)):
        result[node] = result[node + 1 if node < middle else node - 1].copy()
    return result


def ring_all_reduce(arrays: Sequence[np.ndarray], weights: Sequence[float]) -> list[np.ndarray]:
    """What each satellite of a closed ring holds after reduce-scatter and all-gather of S chunks.

    Chunk ``c`` starts at satellite ``c``, is added to on S - 1 hops and then passed round unchanged (Patarasuk and
    Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009).  The payload need not be
    divisible by S.
    """
    _check(arrays, weights)
    size, first = len(arrays), np.asarray(arrays[0])
    chunks = [
        np.array_split(np.asarray(array, np.float64).ravel() * weight, size)
        for array, weight in zip(arrays, weights, strict=True)
    ]
    weight_chunks = [[float(weight)] * size for weight in weights]
    for step in range(size - 1):
        for node in range(
            size
        ):  # node passes chunk (node - step) on; all sends of a step touch different chunks
            chunk, peer = (node - step) % size, (node + 1) % size
            chunks[peer][chunk] = chunks[node][chunk] + chunks[peer][chunk]
            weight_chunks[peer][chunk] = weight_chunks[node][chunk] + weight_chunks[peer][chunk]
    for step in range(size - 1):
        for node in range(size):
            chunk, peer = (node + 1 - step) % size, (node + 1) % size
            chunks[peer][chunk], weight_chunks[peer][chunk] = chunks[node][chunk], weight_chunks[node][chunk]
    return [
        np.concatenate(
            [part / weight for part, weight in zip(chunks[node], weight_chunks[node], strict=True)]
        )
        .reshape(first.shape)
        .astype(first.dtype)
        for node in range(size)
    ]


def merge_flooded(known: Mapping[int, Partial], heard: Mapping[int, Partial]) -> dict[int, Partial]:
    """Union of what two satellites know, by plane: hearing a plane's sum twice changes nothing."""
    return {**heard, **known}


def mean_of_planes(known: Mapping[int, Partial], dtype: np.dtype) -> np.ndarray:
    """The average over all planes known, summed in the order of their numbers, so alike on every satellite."""
    order = sorted(known)
    total = known[order[0]]
    for plane in order[1:]:
        total = add(total, known[plane])
    return mean(total, dtype)


def staleness_weight(rounds_late: int, exponent: float = 0.5) -> float:
    """Factor on the weight of a contribution ``rounds_late`` rounds old: (1 + s)^-a (Xie et al., arXiv 1903.03934)."""
    if rounds_late < 0:
        raise AggregationError(f"rounds_late: found {rounds_late}, allowed is 0 or more")
    return (1.0 + rounds_late) ** -exponent


def _check(arrays: Sequence[np.ndarray], weights: Sequence[float]) -> None:
    if not len(arrays) or len(arrays) != len(weights):
        raise AggregationError(
            f"found {len(arrays)} arrays and {len(weights)} weights, allowed is one or more, as many"
        )
    shapes = {np.shape(array) for array in arrays}
    if len(shapes) > 1:
        raise AggregationError(f"the arrays have different shapes: {sorted(shapes)}")
    if min(weights) < 0 or not sum(weights) > 0:
        raise AggregationError(f"weights: found {list(weights)[:8]}, allowed is 0 or more, not all 0")
