"""What inter-satellite links have to carry between satellites and gateways, all in all by the end: no order in time."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from strategies.bound.flows.flow_over_time import max_flow
from strategies.bound.flows.linear_rows import LinearRows
from strategies.bound.reach import Reach

_ENOUGH = 1.0 - 1e-5


@dataclass(frozen=True, eq=False)
class LinkCommodity:
    """``bits_of`` each satellite, shape ``(satellites,)``, that go ``to_ground`` or come from it.

    Gateway ``gateway[i]`` passes on ``bits[i]`` for each unit of variable ``variable[i]`` of a linear
    program.
    """

    bits_of: np.ndarray
    gateway: np.ndarray
    _: KW_ONLY
    variable: np.ndarray
    bits: np.ndarray
    to_ground: bool

    def carried_over_links(self, solution: np.ndarray, reach: Reach) -> bool:
        """Return whether links can carry all between satellites and what a solution passes on at gateways."""
        satellites, total = reach.satellites, float(self.bits_of.sum()) * float(solution[0])
        if total <= 0:
            return True
        source, target, bits = _volumes(reach)
        passed = np.bincount(self.gateway, self.bits * solution[self.variable], minlength=satellites)
        everyone, zero = np.arange(satellites), np.zeros(satellites, int)
        if not self.to_ground:  # the same network, against the arrows
            source, target = target, source
        tail = np.concatenate([zero, source + 2, everyone + 2])
        head = np.concatenate([everyone + 2, target + 2, zero + 1])
        amount = np.concatenate([self.bits_of * float(solution[0]), bits, passed])
        return max_flow(tail, head, amount, total) >= _ENOUGH * total

    def add_links(self, rows: LinearRows, upper: np.ndarray, reach: Reach) -> np.ndarray:
        """Append variables of what links carry, and that no satellite passes on more than it has; return all limits."""
        source, target, bits = _volumes(reach)
        scale = float(self.bits_of.sum())
        of_link = len(upper) + np.arange(len(source))
        nodes = np.arange(reach.satellites)
        into, out = (target, source) if self.to_ground else (source, target)
        rows.add(
            np.zeros(reach.satellites),
            (nodes, np.zeros(reach.satellites), self.bits_of / scale),
            (into, of_link, 1.0),
            (out, of_link, -1.0),
            (self.gateway, self.variable, -self.bits / scale),
        )
        return np.concatenate([upper, np.minimum(bits / scale, 1.0)])


def _volumes(reach: Reach) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bits that can cross each pair by the end, as (source, target, bits)."""
    links = reach.links
    open_s = np.maximum(np.minimum(links["end_s"], reach.until_s) - links["start_s"], 0.0)
    key = links["source"].astype(np.int64) * reach.satellites + links["target"]
    pairs, row = np.unique(key, return_inverse=True)
    bits = np.bincount(row, open_s * links["rate_bps"], minlength=len(pairs))
    return pairs // reach.satellites, pairs % reach.satellites, bits
