"""``Orbit`` objects of boinor (the maintained poliastro) in and out (extra ``[boinor]``).

An ``Orbit`` is osculating; the constellation flies SGP4 mean elements.  The conversion is exact at the
orbit's epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.time import Time

from orbit.constellation import Constellation, from_elements
from orbit.motion.elements import ElementsError, MeanElements
from orbit.motion.frames import joined_julian_date, split_julian_date
from orbit.motion.osculating import (
    elements_from_state,
    gcrs_from_teme,
    mean_from_osculating,
    osculating_state,
    teme_from_gcrs,
)

if TYPE_CHECKING:
    from boinor.twobody import Orbit


def from_boinor(names: Sequence[str], orbits: Sequence[Orbit], *, propagator: str = "sgp4") -> Constellation:
    """The constellation that flies ``orbits`` (about the Earth, in GCRS, each at its epoch), without drag.

    Raises ``ElementsError`` for an orbit about another body and for one that SGP4 cannot fly.
    """
    dates, states = [], []
    for name, orbit in zip(names, orbits, strict=True):
        if orbit.attractor.name != "Earth":
            raise ElementsError(f"orbit {name!r}: attractor: found {orbit.attractor.name}, allowed is Earth")
        position, velocity = orbit.r.to_value(u.km), orbit.v.to_value(u.km / u.s)
        dates.append(split_julian_date(orbit.epoch))
        states.append(teme_from_gcrs(position[None], velocity[None], orbit.epoch))
    jd, fraction = np.array(dates).reshape(-1, 2).T
    like = MeanElements.of_columns([jd, fraction, *[np.zeros(len(dates))] * 7])
    osculating = elements_from_state(like, *(np.concatenate(part) for part in zip(*states, strict=True)))
    return from_elements(names, mean_from_osculating(osculating), propagator=propagator)


def to_boinor(constellation: Constellation) -> list[Orbit]:
    """The osculating ``Orbit`` (GCRS) of every satellite at the epoch of its elements."""
    from boinor.bodies import Earth
    from boinor.twobody import Orbit

    position, velocity = osculating_state(constellation.elements)
    orbits = []
    for k in range(len(constellation)):
        epoch = _epoch(constellation.elements, k)
        r, v = gcrs_from_teme(position[k : k + 1], velocity[k : k + 1], epoch)
        orbits.append(Orbit.from_vectors(Earth, r[0] * u.km, v[0] * u.km / u.s, epoch=epoch))
    return orbits


def _epoch(elements: MeanElements, k: int) -> Time:
    return joined_julian_date(elements.epoch_jd[k], elements.epoch_fraction[k])
