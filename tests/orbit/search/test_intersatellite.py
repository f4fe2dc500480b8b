"""Inter-satellite links against plain geometry, looked at densely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit.constellation import walker
from orbit.motion.kepler import secular_rates
from orbit.search.ephemeris import over_groups
from orbit.search.intersatellite import (
    all_pairs,
    find_links,
    grid_neighbours,
    plane_neighbours,
    sight_bitmaps,
)

EPOCH = Time("2026-03-01T06:00:00")
HORIZON_S = 20000.0
SPHERE_KM = 6378.137 + 80


def distance_of_sight_line_km(r1: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """How near the straight line between two positions (..., 3) comes to the Earth's centre."""
    along = r2 - r1
    nearest = np.clip(-(r1 * along).sum(-1) / (along * along).sum(-1), 0, 1)
    return np.linalg.norm(r1 + nearest[..., None] * along, axis=-1)


def inside(links: np.ndarray, pair: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Which of the ``seconds`` lie in a window of the pair."""
    mine = links[(links["first"] == pair[0]) & (links["second"] == pair[1])]
    return ((seconds >= mine["start_s"][:, None]) & (seconds <= mine["end_s"][:, None])).any(axis=0)


@settings(max_examples=10)
@given(st.floats(40, 100), st.floats(500, 3000), st.booleans())
def test_windows_are_when_the_straight_line_misses_the_earth(inc, altitude, limited) -> None:
    shell = walker(f"{inc:.2f}: 8/4/1", epoch=EPOCH, altitude_km=altitude, ecc=0.01)
    pairs = all_pairs(shell)
    limit_km = 4000.0 if limited else None
    links = find_links(shell, pairs, epoch=EPOCH, horizon_s=HORIZON_S, max_range_km=limit_km)
    seconds = np.arange(0, HORIZON_S, 10.0)
    position = next(iter(over_groups(shell, EPOCH, HORIZON_S, lambda _, motion: motion)))[1].positions(
        seconds
    )
    for pair in pairs:
        r1, r2 = position[pair[0]], position[pair[1]]
        range_km = np.linalg.norm(r2 - r1, axis=1)
        clear_km = distance_of_sight_line_km(r1, r2) - SPHERE_KM
        spare = np.minimum(clear_km, (limit_km or np.inf) - range_km)
        found = inside(links, pair, seconds)
        assert found[spare > 0.1].all()
        assert not found[spare < -0.1].any()


@pytest.mark.parametrize("limit_km", [None, 3000.0])
def test_compiled_and_plain_search_find_the_same_links(limit_km) -> None:
    pytest.importorskip("numba", reason="the extra [fast] is not installed")
    shell = walker("53: 24/4/1", epoch=EPOCH, altitude_km=550)
    compiled, plain = (
        find_links(
            shell, all_pairs(shell), epoch=EPOCH, horizon_s=86400.0, max_range_km=limit_km, compiled=asked
        )
        for asked in (True, False)
    )
    assert len(compiled) == len(plain) > 300
    for field in plain.dtype.names:
        np.testing.assert_allclose(
            compiled[field].astype(float), plain[field].astype(float), rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("compiled", [True, False])
def test_mean_and_smallest_range_are_those_of_many_looks(compiled: bool) -> None:
    if compiled:
        pytest.importorskip("numba", reason="the extra [fast] is not installed")
    shell = walker("70: 15/5/1", epoch=EPOCH, altitude_km=700, ecc=0.005)
    pairs = all_pairs(shell)
    links = find_links(shell, pairs, epoch=EPOCH, horizon_s=HORIZON_S, compiled=compiled)
    (_, motion), *_ = over_groups(shell, EPOCH, HORIZON_S, lambda _, motion: motion)
    for one in links:
        seconds = np.linspace(one["start_s"], one["end_s"], 1001)
        ends = (motion.at(np.full(1001, one[end]), seconds)[0] for end in ("first", "second"))
        range_km = np.linalg.norm(np.subtract(*ends), axis=1)
        light_s = 299792.458
        assert one["mean_range_km"] / light_s == pytest.approx(range_km.mean() / light_s, abs=1e-4)
        assert one["min_range_km"] <= range_km.min() + 2e-3  # the orbits of links are half a metre off
        assert one["min_range_km"] > range_km.min() - 15.0  # what two satellites move between two looks


def test_neighbours_in_a_plane_see_each_other_only_from_nine_satellites_on_at_550_km() -> None:
    for slots, linked in ((8, 0), (9, 9), (12, 12)):
        shell = walker(f"53: {slots}/1/0", epoch=EPOCH, altitude_km=550)
        links = find_links(shell, plane_neighbours(shell), epoch=EPOCH, horizon_s=86400.0)
        assert len(links) == linked
        if linked:
            assert links["open_start"].all()
            assert links["open_end"].all()
            assert (links["start_s"] == 0).all()
            chord_km = 2 * (6378.137 + 550) * np.sin(np.pi / slots)
            np.testing.assert_allclose(links["mean_range_km"], chord_km, rtol=0.003)


def test_a_train_is_a_chain() -> None:
    shell = walker("53: 12/2/0", epoch=EPOCH, altitude_km=550, slot_spacing_deg=20)
    links = find_links(shell, plane_neighbours(shell), epoch=EPOCH, horizon_s=HORIZON_S)
    assert sorted(zip(links["first"].tolist(), links["second"].tolist(), strict=True)) == [
        (6 * plane + slot, 6 * plane + slot + 1) for plane in range(2) for slot in range(5)
    ]


def test_the_grid_joins_each_satellite_with_the_next_plane_but_not_over_the_seam_of_a_star() -> None:
    delta = walker("53: 40/5/1", epoch=EPOCH, altitude_km=550)
    assert sorted(np.bincount(grid_neighbours(delta).ravel())) == [2] * 40
    star = walker("86.4: 66/6/1", epoch=EPOCH, altitude_km=780, star=True)
    pairs = grid_neighbours(star)
    planes = {tuple(sorted(pair)) for pair in star.plane[pairs].tolist()}
    assert planes == {(k, k + 1) for k in range(5)}
    assert len(grid_neighbours(walker("53: 12/1/0", epoch=EPOCH, altitude_km=550))) == 0
    assert len(grid_neighbours(walker("53: 24/2/1", epoch=EPOCH, altitude_km=550))) == 12


def test_neighbours_in_phase_are_reckoned_on_one_date() -> None:
    delta = walker("53: 40/5/1", epoch=EPOCH, altitude_km=550)
    motion, rates = delta.elements, secular_rates(delta.elements)
    earlier_s = np.linspace(0, 86400, 40)  # the same orbits, each with an epoch of its own
    late = replace(
        motion,
        epoch_fraction=motion.epoch_fraction - earlier_s / 86400,
        raan_rad=motion.raan_rad - rates[0] * earlier_s,
        argp_rad=motion.argp_rad - rates[1] * earlier_s,
        mean_anomaly_rad=motion.mean_anomaly_rad - rates[2] * earlier_s,
    )
    assert (grid_neighbours(replace(delta, elements=late)) == grid_neighbours(delta)).all()


def test_a_slew_limit_cuts_what_turns_faster() -> None:
    shell = walker("86.4: 66/6/1", epoch=EPOCH, altitude_km=780, star=True)
    pairs = grid_neighbours(shell)[:6]
    free = find_links(shell, pairs, epoch=EPOCH, horizon_s=HORIZON_S)
    slow = find_links(shell, pairs, epoch=EPOCH, horizon_s=HORIZON_S, max_slew_deg_s=0.05)
    motion = next(iter(over_groups(shell, EPOCH, HORIZON_S, lambda _, motion: motion)))[1]
    seconds = np.arange(5.0, HORIZON_S - 5, 7.0)
    rates = []
    for pair in pairs:
        turning = []
        for one, other in (pair, pair[::-1]):
            directions = []
            for offset in (-1.0, 1.0):
                r, v = motion.at(np.full(len(seconds), one), seconds + offset)
                there, _ = motion.at(np.full(len(seconds), other), seconds + offset)
                v = v + np.cross([0, 0, 7.292115e-5], r)
                radial = r / np.linalg.norm(r, axis=1)[:, None]
                normal = np.cross(r, v) / np.linalg.norm(np.cross(r, v), axis=1)[:, None]
                axes = np.stack([radial, np.cross(normal, radial), normal], axis=1)
                sight = np.einsum("kij,kj->ki", axes, there - r)
                directions.append(sight / np.linalg.norm(sight, axis=1)[:, None])
            turning.append(np.degrees(np.linalg.norm(directions[1] - directions[0], axis=1)) / 2)
        rates.append(np.maximum(*turning))
    for pair, rate in zip(pairs, rates, strict=True):
        was, found = inside(free, pair, seconds), inside(slow, pair, seconds)
        assert found[was & (rate < 0.0495)].all()
        assert not found[~was | (rate > 0.0505)].any()
    assert 0 < slow["end_s"].sum() - slow["start_s"].sum() < free["end_s"].sum() - free["start_s"].sum()


def test_acquisition_is_taken_off_the_start_of_every_window() -> None:
    shell = walker("53: 24/4/1", epoch=EPOCH, altitude_km=550)
    free = find_links(shell, all_pairs(shell), epoch=EPOCH, horizon_s=HORIZON_S)
    held = find_links(shell, all_pairs(shell), epoch=EPOCH, horizon_s=HORIZON_S, acquisition_s=60.0)
    kept = free[free["open_start"] | (free["end_s"] - free["start_s"] > 60.0)]
    np.testing.assert_array_equal(held["end_s"], kept["end_s"])
    np.testing.assert_array_equal(held["start_s"], kept["start_s"] + 60.0 * ~kept["open_start"])


def test_windows_go_on_over_midnight() -> None:
    shell = walker("53: 24/4/1", epoch=EPOCH, altitude_km=550)
    two_days = find_links(shell, all_pairs(shell), epoch=EPOCH, horizon_s=2 * 86400.0)
    first_day = find_links(shell, all_pairs(shell), epoch=EPOCH, horizon_s=86400.0)
    whole = two_days[two_days["end_s"] < 86399]
    np.testing.assert_allclose(whole["start_s"], first_day[~first_day["open_end"]]["start_s"], atol=0.01)
    crossing = two_days[(two_days["start_s"] < 86399) & (two_days["end_s"] > 86401)]
    assert len(crossing) == first_day["open_end"].sum() > 0
    ring = walker("53: 12/1/0", epoch=EPOCH, altitude_km=550)
    days = find_links(ring, plane_neighbours(ring), epoch=EPOCH, horizon_s=2.5 * 86400.0)
    assert len(days) == 12
    assert (days["open_start"] & days["open_end"]).all()


@pytest.mark.parametrize("compiled", [True, False])
def test_bitmaps_say_what_the_windows_say(compiled: bool) -> None:
    if compiled:
        pytest.importorskip("numba", reason="the extra [fast] is not installed")
    shell = walker("53: 27/3/1", epoch=EPOCH, altitude_km=550)
    seconds = np.arange(0, 6000, 60.0)
    bits = sight_bitmaps(shell, epoch=EPOCH, seconds=seconds, max_range_km=4000.0, compiled=compiled)
    assert bits.shape == (100, 27, 4)
    seen = np.unpackbits(bits, axis=-1, count=27).astype(bool)
    assert (seen == seen.transpose(0, 2, 1)).all()
    assert not seen[:, np.arange(27), np.arange(27)].any()
    links = find_links(shell, all_pairs(shell), epoch=EPOCH, horizon_s=6000.0, max_range_km=4000.0)
    edges = np.concatenate([links["start_s"], links["end_s"]])
    clear_cut = np.abs(seconds[:, None] - edges).min(axis=1) > 0.05
    clear_cut[0] = True
    for pair in all_pairs(shell):
        assert (seen[:, pair[0], pair[1]] == inside(links, pair, seconds))[clear_cut].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon_s": 0.0}, "horizon_s: found 0.0"),
        ({"max_range_km": -1.0}, "max_range_km: found -1.0"),
        ({"max_slew_deg_s": 0.0}, "max_slew_deg_s: found 0.0"),
        ({"grazing_altitude_km": 5000.0}, "grazing_altitude_km: found 5000.0"),
        ({"acquisition_s": -1.0}, "acquisition_s: found -1.0"),
    ],
)
def test_an_impossible_limit_is_refused(options: dict, message: str) -> None:
    shell = walker("53: 2/1/0", epoch=EPOCH, altitude_km=550)
    with pytest.raises(ValueError, match=message):
        find_links(shell, all_pairs(shell), **{"epoch": EPOCH, "horizon_s": 100.0, **options})
