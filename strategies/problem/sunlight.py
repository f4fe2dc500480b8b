"""When satellites have power for their computers: those that live on sunlight pause in the shadow of the Earth."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sunlight:
    """``lit_s[k]``, shape ``(n, 2)``: from when to when satellite ``k`` is in sunlight, one after the other."""

    lit_s: tuple[NDArray[np.float64], ...]

    @classmethod
    def between(cls, satellite: NDArray, start_s: NDArray, end_s: NDArray, satellites: int) -> Sunlight:
        """Between eclipses of ``satellite[i]`` in ``[start_s[i], end_s[i]]``, by time; after the last one for ever."""
        lit_s = []
        for index in range(satellites):
            of_satellite = satellite == index
            edges = np.concatenate(
                [[0.0], np.column_stack([start_s[of_satellite], end_s[of_satellite]]).ravel(), [np.inf]]
            )
            pairs = edges.reshape(-1, 2)
            lit_s.append(pairs[pairs[:, 1] > pairs[:, 0]])
        return cls(tuple(lit_s))

    def finished_s(self, satellite: int, start_s: float, work_s: float) -> float:
        """Return the end of ``work_s`` seconds of computing that begins at ``start_s``, with pauses in the dark."""
        if work_s <= 0:
            return start_s
        intervals = self.lit_s[satellite]
        for begin_s, end_s in intervals[bisect_right(intervals[:, 1], start_s) :].tolist():
            begin_s = max(begin_s, start_s)
            if work_s <= end_s - begin_s:
                return begin_s + work_s
            work_s -= end_s - begin_s
        return float("inf")


def finished_s(sunlight: Sunlight | None, satellite: int, start_s: float, work_s: float) -> float:
    """As :meth:`Sunlight.finished_s`; without a pause where sunlight is no condition."""
    return start_s + work_s if sunlight is None else sunlight.finished_s(satellite, start_s, work_s)


def all_finished_s(sunlight: Sunlight | None, start_s: float, work_s: Sequence[float] | NDArray) -> NDArray:
    """The same for every satellite, each with its own work."""
    if sunlight is None:
        return start_s + np.asarray(work_s, float)
    return np.array([sunlight.finished_s(index, start_s, float(work)) for index, work in enumerate(work_s)])
