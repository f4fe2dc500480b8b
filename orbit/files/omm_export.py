"""Constellations as Orbit Mean-Elements Messages (CCSDS 502.0-B-3) in JSON, with the keys that catalogues use."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from astropy.time import Time

from orbit.constellation import Constellation
from orbit.motion.omm import UNKNOWN

FIRST_NUMBER = 80_001  # analysts' numbers: the catalogue gives them to nobody


def to_omm(constellation: Constellation) -> str:
    """A list of messages, a satellite each, with all digits of its elements.

    A satellite without a catalogue number gets one of those that are left to analysts, from 80001 on; one without a
    designator is of ``UNKNOWN``, as the standard has it.
    """
    return json.dumps(omm_records(constellation), indent=1)


def omm_records(constellation: Constellation) -> list[dict[str, Any]]:
    """The messages of ``to_omm`` as plain values."""
    elements = constellation.elements
    epochs = Time(constellation.element_epoch, precision=6).isot
    degrees = {
        "INCLINATION": np.degrees(elements.inc_rad),
        "RA_OF_ASC_NODE": np.degrees(elements.raan_rad),
        "ARG_OF_PERICENTER": np.degrees(elements.argp_rad),
        "MEAN_ANOMALY": np.degrees(elements.mean_anomaly_rad),
    }
    taken = set(constellation.catalogue_number)
    free = (
        number
        for number in range(FIRST_NUMBER, FIRST_NUMBER + 2 * len(constellation) + 1)
        if number not in taken
    )
    return [
        {
            "CCSDS_OMM_VERS": "3.0",
            "OBJECT_NAME": name,
            "OBJECT_ID": constellation.designator[k] or UNKNOWN,
            "CENTER_NAME": "EARTH",
            "REF_FRAME": "TEME",
            "TIME_SYSTEM": "UTC",
            "MEAN_ELEMENT_THEORY": "SGP4",
            "EPOCH": str(epochs[k]),
            "MEAN_MOTION": float(elements.mean_motion_rad_min[k] * 720 / np.pi),
            "ECCENTRICITY": float(elements.ecc[k]),
            **{key: float(values[k]) for key, values in degrees.items()},
            "EPHEMERIS_TYPE": 0,
            "CLASSIFICATION_TYPE": "U",
            "NORAD_CAT_ID": constellation.catalogue_number[k] or next(free),
            "ELEMENT_SET_NO": 999,
            "REV_AT_EPOCH": 0,
            "BSTAR": float(elements.bstar[k]),
            "MEAN_MOTION_DOT": 0.0,
            "MEAN_MOTION_DDOT": 0.0,
        }
        for k, name in enumerate(constellation.names)
    ]
