"""Walker patterns, planes of real constellations, frames and theories of elements."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from orbit.constellation import ConstellationError, from_elements, from_file, walker
from orbit.motion.elements import ElementsError, MeanElements
from orbit.motion.osculating import (
    elements_from_state,
    kepler_state,
    mean_from_osculating,
    osculating_state,
    teme_from_gcrs,
)

EPOCH = Time("2026-03-01T06:00:00")
TLE_FOLDER = Path(os.environ.get("SKYSPLIT_DATA", "/nonexistent")) / "tle"
needs_data = pytest.mark.skipif(
    not TLE_FOLDER.is_dir(), reason="SKYSPLIT_DATA with real element sets is not set"
)


def apart_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs((np.degrees(a - b) + 180) % 360 - 180)


@given(st.integers(1, 8), st.integers(1, 12), st.data(), st.booleans())
def test_a_walker_pattern_has_its_planes_slots_and_phases(planes: int, slots: int, data, star: bool) -> None:
    phase = data.draw(st.integers(0, planes - 1))
    total = planes * slots
    shell = walker(f"53: {total}/{planes}/{phase}", epoch=EPOCH, altitude_km=550, star=star)
    assert len(shell) == len(set(shell.names)) == total
    raan = shell.elements.raan_rad.reshape(planes, slots)
    anomaly = shell.elements.mean_anomaly_rad.reshape(planes, slots)
    spread = 180 if star else 360
    assert apart_deg(raan, np.radians(np.arange(planes) * spread / planes)[:, None]).max() < 1e-9
    expected = np.arange(slots) * 360 / slots + np.arange(planes)[:, None] * phase * 360 / total
    assert apart_deg(anomaly, np.radians(expected)).max() < 1e-9


def test_altitude_is_that_of_the_mean_semi_major_axis() -> None:
    for inclination in (0, 53, 97.6):
        shell = walker(f"{inclination}: 1/1/0", epoch=EPOCH, altitude_km=550)
        (model,) = shell.elements.satrecs()
        assert model.a * model.radiusearthkm == pytest.approx(6378.137 + 550, abs=0.02)


def test_alternate_planes_shift_by_half_a_slot_and_a_train_keeps_its_spacing() -> None:
    shell = walker("53: 24/4/1", epoch=EPOCH, altitude_km=550, phasing="half-slot")
    first = np.degrees(shell.elements.mean_anomaly_rad.reshape(4, 6)[:, 0])
    np.testing.assert_allclose(first, [0, 30, 0, 30], atol=1e-9)
    train = walker("53: 8/2/0", epoch=EPOCH, mean_motion_rev_day=15.2, slot_spacing_deg=5, phasing=[0, 2])
    np.testing.assert_allclose(
        np.degrees(train.elements.mean_anomaly_rad), [0, 5, 10, 15, 2, 7, 12, 17], atol=1e-9
    )


def test_osculating_walker_elements_are_the_motion_at_the_epoch() -> None:
    given_as = walker("53: 12/3/1", epoch=EPOCH, altitude_km=550, ecc=0.01).elements
    flown = walker("53: 12/3/1", epoch=EPOCH, altitude_km=550, ecc=0.01, theory="osculating").elements
    for state, wanted in zip(osculating_state(flown), kepler_state(given_as), strict=True):
        np.testing.assert_allclose(state, wanted, atol=1e-6)


def test_gcrs_elements_are_turned_not_bent() -> None:
    shell = walker("53: 12/3/1", epoch=EPOCH, altitude_km=550, frame="GCRS", ecc=0.001).elements
    given_as = walker("53: 12/3/1", epoch=EPOCH, altitude_km=550, ecc=0.001).elements
    r, v = kepler_state(given_as)
    turned_r, turned_v = teme_from_gcrs(r, v, EPOCH)
    for reached, wanted in zip(kepler_state(shell), (turned_r, turned_v), strict=True):
        np.testing.assert_allclose(reached, wanted, rtol=1e-9, atol=1e-6)
    # A rotation: lengths stay, and precession since 2000 has turned the pole by about 0.146 degrees.
    np.testing.assert_allclose(np.linalg.norm(turned_r, axis=1), np.linalg.norm(r, axis=1), rtol=1e-9)
    pole, _ = teme_from_gcrs(np.array([[0, 0, 7000.0]]), np.zeros((1, 3)), EPOCH)
    assert np.degrees(np.arccos(pole[0, 2] / 7000)) == pytest.approx(0.146, abs=0.004)


@given(
    st.floats(0, 0.2),
    st.floats(1, 179),
    st.floats(0, 359),
    st.floats(0, 359),
    st.floats(0, 359),
    st.floats(11, 13.5),
)
def test_mean_elements_of_an_osculating_state_fly_through_it(ecc, inc, raan, argp, anomaly, motion) -> None:
    one = walker("0: 1/1/0", epoch=EPOCH, altitude_km=550).elements
    columns = [
        np.array([value])
        for value in (ecc, *np.radians([inc, raan, argp, anomaly]), motion * 2 * np.pi / 1440)
    ]
    osculating = MeanElements.of_columns([one.epoch_jd, one.epoch_fraction, *columns, one.bstar])
    if (398600.8 / (motion * 2 * np.pi / 86400) ** 2) ** (1 / 3) * (1 - ecc) < 6378 + 160:
        return
    reached = osculating_state(mean_from_osculating(osculating))
    for state, wanted in zip(reached, kepler_state(osculating), strict=True):
        np.testing.assert_allclose(state, wanted, atol=2e-5)
    back = elements_from_state(osculating, *kepler_state(osculating))
    np.testing.assert_allclose(kepler_state(back)[0], kepler_state(osculating)[0], atol=1e-6)


@given(st.integers(1, 7), st.integers(1, 9), st.randoms())
def test_planes_and_slots_of_a_shuffled_walker_pattern_are_recognised(
    planes: int, slots: int, random
) -> None:
    shell = walker(f"60: {planes * slots}/{planes}/0", epoch=EPOCH, altitude_km=700)
    order = list(range(len(shell)))
    random.shuffle(order)
    mixed = shell.take(np.array(order))
    found = from_elements(mixed.names, mixed.elements)
    for plane in range(planes):
        members = np.flatnonzero(found.plane == plane)
        assert len(set(mixed.plane[members])) == 1
        in_flight_order = mixed.slot[members[np.argsort(found.slot[members])]]
        assert (np.diff(in_flight_order) % slots == 1 % slots).all()


@needs_data
def test_the_planes_of_real_constellations_are_found() -> None:
    iridium = from_file(TLE_FOLDER / "iridium-NEXT.txt")
    large = [size for size in np.bincount(iridium.plane) if size >= 11]
    assert len(large) == 6  # of 11 satellites in service, and spares
    oneweb = from_file(TLE_FOLDER / "oneweb.txt")
    assert sum(size >= 40 for size in np.bincount(oneweb.plane)) == 12
    assert len(from_file(TLE_FOLDER / "planet.txt")) == 199


@pytest.mark.parametrize(
    ("pattern", "options", "message"),
    [
        ("53: 72/6", {}, "pattern: found '53: 72/6', allowed is 'i: T/P/F'"),
        ("53: 70/6/1", {}, "pattern: found 70 satellites in 6 planes"),
        ("53: 72/6/6", {}, "pattern: found F = 6, allowed is 0 to 5"),
        ("200: 72/6/1", {}, "inclination: found 200"),
        ("53: 72/6/1", {"altitude_km": 40}, "altitude_km: found 40"),
        ("53: 72/6/1", {"mean_motion_rev_day": 15.0}, "give exactly one"),
        ("53: 72/6/1", {"slot_spacing_deg": 40}, "slot_spacing_deg: found 40, allowed is above 0 to 30"),
        ("53: 72/6/1", {"phasing": [1, 2]}, "phasing: found 2 values, allowed is one per plane, 6"),
        ("53: 72/6/1", {"frame": "ECI"}, "frame: found 'ECI', allowed are TEME and GCRS"),
        ("53: 72/6/1", {"theory": "exact"}, "theory: found 'exact'"),
        ("53: 72/6/1", {"propagator": "sgp8"}, "propagator: found 'sgp8', allowed are sgp4, j2, cowell-j2"),
    ],
)
def test_an_impossible_walker_pattern_is_refused(pattern: str, options: dict, message: str) -> None:
    with pytest.raises(ElementsError) as refusal:
        walker(pattern, epoch=EPOCH, **{"altitude_km": 550, **options})
    assert message in str(refusal.value)


def test_two_satellites_of_one_name_are_refused() -> None:
    shell = walker("53: 2/1/0", epoch=EPOCH, altitude_km=550)
    with pytest.raises(ConstellationError, match="two satellites are called 'a'"):
        dataclasses.replace(shell, names=("a", "a"))
