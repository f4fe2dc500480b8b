"""Ground tracks and the views that are drawn of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.time import Time, TimeDelta

from orbit.constellation import OldElementsWarning, from_elements, walker
from orbit.contact_plan import LinkKind
from orbit.contact_plan_builder import Links, SpaceGroundLink, build_contact_plan
from orbit.ground_track import coastlines, positions_itrs_km, seen_circle, subpoints
from orbit.search.contacts import find_passes
from orbit.search.eclipse import find_eclipses
from orbit.stations import GroundStation
from report.charts.ground_map import map_figure, map_page
from skysplit.constellation_views import constellation_czml, constellation_json

EPOCH = Time("2026-03-01T06:00:00")
SHELL = walker("53: 12/3/1", epoch=EPOCH, altitude_km=550)
STATIONS = (
    GroundStation("Matera", 40.65, lon_deg=16.70, height_m=540),
    GroundStation("Suva", -18.1, lon_deg=178.4),
)
HORIZON_S = 7200.0


def test_a_ground_track_stays_within_its_inclination_and_at_its_height() -> None:
    lat, lon, height_km = subpoints(SHELL, EPOCH, np.arange(0, 6000, 20.0))
    assert 52.5 < np.abs(lat).max() < 53.5
    assert (np.abs(lon) <= 180).all()
    assert 530 < height_km.min() < height_km.max() < 590


def rim_deg(station: GroundStation) -> np.ndarray:
    """How far the rim of what a station sees is from it, degrees of arc."""
    lat, lon = (np.radians(part) for part in seen_circle(station, 550.0))
    return away_deg(station, lat, lon)


def away_deg(station: GroundStation, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    lat0, lon0 = np.radians([station.lat_deg, station.lon_deg])
    cosine = np.sin(lat0) * np.sin(lat) + np.cos(lat0) * np.cos(lat) * np.cos(lon - lon0)
    return np.degrees(np.arccos(cosine))


@pytest.mark.parametrize("max_range_km", [None, 1000.0])
def test_the_rim_of_what_a_station_sees_is_where_passes_begin(max_range_km: float | None) -> None:
    station = replace(STATIONS[0], max_range_km=max_range_km)
    passes = find_passes(SHELL, [station], epoch=EPOCH, horizon_s=86400.0)
    rim = rim_deg(station)
    assert np.ptp(rim) < 1e-6
    for one in passes[:10]:
        lat, lon, _ = subpoints(SHELL, EPOCH, np.array([one["start_s"]]))
        away = away_deg(station, *(np.radians(part[one["satellite"], 0]) for part in (lat, lon)))
        assert away == pytest.approx(rim[0], abs=0.5)  # the Earth is not a sphere


def test_a_hill_in_the_east_brings_the_rim_nearer_there() -> None:
    hill = replace(STATIONS[0], mask_deg=((0, 10), (80, 10), (90, 60), (100, 10)))
    plain, masked = rim_deg(STATIONS[0]), rim_deg(hill)
    east = len(masked) // 4
    assert masked[east] < 0.3 * plain[east]
    np.testing.assert_allclose(np.delete(masked, slice(east - 5, east + 6)), plain[0], atol=1e-6)


def test_czml_shows_each_satellite_station_and_open_downlink() -> None:
    plan = build_contact_plan(SHELL, STATIONS, Links(SpaceGroundLink(1e8)), epoch=EPOCH, horizon_s=HORIZON_S)
    packets = {
        packet["id"]: packet for packet in json.loads(constellation_czml(SHELL, STATIONS, plan, EPOCH))
    }
    assert packets["document"]["clock"]["interval"] == "2026-03-01T06:00:00.000Z/2026-03-01T08:00:00.000Z"
    samples = np.reshape(packets["sat-1-02"]["position"]["cartesian"], (-1, 4))
    expected = positions_itrs_km(SHELL, EPOCH, samples[:, 0])[6] * 1000
    np.testing.assert_allclose(samples[:, 1:], expected, atol=0.01)
    assert packets["Suva"]["position"]["cartographicDegrees"] == [178.4, -18.1, 0.0]
    shown = sum(len(packet["polyline"]["show"]) - 1 for packet in packets.values() if "polyline" in packet)
    assert shown == len(plan.of_kind(LinkKind.DOWNLINK)) > 0


def test_czml_refers_to_satellites_of_one_name_by_what_tells_them_apart() -> None:
    twins = from_elements(["OBJECT A"] * 12, SHELL.elements)
    links = Links(SpaceGroundLink(1e8))
    plan = build_contact_plan(twins, STATIONS, links, epoch=EPOCH, horizon_s=HORIZON_S)
    packets = json.loads(constellation_czml(twins, STATIONS, plan, EPOCH))
    ids = {packet["id"] for packet in packets}
    assert "OBJECT A #2" in ids
    for packet in packets:
        for reference in packet.get("polyline", {}).get("positions", {}).get("references", []):
            name, of = re.split(r"(?<!\\)#", reference)
            assert of == "position"
            assert name.replace("\\#", "#") in ids


def test_json_gives_planes_slots_elements_and_eclipses() -> None:
    said = json.loads(constellation_json(SHELL, STATIONS, EPOCH, HORIZON_S))
    assert [(s["plane"], s["slot"]) for s in said["satellites"][:5]] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 0),
    ]
    assert said["satellites"][0]["inc_deg"] == pytest.approx(53)
    assert said["satellites"][0]["element_epoch"] == "2026-03-01T06:00:00.000000Z"
    assert (said["satellites"][0]["bstar"], said["satellites"][0]["catalogue_number"]) == (0.0, None)
    known = replace(SHELL, catalogue_number=tuple(range(900, 912)), designator=("1998-067A",) * 12)
    tells = json.loads(constellation_json(known, STATIONS, EPOCH, HORIZON_S))["satellites"][3]
    assert (tells["catalogue_number"], tells["designator"]) == (903, "1998-067A")
    assert [s["name"] for s in said["stations"]] == ["Matera", "Suva"]
    eclipses = find_eclipses(SHELL, epoch=EPOCH, horizon_s=HORIZON_S)
    every = [(k, *pair) for k, one in enumerate(said["satellites"]) for pair in one["eclipses_s"]]
    assert every == eclipses[["satellite", "start_s", "end_s"]].tolist()
    assert len(every) >= len(SHELL)


def test_the_map_draws_a_track_per_plane_and_breaks_it_at_the_date_line() -> None:
    figure = map_figure(SHELL, STATIONS, EPOCH)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert [trace.name for trace in lines if trace.name] == ["plane 0", "plane 1", "plane 2"]
    assert len(lines) == 1 + 3 + len(STATIONS)
    for trace in lines:
        step = np.abs(np.diff(trace.x))
        assert (step[~np.isnan(step)] < 180).all()


def test_the_page_of_the_map_needs_nothing_from_outside() -> None:
    page = map_page("a <name>", SHELL, STATIONS, EPOCH)
    assert "a &lt;name&gt;" in page
    assert "<script src" not in page
    assert re.findall("<link[^>]*>", page) == ['<link rel="icon" href="data:,">']


@pytest.mark.parametrize(
    ("lat", "lon", "near"),
    [(36.0, -5.4, True), (58.0, -5.2, True), (-34.4, 18.5, True), (48.0, 8.0, False), (0.0, -30.0, False)],
)
def test_coasts_run_past_gibraltar_scotland_and_the_cape_and_not_through_the_black_forest(
    lat, lon, near
) -> None:
    coast_lat, coast_lon = coastlines()
    away_deg = np.nanmin(np.hypot(coast_lat - lat, (coast_lon - lon) * np.cos(np.radians(lat))))
    assert (away_deg < 1.0) == near
    assert np.nanmax(np.abs(coast_lon)) <= 180


def test_elements_far_from_their_epoch_bring_a_warning_with_their_age_from_the_cache_too(tmp_path) -> None:
    late = EPOCH + TimeDelta(40, format="jd")
    with pytest.warns(OldElementsWarning, match=r"12 of 12 satellites .* 'sat-0-00' 41 days"):
        find_passes(SHELL, STATIONS, epoch=late, horizon_s=86400.0)
    for _ in range(2):
        with pytest.warns(OldElementsWarning, match="31 days"):
            build_contact_plan(
                SHELL,
                STATIONS,
                Links(SpaceGroundLink(1e8)),
                epoch=EPOCH - TimeDelta(31, format="jd"),
                horizon_s=600.0,
                cache_dir=tmp_path,
            )
    assert len(list(tmp_path.iterdir())) == 1
