"""Kepler's equation, and the secular rates of J2, in the constants of SGP4."""

from __future__ import annotations

import numpy as np

from orbit.motion.elements import MeanElements

# WGS-72, the constants of SGP4
MU_KM3_S2 = 398600.8
RADIUS_KM = 6378.135
J2 = 0.001082616


def brouwer_mean_motion(elements: MeanElements) -> np.ndarray:
    """Brouwer mean motion [rad/s] from the Kozai mean motion of the elements (Hoots & Roehrich 1980,
    SGP4)."""
    xke = np.sqrt(MU_KM3_S2 / RADIUS_KM**3) * 60.0
    a1 = (xke / elements.mean_motion_rad_min) ** (2 / 3)
    d = 0.75 * J2 * (3 * np.cos(elements.inc_rad) ** 2 - 1) / (1 - elements.ecc**2) ** 1.5
    d1 = d / a1**2
    a0 = a1 * (1 - d1**2 - d1 * (1 / 3 + 134 * d1**2 / 81))
    return elements.mean_motion_rad_min / (1 + d / a0**2) / 60.0


def secular_rates(elements: MeanElements) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rates of node, perigee and mean anomaly [rad/s] under J2, first order (Vallado, 4th ed., § 9.6.2)."""
    n = brouwer_mean_motion(elements)
    cos_inc, eta2 = np.cos(elements.inc_rad), 1 - elements.ecc**2
    semi_major_km = (MU_KM3_S2 / n**2) ** (1 / 3)
    k = 1.5 * J2 * (RADIUS_KM / (semi_major_km * eta2)) ** 2 * n
    raan_rate = -k * cos_inc
    argp_rate = k * (2 - 2.5 * (1 - cos_inc**2))
    anomaly_rate = n + k * np.sqrt(eta2) * (1 - 1.5 * (1 - cos_inc**2))
    return raan_rate, argp_rate, anomaly_rate


def eccentric_anomaly(mean_anomaly: np.ndarray, ecc: np.ndarray) -> np.ndarray:
    """Solve Kepler's equation by Newton's method to the last bits; arrays that broadcast, angles in
    radians."""
    anomaly = mean_anomaly + 0.85 * ecc * np.sign(
        np.sin(mean_anomaly)
    )  # Danby's start: converges for every ecc < 1
    for _ in range(30):
        change = (anomaly - ecc * np.sin(anomaly) - mean_anomaly) / (1 - ecc * np.cos(anomaly))
        anomaly = anomaly - change
        if np.abs(change).max(initial=0.0) < 1e-13 * np.abs(mean_anomaly).max(initial=1.0):
            break
    return anomaly
