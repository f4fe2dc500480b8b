"""The constellation: named satellites with their mean elements, planes and slots, and how they are
propagated."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.time import Time

from orbit.motion.element_files import ElementFile, OnError, numbered, read_element_file
from orbit.motion.elements import ElementsError, MeanElements, check_range
from orbit.motion.frames import EQUATORIAL_RADIUS_KM, joined_julian_date, split_julian_date
from orbit.motion.kepler import J2, MU_KM3_S2, RADIUS_KM
from orbit.motion.osculating import elements_from_state, mean_from_osculating, state_from_gcrs
from orbit.motion.planes import recognise_planes
from orbit.motion.propagation import PROPAGATORS
from orbit.orbit_warning import OrbitWarning

OLD_ELEMENTS_DAYS = 30.0


class OldElementsWarning(OrbitWarning):
    """Elements are used so far from their epoch that SGP4 no longer knows where the satellite is."""


class ConstellationError(ElementsError):
    """A constellation that cannot be; the message names the field, what was found and what is allowed."""


@dataclass(frozen=True, eq=False)
class Constellation:
    """N satellites: unique ``names``, mean ``elements``, ``plane`` and ``slot`` (N,), and the ``propagator``.

    Slots count the satellites of a plane in the order of flight.  ``catalogue_number`` (0 where there is
    none) and ``designator`` ("1998-067A", or "") identify each satellite as the file of its elements does;
    without them nothing is known.  Raises ``ConstellationError`` for names that are not unique and for an
    unknown propagator.
    """

    names: tuple[str, ...]
    elements: MeanElements
    _: KW_ONLY
    plane: np.ndarray
    slot: np.ndarray
    propagator: str = "sgp4"
    catalogue_number: tuple[int, ...] = ()
    designator: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.catalogue_number:
            object.__setattr__(self, "catalogue_number", (0,) * len(self.names))
        if not self.designator:
            object.__setattr__(self, "designator", ("",) * len(self.names))
        if self.propagator not in PROPAGATORS:
            allowed = ", ".join(PROPAGATORS)
            raise ConstellationError(f"propagator: found {self.propagator!r}, allowed are {allowed}")
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ConstellationError(f"names: two satellites are called {twice!r}, names are unique")

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: np.ndarray | slice) -> Constellation:
        """The constellation of some of the satellites, in the order of ``indices``."""
        chosen = np.arange(len(self))[indices]
        return Constellation(
            tuple(self.names[i] for i in chosen),
            self.elements.take(chosen),
            plane=self.plane[chosen],
            slot=self.slot[chosen],
            propagator=self.propagator,
            catalogue_number=tuple(self.catalogue_number[i] for i in chosen),
            designator=tuple(self.designator[i] for i in chosen),
        )

    def propagated_by(self, propagator: str) -> Constellation:
        """The same satellites under another propagator."""
        return replace(self, propagator=propagator)

    @property
    def element_epoch(self) -> Time:
        """The UTC epoch of each satellite's elements, shape (N,)."""
        return joined_julian_date(self.elements.epoch_jd, self.elements.epoch_fraction)

    @property
    def bstar(self) -> np.ndarray:
        """The drag term of each satellite's elements [1 / Earth radii], shape (N,); 0 where a file has none."""
        return self.elements.bstar

    def age_days(self, epoch: Time) -> np.ndarray:
        """Days from the epoch of each satellite's elements to ``epoch``, shape (N,)."""
        return self.elements.seconds_before(*split_julian_date(epoch)) / 86400.0


def warn_of_old_elements(constellation: Constellation, epoch: Time, horizon_s: float) -> None:
    """Warn when a horizon reaches more than 30 days from the epoch of any satellite's elements."""
    age_days = constellation.age_days(epoch)
    farthest = np.maximum(np.abs(age_days), np.abs(age_days + horizon_s / 86400.0))
    oldest = int(np.argmax(farthest))
    if farthest[oldest] > OLD_ELEMENTS_DAYS:
        old = np.count_nonzero(farthest > OLD_ELEMENTS_DAYS)
        warnings.warn(
            f"the elements of {old} of {len(constellation)} satellites are used more than {OLD_ELEMENTS_DAYS:.0f} days "
            f"from their epoch; those of {constellation.names[oldest]!r} {farthest[oldest]:.0f} days",
            OldElementsWarning,
            stacklevel=3,
        )


