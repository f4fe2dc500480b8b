"""From the scenario's words to flight dynamics: its constellation, stations, links and contact plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.time import Time

from mission import schema
from mission.entry_points import LINKS, EntryPointError, registered_function
from mission.scenario import ScenarioError, given_path
from mission.schema import Scenario
from mission.text.plain_text import is_node_name, plain
from orbit.constellation import Constellation, walker
from orbit.contact_plan import ContactPlan, LinkKind, Node
from orbit.contact_plan_builder import (
    InterOrbitLink,
    IntraOrbitLink,
    Links,
    SpaceGroundLink,
    build_contact_plan,
)
from orbit.files.given_contact_files import read_given_contacts
from orbit.files.given_contacts import contacts_between, with_given
from orbit.flight_check import flown_constellation, warn_of_shared_places
from orbit.link_budget import LinkBudget
from orbit.motion.element_files import is_skipped, read_element_file
from orbit.rate_model import RateModel
from orbit.search.eclipse import find_eclipses
from orbit.search.given_grid import GridError, read_pairs
from orbit.stations import GroundStation
from orbit.sunlit_links import downlinks_in_sunlight

_BPS_PER_MBPS = 1e6
_MS_PER_S = 1e3
_FIELD_OF_LINK = {"sgl": "space_ground", "intra_orbit": "intra_orbit", "inter_orbit": "inter_orbit"}
_KINDS_OF_LINK = {
    "sgl": (LinkKind.DOWNLINK, LinkKind.UPLINK),
    "intra_orbit": (LinkKind.INTRA_ISL,),
    "inter_orbit": (LinkKind.INTER_ISL,),
}


def cache_directory() -> Path:
    """Return the folder of cached contact plans, ``skysplit/contacts`` in the user's cache; create it if needed."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    directory = Path(base).expanduser() / "skysplit" / "contacts"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "contact plans are kept there; set XDG_CACHE_HOME to a folder that can be written to"
        raise OSError(error.errno, f"{error.strerror}; {hint}", str(directory)) from None
    return directory


def epoch_of(scenario: Scenario) -> Time:
    """Start of mission time."""
    return Time(scenario.epoch, scale="utc")


def constellation_of(scenario: Scenario) -> Constellation:
    """The scenario's satellites.

    Raises:
        ScenarioError: The element file is missing or wrong, or the shell is impossible.
    """
    table = scenario.constellation
    try:
        if table.kind == "walker":
            in_plane = table.satellites // table.planes
            constellation = walker(
                f"{table.inclination_deg}: {table.satellites}/{table.planes}/{table.phasing}",
                epoch=epoch_of(scenario),
                altitude_km=None if table.mean_motion_rev_day else table.altitude_km,
                mean_motion_rev_day=table.mean_motion_rev_day or None,
                star=table.pattern == "star",
                raan_deg=table.raan_deg,
                phasing=table.plane_phase_deg or ("half-slot" if table.half_slot_shift else "walker"),
                slot_spacing_deg=table.train_spacing_deg
                if table.train_spacing_deg and in_plane > 1
                else None,
                frame=table.frame,
                theory=table.theory,
                propagator=table.propagator,
            )
            return _without(constellation, table.skip)
        path = given_path(table.path, "constellation.path")
        assert path is not None  # the schema asks for it
        constellation = flown_constellation(
            read_element_file(path, epoch=epoch_of(scenario), skip=table.skip, on_error=table.on_error),
            epoch=epoch_of(scenario),
            horizon_s=scenario.horizon_s,
            propagator=table.propagator,
            on_error=table.on_error,
            limit=table.limit,
        )
    except ScenarioError:
        raise
    except OSError as error:
        raise ScenarioError(f"constellation.path: found {table.path!r}: {error.strerror}") from error
    except ValueError as error:
        raise ScenarioError(f"constellation: {error}") from error
    for number, name in enumerate(constellation.names, 1):
        if not is_node_name(name):
            raise ScenarioError(
                f"constellation.path: satellite {number} of {table.path!r}: found the name {plain(name, 80)!r}; "
                "allowed: 1 to 64 printable characters, not . or .."
            )
    warn_of_shared_places(constellation, epoch_of(scenario))
    return constellation


