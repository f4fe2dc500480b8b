"""Link budgets against the textbook, eclipses against geometry."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import TEME, get_sun
from astropy.time import Time, TimeDelta
from hypothesis import given
from hypothesis import strategies as st
from sgp4.api import SatrecArray

from orbit.constellation import walker
from orbit.link_budget import DVB_S2, LinkBudget, LinkBudgetError
from orbit.search.eclipse import find_eclipses

EPOCH = Time("2026-03-21T06:00:00")
BUDGET = LinkBudget(8.2e9, 300e6, eirp_dbw=15.0, g_over_t_db_k=31.0)


def test_the_signal_to_noise_ratio_is_the_textbooks() -> None:
    # 1000 km at 8.2 GHz: 92.45 + 20 lg 8.2 + 20 lg 1000 = 170.73 dB; C/N = 15 + 31 − 170.73 + 228.60 −
    # 84.77 − 3
    assert BUDGET.snr_db(np.array(1000.0), np.array(90.0)) == pytest.approx(16.10, abs=0.01)
    rainy = LinkBudget(
        8.2e9, 300e6, eirp_dbw=15.0, g_over_t_db_k=31.0, zenith_attenuation_db=0.2, rain_margin_db=2.0
    )
    assert rainy.snr_db(np.array(1000.0), np.array(30.0)) == pytest.approx(16.10 - 0.4 - 2, abs=0.01)


def test_shannon_and_dvb_s2_turn_it_into_bits() -> None:
    at = np.array(1000.0), np.array(90.0)
    assert BUDGET.rate_bps(*at) == pytest.approx(300e6 * np.log2(1 + 10**1.610), rel=1e-3)
    coded = LinkBudget(8.2e9, 300e6, eirp_dbw=15.0, g_over_t_db_k=31.0, coding="dvb-s2", roll_off=0.2)
    assert coded.rate_bps(*at) == pytest.approx(300e6 / 1.2 * 4.453027)  # 16.10 + 0.79 dB: 32APSK 9/10
    assert coded.rate_bps(np.array(1e5), np.array(5.0)) == 0.0


def test_no_dvb_s2_mode_needs_more_and_carries_less_than_another() -> None:
    assert (np.diff(DVB_S2, axis=0) > 0).all()
    shannon = np.log2(1 + 10 ** (DVB_S2[:, 0] / 10))
    assert (DVB_S2[:, 1] < shannon).all()


@given(st.floats(400, 5000), st.floats(5, 90), st.sampled_from(["shannon", "dvb-s2"]))
def test_nearer_and_higher_never_carries_less(range_km: float, elevation_deg: float, coding) -> None:
    budget = LinkBudget(
        26e9, 500e6, eirp_dbw=20.0, g_over_t_db_k=28.0, zenith_attenuation_db=0.5, coding=coding
    )
    ranges, elevations = (
        np.array([range_km, range_km * 0.9]),
        np.array([elevation_deg, min(90, elevation_deg + 5)]),
    )
    farther, nearer = budget.rate_bps(ranges, elevations)
    assert nearer >= farther >= 0


@pytest.mark.parametrize(
    ("field", "value"), [("frequency_hz", 0.0), ("margin_db", -3.0), ("roll_off", float("nan"))]
)
def test_an_impossible_budget_is_refused(field: str, value: float) -> None:
    with pytest.raises(LinkBudgetError, match=f"{field}: found {value!r}, allowed is"):
        LinkBudget(
            **{
                "frequency_hz": 8e9,
                "bandwidth_hz": 1e8,
                "eirp_dbw": 10.0,
                "g_over_t_db_k": 20.0,
                field: value,
            }
        )


def shadow_depth(shell, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the first satellite, in TEME: how deep [km] it is inside the umbra and the penumbra, as cones."""
    times = EPOCH + TimeDelta(seconds, format="sec")
    _, r, _ = SatrecArray(shell.elements.satrecs()[:1]).sgp4(times.utc.jd1, times.utc.jd2)
    sun = get_sun(times).transform_to(TEME(obstime=times)).cartesian.xyz.to_value("km").T
    distance = np.linalg.norm(sun, axis=1)
    behind = -(r[0] * sun).sum(axis=1) / distance
    aside = np.sqrt((r[0] ** 2).sum(axis=1) - behind**2)
    earth, solar = 6378.137, 695700.0
    umbra = (earth - (solar - earth) * behind / distance) - aside
    penumbra = (earth + (solar + earth) * behind / distance) - aside
    return np.where(behind > 0, umbra, -1e9), np.where(behind > 0, penumbra, -1e9)


def test_eclipses_are_when_the_satellite_is_in_the_cone() -> None:
    shell = walker("53: 1/1/0", epoch=EPOCH, altitude_km=550)
    seconds = np.arange(0, 86400, 20.0)
    for shadow, depth in zip(("umbra", "penumbra"), shadow_depth(shell, seconds), strict=True):
        eclipses = find_eclipses(shell, epoch=EPOCH, horizon_s=86400.0, shadow=shadow)
        found = ((seconds >= eclipses["start_s"][:, None]) & (seconds <= eclipses["end_s"][:, None])).any(
            axis=0
        )
        assert found[depth > 2].all()
        assert not found[depth < -2].any()
        assert 14 <= len(eclipses) <= 16


def test_a_dawn_dusk_orbit_high_enough_is_never_in_shadow_at_the_equinox() -> None:
    terminator = walker("90: 4/1/0", epoch=EPOCH, altitude_km=1400, raan_deg=90)
    assert len(find_eclipses(terminator, epoch=EPOCH, horizon_s=86400.0)) == 0
    noon = walker("90: 4/1/0", epoch=EPOCH, altitude_km=1400, raan_deg=0)
    eclipses = find_eclipses(noon, epoch=EPOCH, horizon_s=86400.0)
    full = eclipses[~eclipses["open_start"] & ~eclipses["open_end"]]
    period_s = 2 * np.pi * np.sqrt((6378.137 + 1400) ** 3 / 398600.4418)
    longest_s = period_s * np.arcsin(6378.137 / (6378.137 + 1400)) / np.pi
    assert full["end_s"] - full["start_s"] == pytest.approx(longest_s, rel=0.02)
