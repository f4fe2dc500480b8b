"""How features and small crossings divide a link while both are on it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable
from dataclasses import KW_ONLY, dataclass

import numpy as np

from strategies.problem.workload import Workload

BURST_S = 1.0  # so far the small crossings may run ahead of their share of a link


@dataclass(frozen=True)
class LinkShares:
    """The share of features in a downlink and in an inter-satellite link; the small crossings get the rest."""

    downlink: float
    isl: float
    _: KW_ONLY
    message_bits: float  # of the largest small crossing
    downlink_bits: float  # of all small crossings of the round
    isl_bits: float  # the same, both ways

    def downlink_delay_s(self, rate_bps: float) -> float:
        """By how much a burst of small crossings can hold up features on a downlink."""
        burst_s = min(BURST_S * (1.0 - self.downlink), self.downlink_bits / rate_bps)
        return burst_s + self.message_bits / rate_bps

    def isl_burst_s(self, rate_bps: float) -> float:
        """By how much a burst of small crossings can hold up features on an inter-satellite link, one of them aside."""
        return min(BURST_S * (1.0 - self.isl), self.isl_bits / rate_bps)

    def isl_delay_s(self, rate_bps: float) -> float:
        """By how much a burst of small crossings can hold up features on an inter-satellite link."""
        return self.isl_burst_s(rate_bps) + self.message_bits / rate_bps

    @classmethod
    def of(cls, workload: Workload, features: np.ndarray, samples: np.ndarray) -> LinkShares:
        """By bytes: of satellite ``k``, ``features[k]`` images cross, ``samples[k]`` samples times passes take steps.

        The small crossings go first on a link, so that features get what those leave over the whole round.
        """
        c1_bytes = float(features.sum()) * workload.c1_bytes
        down_bytes = float(samples.sum()) * workload.c3_bytes
        both_bytes = down_bytes + float(samples.sum()) * workload.up_bytes
        if not c1_bytes:
            return cls(1.0, 1.0, message_bits=0.0, downlink_bits=0.0, isl_bits=0.0)
        sample_bytes = max(workload.c3_bytes, workload.up_bytes if both_bytes > down_bytes else 0.0)
        message_bits = 8.0 * workload.micro_batch * sample_bytes / workload.micro_batches
        return cls(
            c1_bytes / (c1_bytes + down_bytes),
            c1_bytes / (c1_bytes + both_bytes),
            message_bits=message_bits,
            downlink_bits=8.0 * down_bytes,
            isl_bits=8.0 * both_bytes,
        )


class BusyTimes:
    """The times in which features are on each link."""

    def __init__(self) -> None:
        self._spans: dict[Hashable, list[tuple[float, float]]] = {}
        self._merged: dict[Hashable, tuple[list[float], list[float]]] = {}

    def add(self, link: Hashable, start_s: float, end_s: float) -> None:
        """Features take a link in ``[start_s, end_s]``."""
        self._spans.setdefault(link, []).append((start_s, end_s))

    def at(self, link: Hashable, time_s: float) -> bool:
        """Whether features are on a link at a time, or will be before a burst of small crossings is over."""
        merged = self._merged.get(link)
        if merged is None:
            merged = self._merged[link] = self._merge(link)
        starts, ends = merged
        position = bisect_right(starts, time_s + BURST_S) - 1
        return position >= 0 and time_s < ends[position]

    def _merge(self, link: Hashable) -> tuple[list[float], list[float]]:
        """When features begin and cease to take a link, pauses shorter than a burst left out."""
        starts, ends = list[float](), list[float]()
        for start_s, end_s in sorted(self._spans.get(link, ())):
            if ends and start_s <= ends[-1] + BURST_S:
                ends[-1] = max(ends[-1], end_s)
            else:
                starts.append(start_s)
                ends.append(end_s)
        return starts, ends
