"""Contacts that were computed elsewhere, and the contact plan that they become a part of."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise

import numpy as np

from orbit.constellation import Constellation
from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node
from orbit.files.contact_plan_header import ContactPlanFileError
from orbit.motion.frames import LIGHT_KM_S
from orbit.search.ephemeris import Ephemeris, over_groups
from orbit.stations import GroundStation

SAMPLES = 25  # of a contact, for its geometry
CONTACTS_AT_A_TIME = 50_000  # contacts
_CLASS = re.compile(
    r"^(?:\*/)?(?:AreaTarget|Facility|GroundVehicle|Place|Satellite|Target)[-/]", re.IGNORECASE
)  # what STK puts before a name


@dataclass(frozen=True)
class GivenContact:
    """An interval in which a link can carry data.

    Attributes:
        where: In its file, for messages.
        source: As the file calls it.
        target: As the file calls it.
        start_s: Seconds after the mission's epoch.
        end_s: Seconds after the mission's epoch.
        rate_bps: None where the file says none: the mission's links do.
        light_time_s: One way; None where the file says none: the mission's orbits do.
        is_two_way: Whether data go back, too.
    """

    where: str
    source: str
    _: KW_ONLY
    target: str
    start_s: float
    end_s: float
    rate_bps: float | None = None
    light_time_s: float | None = None
    is_two_way: bool = False


def contacts_between(
    given: Sequence[GivenContact],
    nodes: Sequence[Node],
    *,
    rates_bps: Mapping[LinkKind, float | None],
    horizon_s: float,
) -> np.ndarray:
    """The contacts as rows of ``CONTACT``, cut to ``[0, horizon_s]``; their light time is NaN where none is given.

    Nodes are found by name; STK's class before one ("Satellite/sat1") may be there.  ``rates_bps`` are those of
    contacts without a rate, ``None`` where a contact must have one.

    Raises ``ContactPlanFileError`` for a node that is not there, two stations, and a rate that nobody gives.
    """
    index = {node.name: number for number, node in enumerate(nodes)}

    def node_of(contact: GivenContact, name: str) -> int:
        for known in (name, _CLASS.sub("", name), name.rpartition("/")[2]):
            if known in index:
                return index[known]
        raise ContactPlanFileError(
            f"{contact.where}: found {name!r}, which is no satellite or station of the mission; "
            "contacts.nodes says who is meant"
        )

    rows, where = [], []
    for entry in given:
        ends = node_of(entry, entry.source), node_of(entry, entry.target)
        if ends[0] == ends[1]:
            raise ContactPlanFileError(f"{entry.where}: {entry.source!r} and {entry.target!r} are one node")
        if not entry.end_s > entry.start_s:
            raise ContactPlanFileError(f"{entry.where}: the end is not after the start")
        start_s, end_s = max(entry.start_s, 0.0), min(entry.end_s, horizon_s)
        if not end_s > start_s:
            continue
        for a, b in (ends, ends[::-1]) if entry.is_two_way else (ends,):
            kind = _kind_of(entry, nodes[a], nodes[b])
            rate_bps = rates_bps[kind] if entry.rate_bps is None else entry.rate_bps
            if rate_bps is None:
                raise ContactPlanFileError(
                    f"{entry.where}: a {kind.name.lower()} without a rate; the file needs a column for it where "
                    "the scenario has a link budget"
                )
            light_s = np.nan if entry.light_time_s is None else entry.light_time_s
            open_start, open_end = entry.start_s <= 0.0, entry.end_s >= horizon_s
            where.append(entry.where)
            rows.append((a, b, kind, start_s, end_s, rate_bps, light_s, np.nan, np.nan, open_start, open_end))
    contacts = np.array(rows, CONTACT)
    order = np.lexsort([contacts["start_s"], contacts["target"], contacts["source"]])
    for before, after in pairwise(order.tolist()):
        same = rows[before][:2] == rows[after][:2]
        if same and contacts["start_s"][after] < contacts["end_s"][before]:
            raise ContactPlanFileError(
                f"{where[after]}: begins before the contact of {where[before]} ends, on the same link"
            )
    return contacts


def with_given(
    plan: ContactPlan, given: np.ndarray, constellation: Constellation, stations: Sequence[GroundStation]
) -> ContactPlan:
    """The plan with the contacts of ``contacts_between``; ranges and elevations are those of the orbits, and so are
    light times that are not given."""
    given = given.copy()
    for first in range(0, len(given), CONTACTS_AT_A_TIME):
        _fill_geometry(plan, given[first : first + CONTACTS_AT_A_TIME], constellation, stations)
    return dataclasses.replace(plan, contacts=np.concatenate([plan.contacts, given]))


def _fill_geometry(
    plan: ContactPlan, contacts: np.ndarray, constellation: Constellation, stations: Sequence[GroundStation]
) -> None:
    """Write smallest range, highest elevation and, where it is NaN, mean light time of each contact, of samples."""
    part = np.linspace(0, 1, SAMPLES)
    time_s = contacts["start_s"][:, None] + (contacts["end_s"] - contacts["start_s"])[:, None] * part
    ends = np.stack([contacts["source"], contacts["target"]], axis=1)
    place_km = np.empty((len(contacts), 2, SAMPLES, 3))
    for number, station in enumerate(stations, start=len(constellation)):
        place_km[ends == number] = station.position_km

    def fill(first: int, motion: Ephemeris) -> None:
        row, end = np.nonzero((ends >= first) & (ends < first + len(motion.state)))
        nodes_of = np.repeat(ends[row, end] - first, SAMPLES)
        place_km[row, end] = motion.at(nodes_of, time_s[row].ravel())[0].reshape(-1, SAMPLES, 3)

    for _ in over_groups(constellation, plan.epoch, plan.horizon_s, fill):
        pass
    sight_km = place_km[:, 1] - place_km[:, 0]
    range_km = np.linalg.norm(sight_km, axis=2)
    unknown = np.isnan(contacts["owlt_s"])
    contacts["owlt_s"][unknown] = range_km[unknown].mean(axis=1) / LIGHT_KM_S
    contacts["min_range_km"] = range_km.min(axis=1)
    for number, station in enumerate(stations, start=len(constellation)):
        for end, sign in ((0, 1.0), (1, -1.0)):
            of_node = ends[:, end] == number
            sine = sign * (sight_km[of_node] @ station.east_north_up[2]) / range_km[of_node]
            contacts["max_elevation_deg"][of_node] = np.degrees(np.arcsin(np.clip(sine, -1, 1))).max(axis=1)


def _kind_of(contact: GivenContact, source: Node, target: Node) -> LinkKind:
    match source.kind, target.kind:
        case "satellite", "station":
            return LinkKind.DOWNLINK
        case "station", "satellite":
            return LinkKind.UPLINK
        case "satellite", "satellite":
            return LinkKind.INTRA_ISL if source.plane == target.plane else LinkKind.INTER_ISL
    raise ContactPlanFileError(
        f"{contact.where}: {source.name!r} and {target.name!r} are both stations, which are joined by fibre"
    )
