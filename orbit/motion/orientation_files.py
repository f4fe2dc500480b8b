"""The Earth orientation files that are installed with astropy (package ``astropy-iers-data``), read by their columns.

The values are those of ``IERS_Auto.read``, which parses all columns of both tables cell by cell and so takes a second
of CPU time in every process that plans.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
from astropy.utils import iers

# Bytes of the columns, from 0, as the files' own descriptions number them from 1 (ReadMe.finals2000A, ReadMe.eopc04).
_BULLETIN_A = {"mjd": (7, 15), "pole_x": (18, 27), "pole_y": (37, 46), "ut1_utc": (58, 68)}
_BULLETIN_B = {"pole_x": (134, 144), "pole_y": (144, 154), "ut1_utc": (154, 165)}
_FLAGS = {"pole": (16, 17), "ut1_utc": (57, 58)}  # of Bulletin A: I measured, P predicted
_C04 = {"mjd": (16, 26), "pole_x": (26, 38), "pole_y": (38, 50), "ut1_utc": (50, 62)}


@dataclass(frozen=True, eq=False)
class DailyValues:
    """Values at 0h UTC of ``mjd``: UT1 − UTC [s] and the pole's coordinates x, y [arcsec], each of its shape."""

    mjd: np.ndarray
    ut1_utc_s: np.ndarray
    _: KW_ONLY
    pole_x_arcsec: np.ndarray
    pole_y_arcsec: np.ndarray
    predicted_from_mjd: float


def installed_values() -> DailyValues:
    """Read Bulletin A with its predictions, and replace its values by those of the final series C04, as astropy does.

    Raises:
        ValueError: The two files do not fit together.
    """
    lines = _lines(iers.IERS_A_FILE)
    flags = {name: _text(lines, place) for name, place in _FLAGS.items()}
    rapid = {name: _numbers(lines, place) for name, place in _BULLETIN_A.items()}
    known = np.isfinite(rapid["ut1_utc"]) & (flags["pole"] != b"")
    final = {name: _numbers(lines, place)[known] for name, place in _BULLETIN_B.items()}
    rapid = {name: values[known] for name, values in rapid.items()}
    mjd = rapid.pop("mjd")
    _take_series(final, mjd)
    ut1_utc_s = np.where(np.isnan(final["ut1_utc"]), rapid["ut1_utc"], final["ut1_utc"])
    rapid_pole = np.isnan(final["pole_x"]) | np.isnan(final["pole_y"])
    predicted = min(int(np.argmax(flag[known] == b"P")) for flag in flags.values())
    return DailyValues(
        mjd,
        ut1_utc_s,
        pole_x_arcsec=np.where(rapid_pole, rapid["pole_x"], final["pole_x"]),
        pole_y_arcsec=np.where(rapid_pole, rapid["pole_y"], final["pole_y"]),
        predicted_from_mjd=float(mjd[predicted]),
    )


def _take_series(final: dict[str, np.ndarray], mjd: np.ndarray) -> None:
    """Replace Bulletin B's values, which begin with the table, by those of C04 for the same days."""
    lines = _lines(iers.IERS_B_FILE)
    series = {name: _numbers(lines, place) for name, place in _C04.items()}
    days = mjd[np.isfinite(final["ut1_utc"])]
    first, last = np.searchsorted(series["mjd"], days[0]), np.searchsorted(series["mjd"], days[-1], "right")
    if not np.array_equal(mjd[: last - first], series["mjd"][first:last]):
        raise ValueError(f"{iers.IERS_A_FILE}: its days are not those of {iers.IERS_B_FILE}")
    for name, values in final.items():
        values[: last - first] = series[name][first:last]


def _lines(file: str) -> np.ndarray:
    """The characters of a file's data, shape (lines, width)."""
    lines = [line for line in Path(file).read_bytes().splitlines() if not line.startswith(b"#")]
    return np.array(lines).view("S1").reshape(len(lines), -1)


def _text(lines: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    begin, end = place
    return np.char.strip(np.ascontiguousarray(lines[:, begin:end]).view(f"S{end - begin}")[:, 0])


def _numbers(lines: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """A column's numbers, NaN where it is blank."""
    text = _text(lines, place)
    return np.where(text == b"", b"nan", text).astype(float)
