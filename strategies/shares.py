"""How features and small crossings divide a link while both are on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.workload import Workload

BURST_S = 1.0  # so far the small crossings may run ahead of their share of a link


@dataclass(frozen=True)
class LinkShares:
    """What features get of a downlink, and of an inter-satellite link; the small crossings get the rest."""

    downlink: float
    isl: float
    message_bits: float  # of the largest small crossing

    def downlink_delay_s(self, rate_bps: float) -> float:
        """By how much a burst of small crossings can hold up features on a downlink."""
        return BURST_S * (1.0 - self.downlink) + self.message_bits / rate_bps

    def isl_delay_s(self, rate_bps: float) -> float:
        """By how much a burst of small crossings can hold up features on an inter-satellite link."""
        return BURST_S * (1.0 - self.isl) + self.message_bits / rate_bps

    @classmethod
    def of(cls, workload: Workload, features: np.ndarray, samples: np.ndarray) -> LinkShares:
        """By bytes: ``features[k]`` images of satellite ``k`` cross once, ``samples[k]`` samples times passes take steps.

        The small crossings go first on a link, so that features get what those leave over the whole round.
        """
        c1_bytes = float(features.sum()) * workload.c1_bytes
        down_bytes = float(samples.sum()) * workload.c3_bytes
        both_bytes = down_bytes + float(samples.sum()) * workload.up_bytes
        if not c1_bytes:
            return cls(1.0, 1.0, 0.0)
        sample_bytes = max(workload.c3_bytes, workload.up_bytes if both_bytes > down_bytes else 0.0)
        message_bits = 8.0 * workload.micro_batch * sample_bytes / workload.micro_batches
        return cls(c1_bytes / (c1_bytes + down_bytes), c1_bytes / (c1_bytes + both_bytes), message_bits)
