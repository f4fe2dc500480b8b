"""Tables of intervals, as analysis tools write them: who sees whom, from when to when.

A table has a line of column names, then an interval a line: the two ends, start and stop, in UTC or in seconds
after the mission's epoch; cells are parted by commas, or by two spaces and more where no line has a comma.  Where
the ends are not columns it comes in sections that an empty line ends, each below a title: STK's
``Facility-Kiruna-To-Satellite-sat1``, or GMAT's ``Target: sat1`` and ``Observer: Kiruna``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from astropy.time import Time, TimeDelta

from orbit.files.contact_plan_header import ContactPlanFileError
from orbit.files.given_contacts import GivenContact

COLUMNS: dict[str, tuple[str, ...]] = {  # what a column may be called, in lower case and without its unit
    "source": ("source", "from", "from object", "object 1", "satellite", "spacecraft", "asset"),
    "target": (
        "target", "to", "to object", "object 2", "station", "ground station", "facility", "place", "observer", "dest",
        "destination",
    ),
    "start": ("start", "start time", "start utc", "start s", "aos", "rise", "rise time", "begin", "begin time"),
    "end": (
        "end", "end time", "end utc", "end s", "stop", "stop time", "stop utc", "stop s", "los", "set", "set time",
    ),
    "rate": ("rate", "rate bps", "rate mbps", "data rate", "data rate mbps"),
    "light_time": ("owlt", "owlt s", "light time", "light time s"),
}  # fmt: skip
_UTC_UNITS = ("", "utc", "utcg", "utcgregorian", "iso-ymd", "gregorian utc")
_SECOND_UNITS = ("s", "sec", "seconds", "epsec")
_RATE_UNITS = {"bps": 1.0, "bit/s": 1.0} | {
    f"{prefix}{unit}": scale
    for prefix, scale in (("k", 1e3), ("m", 1e6), ("g", 1e9))
    for unit in ("bps", "bit/s")
}
_DATES = (
    "%d %b %Y %H:%M:%S.%f",
    "%d %b %Y %H:%M:%S",
    "%Y/%m/%d %H:%M:%S.%f",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d-%H:%M:%S",
)
_LEAP_SECOND = re.compile(r"(?<=:\d\d:)60(?!\d)", re.ASCII)
_NAMED = re.compile(r"^(?P<end>Target|Observer)\s*:\s*(?P<name>.+?)\s*$", re.IGNORECASE)
_RULE = re.compile(r"^-+$")
_TITLE = re.compile(r"^(?P<source>.+?)-To-(?P<target>.+?)(?::.*)?$", re.IGNORECASE)


def read_intervals(text: str, epoch: Time, columns: Mapping[str, str]) -> Iterator[GivenContact]:
    """The intervals of a table, or of one table after another, each below its title and its column names.

    ``columns`` names columns by what they are (keys of ``COLUMNS``).  An interval without a rate holds both ways.
    Raises ``ContactPlanFileError`` naming the line.
    """
    place: dict[str, int] | None = None
    units: dict[str, str] = {}
    title: tuple[str, str] | None = None
    has_rows = False
    for number, row in _rows(text):
        cells = [cell.strip() for cell in row]
        if not any(cells):  # it ends a section; what follows is a title or column names, or figures
            place = place if place is not None and {"source", "target"} <= place.keys() else None
            continue
        if all(_RULE.match(cell) for cell in cells if cell):
            continue
        if (header := _places(cells, columns)) is not None:
            place, units = header
            has_rows = True
            if title is None and not {"source", "target"} <= place.keys():
                missing = sorted({"source", "target"} - place.keys())
                raise ContactPlanFileError(
                    f"line {number}: found no column for {' and '.join(missing)} among {', '.join(cells)[:80]}; "
                    f"known are {', '.join(COLUMNS[missing[0]])}, or the columns of contacts.columns"
                )
        elif place is None:
            title = _title(" ".join(cell for cell in cells if cell), title)
        else:
            yield _interval(f"line {number}", cells, place, units, title, epoch)
    if not has_rows:
        raise ContactPlanFileError(
            "found no line of column names for start and end; known are "
            f"{', '.join(COLUMNS['start'])}, and {', '.join(COLUMNS['end'])}, or the columns of contacts.columns"
        )


def _title(line: str, before: tuple[str, str] | None) -> tuple[str, str] | None:
    """The two ends that a line above a table names; a line that names none leaves them as they were."""
    if match := _TITLE.match(line):
        return match["source"].strip(), match["target"].strip()
    if match := _NAMED.match(line):
        source, target = before or ("", "")
        return (match["name"], target) if match["end"].lower() == "target" else (source, match["name"])
    return before


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line and the cells of each row."""
    if "," not in text:
        for number, line in enumerate(io.StringIO(text, newline=None), start=1):
            yield number, re.split(r"\t|\s{2,}", line.strip())
        return
    reader = csv.reader(io.StringIO(text, newline=None), skipinitialspace=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ContactPlanFileError(f"line {reader.line_num}: {error}") from None


def _places(cells: Sequence[str], columns: Mapping[str, str]) -> tuple[dict[str, int], dict[str, str]] | None:
    """Where each kind of column is, and its unit; ``None`` where these are no column names."""
    plain = [re.sub(r"\s*[(\[].*", "", cell).replace("_", " ").strip().lower() for cell in cells]
    units = [(re.search(r"[(\[]([^)\]]*)[)\]]", cell) or ["", ""])[1].strip().lower() for cell in cells]
    place = {}
    for kind, known in COLUMNS.items():
        if kind in columns:
            wanted = [k for k, cell in enumerate(cells) if cell == columns[kind]]
        else:
            taken = set(columns.values())
            wanted = [k for k, cell in enumerate(plain) if cell in known and cells[k] not in taken]
        if kind == "target" and len(wanted) == 2 and "source" not in place:  # GMAT's target and observer
            place["source"] = wanted.pop(0)
        if len(wanted) == 1:
            place[kind] = wanted[0]
        elif len(wanted) > 1:
            names = ", ".join(cells[k] for k in wanted)
            raise ContactPlanFileError(
                f"found several columns for {kind}: {names}; contacts.columns chooses one"
            )
    if not {"start", "end"} <= place.keys():
        return None
    for kind, name in columns.items():
        if kind not in place:
            raise ContactPlanFileError(f"found no column {name!r} for {kind} among {', '.join(cells)[:80]}")
    in_name = {k: plain[k].rpartition(" ")[2] for k in place.values()}
    known_units = {*_UTC_UNITS[1:], *_SECOND_UNITS, *_RATE_UNITS}
    return place, {
        kind: units[k] or (in_name[k] if in_name[k] in known_units else "") for kind, k in place.items()
    }


def _interval(
    where: str,
    cells: Sequence[str],
    place: Mapping[str, int],
    units: Mapping[str, str],
    title: tuple[str, str] | None,
    epoch: Time,
) -> GivenContact:
    def cell(kind: str) -> str:
        if place[kind] >= len(cells) or not cells[place[kind]]:
            raise ContactPlanFileError(f"{where}: there is no {kind}")
        return cells[place[kind]]

    source, target = (
        cell(kind) if kind in place else title[number] if title is not None else ""
        for number, kind in enumerate(("source", "target"))
    )
    rate_bps = None
    if "rate" in place:
        if units["rate"] not in ("", *_RATE_UNITS):
            raise ContactPlanFileError(
                f"{where}: rate: found unit {units['rate']!r}, allowed are {', '.join(_RATE_UNITS)}"
            )
        rate_bps = _number(where, "rate", cell("rate")) * _RATE_UNITS.get(units["rate"], 1.0)
    light_s = _number(where, "light time", cell("light_time")) if "light_time" in place else None
    start_s, end_s = (_seconds(where, kind, cell(kind), units[kind], epoch) for kind in ("start", "end"))
    return GivenContact(
        where,
        source,
        target=target,
        start_s=start_s,
        end_s=end_s,
        rate_bps=rate_bps,
        light_time_s=light_s,
        is_two_way=rate_bps is None,
    )


def _number(where: str, kind: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and value >= 0):
        raise ContactPlanFileError(f"{where}: {kind}: found {text!r}, allowed is a number from 0 on")
    return value


def _seconds(where: str, kind: str, text: str, unit: str, epoch: Time) -> float:
    """Seconds after the epoch of a time that is a number, or a date in UTC."""
    if unit not in (*_UTC_UNITS, *_SECOND_UNITS):
        raise ContactPlanFileError(
            f"{where}: {kind}: found unit {unit!r}, allowed are UTC and seconds ({', '.join(_SECOND_UNITS)})"
        )
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is not None:
        if not np.isfinite(value) or unit in _UTC_UNITS[1:]:
            raise ContactPlanFileError(f"{where}: {kind}: found {text!r}, which is no time")
        return value
    time = _utc(text)
    if time is None:
        raise ContactPlanFileError(
            f"{where}: {kind}: found {text!r}, allowed are seconds, 2026-03-01T06:00:00Z and 1 Mar 2026 06:00:00.000"
        )
    return round(float((time - epoch).to_value("s")), 6)


def _utc(text: str) -> Time | None:
    """The time that a text is; ``None`` where it is none.  Python's dates have no leap seconds: they are added."""
    in_minute, is_leap = _LEAP_SECOND.subn("59", text)
    date = _date(in_minute)
    if date is None or not is_leap:
        return None if date is None else Time(date, scale="utc")
    time = Time(date, scale="utc") + TimeDelta(1.0, format="sec")
    return time if time.ymdhms["second"] >= 60 else None


def _date(text: str) -> datetime | None:
    """A date as UTC without its zone; ``None`` where it is none."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", text)  # Python's dates end with the microsecond
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        for form in _DATES:
            try:
                return datetime.strptime(text, form)
            except ValueError:
                continue
        return None
    return date.astimezone(UTC).replace(tzinfo=None) if date.tzinfo else date
