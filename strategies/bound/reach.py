"""What of the links a round could use if it ended by a given time: the lower bound asks this for each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property

import numpy as np

from strategies.bound.light_paths import one_way_s
from strategies.bound.session_windows import cut_before, data_from_s, most_at_once
from strategies.problem.network import groups_of


@dataclass(frozen=True, eq=False)
class Reach:
    """Sessions (``windows``, dtype ``WINDOW``) and ``links`` between satellites that open before ``until_s``.

    Satellites of one ``group``, shape ``(satellites,)``, are joined by such links, however indirectly. ``beams`` are
    those of each station, by its node.
    """

    windows: np.ndarray
    links: np.ndarray
    _: KW_ONLY
    satellites: int
    until_s: float
    beams: Mapping[int, int]
    known: dict[tuple, np.ndarray] = field(
        default_factory=dict
    )  # what was searched for before, by what there was

    @cached_property
    def group(self) -> np.ndarray:
        """Label of each satellite."""
        return self._once(("group",), lambda: groups_of(self.links, self.satellites))

    @property
    def groups(self) -> int:
        """Return the number of groups."""
        return int(self.group.max()) + 1

    @cached_property
    def window_group(self) -> np.ndarray:
        """Label of each window."""
        return self.group[self.windows["satellite"]]

    @cached_property
    def home_s(self) -> np.ndarray:
        """Least light time from each satellite to the ground; infinite where nothing comes through."""
        return self.one_way_s("down", 0.0)

    @cached_property
    def out_s(self) -> np.ndarray:
        """Least light time from the ground to each satellite."""
        return self.one_way_s("up", 0.0)

    def one_way_s(self, direction: str, bits: float) -> np.ndarray:
        """Return the least seconds of ``bits`` from the ground (``"up"``) or to it, store and forward."""
        return self._once(
            (direction, bits), lambda: one_way_s(self.windows, self.links, self.satellites, direction, bits)
        )

    def first_data_s(self, direction: str) -> np.ndarray:
        """Return when each satellite's group can first send or hear something, shape ``(satellites,)``."""
        return self._least(data_from_s(self.windows, direction))

    def joint_bps(self, direction: str) -> np.ndarray:
        """Return the most that the space-ground links of each satellite's group carry at once.

        A message may go in parts over all of them; a station serves as many satellites as it has beams.
        """
        of_group = self._once(
            ("joint", direction),
            lambda: most_at_once(self.windows, direction, self.window_group, self.groups, self.beams),
        )
        return of_group[self.group]

    def last_leave_s(self, bits: float) -> np.ndarray:
        """Return when ``bits`` must leave the last satellites on their way to be on the ground in time."""
        windows = self.windows
        end_s = np.minimum(windows["down_end_s"], self.until_s - windows["owlt_s"])
        usable = (end_s > data_from_s(windows, "down")) & (windows["down_bps"] > 0)
        last_s = -self._least(np.where(usable, -end_s, np.inf))
        with np.errstate(divide="ignore"):
            return last_s - bits / self.joint_bps("down")

    def _once(self, key: tuple, search: Callable[[], np.ndarray]) -> np.ndarray:
        # Later times only add windows and links, so that their numbers say which they are.
        key = (len(self.windows), len(self.links), *key)
        if key not in self.known:
            self.known[key] = search()
        return self.known[key]

    def _least(self, of_window: np.ndarray) -> np.ndarray:
        least = np.full(self.groups, np.inf)
        np.minimum.at(least, self.window_group, of_window)
        return least[self.group]


@dataclass(frozen=True, eq=False)
class LinkNetwork:
    """All ``windows`` (dtype ``WINDOW``) and ``links`` (contacts between satellites) that a round may use, and each
    station's ``beams``."""

    windows: np.ndarray
    links: np.ndarray
    _: KW_ONLY
    satellites: int
    beams: Mapping[int, int]
    known: dict[tuple, np.ndarray] = field(default_factory=dict)

    def by(self, until_s: float) -> Reach:
        """Return what there is of them by ``until_s``."""
        links = self.links[self.links["start_s"] < until_s]
        return Reach(
            cut_before(self.windows, until_s),
            links,
            satellites=self.satellites,
            until_s=until_s,
            beams=self.beams,
            known=self.known,
        )
