"""boinor's orbits in and out, and its propagator beside SGP4."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.time import Time

from orbit.constellation import walker
from orbit.files.boinor_orbits import from_boinor, to_boinor
from orbit.motion.elements import ElementsError
from orbit.motion.osculating import osculating_state
from orbit.search.contacts import find_passes
from orbit.stations import GroundStation

pytest.importorskip("boinor", reason="the extra [boinor] is not installed")
EPOCH = Time("2026-03-01T06:00:00")


def test_orbits_go_out_to_boinor_and_come_back() -> None:
    shell = walker("53: 6/3/1", epoch=EPOCH, altitude_km=550, ecc=0.001)
    orbits = to_boinor(shell)
    assert orbits[0].attractor.name == "Earth"
    back = from_boinor(shell.names, orbits)
    for state, wanted in zip(osculating_state(back.elements), osculating_state(shell.elements), strict=True):
        np.testing.assert_allclose(state, wanted, atol=2e-5)
    assert sorted(np.bincount(back.plane)) == [2, 2, 2]


def test_an_orbit_about_another_body_is_refused() -> None:
    import astropy.units as u
    from boinor.bodies import Mars
    from boinor.twobody import Orbit

    with pytest.raises(ElementsError, match="orbit 'm': attractor: found Mars, allowed is Earth"):
        from_boinor(["m"], [Orbit.circular(Mars, 500 * u.km, epoch=EPOCH)])


def test_cowell_with_j2_and_sgp4_see_the_same_passes_for_half_a_day() -> None:
    # The numerical orbit starts from SGP4's osculating state; what remains are J3, J4 and the theory's
    # truncation.
    shell = walker("53: 2/1/0", epoch=EPOCH, altitude_km=550)
    station = GroundStation("Matera", 40.65, lon_deg=16.70, height_m=540)
    theory, numerical = (
        find_passes(shell.propagated_by(name), [station], epoch=EPOCH, horizon_s=43200.0)
        for name in ("sgp4", "cowell-j2")
    )
    assert len(theory) == len(numerical) > 3
    np.testing.assert_allclose(numerical["start_s"], theory["start_s"], atol=1.0)
    np.testing.assert_allclose(numerical["end_s"], theory["end_s"], atol=1.0)
