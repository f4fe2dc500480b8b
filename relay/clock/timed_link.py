"""A link in time: its windows, what they can carry, and when a payload arrives that is sent at a given time.

All times are mission seconds. The emulation sends real bytes through these windows, see `relay.node.outgoing`.
"""

from __future__ import annotations

import itertools
import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """A time in which a link is open, and its rate."""

    start_s: float
    end_s: float
    rate_bps: float
    owlt_s: float  # one-way light time


@dataclass(frozen=True, eq=False)
class LinkSchedule:
    """The windows of one directed link, in order and disjoint.

    The link is looked at through C(t), the bits it could have carried since the plan began: sending a payload
    moves its first bit's place in C by the payload's bits, whatever windows lie between.
    """

    windows: tuple[Window, ...]

    _start_s: np.ndarray = field(init=False, repr=False)
    _end_s: np.ndarray = field(init=False, repr=False)
    _bits_before: np.ndarray = field(init=False, repr=False)  # C(start) of each window, and C(∞)

    def __post_init__(self) -> None:
        start_s, end_s, rate_bps, owlt_s = np.array(self.windows, float).reshape(-1, 4).T
        if not np.isfinite([start_s, end_s, rate_bps, owlt_s]).all() or (owlt_s < 0).any():
            raise ValueError("windows of a link are of finite numbers, with a light time of at least 0")
        if (start_s[1:] < end_s[:-1]).any() or (end_s <= start_s).any() or (rate_bps <= 0).any():
            raise ValueError("windows of a link must be in order, disjoint, not empty, of a rate above 0")
        object.__setattr__(self, "_start_s", start_s)
        object.__setattr__(self, "_end_s", end_s)
        object.__setattr__(self, "_bits_before", np.append(0.0, np.cumsum(rate_bps * (end_s - start_s))))

    def open_at(self, instant_s: float) -> Window | None:
        """The window that contains this instant (its end not included)."""
        index = int(self._start_s.searchsorted(instant_s, side="right")) - 1
        return self.windows[index] if index >= 0 and instant_s < self._end_s[index] else None

    def next_after(self, instant_s: float) -> Window | None:
        """The window that contains this instant, or the first one later."""
        index = int(self._end_s.searchsorted(instant_s, side="right"))
        return self.windows[index] if index < len(self.windows) else None

    def open_near(self, instant_s: float, slack_s: float) -> bool:
        """Whether the link is open within `slack_s` of this instant."""
        window = self.next_after(instant_s - slack_s)
        return window is not None and window.start_s <= instant_s + slack_s

    @cached_property
    def _plain(self) -> tuple[list[float], list[float]]:
        """`_end_s` and `_bits_before` as lists: bisecting those is ten times faster than numpy for one number."""
        return self._end_s.tolist(), self._bits_before.tolist()

    def arrival_s(self, size_bytes: int, earliest_s: float) -> float:
        """Return when a payload is there that is sent from `earliest_s` on; inf where the plan ends before."""
        end_s, bits_before = self._plain
        index = bisect_right(end_s, earliest_s)
        if index == len(self.windows):
            return math.inf
        first = self.windows[index]
        start_s = max(earliest_s, first.start_s)
        bits_to = bits_before[index] + (start_s - first.start_s) * first.rate_bps + 8.0 * size_bytes
        last = max(index, bisect_left(bits_before, bits_to, lo=1) - 1)
        if last >= len(self.windows):
            return math.inf
        window = self.windows[last]
        sent_s = window.start_s + (bits_to - bits_before[last]) / window.rate_bps
        return min(max(sent_s, start_s), window.end_s) + window.owlt_s


def fastest(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Disjoint windows out of overlapping ones: at each instant the one with the highest rate.

    Two stations of one ground segment may see a satellite at the same time; it talks to one of them.
    """
    edges = sorted({edge for window in windows for edge in (window.start_s, window.end_s)})
    chosen: list[Window] = []
    for start_s, end_s in itertools.pairwise(edges):
        visible = [w for w in windows if w.start_s <= start_s and w.end_s >= end_s]
        if not visible:
            continue
        best = max(visible, key=lambda w: (w.rate_bps, -w.owlt_s, -w.start_s))
        if chosen and chosen[-1].end_s == start_s and chosen[-1][2:] == best[2:]:
            chosen[-1] = chosen[-1]._replace(end_s=end_s)
        else:
            chosen.append(Window(start_s, end_s, rate_bps=best.rate_bps, owlt_s=best.owlt_s))
    return tuple(chosen)


@dataclass(frozen=True, eq=False)
class Network:
    """Directed links between named nodes, all that a relay needs to know of a contact plan."""

    nodes: tuple[str, ...]
    links: Mapping[tuple[str, str], LinkSchedule]

    @classmethod
    def from_json(cls, text: str) -> Network:
        """Read what `to_json` wrote. Raises ValueError."""
        data = json.loads(text)
        links = {
            (link["source"], link["target"]): LinkSchedule(tuple(Window(*row) for row in link["windows"]))
            for link in data["links"]
        }
        unknown = {node for link in links for node in link} - set(data["nodes"])
        if unknown:
            raise ValueError(f"network: links of unknown nodes {', '.join(sorted(unknown))}")
        return cls(tuple(data["nodes"]), links)

    def to_json(self) -> str:
        """Nodes and links as text, which `from_json` reads."""
        links = [
            {"source": source, "target": target, "windows": schedule.windows}
            for (source, target), schedule in self.links.items()
        ]
        return json.dumps({"nodes": self.nodes, "links": links})

    @cached_property
    def _neighbours(self) -> dict[str, tuple[str, ...]]:
        targets: dict[str, tuple[str, ...]] = {}
        for source, target in self.links:
            targets[source] = (*targets.get(source, ()), target)
        return targets

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.nodes)

    def is_node(self, name: str) -> bool:
        """Whether a node of this name is in the plan."""
        return name in self._names

    def neighbours(self, node: str) -> tuple[str, ...]:
        """The nodes that `node` can ever send to."""
        return self._neighbours.get(node, ())
