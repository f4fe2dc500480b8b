"""Orbit Mean-Elements Messages (CCSDS 502.0-B-3) in their JSON, XML, KVN and CSV forms.

They hold the elements of a TLE without its limits: catalogue numbers above 99,999, epochs to the microsecond.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from xml.etree import ElementTree

import numpy as np

from orbit.motion.elements import (
    ElementsError,
    ElementSet,
    MeanElements,
    SetToRead,
    calendar_jd,
    catalogue_number,
    check_ephemeris_type,
    check_range,
    clock_fraction,
    mean_elements,
    ordinal_jd,
    refuse,
)

# Where a message stands, and its keys and values, or why it has none
_Record = tuple[str, Mapping[str, str] | ElementsError]

_REQUIRED = {  # what a message must say where it says it: SGP4 elements are nothing else
    "REF_FRAME": ("TEME",),
    "TIME_SYSTEM": ("UTC",),
    "CENTER_NAME": ("EARTH",),
    "MEAN_ELEMENT_THEORY": ("SGP4", "SGP/SGP4"),
}

UNKNOWN = "UNKNOWN"
_IDENTITIES = ("OBJECT_NAME", "OBJECT_ID")
_EPOCH = re.compile(r"(\d{4})-(?:(\d\d)-(\d\d)|(\d{3}))T(\d\d):(\d\d):(\d\d(?:\.\d*)?)Z?", re.ASCII)


def looks_like_omm(text: str) -> bool:
    """Whether a file begins like one of the four forms, not like a TLE."""
    head = text.lstrip()[:4096]
    return (
        head[:1] in ("{", "[", "<")
        or _is_csv(head)
        or re.search(r"(?m)^\s*(CCSDS_OMM_VERS|OBJECT_NAME|NORAD_CAT_ID)\s*=", head) is not None
    )


def _is_csv(text: str) -> bool:
    columns = {column.strip(' "') for column in text.partition("\n")[0].strip().split(",")}
    return {"EPOCH", "MEAN_MOTION"} <= columns


def read_omm(text: str, source: str = "OMM") -> tuple[tuple[str, ...], MeanElements]:
    """Names and elements of all messages in the text of an OMM file; the form is told by its beginning.

    Raises ``ElementsError`` naming the record (and the line, in KVN and CSV) and the key at fault.
    """
    sets = [element_set.read() for element_set in omm_sets(text, source)]
    if not sets:
        raise ElementsError(f"{source}: found no orbit mean-elements message")
    return tuple(
        element_set.name or str(element_set.catalogue_number or element_set.designator)
        for element_set in sets
    ), mean_elements(sets)


def omm_sets(text: str, source: str) -> Iterator[SetToRead]:
    """Every message of a file; raises ``ElementsError`` where the file as a whole cannot be read."""
    head = text.lstrip()
    records = {"{": _json_records, "[": _json_records, "<": _xml_records}.get(head[:1])
    if records is None:
        records = _csv_records if _is_csv(head[:4096]) else _kvn_records
    for where, given in records(text, source):
        if isinstance(given, ElementsError):
            yield SetToRead((), partial(refuse, str(given)))
            continue
        fields = {key: value for key, value in given.items() if _is_given(key, value)}
        labels = (fields.get("OBJECT_NAME", ""), fields.get("NORAD_CAT_ID", ""))
        yield SetToRead(labels, partial(_omm_set, where, fields))


def _is_given(key: str, value: str) -> bool:
    """Blank is not given, and the standard's word for a name or designator that nobody knows identifies no object."""
    return bool(value.strip()) and not (key in _IDENTITIES and value.strip().upper() == UNKNOWN)


def _json_records(text: str, source: str) -> Iterator[_Record]:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ElementsError(f"{source}: not JSON: {error}") from None
    except ValueError as error:  # a number of more digits than Python converts
        raise ElementsError(f"{source}: not JSON: {error}") from None
    for number, record in enumerate(content if isinstance(content, list) else [content], start=1):
        if not isinstance(record, dict):
            problem = f"found {str(record)[:24]!r}, expected an object"
            yield source, ElementsError(f"{source}, record {number}: {problem}")
            continue
        given = {str(key): str(value) for key, value in record.items() if value is not None}
        yield f"{source}, record {number}", given


def _xml_records(text: str, source: str) -> Iterator[_Record]:
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise ElementsError(f"{source}: found a document type, an OMM has none")  # no entity expands here
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise ElementsError(f"{source}: not XML: {error}") from None
    segments = (element for element in root.iter() if _local_name(element) == "segment")
    for number, segment in enumerate(segments, start=1):
        fields = {_local_name(leaf): (leaf.text or "").strip() for leaf in segment.iter() if len(leaf) == 0}
        yield f"{source}, record {number}", fields


