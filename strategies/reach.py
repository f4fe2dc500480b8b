"""What of the links a round could use if it ended by a given time: the lower bound asks this anew for each time it tries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from strategies.light_paths import one_way_s
from strategies.network import groups_of
from strategies.session_windows import cut_before, data_from_s


@dataclass(frozen=True, eq=False)
class Reach:
    """Sessions (``windows``, dtype ``WINDOW``) and ``links`` between satellites that open before ``until_s``.

    Satellites of one ``group``, shape ``(satellites,)``, are joined by such links, however indirectly.
    """

    windows: np.ndarray
    links: np.ndarray
    satellites: int
    until_s: float

    @classmethod
    def by(cls, windows: np.ndarray, links: np.ndarray, satellites: int, until_s: float) -> Reach:
        """What of ``windows`` and ``links`` there is by ``until_s``."""
        return cls(cut_before(windows, until_s), links[links["start_s"] < until_s], satellites, until_s)

    @cached_property
    def group(self) -> np.ndarray:
        """Label of each satellite."""
        return groups_of(self.links, self.satellites)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.group.max()) + 1

    @cached_property
    def window_group(self) -> np.ndarray:
        """Label of each window."""
        return self.group[self.windows["satellite"]]

    @cached_property
    def home_s(self) -> np.ndarray:
        """Least light time from each satellite to the ground; infinite where nothing comes through."""
        return one_way_s(self.windows, self.links, self.satellites, "down", 0.0)

    @cached_property
    def out_s(self) -> np.ndarray:
        """Least light time from the ground to each satellite."""
        return one_way_s(self.windows, self.links, self.satellites, "up", 0.0)

    def first_data_s(self, direction: str) -> np.ndarray:
        """Return when each satellite's group can first send or hear something, shape ``(satellites,)``."""
        return self._least(data_from_s(self.windows, direction))

    def best_bps(self, direction: str) -> np.ndarray:
        """Return the fastest space-ground link of each satellite's group."""
        return -self._least(-self.windows[f"{direction}_bps"])

    def last_leave_s(self, bits: float) -> np.ndarray:
        """Return when ``bits`` must leave the last satellite on their way at the latest, to be on the ground in time."""
        windows = self.windows
        with np.errstate(divide="ignore"):
            sent_s = bits / windows["down_bps"]
        leave_s = np.minimum(windows["down_end_s"], self.until_s - windows["owlt_s"]) - sent_s
        return -self._least(np.where(leave_s >= data_from_s(windows, "down"), -leave_s, np.inf))

    def _least(self, of_window: np.ndarray) -> np.ndarray:
        least = np.full(self.groups, np.inf)
        np.minimum.at(least, self.window_group, of_window)
        return least[self.group]
