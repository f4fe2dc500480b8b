"""The contact plan: every interval in which a link of the mission can carry data.

It is the one value that flight dynamics hands to the planner, the relays and the report; in the words of
CCSDS 734.3-B-1 (Schedule-Aware Bundle Routing) a list of *contacts*, each from one node to another, with a
rate and a one-way light time.  Times are seconds after the plan's epoch.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from astropy.time import Time


class LinkKind(enum.IntEnum):
    """The kind of link that a contact runs over.  A downlink goes from a satellite to a station, an uplink the other
    way."""

    DOWNLINK = 0
    UPLINK = 1
    INTRA_ISL = 2
    INTER_ISL = 3


CONTACT = np.dtype(
    [
        ("source", "<i4"),  # index into ContactPlan.nodes
        ("target", "<i4"),
        ("kind", "u1"),  # LinkKind
        ("start_s", "<f8"),  # seconds after the epoch of the plan
        ("end_s", "<f8"),
        ("rate_bps", "<f8"),  # mean over the window: rate_bps * (end_s - start_s) bits fit into it
        ("owlt_s", "<f8"),  # one-way light time, mean over the window
        ("max_elevation_deg", "<f8"),  # NaN for inter-satellite links
        ("min_range_km", "<f8"),
        ("open_start", "?"),  # True where the horizon, not the geometry, cuts the window
        ("open_end", "?"),
    ]
)


class ContactPlanError(ValueError):
    """A contact plan contradicts itself; the message names the row and the field."""


@dataclass(frozen=True)
class Node:
    """A satellite (with the plane and the slot it flies in) or a ground station (plane and slot are -1)."""

    name: str
    kind: Literal["satellite", "station"]
    _: KW_ONLY
    plane: int = -1
    slot: int = -1


@dataclass(frozen=True, eq=False)
class ContactPlan:
    """All contacts of a constellation and its stations over ``[0, horizon_s]`` after ``epoch``.

    ``nodes`` lists the satellites first, then the stations; ``contacts`` is a read-only array of
    ``CONTACT``, one row per directed contact, sorted by (start_s, source, target, kind).  Rows are sorted
    and checked on construction.

    Raises ``ContactPlanError`` where nodes or contacts contradict each other.
    """

    epoch: Time
    horizon_s: float
    _: KW_ONLY
    nodes: tuple[Node, ...]
    contacts: np.ndarray

    def __post_init__(self) -> None:
        _check_nodes(self.nodes)
        if not (np.isfinite(self.horizon_s) and self.horizon_s > 0):
            raise ContactPlanError(f"horizon_s: found {self.horizon_s}, allowed is a finite number above 0")
        if not self.epoch.isscalar:
            raise ContactPlanError(f"epoch: found an array of {self.epoch.size} times, allowed is one time")
        if self.contacts.dtype != CONTACT or self.contacts.ndim != 1:
            raise ContactPlanError("contacts: not a one-dimensional array of dtype CONTACT")
        order = np.lexsort([self.contacts[name] for name in ("kind", "target", "source", "start_s")])
        contacts = self.contacts[order]
        _check_contacts(contacts, self.nodes, self.horizon_s)
        contacts.flags.writeable = False
        object.__setattr__(self, "contacts", contacts)
        object.__setattr__(self, "epoch", self.epoch.utc)

    @cached_property
    def satellites(self) -> np.ndarray:
        """Node indices of the satellites, ``0 .. N-1``."""
        return np.flatnonzero([node.kind == "satellite" for node in self.nodes])

    @cached_property
    def stations(self) -> np.ndarray:
        """Node indices of the ground stations, ``N .. N+G-1``."""
        return np.flatnonzero([node.kind == "station" for node in self.nodes])

    @cached_property
    def planes(self) -> dict[int, tuple[int, ...]]:
        """The satellites of each plane, ordered by slot."""
        members: dict[int, list[int]] = {}
        for index in self.satellites:
            members.setdefault(self.nodes[index].plane, []).append(int(index))
        return {
            plane: tuple(sorted(members[plane], key=lambda index: self.nodes[index].slot))
            for plane in sorted(members)
        }

    def index(self, name: str) -> int:
        """The index of the node called ``name``; ``KeyError`` when there is none."""
        return self._index_of_name[name]

    def of_kind(self, *kinds: LinkKind) -> np.ndarray:
        """The contacts of these kinds of link, in plan order."""
        return self.contacts[np.isin(self.contacts["kind"], kinds)]

    def between(self, source: int, target: int) -> np.ndarray:
        """The contacts from node ``source`` to node ``target``, by time; empty where there is none."""
        order, pair_of_row = self._rows_by_pair
        pair = source * len(self.nodes) + target
        first, last = np.searchsorted(pair_of_row, [pair, pair + 1])
        return self.contacts[order[first:last]]

    def leaving(self, source: int) -> np.ndarray:
        """The rows of the contacts that leave node ``source``, by target and time."""
        order, pair_of_row = self._rows_by_pair
        first, last = np.searchsorted(pair_of_row, [source * len(self.nodes), (source + 1) * len(self.nodes)])
        return order[first:last]

    def during(self, start_s: float, end_s: float) -> np.ndarray:
        """The contacts that share more than an instant with ``[start_s, end_s]``, whole (not cut to it)."""
        before_end = self.contacts[: np.searchsorted(self.contacts["start_s"], end_s)]
        return before_end[before_end["end_s"] > start_s]

    def volume_bytes(self) -> np.ndarray:
        """The bytes that fit into each contact, shape ``(len(contacts),)``."""
        return self.contacts["rate_bps"] * (self.contacts["end_s"] - self.contacts["start_s"]) / 8.0

    def digest(self) -> str:
        """SHA-256 over everything the plan says, in hex: equal plans have equal digests."""
        content = hashlib.sha256()
        content.update(repr((self.epoch_utc, float(self.horizon_s), self.nodes)).encode())
        content.update(self.contacts.tobytes())
        return content.hexdigest()

    @property
    def epoch_utc(self) -> str:
        """The epoch as an ISO 8601 UTC string with nanoseconds."""
        return Time(self.epoch, precision=9).isot + "Z"

    @cached_property
    def _index_of_name(self) -> dict[str, int]:
        return {node.name: index for index, node in enumerate(self.nodes)}

    @cached_property
    def _rows_by_pair(self) -> tuple[np.ndarray, np.ndarray]:
        pair = self.contacts["source"].astype(np.int64) * len(self.nodes) + self.contacts["target"]
        order = np.argsort(pair, kind="stable")
        return order, pair[order]


def _check_nodes(nodes: Sequence[Node]) -> None:
    kinds = [node.kind for node in nodes]
    if kinds != sorted(kinds):  # "satellite" < "station"
        raise ContactPlanError("nodes: a satellite stands after a station; satellites come first")
    seen: set[str] = set()
    for node in nodes:
        if node.name in seen:
            raise ContactPlanError(f"nodes: two are called {node.name!r}, names are unique")
        seen.add(node.name)


def _check_contacts(contacts: np.ndarray, nodes: Sequence[Node], horizon_s: float) -> None:
    """Refuse rows that no link could have.  ``contacts`` are sorted by start."""
    satellites = sum(node.kind == "satellite" for node in nodes)
    source, target, kind = contacts["source"], contacts["target"], contacts["kind"]
    start_s, end_s = contacts["start_s"], contacts["end_s"]
    from_satellite, to_satellite = source < satellites, target < satellites

    def refuse(bad: np.ndarray, field: str, reason: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            raise ContactPlanError(f"contacts[{row}].{field}: found {contacts[field][row]}, {reason}")

    refuse((source < 0) | (source >= len(nodes)), "source", f"allowed are node indices 0 to {len(nodes) - 1}")
    refuse((target < 0) | (target >= len(nodes)), "target", f"allowed are node indices 0 to {len(nodes) - 1}")
    refuse(source == target, "target", "a contact joins two different nodes")
    refuse(kind > max(LinkKind), "kind", f"allowed are 0 to {int(max(LinkKind))} (LinkKind)")
    refuse(from_satellite != (kind != LinkKind.UPLINK), "kind", "which does not fit the source node")
    refuse(to_satellite != (kind != LinkKind.DOWNLINK), "kind", "which does not fit the target node")
    refuse(
        ~((start_s >= 0) & (start_s < horizon_s)), "start_s", f"allowed is 0 up to the horizon, {horizon_s} s"
    )
    refuse(
        ~((end_s > start_s) & (end_s <= horizon_s)), "end_s", "allowed is after start_s, up to the horizon"
    )
    refuse(
        ~((contacts["rate_bps"] >= 0) & np.isfinite(contacts["rate_bps"])), "rate_bps", "allowed is 0 or more"
    )
    refuse(~((contacts["owlt_s"] >= 0) & np.isfinite(contacts["owlt_s"])), "owlt_s", "allowed is 0 or more")

    order = np.lexsort([start_s, kind, target, source])
    link = np.stack([source[order], target[order], kind[order]])
    same_link = (link[:, 1:] == link[:, :-1]).all(axis=0)
    overlap = np.zeros(len(contacts), bool)
    overlap[order[1:]] = same_link & (start_s[order[1:]] < end_s[order[:-1]])
    refuse(overlap, "start_s", "which lies inside the contact before it on the same link")
