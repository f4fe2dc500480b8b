"""From satellites, stations and links to the contact plan: the one entrance to the flight dynamics."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from astropy.time import Time

from orbit.constellation import Constellation, warn_of_old_elements
from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node
from orbit.files.contact_plan_files import load, save
from orbit.files.contact_plan_header import ContactPlanFileError
from orbit.link_budget import LinkBudget
from orbit.motion.earth_orientation import DAY_S, warn_of_old_orientation
from orbit.motion.frames import LIGHT_KM_S, earth_orientation
from orbit.rate_model import RateModel
from orbit.search.contacts import Progress, check_horizon, choose_backend, passes_of
from orbit.search.ephemeris import Ephemeris, over_groups
from orbit.search.given_grid import given_grid
from orbit.search.intersatellite import (
    GRAZING_ALTITUDE_KM,
    all_pairs,
    find_links,
    grid_neighbours,
    plane_neighbours,
    same_slot_neighbours,
)
from orbit.stations import GroundStation

ENGINE_VERSION = 10  # raise it with every change that changes a contact plan: it invalidates the cache
PASS_SAMPLES = 24  # of range and rate over a pass, at the middles of equal parts


class LinkParameterError(ValueError):
    """A link that cannot be; the message names the field."""


@dataclass(frozen=True)
class SpaceGroundLink:
    """Satellites ↔ stations: a constant rate [bit/s], a link budget or a model each way; without ``uplink`` none
    goes up."""

    downlink: float | LinkBudget | RateModel
    uplink: float | LinkBudget | RateModel | None = None

    def __post_init__(self) -> None:
        for field in ("downlink", "uplink"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, LinkBudget | RateModel):
                _check_above_zero(f"space_ground.{field}", value)


@dataclass(frozen=True, kw_only=True)
class _SatelliteLink:
    """What limits a link between satellites, as in ``orbit.search.intersatellite.find_links``."""

    max_range_km: float | None = None
    grazing_altitude_km: float = GRAZING_ALTITUDE_KM
    max_slew_deg_s: float | None = None
    acquisition_s: float = 0.0


@dataclass(frozen=True)
class IntraOrbitLink(_SatelliteLink):
    """Neighbours within a plane, both ways at ``rate_bps``; there is a link only where they see each
    other."""

    rate_bps: float

    def __post_init__(self) -> None:
        _check_above_zero("intra_orbit.rate_bps", self.rate_bps)


@dataclass(frozen=True)
class InterOrbitLink(_SatelliteLink):
    """Satellites of different planes, both ways at ``rate_bps``: the nearest neighbours (+grid) or all pairs.

    ``pairs`` gives the grid instead: names of satellites, or ``same-slot``, which pairs equal slot numbers of
    neighbouring planes.  In a grid no satellite has more links than ``terminals``.  ``acquisition_s`` is taken off
    every window once; leave it 0 where the planner accounts for it.
    """

    rate_bps: float
    topology: Literal["grid", "all"] = "grid"
    _: KW_ONLY
    pairs: tuple[tuple[str, str], ...] | Literal["same-slot"] = ()
    terminals: int = 2

    def __post_init__(self) -> None:
        _check_above_zero("inter_orbit.rate_bps", self.rate_bps)
        if self.topology not in ("grid", "all"):
            raise LinkParameterError(
                f"inter_orbit.topology: found {self.topology!r}, allowed are grid and all"
            )
        if self.pairs and self.topology != "grid":
            raise LinkParameterError(
                f"inter_orbit.pairs: found with topology {self.topology!r}, allowed with grid"
            )
        if self.terminals < 1:
            raise LinkParameterError(f"inter_orbit.terminals: found {self.terminals}, allowed is 1 or more")


@dataclass(frozen=True)
class Links:
    """The links of a mission; a kind of link that is ``None`` is absent."""

    space_ground: SpaceGroundLink | None = None
    intra_orbit: IntraOrbitLink | None = None
    _: KW_ONLY
    inter_orbit: InterOrbitLink | None = None


def _check_above_zero(field: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise LinkParameterError(f"{field}: found {value!r}, allowed is a finite number above 0")


def build_contact_plan(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    links: Links,
    *,
    epoch: Time,
    horizon_s: float,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> ContactPlan:
    """Every contact of the mission in ``[0, horizon_s]`` after ``epoch``.

    With ``cache_dir`` a plan that was built before from equal input is read from there instead, unless a rate model
    of somebody else's is in it.  Names of
    satellites and stations must differ.  Raises ``ValueError`` (a horizon, a limit, a name or a pair of
    satellites that is not allowed), ``PropagationError`` (a satellite that decays).
    """
    check_horizon(horizon_s)
    warn_of_old_elements(constellation, epoch, horizon_s)
    warn_of_old_orientation(epoch, horizon_s)
    link = links.space_ground
    own = link is not None and any(isinstance(way, RateModel) for way in (link.downlink, link.uplink))
    if cache_dir is None or own:  # the code of a model may have changed
        return _computed(constellation, stations, links, epoch, horizon_s, progress)
    cached = cache_dir / f"{_key(constellation, stations, links, epoch, horizon_s)}.npz"
    if cached.exists():
        try:
            return load(cached)
        except ContactPlanFileError:
            pass  # cut short or of another version: it is written anew below
    plan = _computed(constellation, stations, links, epoch, horizon_s, progress)
    save(plan, cached)
    return plan


def _computed(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    links: Links,
    epoch: Time,
    horizon_s: float,
    progress: Progress | None,
) -> ContactPlan:
    """Search all kinds of links one after another."""
    nodes = _nodes(constellation, stations)
    share = _shares_of_progress(progress, links)
    parts = [np.empty(0, CONTACT)]
    if links.space_ground is not None:
        link, search = links.space_ground, choose_backend(constellation, stations, horizon_s)

        def of_group(first: int, motion: Ephemeris) -> list[np.ndarray]:
            return _space_ground(motion, first, len(constellation), stations, link, search)

        for done, contacts_of_group in over_groups(constellation, epoch, horizon_s, of_group):
            parts += contacts_of_group
            share[0](done / len(constellation))

    def between_satellites(
        link: IntraOrbitLink | InterOrbitLink, pairs: np.ndarray, kind: LinkKind, progress: Progress
    ) -> list[np.ndarray]:
        windows = find_links(
            constellation,
            pairs,
            epoch=epoch,
            horizon_s=horizon_s,
            max_range_km=link.max_range_km,
            grazing_altitude_km=link.grazing_altitude_km,
            max_slew_deg_s=link.max_slew_deg_s,
            acquisition_s=link.acquisition_s,
            progress=progress,
        )
        return _both_ways(windows, kind, link.rate_bps)

    if links.intra_orbit is not None:
        pairs = plane_neighbours(constellation)
        parts += between_satellites(links.intra_orbit, pairs, LinkKind.INTRA_ISL, share[1])
    if links.inter_orbit is not None:
        pairs = _pairs_across_planes(constellation, links)
        parts += between_satellites(links.inter_orbit, pairs, LinkKind.INTER_ISL, share[2])
    contacts = np.concatenate(parts)
    contacts["end_s"][contacts["open_end"]] = horizon_s  # a sum of steps ends a last bit off
    return ContactPlan(epoch, float(horizon_s), nodes=nodes, contacts=contacts)


def _pairs_across_planes(constellation: Constellation, links: Links) -> np.ndarray:
    """The pairs (K, 2) of satellites of different planes that may link."""
    link = links.inter_orbit
    assert link is not None
    if link.pairs == "same-slot":
        return same_slot_neighbours(constellation, terminals=link.terminals)
    if link.pairs:
        return given_grid(
            constellation, link.pairs, terminals=link.terminals, rings=links.intra_orbit is not None
        )
    if link.topology == "grid":
        return grid_neighbours(constellation, terminals=link.terminals)
    pairs = all_pairs(constellation)
    return pairs[constellation.plane[pairs[:, 0]] != constellation.plane[pairs[:, 1]]]


def _nodes(constellation: Constellation, stations: Sequence[GroundStation]) -> tuple[Node, ...]:
    satellites = zip(
        constellation.names, constellation.plane.tolist(), constellation.slot.tolist(), strict=True
    )
    return tuple(Node(name, "satellite", plane=plane, slot=slot) for name, plane, slot in satellites) + tuple(
        Node(station.name, "station") for station in stations
    )


def _space_ground(
    motion: Ephemeris,
    first: int,
    satellites: int,
    stations: Sequence[GroundStation],
    link: SpaceGroundLink,
    search: ModuleType,
) -> list[np.ndarray]:
    """The downlinks and uplinks of the satellites from number ``first`` on."""
    passes = passes_of(motion, stations, search)
    station = passes["station"]
    middle = (np.arange(PASS_SAMPLES) + 0.5) / PASS_SAMPLES
    seconds = passes["start_s"][:, None] + (passes["end_s"] - passes["start_s"])[:, None] * middle
    satellite = np.repeat(passes["satellite"], PASS_SAMPLES)
    place = np.array([station_of.position_km for station_of in stations]).reshape(-1, 3)[station]
    up = np.array([station_of.east_north_up[2] for station_of in stations]).reshape(-1, 3)[station]
    sight = motion.at(satellite, seconds.ravel())[0].reshape(*seconds.shape, 3) - place[:, None, :]
    range_km = np.linalg.norm(sight, axis=2)
    elevation_deg = np.degrees(np.arcsin(np.clip(np.einsum("psx,px->ps", sight, up) / range_km, -1, 1)))

    down = np.empty(len(passes), CONTACT)
    for field in ("start_s", "end_s", "max_elevation_deg", "min_range_km", "open_start", "open_end"):
        down[field] = passes[field]
    down["owlt_s"] = range_km.mean(axis=1) / LIGHT_KM_S
    up_contacts = down.copy()
    down["kind"], down["source"], down["target"] = (
        LinkKind.DOWNLINK,
        first + passes["satellite"],
        satellites + station,
    )
    up_contacts["kind"], up_contacts["source"], up_contacts["target"] = (
        LinkKind.UPLINK,
        down["target"],
        down["source"],
    )
    both = [down]
    down["rate_bps"] = _mean_rate_bps(link.downlink, range_km, elevation_deg)
    if link.uplink is not None:
        up_contacts["rate_bps"] = _mean_rate_bps(link.uplink, range_km, elevation_deg)
        both.append(up_contacts)
    return both


def _mean_rate_bps(
    link: float | LinkBudget | RateModel, range_km: np.ndarray, elevation_deg: np.ndarray
) -> np.ndarray | float:
    if isinstance(link, LinkBudget | RateModel):
        return link.rate_bps(range_km, elevation_deg).mean(axis=1)
    return link


def _both_ways(windows: np.ndarray, kind: LinkKind, rate_bps: float) -> list[np.ndarray]:
    """The contacts of the windows (``LINK``) in both directions."""
    forth = np.empty(len(windows), CONTACT)
    for field in ("start_s", "end_s", "min_range_km", "open_start", "open_end"):
        forth[field] = windows[field]
    forth["kind"], forth["rate_bps"], forth["max_elevation_deg"] = kind, rate_bps, np.nan
    forth["owlt_s"] = windows["mean_range_km"] / LIGHT_KM_S
    back = forth.copy()
    forth["source"], forth["target"] = windows["first"], windows["second"]
    back["source"], back["target"] = windows["second"], windows["first"]
    return [forth, back]


def _shares_of_progress(progress: Progress | None, links: Links) -> list[Progress]:
    """One callback for each of the three kinds of link, which together go from 0 to 1."""
    present = [link is not None for link in (links.space_ground, links.intra_orbit, links.inter_orbit)]

    def share(number: int) -> Progress:
        def report(fraction: float) -> None:
            if progress is not None:
                progress((sum(present[:number]) + fraction) / sum(present))

        return report

    return [share(number) for number in range(3)]


def _key(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    links: Links,
    epoch: Time,
    horizon_s: float,
) -> str:
    """A hash of everything the plan depends on, the orientation of the Earth and the version of the engine
    among it."""
    content = hashlib.sha256()
    parts = (ENGINE_VERSION, constellation.names, constellation.propagator, tuple(stations), links, horizon_s)
    content.update(repr(parts).encode())
    content.update(Time(epoch.utc, precision=9).isot.encode())
    for field in fields(constellation.elements):
        content.update(getattr(constellation.elements, field.name).tobytes())
    for array in (
        constellation.plane,
        constellation.slot,
        *earth_orientation(epoch, np.arange(0.0, horizon_s + 2 * DAY_S, DAY_S)),  # daily, as its table
    ):
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()
