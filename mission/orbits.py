"""From the scenario's words to flight dynamics: its constellation, stations, links and contact plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from astropy.time import Time

from mission.scenario import ScenarioError, given_path
from mission.schema import Scenario
from orbit.constellation import Constellation, from_file, walker
from orbit.contact_plan import ContactPlan, LinkKind
from orbit.contact_plan_builder import (
    InterOrbitLink,
    IntraOrbitLink,
    Links,
    SpaceGroundLink,
    build_contact_plan,
)
from orbit.stations import GroundStation

_BPS_PER_MBPS = 1e6


def cache_directory() -> Path:
    """Where contact plans are kept between runs: ``skysplit/contacts`` in the user's cache, made if needed."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    directory = Path(base).expanduser() / "skysplit" / "contacts"
    directory.mkdir(parents=True, exist_ok=True)
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
            return walker(
                f"{table.inclination_deg}: {table.satellites}/{table.planes}/{table.phasing}",
                epoch=epoch_of(scenario),
                altitude_km=table.altitude_km,
                star=table.pattern == "star",
                raan_deg=table.raan_deg,
                slot_spacing_deg=table.train_spacing_deg
                if table.train_spacing_deg and in_plane > 1
                else None,
            )
        path = given_path(table.path, "constellation.path")
        assert path is not None  # the schema asks for it
        found = from_file(path)
    except ValueError as error:
        raise ScenarioError(f"constellation: {error}") from error
    return found.take(slice(0, table.limit)) if table.limit else found


def stations_of(scenario: Scenario) -> list[GroundStation]:
    """The scenario's ground stations."""
    return [
        GroundStation(
            station.name,
            lat_deg=station.lat_deg,
            lon_deg=station.lon_deg,
            height_m=station.height_m,
            mask_deg=station.mask_deg,
        )
        for station in scenario.ground.stations
    ]


def links_of(scenario: Scenario) -> Links:
    """The scenario's link classes; acquisition and set-up are the planner's."""
    sgl, intra, inter = scenario.links.sgl, scenario.links.intra_orbit, scenario.links.inter_orbit
    return Links(
        space_ground=SpaceGroundLink(
            downlink=sgl.down_mbps * _BPS_PER_MBPS, uplink=sgl.up_mbps * _BPS_PER_MBPS
        ),
        intra_orbit=IntraOrbitLink(
            rate_bps=intra.mbps * _BPS_PER_MBPS, grazing_altitude_km=intra.grazing_altitude_km
        )
        if intra.enabled
        else None,
        inter_orbit=None
        if inter.topology == "none"
        else InterOrbitLink(
            rate_bps=inter.mbps * _BPS_PER_MBPS, topology=inter.topology, max_range_km=inter.max_range_km
        ),
    )


def contact_plan_of(
    scenario: Scenario,
    constellation: Constellation,
    *,
    progress: Callable[[float], None] | None = None,
) -> ContactPlan:
    """All contacts of the horizon, from the user's cache where they were computed before.

    Raises:
        ScenarioError: No satellite ever sees a station, or the elements cannot be propagated that far.
    """
    try:
        plan = build_contact_plan(
            constellation,
            stations_of(scenario),
            links_of(scenario),
            epoch=epoch_of(scenario),
            horizon_s=scenario.horizon_s,
            progress=progress,
            cache_dir=cache_directory(),
        )
    except ValueError as error:
        raise ScenarioError(f"contact plan: {error}") from error
    if not len(plan.of_kind(LinkKind.DOWNLINK)):
        raise ScenarioError(
            f"horizon_h: no contact between {len(constellation)} satellites and {len(scenario.ground.stations)} "
            f"stations within {scenario.horizon_h} h; allowed: a horizon, mask and stations that see each other"
        )
    return plan
