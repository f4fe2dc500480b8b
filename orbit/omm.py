"""Orbit Mean-Elements Messages (CCSDS 502.0-B-3) in their JSON, XML and KVN forms.

They hold the elements of a TLE without its limits: catalogue numbers above 99,999, epochs to the microsecond.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

import numpy as np

from orbit.elements import JD_OF_1949_DEC_31, ElementsError, MeanElements, check_range, mean_elements

_REQUIRED = {  # what a message must say where it says it: SGP4 elements are nothing else
    "REF_FRAME": ("TEME",),
    "TIME_SYSTEM": ("UTC",),
    "CENTER_NAME": ("EARTH",),
    "MEAN_ELEMENT_THEORY": ("SGP4", "SGP/SGP4"),
}


def looks_like_omm(text: str) -> bool:
    """Whether a file begins like one of the three forms, not like a TLE."""
    head = text.lstrip()[:4096]
    return (
        head[:1] in ("{", "[", "<")
        or re.search(r"(?m)^\s*(CCSDS_OMM_VERS|OBJECT_NAME|NORAD_CAT_ID)\s*=", head) is not None
    )


def read_omm(text: str, source: str = "OMM") -> tuple[tuple[str, ...], MeanElements]:
    """Names and elements of the satellites in the text of an OMM file; the form is told by its first
    character.

    Raises ``ElementsError`` naming the record (and the line, in KVN) and the key at fault.
    """
    first = text.lstrip()[:1]
    records = _json_records if first in ("{", "[") else _xml_records if first == "<" else _kvn_records
    names, rows = [], []
    for where, fields in records(text, source):
        names.append(fields.get("OBJECT_NAME") or fields.get("NORAD_CAT_ID") or where)
        rows.append(_row(where, fields))
    if not rows:
        raise ElementsError(f"{source}: found no orbit mean-elements message")
    return tuple(names), mean_elements(rows)


def _json_records(text: str, source: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ElementsError(f"{source}: not JSON: {error}") from None
    except ValueError as error:  # a number of more digits than Python converts
        raise ElementsError(f"{source}: not JSON: {error}") from None
    for number, record in enumerate(content if isinstance(content, list) else [content], start=1):
        if not isinstance(record, dict):
            raise ElementsError(f"{source}, record {number}: found {str(record)[:24]!r}, expected an object")
        yield f"{source}, record {number}", {str(key): str(value) for key, value in record.items()}


def _xml_records(text: str, source: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise ElementsError(f"{source}: found a document type, an OMM has none")  # no entity expands here
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise ElementsError(f"{source}: not XML: {error}") from None
    segments = (one for one in root.iter() if _local_name(one) == "segment")
    for number, segment in enumerate(segments, start=1):
        fields = {_local_name(leaf): (leaf.text or "").strip() for leaf in segment.iter() if len(leaf) == 0}
        yield f"{source}, record {number}", fields


def _local_name(element: ElementTree.Element) -> str:
    """The tag without its namespace: NDM/XML has a schema with and one without."""
    return element.tag.rpartition("}")[2]


def _kvn_records(text: str, source: str) -> Iterator[tuple[str, Mapping[str, str]]]:
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


def _row(where: str, fields: Mapping[str, str]) -> dict[str, float]:
    for key, allowed in _REQUIRED.items():
        if key in fields and fields[key].upper() not in allowed:
            raise ElementsError(f"{where}: {key}: found {fields[key]!r}, allowed is {allowed[0]}")
    jd, fraction = _epoch(where, fields)

    def number(key: str, element: str) -> float:
        text = _field(where, fields, key)
        try:
            value = float(text)
        except ValueError:
            raise ElementsError(f"{where}: {key}: found {text[:24]!r}, which is no number") from None
        return check_range(f"{where}: {key}", element, value)

    return {
        "epoch_jd": jd,
        "epoch_fraction": fraction,
        "ecc": number("ECCENTRICITY", "eccentricity"),
        "inc_rad": np.radians(number("INCLINATION", "inclination")),
        "raan_rad": np.radians(number("RA_OF_ASC_NODE", "right ascension of the node")),
        "argp_rad": np.radians(number("ARG_OF_PERICENTER", "argument of perigee")),
        "mean_anomaly_rad": np.radians(number("MEAN_ANOMALY", "mean anomaly")),
        "mean_motion_rad_min": number("MEAN_MOTION", "mean motion") * 2 * np.pi / 1440.0,
        "bstar": number("BSTAR", "B*") if "BSTAR" in fields else 0.0,
    }


def _field(where: str, fields: Mapping[str, str], key: str) -> str:
    if key not in fields:
        raise ElementsError(f"{where}: {key}: missing")
    return fields[key]


def _epoch(where: str, fields: Mapping[str, str]) -> tuple[float, float]:
    """UTC Julian date (midnight, fraction of the day) of EPOCH: calendar or day-of-year form of ISO 8601."""
    text = _field(where, fields, "EPOCH")
    match = re.fullmatch(r"(\d{4})-(?:(\d\d)-(\d\d)|(\d{3}))T(\d\d):(\d\d):(\d\d(?:\.\d*)?)Z?", text.strip())
    try:
        if not match:
            raise ValueError
        if match[4]:
            day = np.datetime64(f"{match[1]}-01-01") + np.timedelta64(int(match[4]) - 1, "D")
        else:
            day = np.datetime64(f"{match[1]}-{match[2]}-{match[3]}")
        seconds = int(match[5]) * 3600 + int(match[6]) * 60 + float(match[7])
        if not (0 <= seconds < 86401 and 1957 <= int(match[1]) <= 2100):
            raise ValueError
    except ValueError:
        raise ElementsError(
            f"{where}: EPOCH: found {text[:32]!r}, allowed is like 2026-07-01T12:00:00.000"
        ) from None
    jd = float((day - np.datetime64("1949-12-31")).astype(int)) + JD_OF_1949_DEC_31
    return jd, seconds / 86400.0
