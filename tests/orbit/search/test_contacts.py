"""What the pass finder promises: compiled or not, short, open, masked and limited passes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from astropy.time import Time, TimeDelta
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit.constellation import walker
from orbit.search import pass_search
from orbit.search.contacts import choose_backend, find_passes, look
from orbit.search.ephemeris import Ephemeris, over_groups
from orbit.search.intervals import Intervals, intersection, not_negative
from orbit.stations import GroundStation

EPOCH = Time("2026-03-01T06:00:00")
DAY_S = 86400.0
STATION = GroundStation("Matera", 40.65, lon_deg=16.70, height_m=540)


def whole(shell, horizon_s: float = DAY_S) -> Ephemeris:
    return next(iter(over_groups(shell, EPOCH, horizon_s, lambda _, motion: motion)))[1]


def sampled_passes(shell, station: GroundStation, horizon_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds (K,) and, for the first satellite, whether ``station`` may see it then: looked at every half
    second."""
    motion = whole(shell, horizon_s)
    seconds = np.arange(0, horizon_s, 0.5)
    azimuth, elevation, range_km = look(motion, station, np.zeros(len(seconds), int), seconds)
    seen = elevation >= station.mask_at(azimuth)
    return seconds, seen & (range_km <= (station.max_range_km or np.inf))


@settings(max_examples=10)
@given(
    st.floats(20, 140),
    st.floats(300, 2000),
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.floats(0, 85),
    st.floats(0, 0.03),
)
def test_compiled_and_plain_search_find_the_same_passes(inc, altitude, lat, lon, mask, ecc) -> None:
    pytest.importorskip("numba", reason="the extra [fast] is not installed")
    ecc = min(ecc, (altitude - 150) / 8000)
    shell = walker(f"{inc:.3f}: 6/3/1", epoch=EPOCH, altitude_km=altitude, ecc=ecc)
    stations = [GroundStation("here", lat, lon_deg=lon, height_m=0, mask_deg=mask), STATION]
    plain, compiled = (
        find_passes(shell, stations, epoch=EPOCH, horizon_s=DAY_S, compiled=asked) for asked in (False, True)
    )
    # A pass of milliseconds may be there for one and not for the other.
    plain, compiled = (p[p["end_s"] - p["start_s"] > 0.01] for p in (plain, compiled))
    assert len(plain) == len(compiled)
    for field in plain.dtype.names:
        tolerance = 1e-2 if field == "culmination_s" else 1e-4
        np.testing.assert_allclose(
            plain[field].astype(float), compiled[field].astype(float), rtol=0, atol=tolerance
        )


@settings(max_examples=15)
@given(st.floats(30, 120), st.floats(300, 1500), st.floats(-80, 80), st.floats(0, 60))
def test_passes_are_those_that_sampling_sees(inc, altitude, lat, mask) -> None:
    shell = walker(f"{inc:.3f}: 1/1/0", epoch=EPOCH, altitude_km=altitude)
    station = GroundStation("here", lat, lon_deg=30.0, height_m=0, mask_deg=mask)
    seconds, seen = sampled_passes(shell, station, DAY_S)
    passes = find_passes(shell, [station], epoch=EPOCH, horizon_s=DAY_S)
    inside = np.zeros(len(seconds), bool)
    for one in passes:
        inside |= (seconds >= one["start_s"]) & (seconds <= one["end_s"])
    near_edge = np.zeros(len(seconds), bool)
    for edge in np.concatenate([passes["start_s"], passes["end_s"]]):
        near_edge |= np.abs(seconds - edge) < 1e-3
    assert (inside == seen)[~near_edge].all()