def _local_name(element: ElementTree.Element) -> str:
    """The tag without its namespace: NDM/XML has a schema with and one without."""
    return element.tag.rpartition("}")[2]


def _kvn_records(text: str, source: str) -> Iterator[_Record]:
    """A key that comes again begins the next record."""
    fields: dict[str, str] = {}
    where = source
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("COMMENT"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise ElementsError(f"{source}, line {number}: found {line[:24]!r}, expected KEY = value")
        if key.strip() in fields:
            yield where, fields
            fields = {}
        if not fields:
            where = f"{source}, record from line {number}"
        fields[key.strip()] = re.sub(r"\s*\[[^\]]*\]$", "", value.strip())
    if fields:
        yield where, fields


def _csv_records(text: str, source: str) -> Iterator[_Record]:
    rows = csv.reader(io.StringIO(text.strip()), skipinitialspace=True, strict=True)
    try:
        columns = [column.strip() for column in next(rows)]
        if len(set(columns)) < len(columns):
            raise ElementsError(f"{source}, line 1: a column appears twice")
        for row in rows:
            where = f"{source}, line {rows.line_num}"
            if row and len(row) != len(columns):
                yield where, ElementsError(f"{where}: found {len(row)} values, expected {len(columns)}")
            elif row:
                yield where, dict(zip(columns, row, strict=True))
    except csv.Error as error:
        raise ElementsError(f"{source}, line {rows.line_num}: not CSV: {error}") from None


def _omm_set(where: str, fields: Mapping[str, str]) -> ElementSet:
    for key, allowed in _REQUIRED.items():
        if key in fields and fields[key].upper() not in allowed:
            raise ElementsError(f"{where}: {key}: found {fields[key]!r}, allowed is {allowed[0]}")
    check_ephemeris_type(f"{where}: EPHEMERIS_TYPE", fields.get("EPHEMERIS_TYPE", ""))
    if "BTERM" in fields and "BSTAR" not in fields:
        raise ElementsError(f"{where}: BTERM: found the drag term of SGP4-XP, allowed is BSTAR, of SGP4")

    def number(key: str, element: str) -> float:
        text = _field(where, fields, key)
        try:
            value = float(text.replace("_", "?"))  # Python reads 1_0 as ten
        except ValueError:
            raise ElementsError(f"{where}: {key}: found {text[:24]!r}, which is no number") from None
        return check_range(f"{where}: {key}", element, value)

    has_bstar = "BSTAR" in fields
    values = (
        *_epoch(where, fields),
        number("ECCENTRICITY", "eccentricity"),
        np.pi / 180.0 * number("INCLINATION", "inclination"),
        np.pi / 180.0 * number("RA_OF_ASC_NODE", "right ascension of the node"),
        np.pi / 180.0 * number("ARG_OF_PERICENTER", "argument of perigee"),
        np.pi / 180.0 * number("MEAN_ANOMALY", "mean anomaly"),
        number("MEAN_MOTION", "mean motion") * 2 * np.pi / 1440.0,
        number("BSTAR", "B*") if has_bstar else 0.0,
    )
    name, designator = (fields.get(key, "").strip() for key in ("OBJECT_NAME", "OBJECT_ID"))
    number_ = catalogue_number(f"{where}: NORAD_CAT_ID", fields.get("NORAD_CAT_ID", ""))
    return ElementSet(
        where, name, catalogue_number=number_, designator=designator, values=values, has_bstar=has_bstar
    )


def _field(where: str, fields: Mapping[str, str], key: str) -> str:
    if key not in fields:
        raise ElementsError(f"{where}: {key}: missing")
    return fields[key]


def _epoch(where: str, fields: Mapping[str, str]) -> tuple[float, float]:
    """UTC Julian date (midnight, fraction of the day) of EPOCH: calendar or day-of-year form of ISO 8601."""
    text = _field(where, fields, "EPOCH").strip()
    where = f"{where}: EPOCH"
    match = _EPOCH.fullmatch(text)
    if not match or not 1957 <= int(match[1]) <= 2100:
        raise ElementsError(
            f"{where}: found {text[:32]!r}, allowed is like 2026-07-01T12:00:00.000, from 1957 to 2100"
        )
    year, month, day, day_of_year, hours, minutes = (int(part or 0) for part in match.groups()[:6])
    jd = (
        ordinal_jd(where, text, year, day_of_year) if match[4] else calendar_jd(where, text, year, month, day)
    )
    return jd, clock_fraction(where, text, jd, hours, minutes, float(match[7]))
