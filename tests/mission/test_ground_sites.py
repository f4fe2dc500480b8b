"""Ground sites: real places with sources, found by name however it is typed."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import pytest

from mission.presets import read_presets
from mission.scenario import ScenarioError
from mission.sites.ground_sites import plain_name, read_sites

SITES = read_sites()


def distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """By the spherical law of cosines, degrees in."""
    (lat, lon), (lat_2, lon_2) = (tuple(map(math.radians, each)) for each in (one, other))
    cosine = math.sin(lat) * math.sin(lat_2) + math.cos(lat) * math.cos(lat_2) * math.cos(lon - lon_2)
    return 6371.0 * math.acos(min(1.0, cosine))


def test_there_are_forty_sites_and_more_in_all_latitudes_and_every_source_is_cited() -> None:
    assert len(SITES.sites) >= 40
    latitudes = [site.lat_deg for site in SITES.sites.values()]
    assert min(latitudes) < -70.0
    assert max(latitudes) > 75.0
    assert {site.source for site in SITES.sites.values()} == set(SITES.sources)


def test_sites_are_where_the_presets_have_them() -> None:
    """The presets' stations were read from other sources; a town and its teleport are 40 km apart at most."""
    known = {plain_name(name): site for name, site in SITES.sites.items()}
    compared = 0
    for preset in read_presets().grounds.values():
        for station in preset.stations:
            if site := known.get(plain_name(station.name)):
                there, here = (station.lat_deg, station.lon_deg), (site.lat_deg, site.lon_deg)
                assert distance_km(there, here) < 60.0, station.name
                assert abs(station.height_m - site.height_m) < 300.0, station.name
                compared += 1
    assert compared >= 15


def test_no_two_sites_are_one_place() -> None:
    for (name, site), (other_name, other) in combinations(SITES.sites.items(), 2):
        apart = distance_km((site.lat_deg, site.lon_deg), (other.lat_deg, other.lon_deg))
        assert apart > 2.0, (name, other_name)


@pytest.mark.parametrize(
    ("typed", "name"),
    [("svalbard", "Svalbard"), (" TROMSO ", "Tromsø"), ("malargue", "Malargüe"), ("Cordoba", "Córdoba")],
)
def test_a_site_is_found_without_its_accents_and_capitals(typed: str, name: str) -> None:
    assert SITES.name_of(typed) == name


def test_an_unknown_name_is_one_error_that_offers_what_is_close() -> None:
    with pytest.raises(ScenarioError, match=r"found 'Svalbrad'.*did you mean Svalbard.*\?.*NAME,LAT,LON"):
        SITES.name_of("Svalbrad")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            '"A" = { operator = "O", lat_deg = 95.0, lon_deg = 0.0, height_m = 0.0, source = "s" }',
            "found 95.0",
        ),
        (
            '"A" = { operator = "O", lat_deg = 5.0, lon_deg = 0.0, height_m = 0.0, source = "t" }',
            "source: found 't'",
        ),
        ('"A" = { operator = "O", lat_deg = 5.0, lon_deg = 0.0, height_m = 0 }', "source: missing"),
    ],
)
def test_a_file_with_a_fault_is_one_error_that_names_it(line: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "sites.toml"
    path.write_text(f'[sources]\ns = {{ kind = "agency", title = "T" }}\n[sites]\n{line}\n')
    with pytest.raises(ScenarioError, match=says):
        read_sites(path)
