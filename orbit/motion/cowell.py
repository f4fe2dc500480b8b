"""Numerical propagation under gravity with J2, by boinor's Cowell integrator (extra ``[boinor]``)."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from astropy.time import Time

from orbit.motion.elements import ElementsError, MeanElements
from orbit.motion.frames import split_julian_date
from orbit.motion.osculating import osculating_state

RELATIVE_TOLERANCE = 1e-10


def cowell_j2(elements: MeanElements, epoch: Time, seconds: np.ndarray) -> np.ndarray:
    """TEME positions [km] (N, M, 3) at ascending ``seconds`` (M,) after ``epoch``.

    Each satellite starts from SGP4's osculating state at the epoch of its elements.  Two seconds per
    satellite and day, and some seconds for boinor's compiler at the first call.  Raises ``ElementsError``
    without boinor.
    """
    try:
        from boinor.bodies import Earth
        from boinor.core.perturbations import J2_perturbation
        from boinor.core.propagation import cowell, func_twobody
    except ImportError:
        raise ElementsError(
            "propagator: cowell-j2 needs boinor, install the extra: skysplit[boinor]"
        ) from None
    mu, j2, radius = Earth.k.to_value(u.km**3 / u.s**2), Earth.J2.value, Earth.R.to_value(u.km)

    def gravity(time: float, state: np.ndarray, k: float) -> np.ndarray:
        rate = func_twobody(time, state, k)
        rate[3:] += J2_perturbation(time, state, k, j2, radius)
        return rate

    start_r, start_v = osculating_state(elements)
    to_first_s = elements.seconds_before(*split_julian_date(epoch)) + seconds[0]
    position = np.empty((len(elements), len(seconds), 3))
    for k, (r, v, elapsed_s) in enumerate(zip(start_r, start_v, to_first_s.tolist(), strict=True)):
        if elapsed_s != 0.0:  # boinor integrates one way only, and the epoch may lie inside the grid
            (r,), (v,) = cowell(mu, r, v, [elapsed_s], RELATIVE_TOLERANCE, f=gravity)
        position[k], _ = cowell(mu, r, v, seconds - seconds[0], RELATIVE_TOLERANCE, f=gravity)
    return position