def test_the_engine_works_without_numba() -> None:
    script = (
        "import sys; sys.modules['numba'] = None\n"
        "from astropy.time import Time\n"
        "from orbit.search import backend, intersatellite\n"
        "from orbit.constellation import walker\n"
        "backend.COMPILED_FROM = 0\n"
        "epoch = Time('2026-03-01T06:00:00')\n"
        "shell = walker('53: 9/1/0', epoch=epoch, altitude_km=550)\n"
        "pairs = intersatellite.plane_neighbours(shell)\n"
        "print(len(intersatellite.find_links(shell, pairs, epoch=epoch, horizon_s=600.0)))\n"
        "try: intersatellite.find_links(shell, pairs, epoch=epoch, horizon_s=600.0, compiled=True)\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    links, refusal = done.stdout.splitlines()
    assert links == "9"
    assert "[fast]" in refusal


def test_a_small_search_does_not_wait_for_the_compiler_and_a_large_one_is_compiled() -> None:
    pytest.importorskip("numba", reason="the extra [fast] is not installed")
    small, large = (walker(f"53: {n}", epoch=EPOCH, altitude_km=550) for n in ("12/2/1", "1584/72/39"))
    assert choose_backend(small, [STATION] * 4, 2 * DAY_S) is pass_search
    assert choose_backend(large, [STATION] * 30, DAY_S).__name__ == "orbit.search.pass_kernels"
    assert (
        choose_backend(small, [STATION] * 4, 2 * DAY_S, compiled=True).__name__ == "orbit.search.pass_kernels"
    )
    assert choose_backend(large, [STATION] * 30, DAY_S, compiled=False) is pass_search


def test_a_pass_of_a_few_seconds_is_found() -> None:
    shell = walker("53: 1/1/0", epoch=EPOCH, altitude_km=550)
    highest = find_passes(shell, [STATION], epoch=EPOCH, horizon_s=DAY_S)["max_elevation_deg"]
    for elevation in highest:
        mask = float(elevation) - 1e-4 * np.cos(np.radians(elevation))
        station = GroundStation(
            "here", STATION.lat_deg, lon_deg=STATION.lon_deg, height_m=STATION.height_m, mask_deg=mask
        )
        passes = find_passes(shell, [station], epoch=EPOCH, horizon_s=DAY_S)
        shortest = passes[np.argmin(np.abs(passes["max_elevation_deg"] - elevation))]
        assert 0 < shortest["end_s"] - shortest["start_s"] < 10
        assert shortest["max_elevation_deg"] == pytest.approx(float(elevation), abs=1e-6)


def test_what_the_horizon_cuts_is_kept_and_marked() -> None:
    shell = walker("53: 1/1/0", epoch=EPOCH, altitude_km=550)
    one = find_passes(shell, [STATION], epoch=EPOCH, horizon_s=DAY_S)[0]
    middle_s = float(one["culmination_s"])
    cut = find_passes(shell, [STATION], epoch=EPOCH, horizon_s=middle_s)[-1]
    assert (cut["open_start"], cut["open_end"], cut["end_s"]) == (False, True, middle_s)
    assert cut["start_s"] == pytest.approx(float(one["start_s"]), abs=1e-3)
    assert cut["max_elevation_deg"] == pytest.approx(float(one["max_elevation_deg"]), abs=1e-4)
    later = find_passes(shell, [STATION], epoch=EPOCH + TimeDelta(middle_s, format="sec"), horizon_s=3600.0)[
        0
    ]
    assert (later["open_start"], later["open_end"], later["start_s"]) == (True, False, 0.0)
    assert later["end_s"] == pytest.approx(float(one["end_s"]) - middle_s, abs=1e-3)
    inside = find_passes(shell, [STATION], epoch=EPOCH + TimeDelta(middle_s, format="sec"), horizon_s=20.0)[0]
    assert (inside["open_start"], inside["open_end"], inside["end_s"]) == (True, True, 20.0)


def test_a_geostationary_satellite_is_seen_all_day_or_never() -> None:
    shell = walker("0: 2/1/0", epoch=EPOCH, mean_motion_rev_day=1.00273791)
    motion = whole(shell)
    lon = np.degrees(np.arctan2(motion.state[0, 0, 1], motion.state[0, 0, 0]))
    below, behind = (
        GroundStation("below", 5, lon_deg=lon),
        GroundStation("behind", 5, lon_deg=(lon + 360) % 360 - 180),
    )
    passes = find_passes(shell.take(slice(0, 1)), [below, behind], epoch=EPOCH, horizon_s=DAY_S)
    assert len(passes) == 1
    assert (passes["start_s"][0], passes["end_s"][0]) == (0.0, DAY_S)


def test_a_pass_over_a_horizon_profile_is_what_sampling_sees() -> None:
    shell = walker("53: 1/1/0", epoch=EPOCH, altitude_km=550)
    station = GroundStation(
        "valley",
        40.65,
        lon_deg=16.7,
        height_m=540,
        mask_deg=((0, 5), (40, 30), (80, 5), (150, 20), (200, 8), (300, 40)),
        max_range_km=1500,
    )
    seconds, seen = sampled_passes(shell, station, DAY_S)
    passes = find_passes(shell, [station, STATION], epoch=EPOCH, horizon_s=DAY_S)
    passes = passes[passes["station"] == 0]
    edges = seconds[1:][np.diff(seen.astype(int)) != 0]
    found = np.sort(np.concatenate([passes["start_s"], passes["end_s"]]))
    assert len(found) == len(edges) > 4
    np.testing.assert_allclose(found, edges, atol=0.5)
    assert (passes["min_range_km"] <= 1500.001).all()


def test_culmination_and_nearest_point_are_the_best_of_the_pass() -> None:
    shell = walker("97: 4/2/1", epoch=EPOCH, altitude_km=600, ecc=0.002)
    motion = whole(shell)
    for one in find_passes(shell, [STATION], epoch=EPOCH, horizon_s=DAY_S):
        seconds = np.linspace(one["start_s"], one["end_s"], 2001)
        _, elevation, range_km = look(motion, STATION, np.full(2001, one["satellite"]), seconds)
        assert one["max_elevation_deg"] >= elevation.max() - 1e-6
        assert one["max_elevation_deg"] == pytest.approx(elevation.max(), abs=0.01)
        assert one["min_range_km"] <= range_km.min() + 1e-3
        assert one["min_range_km"] == pytest.approx(range_km.min(), abs=0.1)


def test_a_week_of_many_satellites_is_the_same_in_groups_and_in_one(monkeypatch) -> None:
    shell = walker("53: 24/4/1", epoch=EPOCH, altitude_km=550)
    reported: list[float] = []
    whole_ = find_passes(shell, [STATION], epoch=EPOCH, horizon_s=DAY_S, progress=reported.append)
    monkeypatch.setattr("orbit.search.ephemeris.MEMORY_NODES", 5000)
    grouped = find_passes(shell, [STATION], epoch=EPOCH, horizon_s=DAY_S, progress=reported.append)
    assert (whole_ == grouped).all()
    assert reported[0] == reported[-1] == 1.0
    assert sorted(reported[1:]) == reported[1:]
    assert len(reported) > 3


@pytest.mark.parametrize("horizon_s", [0.0, -5.0, float("nan"), float("inf")])
def test_an_empty_horizon_is_refused(horizon_s: float) -> None:
    shell = walker("53: 1/1/0", epoch=EPOCH, altitude_km=550)
    with pytest.raises(ValueError, match="horizon_s: found"):
        find_passes(shell, [STATION], epoch=EPOCH, horizon_s=horizon_s)


@given(
    st.lists(st.tuples(st.floats(0.05, 0.6), st.floats(0, 6.3), st.floats(-1.2, 1.2)), min_size=1, max_size=8)
)
def test_intervals_of_sines_are_exact(waves) -> None:
    rate, phase, offset = np.array(waves).T
    nodes = np.arange(0, 101.0)

    def wave(row: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        angle = rate[row] * time + phase[row]
        return np.sin(angle) - offset[row], rate[row] * np.cos(angle)

    rows = np.repeat(np.arange(len(rate)), len(nodes))
    value, slope = (part.reshape(len(rate), -1) for part in wave(rows, np.tile(nodes, len(rate))))
    found = not_negative(nodes, value, slope, wave)
    times = np.linspace(0, 100, 5003)
    for row in range(len(rate)):
        mine = found.row == row
        inside = (
            (times >= found.start_s[mine][:, None] - 1e-4) & (times <= found.end_s[mine][:, None] + 1e-4)
        ).any(axis=0)
        value = wave(np.full(len(times), row), times)[0]
        assert inside[value > 1e-4].all()
        assert not inside[value < -1e-4].any()
        assert (found.start_s[mine][1:] > found.end_s[mine][:-1]).all()


@given(
    st.lists(
        st.lists(st.integers(0, 60), min_size=2, max_size=10, unique=True).map(sorted), min_size=2, max_size=4
    )
)
def test_an_intersection_holds_what_all_sets_hold(edges) -> None:
    sets = []
    for times in edges:
        times = np.array(times[: len(times) // 2 * 2], float)
        sets.append(Intervals(np.zeros(len(times) // 2, int), times[0::2], end_s=times[1::2]))
    both = intersection(*sets)
    at = np.arange(0, 60) + 0.5
    inside = [((at > s.start_s[:, None]) & (at < s.end_s[:, None])).any(axis=0) for s in sets]
    found = ((at > both.start_s[:, None]) & (at < both.end_s[:, None])).any(axis=0)
    assert (found == np.logical_and.reduce(inside)).all()
