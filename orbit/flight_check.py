"""What can be known of satellites before they are flown: which fail within the horizon, and which are in one place."""

from __future__ import annotations

import warnings

import numpy as np
from astropy.time import Time
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from orbit.constellation import Constellation, of_element_file
from orbit.motion.element_files import ElementFile, OnError, listed
from orbit.motion.elements import ElementsWarning, MeanElements
from orbit.motion.kepler import brouwer_mean_motion
from orbit.motion.propagation import (
    MU_KM3_S2,
    RADIUS_KM,
    PropagationError,
    absurd_heights,
    reason_of_failure,
    sgp4_positions,
)

# Above 450 km nothing comes down between two of eight looks at the horizon; a look is twelve samples over the
# revolution of a low orbit.
SAFE_PERIGEE_KM = 450.0
LOOKS, SAMPLES_OF_LOOK, SAMPLE_S = 8, 12, 480.0
DENSE_STEP_RAD = 0.16  # of the fastest orbit, as the ephemeris of passes has it
POSITIONS_AT_ONCE = 500_000
ONE_PLACE_KM, ONE_PLACE_KM_S = 1.0, 0.01


def flown_constellation(
    satellites: ElementFile,
    *,
    epoch: Time,
    horizon_s: float,
    propagator: str = "sgp4",
    on_error: OnError = "error",
    limit: int = 0,
) -> Constellation:
    """The constellation of a file's satellites, the first ``limit`` of them (0: all), of which each can be flown.

    Those that SGP4 cannot fly over the horizon are an error (``PropagationError``), or are left out with a warning;
    other propagators know no drag and fly all.
    """
    failed = failures(satellites.elements, epoch, horizon_s) if propagator == "sgp4" else {}
    flown = np.array([k for k in range(len(satellites.names)) if k not in failed], np.int64)
    end = flown[limit - 1] if 0 < limit <= len(flown) else len(satellites.names)
    asked = {k: f"satellite {satellites.names[k]!r}: {why}" for k, why in failed.items() if k < end}
    if asked and on_error == "error":
        raise PropagationError(
            f"{listed(list(asked.values()))}; constellation.skip leaves out satellites, "
            'constellation.on_error = "skip" all that fail',
            min(asked),
            after_s=0.0,
        )
    if not len(flown):
        raise PropagationError(f"no satellite can be flown: {listed(list(asked.values()))}", 0, after_s=0.0)
    if asked:
        text = (
            f"left out {len(asked)} of {len(asked) + len(flown)} satellites: {listed(list(asked.values()))}"
        )
        warnings.warn(text, ElementsWarning, stacklevel=2)
    every = of_element_file(satellites.take(flown) if failed else satellites, propagator)
    return every.take(slice(0, limit)) if limit else every


def failures(elements: MeanElements, epoch: Time, horizon_s: float) -> dict[int, str]:
    """Return the satellites (by index) that SGP4 cannot fly in ``[0, horizon_s]`` after ``epoch``, with reasons.

    What fails after the horizon, or before the epoch, does not fail.
    """
    starts_s = np.linspace(0.0, max(0.0, horizon_s - SAMPLES_OF_LOOK * SAMPLE_S), LOOKS)
    looks_s = (starts_s[:, None] + SAMPLE_S * np.arange(SAMPLES_OF_LOOK)).ravel()
    looks_s = np.unique(np.append(looks_s[looks_s < horizon_s], horizon_s))
    failed = _failures_at(elements, np.arange(len(elements)), epoch, looks_s)

    rate = brouwer_mean_motion(elements)
    perigee_km = (MU_KM3_S2 / rate**2) ** (1 / 3) * (1 - elements.ecc) - RADIUS_KM
    risky = np.array(
        [k for k in np.flatnonzero(perigee_km < SAFE_PERIGEE_KM) if int(k) not in failed], np.int64
    )
    if len(risky):
        steps = int(np.ceil(horizon_s * rate[risky].max() / DENSE_STEP_RAD))
        failed |= _failures_at(elements, risky, epoch, np.linspace(0.0, horizon_s, steps + 1))
    return dict(sorted(failed.items()))


def _failures_at(
    elements: MeanElements, satellites: np.ndarray, epoch: Time, seconds: np.ndarray
) -> dict[int, str]:
    failed = {}
    group = max(1, POSITIONS_AT_ONCE // len(seconds))
    for first in range(0, len(satellites), group):
        some = satellites[first : first + group]
        of_group = elements.take(some)
        errors, position = sgp4_positions(of_group, epoch, seconds)
        fails = (errors != 0) | absurd_heights(of_group, position)
        for k in np.flatnonzero(fails.any(axis=1)).tolist():
            node = int(fails[k].argmax())
            reason = reason_of_failure(of_group, k, errors[k, node], position[k, node])
            failed[int(some[k])] = f"SGP4 fails {seconds[node]:.0f} s after the epoch: {reason}"
    return failed


def warn_of_shared_places(constellation: Constellation, epoch: Time) -> None:
    """Warn of satellites that fly together at ``epoch``, within a kilometre and ten metres a second: what is docked
    has an element set for each of its parts."""
    _, position = sgp4_positions(constellation.elements, epoch, np.array([0.0, 1.0]))
    here, velocity = position[:, 0], position[:, 1] - position[:, 0]
    flying = np.flatnonzero(np.isfinite(position).all(axis=(1, 2)))
    pairs = flying[KDTree(here[flying]).query_pairs(ONE_PLACE_KM, output_type="ndarray")]
    together = np.linalg.norm(velocity[pairs[:, 0]] - velocity[pairs[:, 1]], axis=1) < ONE_PLACE_KM_S
    first, second = pairs[together].T
    if not len(first):
        return
    number = len(constellation)
    joined = coo_array((np.ones(len(first)), (first, second)), shape=(number, number))
    _, group = connected_components(joined, directed=False)
    places = [np.flatnonzero(group == label) for label in np.unique(group[first])]
    named = listed([" and ".join(constellation.names[k] for k in place) for place in places])
    warnings.warn(
        f"satellites at the same position (docked, or one object listed twice): {named}. Each is planned as a "
        "satellite of its own, with links of almost 0 km between them; constellation.skip leaves satellites out",
        ElementsWarning,
        stacklevel=2,
    )