def from_elements(
    names: Sequence[str],
    elements: MeanElements,
    *,
    propagator: str = "sgp4",
    catalogue_number: Sequence[int] = (),
    designator: Sequence[str] = (),
) -> Constellation:
    """A constellation of any mean elements; its planes and slots are recognised from them."""
    plane, slot = recognise_planes(elements)
    return Constellation(
        numbered(names),
        elements,
        plane=plane,
        slot=slot,
        propagator=propagator,
        catalogue_number=tuple(catalogue_number),
        designator=tuple(designator),
    )


def from_file(
    path: Path | str,
    *,
    propagator: str = "sgp4",
    epoch: Time | None = None,
    skip: Sequence[str | int] = (),
    on_error: OnError = "error",
) -> Constellation:
    """The constellation of a file: TLE (two or three lines a satellite) or OMM (JSON, XML, KVN or CSV), told by
    content.

    Each object is there once, with its elements nearest to ``epoch`` (or the newest); see
    ``orbit.motion.element_files.read_element_file``, also for ``skip`` and ``on_error``.  Raises ``ElementsError``
    naming file and line (or record and key) of the first fault, ``OSError`` without the file.
    """
    return of_element_file(read_element_file(path, epoch=epoch, skip=skip, on_error=on_error), propagator)


def of_element_file(satellites: ElementFile, propagator: str = "sgp4") -> Constellation:
    """The constellation of the satellites of a file that is read already."""
    return from_elements(
        satellites.names,
        satellites.elements,
        propagator=propagator,
        catalogue_number=satellites.catalogue_number,
        designator=satellites.designator,
    )


def walker(
    pattern: str,
    *,
    epoch: Time,
    altitude_km: float | None = None,
    mean_motion_rev_day: float | None = None,
    star: bool = False,
    ecc: float = 0.0,
    argp_deg: float = 0.0,
    raan_deg: float = 0.0,
    anomaly_deg: float = 0.0,
    phasing: Literal["walker", "half-slot"] | Sequence[float] = "walker",
    slot_spacing_deg: float | None = None,
    frame: Literal["TEME", "GCRS"] = "TEME",
    theory: Literal["mean", "osculating"] = "mean",
    propagator: str = "sgp4",
    prefix: str = "sat",
) -> Constellation:
    """A Walker constellation ``i: T/P/F`` of circular or slightly eccentric orbits, named
    ``sat-<plane>-<slot>``.

    ``pattern`` is inclination [deg], satellites, planes and phasing, as in ``"53: 72/6/1"`` (Walker 1984).
    The planes spread over 360° of right ascension (delta) or over 180° (``star=True``).  Of ``altitude_km``
    (of the mean semi-major axis over 6378.137 km) and ``mean_motion_rev_day`` (Kozai's, as in a TLE)
    exactly one is given. ``phasing`` is Walker's F·360°/T from plane to plane, half a slot in every second
    plane, or degrees for each plane.  With ``slot_spacing_deg`` the satellites of a plane fly as a train
    instead of evenly round the orbit. ``theory="osculating"`` takes the elements as the motion at ``epoch``
    and derives the mean ones.

    Raises ``ConstellationError`` naming the parameter.
    """
    inclination, satellites, planes, phase = _parse_pattern(pattern)
    slots = satellites // planes
    plane, slot = np.divmod(np.arange(satellites, dtype=np.int32), slots)
    spacing_deg = 360.0 / slots if slot_spacing_deg is None else slot_spacing_deg
    if not 0 < spacing_deg * slots <= 360.0 + 1e-9:
        raise ConstellationError(
            f"slot_spacing_deg: found {spacing_deg:g}, allowed is above 0 to {360 / slots:g}"
        )
    phase_deg = _phase_of_planes(phasing, planes, spacing_deg, phase * 360.0 / satellites)
    jd, fraction = split_julian_date(epoch)
    ecc = check_range("walker", "eccentricity", ecc)

    def spread(value: float) -> np.ndarray:
        return np.full(satellites, value)

    elements = MeanElements(
        epoch_jd=spread(jd),
        epoch_fraction=spread(fraction),
        ecc=spread(ecc),
        inc_rad=spread(np.radians(inclination)),
        raan_rad=np.radians(raan_deg + plane * (180.0 if star else 360.0) / planes) % (2 * np.pi),
        argp_rad=spread(np.radians(argp_deg % 360.0)),
        mean_anomaly_rad=np.radians(anomaly_deg + slot * spacing_deg + phase_deg[plane]) % (2 * np.pi),
        mean_motion_rad_min=spread(_mean_motion_rad_min(altitude_km, mean_motion_rev_day, inclination, ecc)),
        bstar=spread(0.0),
    )
    if frame not in ("TEME", "GCRS"):
        raise ConstellationError(f"frame: found {frame!r}, allowed are TEME and GCRS")
    if theory not in ("mean", "osculating"):
        raise ConstellationError(f"theory: found {theory!r}, allowed are mean and osculating")
    if frame == "GCRS":
        elements = elements_from_state(elements, *state_from_gcrs(elements, epoch))
    if theory == "osculating":
        elements = mean_from_osculating(elements)
    names = tuple(f"{prefix}-{p}-{s:02d}" for p, s in zip(plane.tolist(), slot.tolist(), strict=True))
    return Constellation(names, elements, plane=plane, slot=slot, propagator=propagator)


