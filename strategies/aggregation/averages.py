"""Averages as numbers: sums run in float64 and in a fixed order, and only the result is rounded to the input's type.

What travels between satellites is added up plane by plane (:func:`plane_sum`), the planes in the order of their numbers
(:mod:`strategies.aggregation.client_updates`); what the ground keeps for each satellite is averaged in the
order of the enrolled clients.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence

import numpy as np


class AggregationError(ValueError):
    """Arrays and weights do not fit together."""


def weighted_mean(arrays: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Mean of equally shaped ``arrays``, summed from first to last; shape and dtype as theirs.

    Raises ``AggregationError`` for differing shapes, differing counts, a negative weight or no weight at all.
    """
    _check(arrays, weights)
    weighted = (np.asarray(array, np.float64) * weight for array, weight in zip(arrays, weights, strict=True))
    return (_in_order(weighted) / sum(weights)).astype(np.asarray(arrays[0]).dtype)


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


def plane_sum(parts: Sequence[np.ndarray], *, ring: bool) -> np.ndarray:
    """The sum of one plane's vectors, float64 and in the order of its satellites, as they themselves add it up.

    On a ring one half of the vector goes round each way, and chunk ``c`` of it starts at the ``c``-th satellite of its
    way (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009).  On an open
    chain both ends add towards the middle.  :mod:`relay.client.allreduce` does the same over links, with the same bits.
    """
    size = len(parts)
    if ring:
        halves = [np.array_split(part, 2) for part in parts]
        first, other = [half[0] for half in halves], [half[1] for half in halves[::-1]]
        return np.concatenate([_round_the_ring(first), _round_the_ring(other)])
    middle = size // 2
    total = _in_order(parts[: middle + 1])
    return total if middle + 1 == size else total + _in_order(parts[:middle:-1])


def _round_the_ring(parts: Sequence[np.ndarray]) -> np.ndarray:
    size = len(parts)
    chunks = [np.array_split(part, size) for part in parts]
    return np.concatenate(
        [_in_order([chunks[(c + hop) % size][c] for hop in range(size)]) for c in range(size)]
    )


def _in_order(parts: Iterable[np.ndarray]) -> np.ndarray:
    return functools.reduce(operator.add, parts)


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
