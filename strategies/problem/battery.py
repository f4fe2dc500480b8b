"""A satellite's battery: what it holds, what charges it, and how its level goes over time."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.problem.sunlight import Sunlight


@dataclass(frozen=True, eq=False)
class Battery:
    """The same on every satellite, full at mission time 0.

    Attributes:
        capacity_j: What it holds when it is full.
        lowest_j: What it never goes below: the limit of the depth of discharge.
        solar_w: What panels that follow the Sun give in sunlight.
        idle_w: What the satellite draws at all times, beside computing and sending.
        lit: When each satellite is in sunlight.
    """

    capacity_j: float
    lowest_j: float
    _: KW_ONLY
    solar_w: float
    idle_w: float
    lit: Sunlight


def levels_j(
    time_s: NDArray[np.float64], net_w: NDArray[np.float64], *, start_j: float, capacity_j: float
) -> NDArray[np.float64]:
    """Return the charge at every time, shape (M,); what comes when the battery is full is lost, below 0 it goes on.

    Args:
        time_s: When the net power changes, shape (M,), ascending.
        net_w: Charging less drawing between these times, shape (M - 1,).
        start_j: Charge at the first time.
        capacity_j: Of a full battery.
    """
    gained_j = np.concatenate([[0.0], np.cumsum(net_w * np.diff(time_s))])
    # As a queue with a full buffer: the charge is the gain since the time when the battery was last full.
    return gained_j + np.minimum(start_j, capacity_j - np.maximum.accumulate(gained_j))


def counts(
    time_s: NDArray[np.float64], start_s: NDArray[np.float64], end_s: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return how many intervals cover each stretch between two times, shape (M - 1,); their edges are among the times.

    Edges before the first or behind the last time are cut there.
    """
    change = np.zeros(len(time_s) + 1, np.int64)
    np.add.at(change, np.searchsorted(time_s, np.clip(start_s, time_s[0], time_s[-1])), 1)
    np.add.at(change, np.searchsorted(time_s, np.clip(end_s, time_s[0], time_s[-1])), -1)
    return np.cumsum(change)[: len(time_s) - 1]


def edges(first_s: float, last_s: float, *intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``first_s``, ``last_s``, and all times between at which an interval, shape (n, 2), begins or ends."""
    every = np.concatenate([[first_s, last_s], *(times_s.ravel() for times_s in intervals)])
    return np.unique(np.clip(every, first_s, last_s))
