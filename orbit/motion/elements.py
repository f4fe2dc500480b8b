"""Mean elements of the SGP4 theory as arrays, and the two-line files (TLE) they come in.

A reader refuses what it cannot trust: ``ElementsError`` names the line, what was found there and what is
allowed.  ``orbit.motion.element_files`` reads files and decides which of their sets are flown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from datetime import date
from functools import partial
from typing import NamedTuple

import numpy as np
from sgp4.alpha5 import from_alpha5
from sgp4.api import WGS72, Satrec

from orbit.motion.earth_orientation import day_length_s
from orbit.motion.frames import DAY_S, leap_seconds_between
from orbit.orbit_warning import OrbitWarning

JD_OF_1949_DEC_31 = 2433281.5  # SGP4 counts the days of an epoch from here
JD_OF_DAY_0 = 1721424.5  # the day before ``datetime.date`` begins to count
LARGEST_CATALOGUE_NUMBER = 999_999_999


class ElementsError(ValueError):
    """Orbital elements that cannot be read or cannot be flown; the message names the place and what is
    allowed."""


class ElementsWarning(OrbitWarning):
    """Elements that can be flown, but not as a reader of their file might think."""


@dataclass(frozen=True, eq=False)
class MeanElements:
    """SGP4 mean elements (Brouwer theory, Kozai mean motion, TEME of the epoch); every field has shape (N,).

    An epoch is the UTC Julian date ``epoch_jd`` (a midnight) plus ``epoch_fraction`` of that day.
    """

    epoch_jd: np.ndarray
    epoch_fraction: np.ndarray
    _: KW_ONLY
    ecc: np.ndarray
    inc_rad: np.ndarray
    raan_rad: np.ndarray
    argp_rad: np.ndarray
    mean_anomaly_rad: np.ndarray
    mean_motion_rad_min: np.ndarray
    bstar: np.ndarray  # drag term [1 / Earth radii]

    @classmethod
    def of_columns(cls, columns: Iterable[np.ndarray]) -> MeanElements:
        """Return the elements whose fields are these columns, in the order of the fields."""
        return cls(**{field.name: column for field, column in zip(fields(cls), columns, strict=True)})

    def __len__(self) -> int:
        return len(self.ecc)

    def take(self, indices: np.ndarray | slice) -> MeanElements:
        """The elements of some of the satellites."""
        return MeanElements.of_columns(getattr(self, field.name)[indices] for field in fields(self))

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


class ElementSet(NamedTuple):
    """One set of elements, and the object that its file says it is of."""

    where: str  # file and line, or file and record
    name: str  # "" where there is none
    catalogue_number: int  # 0 where there is none
    designator: str  # international, "1998-067A", or ""
    values: tuple[float, ...]  # in the order of the fields of ``MeanElements``
    has_bstar: bool


class SetToRead(NamedTuple):
    """One set of elements of a file that is not read yet: ``read`` raises ``ElementsError`` where it cannot be.

    ``labels`` are the name and the catalogue numbers in it as they stand there, by which it may be left out.
    """

    labels: tuple[str, ...]
    read: Callable[[], ElementSet]


def mean_elements(sets: Sequence[ElementSet]) -> MeanElements:
    """Join single element sets."""
    columns = (
        np.array([element_set.values for element_set in sets], float)
        .reshape(len(sets), len(fields(MeanElements)))
        .T
    )
    return MeanElements.of_columns(np.ascontiguousarray(columns))


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


def calendar_jd(where: str, text: str, year: int, month: int, day: int) -> float:
    """Julian date of the midnight at which a day begins; ``ElementsError`` quotes ``found`` when there is no such
    day."""
    try:
        return date(year, month, day).toordinal() + JD_OF_DAY_0
    except ValueError as error:
        raise ElementsError(f"{where}: found {text!r}, which is no date: {error}") from None


def ordinal_jd(where: str, text: str, year: int, day_of_year: int) -> float:
    """As ``calendar_jd``, of a day of the year, 1 to 365 or 366."""
    days = date(year, 12, 31).timetuple().tm_yday
    if not 1 <= day_of_year <= days:
        raise ElementsError(f"{where}: found {text!r}, but {year} has the days 1 to {days}")
    return date(year, 1, 1).toordinal() + day_of_year - 1 + JD_OF_DAY_0


def catalogue_number(where: str, text: str) -> int:
    """The number that ``text`` is, with or without the letter of Alpha-5 ("A0001" is 100001); 0 for no text."""
    text = text.strip()
    if not text:
        return 0
    if text.isascii() and text.isdigit() and int(text) <= LARGEST_CATALOGUE_NUMBER:
        return int(text)
    if re.fullmatch(r"[A-HJ-NP-Z]\d{4}", text, re.ASCII):
        return from_alpha5(text)
    raise ElementsError(
        f"{where}: catalogue number: found {text!r}, allowed are up to nine digits, or a letter (not I, not O) and four"
    )


def read_tle(text: str, source: str = "TLE") -> tuple[tuple[str, ...], MeanElements]:
    """Names and elements of all sets in the text of a file of two- or three-line element sets.

    A set without a name line is called by its catalogue number.  ``source`` stands in front of the line
    number in messages.  Raises ``ElementsError`` for a broken line, a wrong checksum or an element out of
    range.
    """
    sets = [element_set.read() for element_set in tle_sets(text, source)]
    if not sets:
        raise ElementsError(f"{source}: found no element set, a TLE has lines that begin with '1 ' and '2 '")
    return tuple(
        element_set.name or str(element_set.catalogue_number) for element_set in sets
    ), mean_elements(sets)


def tle_sets(text: str, source: str) -> Iterator[SetToRead]:
    """Every element set of a file of TLEs; blank lines and # lines are skipped.

    Where lines do not follow each other as they should, the rest is read from the next line that begins a set.
    """
    name, first, above = "", "", 0

    def broken(where: str, message: str) -> SetToRead:
        return SetToRead((name, first[2:7]), partial(refuse, f"{source}{where}: {message}"))

    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.rstrip()
        if not line or line.startswith("#"):
            continue
        here, is_element_line = f", line {number}", len(line) > 60 and line[1] == " "
        if first and line.startswith("2 "):
            labels = (name, first[2:7], line[2:7])
            yield SetToRead(labels, partial(_tle_set, source, name, above, first, number, line))
            name = first = ""
            continue
        if first:
            yield broken(here, f"found {line[:24]!r}, expected line 2 of a TLE")
            name = first = ""
        if is_element_line and line[0] == "1":
            first, above = line, number
        elif is_element_line and line[0] == "2":
            name = name or line[2:7]
            yield broken(here, "found line 2 of a TLE without the line 1 above it")
            name = ""
        else:
            if name:
                yield broken(here, f"found {line[:24]!r}, expected line 1 of a TLE")
            name = line.removeprefix("0 ").strip()
    if first or name:
        yield broken("", "ends in the middle of an element set")


def refuse(message: str) -> ElementSet:
    """Raise ``ElementsError``: what reading a set comes to whose fault is known already."""
    raise ElementsError(message)


# What stands in the columns between the fields; a line that is shifted by one would be read as another orbit.
_COLUMNS = {
    "1": {8: " ", 17: " ", 23: ".", 32: " ", 34: ".", 43: " ", 52: " ", 61: " ", 63: " "},
    "2": {7: " ", 11: ".", 16: " ", 20: ".", 25: " ", 33: " ", 37: ".", 42: " ", 46: ".", 51: " ", 54: "."},
}
_CHECKSUM_VALUES = bytes(int(chr(c)) if chr(c) in "0123456789" else chr(c) == "-" for c in range(256))
_DECIMAL = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)\s*", re.ASCII)
_DRAG = re.compile(r"([ +-])\.?([ \d]{4,5})([ +-])(\d)", re.ASCII)


def _check_line(where: str, line: str, digit: str) -> None:
    if len(line) != 69 or not line.isascii():
        raise ElementsError(f"{where}: found {len(line)} characters, line {digit} of a TLE has 69 in ASCII")
    checksum = sum(line[:68].encode("ascii").translate(_CHECKSUM_VALUES)) % 10
    if line[68] != str(checksum):
        raise ElementsError(f"{where}: checksum: found {line[68]!r}, the line adds up to {checksum}")
    for column, character in _COLUMNS[digit].items():
        if line[column] != character:
            raise ElementsError(
                f"{where}: column {column + 1}: found {line[column]!r}, a TLE has {character!r} there"
            )


def _tle_set(source: str, name: str, above: int, first: str, below: int, second: str) -> ElementSet:
    """The element set of the lines ``first`` and ``second``, which stand in the lines ``above`` and ``below``."""
    upper, lower = f"{source}, line {above}", f"{source}, line {below}"
    _check_line(upper, first, "1")
    _check_line(lower, second, "2")
    if first[2:7] != second[2:7]:
        raise ElementsError(
            f"{upper}: catalogue number: found {first[2:7]!r} and, in the line below, {second[2:7]!r}"
        )
    check_ephemeris_type(upper, first[62])

    def angle(element: str, text: str) -> float:
        return np.pi / 180.0 * check_range(lower, element, _number(lower, element, text))

    jd, fraction = _tle_epoch(upper, first[18:32])
    ecc = _number(lower, "eccentricity", "." + second[26:33].replace(" ", "0"))
    motion = check_range(lower, "mean motion", _number(lower, "mean motion", second[52:63]))
    has_bstar = bool(first[53:61].strip())
    values = (
        jd,
        fraction,
        check_range(lower, "eccentricity", ecc),
        angle("inclination", second[8:16]),
        angle("right ascension of the node", second[17:25]),
        angle("argument of perigee", second[34:42]),
        angle("mean anomaly", second[43:51]),
        motion * 2 * np.pi / 1440.0,
        _tle_drag(upper, first[53:61]) if has_bstar else 0.0,
    )
    number = catalogue_number(upper, first[2:7])
    return ElementSet(
        upper,
        name,
        catalogue_number=number,
        designator=_tle_designator(first[9:17]),
        values=values,
        has_bstar=has_bstar,
    )


def check_ephemeris_type(where: str, text: str) -> None:
    """Refuse elements of another theory than SGP4: of SGP4-XP (4) above all, whose elements look just like these."""
    if text.strip() not in ("", "0", "2"):
        theory = " (SGP4-XP)" if text.strip() == "4" else ""
        raise ElementsError(f"{where}: ephemeris type: found {text}{theory}, allowed is 0 (SGP4)")


def _tle_epoch(where: str, text: str) -> tuple[float, float]:
    """UTC Julian date (midnight, fraction of the day) of year and day as a TLE has them."""
    where = f"{where}: epoch"
    if not re.fullmatch(r"\d\d", text[:2], re.ASCII):
        raise ElementsError(f"{where}: year: found {text[:2]!r}, allowed are two digits")
    whole_day, fraction = divmod(_number(where, "day", text[2:]), 1.0)
    year = int(text[:2])
    year += 1900 if year >= 57 else 2000  # the first satellite flew in 1957
    return ordinal_jd(f"{where}: day", text[2:].strip(), year, int(whole_day)), fraction


def _tle_drag(where: str, text: str) -> float:
    match = _DRAG.fullmatch(text)
    if not match:
        raise ElementsError(f"{where}: B*: found {text!r}, allowed is like ' 12345-4'")
    sign, digits, exponent_sign, exponent = match.groups()
    mantissa = float(f"{sign.strip()}.{digits.replace(' ', '0')}")
    return check_range(where, "B*", mantissa * 10.0 ** int(f"{exponent_sign.strip()}{exponent}"))


def _tle_designator(text: str) -> str:
    match = re.fullmatch(r"(\d\d)(\d{3})([A-Z]{1,3})", text.strip(), re.ASCII)
    if not match:
        return text.strip()
    return f"{'19' if match[1] >= '57' else '20'}{match[1]}-{match[2]}{match[3]}"


def _number(where: str, element: str, text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise ElementsError(f"{where}: {element}: found {text.strip()!r}, which is no number")
    return float(text)


def clock_fraction(where: str, text: str, jd: float, hours: int, minutes: int, seconds: float) -> float:
    """The part of 86,400 s that the clock shows, on the day ``jd``; a 61st second is there on days that have one."""
    into_day_s = hours * 3600 + minutes * 60 + seconds
    last_minute_s = 60.0 + (day_length_s(jd) - DAY_S if (hours, minutes) == (23, 59) else 0.0)
    if not (hours < 24 and minutes < 60 and 0 <= seconds < last_minute_s):
        raise ElementsError(f"{where}: found {text!r}, which is no time of day")
    return into_day_s / DAY_S