def _parse_pattern(pattern: str) -> tuple[float, int, int, float]:
    """Inclination [deg], satellites, planes, phasing of ``i: T/P/F``."""
    match = re.fullmatch(r"\s*([\d.]+)\s*°?\s*:\s*(\d+)\s*/\s*(\d+)\s*/\s*(\d+)\s*", pattern)
    if not match:
        raise ConstellationError(f"pattern: found {pattern!r}, allowed is 'i: T/P/F' like '53: 72/6/1'")
    inclination = float(match[1]) if match[1].count(".") <= 1 and match[1] != "." else np.nan
    satellites, planes, phase = int(match[2]), int(match[3]), int(match[4])
    check_range("pattern", "inclination", inclination)
    if not 1 <= planes <= satellites <= 100_000 or satellites % planes:
        raise ConstellationError(
            f"pattern: found {satellites} satellites in {planes} planes, T is a multiple of P"
        )
    if phase >= planes:
        raise ConstellationError(f"pattern: found F = {phase}, allowed is 0 to {planes - 1}")
    return inclination, satellites, planes, phase


def _phase_of_planes(
    phasing: str | Sequence[float], planes: int, spacing_deg: float, step_deg: float
) -> np.ndarray:
    """The anomaly [deg] by which each plane's slot 0 leads, shape (planes,)."""
    if isinstance(phasing, str):
        if phasing == "walker":
            return step_deg * np.arange(planes)
        if phasing == "half-slot":
            return 0.5 * spacing_deg * (np.arange(planes) % 2)
        raise ConstellationError(
            f"phasing: found {phasing!r}, allowed are walker, half-slot, or degrees per plane"
        )
    if len(phasing) != planes:
        raise ConstellationError(f"phasing: found {len(phasing)} values, allowed is one per plane, {planes}")
    return np.array(phasing, float)


def _mean_motion_rad_min(
    altitude_km: float | None, mean_motion_rev_day: float | None, inclination_deg: float, ecc: float
) -> float:
    """Kozai's mean motion [rad/min] from whichever of the two is given."""
    if (altitude_km is None) == (mean_motion_rev_day is None):
        raise ConstellationError("altitude_km, mean_motion_rev_day: give exactly one of them")
    if mean_motion_rev_day is not None:
        return check_range("walker", "mean motion", mean_motion_rev_day) * 2 * np.pi / 1440.0
    assert altitude_km is not None
    semi_major_km = EQUATORIAL_RADIUS_KM + altitude_km
    if not (150.0 <= altitude_km <= 50_000.0 and semi_major_km * (1 - ecc) > EQUATORIAL_RADIUS_KM + 100.0):
        raise ConstellationError(
            f"altitude_km: found {altitude_km:g} at eccentricity {ecc:g}, "
            "allowed is 150 to 50000 with the perigee above 100"
        )
    # SGP4 undoes this when it recovers Brouwer's mean motion, the one that goes with the semi-major axis.
    cos_inc = np.cos(np.radians(inclination_deg))
    shift = 0.75 * J2 * (RADIUS_KM / semi_major_km) ** 2 * (3 * cos_inc**2 - 1) / (1 - ecc**2) ** 1.5
    return float(np.sqrt(MU_KM3_S2 / semi_major_km**3) * (1 + shift) * 60.0)