def _without(shell: Constellation, skip: Sequence[str | int]) -> Constellation:
    """The satellites of a shell but those that are named."""
    unknown = [word for word in skip if not is_skipped(shell.names, [word])]
    if unknown:
        raise ScenarioError(
            f"constellation.skip: found {unknown[0]!r}, allowed are {shell.names[0]!r} to {shell.names[-1]!r}"
        )
    kept = [k for k, name in enumerate(shell.names) if not is_skipped([name], skip)]
    if not kept:
        raise ScenarioError("constellation.skip: found every satellite, allowed are all but one")
    return shell.take(np.array(kept)) if skip else shell


def stations_of(scenario: Scenario) -> list[GroundStation]:
    """The scenario's ground stations."""
    return [
        GroundStation(
            station.name,
            lat_deg=station.lat_deg,
            lon_deg=station.lon_deg,
            height_m=station.height_m,
            mask_deg=station.mask_profile_deg or station.mask_deg,
            max_range_km=station.max_range_km or None,
        )
        for station in scenario.ground.stations
    ]


def links_of(scenario: Scenario, names: Sequence[str] = ()) -> Links:
    """The scenario's link classes; the acquisition of inter-orbit links and antenna set-up are the planner's.

    Args:
        scenario: Read and checked.
        names: Of the satellites, which a file of pairs refers to.

    Raises:
        ScenarioError: The file of pairs is not there, or not readable as one.
    """
    sgl, intra, inter = scenario.links.sgl, scenario.links.intra_orbit, scenario.links.inter_orbit
    return Links(
        space_ground=SpaceGroundLink(
            downlink=_rate(sgl.down_model, sgl.down_mbps, sgl.down_budget),
            uplink=_rate(sgl.up_model, sgl.up_mbps, sgl.up_budget),
        ),
        intra_orbit=IntraOrbitLink(
            rate_bps=intra.mbps * _BPS_PER_MBPS,
            max_range_km=intra.max_range_km or None,
            grazing_altitude_km=intra.grazing_altitude_km,
            max_slew_deg_s=intra.max_slew_deg_s or None,
            acquisition_s=intra.acquisition_s,
        )
        if intra.enabled
        else None,
        inter_orbit=None
        if inter.topology == "none"
        else InterOrbitLink(
            rate_bps=inter.mbps * _BPS_PER_MBPS,
            topology=inter.topology,
            pairs=_pairs_of(inter.pairs, names),
            terminals=inter.terminals,
            max_range_km=inter.max_range_km,
            grazing_altitude_km=inter.grazing_altitude_km,
            max_slew_deg_s=inter.max_slew_deg_s or None,
        ),
    )


def _pairs_of(
    pairs: str | tuple[tuple[str, str], ...], names: Sequence[str]
) -> tuple[tuple[str, str], ...] | Literal["same-slot"]:
    """A grid as the scenario gives it: pairs of names, the word same-slot, or a file."""
    if isinstance(pairs, tuple):
        return pairs
    if pairs == "same-slot":
        return "same-slot"
    path = given_path(pairs, "links.inter_orbit.pairs")
    if path is None:
        return ()
    try:
        return read_pairs(path, names)
    except OSError as error:
        raise ScenarioError(f"links.inter_orbit.pairs: found {pairs!r}: {error.strerror}") from error
    except GridError as error:
        raise ScenarioError(f"links.inter_orbit.pairs: {error}") from error


def _rate(model: str, mbps: float, budget: schema.LinkBudgetSettings) -> float | LinkBudget | RateModel:
    """One direction of the space-ground link: a constant rate [bit/s], or a budget or a package's model instead."""
    if model != "given":
        try:
            return RateModel(f"link model {model!r}", registered_function(LINKS, model, ("given",)))
        except EntryPointError as error:
            raise ScenarioError(str(error)) from error
    if not budget.enabled:
        return mbps * _BPS_PER_MBPS
    return LinkBudget(
        frequency_hz=budget.frequency_ghz * 1e9,
        bandwidth_hz=budget.bandwidth_mhz * 1e6,
        **budget.model_dump(exclude={"enabled", "frequency_ghz", "bandwidth_mhz"}),
    )


def _is_constant(model: str, budget: schema.LinkBudgetSettings) -> bool:
    return model == "given" and not budget.enabled


def eclipses_of(scenario: Scenario, constellation: Constellation) -> np.ndarray:
    """Return when satellites are in the umbra within the horizon, see :func:`orbit.search.eclipse.find_eclipses`."""
    return find_eclipses(constellation, epoch=epoch_of(scenario), horizon_s=scenario.horizon_s)


