"""Which satellites of a constellation fly in one plane, and in which order."""

from __future__ import annotations

import numpy as np

from orbit.elements import MeanElements
from orbit.propagation import secular_rates

PLANE_TOLERANCE_DEG = 2.5


def recognise_planes(elements: MeanElements) -> tuple[np.ndarray, np.ndarray]:
    """Plane and slot of each satellite, both (N,) integers.

    Two satellites share a plane when the normals of their orbits, brought to one date by J2, lie within
    2.5°, or when a chain of such satellites joins them.  Planes are numbered by inclination (whole
    tolerances), then by right ascension; slots by the argument of latitude at the common date.
    """
    normal, latitude = on_one_date(elements)
    near = normal @ normal.T >= np.cos(np.radians(PLANE_TOLERANCE_DEG))
    cluster = _connected(near)

    leaders = np.unique(cluster)

    def centre(leader: int) -> tuple[int, float]:
        members = cluster == leader
        mean = normal[members].mean(axis=0)
        inclination = np.degrees(np.arctan2(np.hypot(mean[0], mean[1]), mean[2]))
        return round(inclination / PLANE_TOLERANCE_DEG), float(np.arctan2(mean[0], -mean[1]) % (2 * np.pi))

    plane = np.empty(len(elements), np.int32)
    slot = np.empty(len(elements), np.int32)
    for number, leader in enumerate(sorted(leaders, key=centre)):
        members = np.flatnonzero(cluster == leader)
        plane[members] = number
        slot[members[np.argsort(latitude[members] % (2 * np.pi), kind="stable")]] = np.arange(len(members))
    return plane, slot


def on_one_date(elements: MeanElements) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (N, 3) of the planes and arguments of latitude (N,) [rad], at the midnight of the latest epoch.

    Elements of a catalogue differ in epoch by days, in which nodes turn by degrees and satellites revolve: the
    secular rates of J2 bring them together.
    """
    elapsed_s = elements.seconds_before(float(np.max(elements.epoch_jd)), 0.0)
    raan_rate, argp_rate, anomaly_rate = secular_rates(elements)
    raan, inc = elements.raan_rad + raan_rate * elapsed_s, elements.inc_rad
    latitude = elements.argp_rad + elements.mean_anomaly_rad + (argp_rate + anomaly_rate) * elapsed_s
    normal = np.stack([np.sin(inc) * np.sin(raan), -np.sin(inc) * np.cos(raan), np.cos(inc)], axis=1)
    return normal, latitude


def _connected(near: np.ndarray) -> np.ndarray:
    """The connected components of a symmetric relation (N, N): for each element the smallest index it
    reaches."""
    label = np.arange(len(near))
    while True:
        lowest = np.where(near, label[None, :], len(near)).min(axis=1)
        lowest = lowest[lowest]
        if np.array_equal(lowest, label):
            return label
        label = lowest
