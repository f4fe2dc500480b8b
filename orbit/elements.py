"""Mean elements of the SGP4 theory as arrays, and the two-line files (TLE) they come in.

A reader refuses what it cannot trust: ``ElementsError`` names the line, what was found there and what is
allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from sgp4.api import WGS72, Satrec

from orbit.frames import DAY_S, leap_seconds_between

JD_OF_1949_DEC_31 = 2433281.5  # SGP4 counts the days of an epoch from here


class ElementsError(ValueError):
    """Orbital elements that cannot be read or cannot be flown; the message names the place and what is
    allowed."""


@dataclass(frozen=True, eq=False)
class MeanElements:
    """SGP4 mean elements (Brouwer theory, Kozai mean motion, TEME of the epoch); every field has shape (N,).

    An epoch is the UTC Julian date ``epoch_jd`` (a midnight) plus ``epoch_fraction`` of that day.
    """

    epoch_jd: np.ndarray
    epoch_fraction: np.ndarray
    ecc: np.ndarray
    inc_rad: np.ndarray
    raan_rad: np.ndarray
    argp_rad: np.ndarray
    mean_anomaly_rad: np.ndarray
    mean_motion_rad_min: np.ndarray
    bstar: np.ndarray  # drag term [1 / Earth radii]

    def __len__(self) -> int:
        return len(self.ecc)

    def take(self, indices: np.ndarray | slice) -> MeanElements:
        """The elements of some of the satellites."""
        return MeanElements(*(getattr(self, field.name)[indices] for field in fields(self)))

    def satrecs(self) -> list[Satrec]:
        """One initialised SGP4 model (WGS-72 constants, improved mode) per satellite."""
        epoch_days = (self.epoch_jd - JD_OF_1949_DEC_31) + self.epoch_fraction
        columns = (
            epoch_days,
            self.bstar,
            self.ecc,
            self.argp_rad,
            self.inc_rad,
            self.mean_anomaly_rad,
            self.mean_motion_rad_min,
            self.raan_rad,
        )
        models = []
        for day, bstar, ecc, argp, inc, anomaly, motion, raan in zip(
            *(c.tolist() for c in columns), strict=True
        ):
            model = Satrec()
            # Mean motion derivatives (the two zeros) are carried by the format but not used by SGP4.
            model.sgp4init(WGS72, "i", 0, day, bstar, 0.0, 0.0, ecc, argp, inc, anomaly, motion, raan)
            models.append(model)
        return models

    def seconds_before(self, jd: float, fraction: float) -> np.ndarray:
        """Seconds from each epoch to the UTC date ``jd + fraction``, leap seconds counted, shape (N,)."""
        by_clock_s = ((jd - self.epoch_jd) + (fraction - self.epoch_fraction)) * DAY_S
        return by_clock_s + leap_seconds_between(self.epoch_jd, jd)


def mean_elements(rows: Sequence[dict[str, float]]) -> MeanElements:
    """Join the elements of single satellites, one mapping of field name to value each."""
    return MeanElements(
        *(np.array([row[field.name] for row in rows], float) for field in fields(MeanElements))
    )


ELEMENT_RANGES = {  # field of MeanElements: (lowest, highest) in the unit of the files, unit
    "inclination": (0.0, 180.0, "degrees"),
    "right ascension of the node": (0.0, 360.0, "degrees"),
    "eccentricity": (0.0, 0.99, ""),
    "argument of perigee": (0.0, 360.0, "degrees"),
    "mean anomaly": (0.0, 360.0, "degrees"),
    "mean motion": (0.05, 17.5, "revolutions a day"),
    "B*": (-1.0, 1.0, "per Earth radius"),
}


def check_range(where: str, element: str, value: float) -> float:
    """``value`` when it lies in the range of that element, else ``ElementsError``."""
    low, high, unit = ELEMENT_RANGES[element]
    if not low <= value <= high:
        raise ElementsError(
            f"{where}: {element}: found {value:g}, allowed is {low:g} to {high:g} {unit}".rstrip()
        )
    return value


def read_tle(text: str, source: str = "TLE") -> tuple[tuple[str, ...], MeanElements]:
    """Names and elements of the satellites of a file of two- or three-line element sets.

    A set without a name line is called by its catalogue number.  ``source`` stands in front of the line
    number in messages.  Raises ``ElementsError`` for a broken line, a wrong checksum or an element out of
    range.
    """
    names, rows = [], []
    for name, (number, first), (_, second) in _tle_sets(text, source):
        where = f"{source}, line {number}"
        _check_line(where, first, "1")
        _check_line(f"{source}, line {number + 1}", second, "2")
        if first[2:7] != second[2:7]:
            raise ElementsError(
                f"{where}: catalogue number: found {first[2:7]!r} and, in the line below, {second[2:7]!r}"
            )
        names.append(name or first[2:7].strip())
        rows.append(_tle_row(f"{source}, line", number, first, second))
    if not rows:
        raise ElementsError(f"{source}: found no element set, a TLE has lines that begin with '1 ' and '2 '")
    return tuple(names), mean_elements(rows)


def _tle_sets(text: str, source: str) -> Iterator[tuple[str, tuple[int, str], tuple[int, str]]]:
    """(name or "", (line number, line 1), (line number, line 2)) of each set; blank lines and # lines are
    skipped."""
    name, first = "", None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.rstrip()
        if not line or line.startswith("#"):
            continue
        if first is not None:
            if not line.startswith("2 "):
                raise ElementsError(f"{source}, line {number}: found {line[:24]!r}, expected line 2 of a TLE")
            yield name, first, (number, line)
            name, first = "", None
        elif line.startswith("1 ") and len(line) > 60:
            first = (number, line)
        elif line.startswith("2 ") and len(line) > 60:
            raise ElementsError(f"{source}, line {number}: found line 2 of a TLE without the line 1 above it")
        elif name:
            raise ElementsError(f"{source}, line {number}: found {line[:24]!r}, expected line 1 of a TLE")
        else:
            name = line.removeprefix("0 ").strip()
    if first is not None or name:
        raise ElementsError(f"{source}: ends in the middle of an element set")


def _check_line(where: str, line: str, digit: str) -> None:
    if len(line) != 69 or not line.isascii():
        raise ElementsError(f"{where}: found {len(line)} characters, line {digit} of a TLE has 69 in ASCII")
    checksum = sum(int(c) if c.isdigit() else c == "-" for c in line[:68]) % 10
    if line[68] != str(checksum):
        raise ElementsError(f"{where}: checksum: found {line[68]!r}, the line adds up to {checksum}")


def _tle_row(source: str, number: int, first: str, second: str) -> dict[str, float]:
    above, below = f"{source} {number}", f"{source} {number + 1}"

    def angle(element: str, text: str) -> float:
        return np.radians(check_range(below, element, _number(below, element, text)))

    year = int(_number(above, "epoch year", first[18:20]))
    day = _number(above, "epoch day", first[20:32])
    if not 1.0 <= day < 367.0:
        raise ElementsError(f"{above}: epoch day: found {day:g}, allowed is 1 to 366")
    year += 1900 if year >= 57 else 2000  # the first satellite flew in 1957
    whole_day, fraction = divmod(day - 1.0, 1.0)
    drag = _number(above, "B*", f"{first[53].strip()}.{first[54:59].strip()}e{first[59:61].strip() or '0'}")
    ecc = _number(below, "eccentricity", "." + second[26:33].strip())
    motion = check_range(below, "mean motion", _number(below, "mean motion", second[52:63]))
    return {
        "epoch_jd": _julian_date_of_new_year(year) + whole_day,
        "epoch_fraction": fraction,
        "ecc": check_range(below, "eccentricity", ecc),
        "inc_rad": angle("inclination", second[8:16]),
        "raan_rad": angle("right ascension of the node", second[17:25]),
        "argp_rad": angle("argument of perigee", second[34:42]),
        "mean_anomaly_rad": angle("mean anomaly", second[43:51]),
        "mean_motion_rad_min": motion * 2 * np.pi / 1440.0,
        "bstar": check_range(above, "B*", drag),
    }


def _number(where: str, element: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ElementsError(f"{where}: {element}: found {text.strip()!r}, which is no number")
    return value


def _julian_date_of_new_year(year: int) -> float:
    return (
        float((np.datetime64(f"{year}-01-01") - np.datetime64("1949-12-31")).astype(int)) + JD_OF_1949_DEC_31
    )