def _given_contacts(scenario: Scenario, path: Path, nodes: Sequence[Node]) -> np.ndarray:
    """The contacts of the scenario's file, of the links that it gives."""
    sgl, intra, inter = scenario.links.sgl, scenario.links.intra_orbit, scenario.links.inter_orbit
    given = read_given_contacts(
        path,
        epoch=epoch_of(scenario),
        nodes=nodes,
        columns={kind: name for kind, name in scenario.contacts.columns.model_dump().items() if name},
        called=scenario.contacts.called,
    )
    rates_bps = {
        LinkKind.DOWNLINK: sgl.down_mbps * _BPS_PER_MBPS
        if _is_constant(sgl.down_model, sgl.down_budget)
        else None,
        LinkKind.UPLINK: sgl.up_mbps * _BPS_PER_MBPS if _is_constant(sgl.up_model, sgl.up_budget) else None,
        LinkKind.INTRA_ISL: intra.mbps * _BPS_PER_MBPS,
        LinkKind.INTER_ISL: inter.mbps * _BPS_PER_MBPS,
    }
    contacts = contacts_between(given, nodes, rates_bps=rates_bps, horizon_s=scenario.horizon_s)
    kinds = [kind for link in scenario.contacts.links for kind in _KINDS_OF_LINK[link]]
    return contacts[np.isin(contacts["kind"], kinds)]


def with_station_links(plan: ContactPlan, stations: Sequence[schema.Station]) -> ContactPlan:
    """The contact plan with stations' own rates, and without uplinks of those that only receive.

    The delay to the ground's computers adds to the light time: nothing happens at a station in between.
    """
    contacts = plan.contacts.copy()
    kept = np.ones(len(contacts), bool)
    for node, station in zip(plan.stations.tolist(), stations, strict=True):
        down = (contacts["kind"] == LinkKind.DOWNLINK) & (contacts["target"] == node)
        up = (contacts["kind"] == LinkKind.UPLINK) & (contacts["source"] == node)
        if station.down_mbps:
            contacts["rate_bps"][down] = station.down_mbps * _BPS_PER_MBPS
        if station.up_mbps:
            contacts["rate_bps"][up] = station.up_mbps * _BPS_PER_MBPS
        contacts["owlt_s"][down | up] += station.backhaul_ms / _MS_PER_S
        if station.receive_only:
            kept &= ~up
    return replace(plan, contacts=contacts[kept])


def contact_plan_of(
    scenario: Scenario,
    constellation: Constellation,
    *,
    progress: Callable[[float], None] | None = None,
) -> ContactPlan:
    """All contacts of the horizon, from the user's cache where they were computed before, or as a file gives them.

    Raises:
        ScenarioError: No satellite ever sees a station, the elements cannot be propagated that far, or the file of
            contacts is not one.
    """
    path = given_path(scenario.contacts.path, "contacts.path")
    links, stations = links_of(scenario, constellation.names), stations_of(scenario)
    if path is not None:
        from_file: dict[str, Any] = {_FIELD_OF_LINK[link]: None for link in scenario.contacts.links}
        links = replace(links, **from_file)
    try:
        plan = build_contact_plan(
            constellation,
            stations,
            links,
            epoch=epoch_of(scenario),
            horizon_s=scenario.horizon_s,
            progress=progress,
            cache_dir=cache_directory(),
        )
    except ValueError as error:
        raise ScenarioError(f"contact plan: {error}") from error
    plan = with_station_links(plan, scenario.ground.stations)
    if path is not None:
        try:
            plan = with_given(plan, _given_contacts(scenario, path, plan.nodes), constellation, stations)
        except OSError as error:
            raise ScenarioError(f"contacts.path: found {str(path)!r}: {error.strerror}") from error
        except ValueError as error:
            raise ScenarioError(f"contacts.path: {error}") from error
    if scenario.power.downlink == "sunlight":
        plan = downlinks_in_sunlight(plan, eclipses_of(scenario, constellation))
    if not len(plan.of_kind(LinkKind.DOWNLINK)):
        if path is not None and "sgl" in scenario.contacts.links:
            raise ScenarioError(
                f"contacts.path: found {str(path)!r}, which gives no downlink within {scenario.horizon_h} h of "
                f"{plan.epoch_utc}; allowed: contacts of satellites and stations within that time"
            )
        raise ScenarioError(
            f"horizon_h: no contact between {len(constellation)} satellites and {len(scenario.ground.stations)} "
            f"stations within {scenario.horizon_h} h; allowed: a horizon, mask and stations that see each other"
        )
    return plan
