"""What satellites have come to, between their training and the round in which the ground hears it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.aggregation import mean_with_absent, staleness_weight


@dataclass(frozen=True, eq=False)
class Contribution:
    """One satellite's trained weights.

    Attributes:
        started: The round whose weights it started from.
        arrays: Its own, by name.
        report: What it tells of its training.
    """

    started: int
    arrays: Mapping[str, NDArray]
    report: Mapping[str, float]


def weights_of(
    delivered: Mapping[str, Contribution], samples: Mapping[str, int], number: int, exponent: float
) -> dict[str, float]:
    """By how much each counts in round ``number``: its images, the less the older it is."""
    return {
        name: samples[name] * staleness_weight(number - one.started, exponent)
        for name, one in delivered.items()
    }


def mean_of(
    current: Mapping[str, NDArray],
    delivered: Mapping[str, Contribution],
    weights: Mapping[str, float],
    total: float,
) -> dict[str, NDArray]:
    """The new average by name, see :func:`strategies.aggregation.mean_with_absent`; ``weights`` give the order."""
    return {
        key: np.asarray(
            mean_with_absent(
                array, [delivered[name].arrays[key] for name in weights], list(weights.values()), total
            )
        )
        for key, array in current.items()
    }
