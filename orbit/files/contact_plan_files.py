"""Contact plans as files: exact ones (``.npz``, Parquet, CSV), and those of DTN software (ION, HDTN).

A CSV file is a plain table; what else the plan says is in a file of metadata beside it.  What ION and HDTN cannot
say is told in ``orbit.files.dtn_files``.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.time import Time, TimeDelta

from orbit.contact_plan import CONTACT, ContactPlan, ContactPlanError, LinkKind
from orbit.files.contact_plan_header import FORMAT, ContactPlanFileError, epoch_of, header_of, plan_of
from orbit.files.dtn_files import from_hdtn, from_ion, to_hdtn, to_ion

CSV_COLUMNS = ("source", "target", "kind", "start_utc", "end_utc", *(CONTACT.names or ())[3:])


def save(plan: ContactPlan, path: Path) -> None:
    """Write the plan to ``path`` in the format its ending names: .npz, .parquet, .csv (and its metadata beside it),
    .ion or .json (HDTN)."""
    write: dict[str, Callable[[ContactPlan], bytes]] = {
        ".npz": _to_npz,
        ".parquet": _to_parquet,
        ".csv": lambda plan: to_csv(plan).encode(),
        ".ion": lambda plan: to_ion(plan).encode(),
        ".json": lambda plan: to_hdtn(plan).encode(),
    }
    if path.suffix not in write:
        raise ContactPlanFileError(f"{path}: found ending {path.suffix!r}, allowed are {', '.join(write)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = write[path.suffix](plan)
    if path.suffix == ".csv":
        _replace(metadata_path(path), csv_metadata(plan).encode())
    _replace(path, content)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)


def load(path: Path) -> ContactPlan:
    """Read what ``save`` wrote.  Raises ``ContactPlanFileError`` for anything else, ``OSError`` without the
    file."""
    metadata = metadata_path(path)
    read: dict[str, Callable[[bytes], ContactPlan]] = {
        ".npz": _from_npz,
        ".parquet": _from_parquet,
        ".csv": lambda content: from_csv(
            content.decode(), metadata.read_text(encoding="utf-8") if metadata.is_file() else None
        ),
        ".ion": lambda content: from_ion(content.decode()),
        ".json": lambda content: from_hdtn(content.decode()),
    }
    if path.suffix not in read:
        raise ContactPlanFileError(f"{path}: found ending {path.suffix!r}, allowed are {', '.join(read)}")
    content = path.read_bytes()
    try:
        return read[path.suffix](content)
    except ContactPlanError as error:
        raise ContactPlanFileError(f"{path}: {error}") from None
    except Exception as error:  # zip, zlib, JSON, numpy and Arrow each have their own for a damaged file
        raise ContactPlanFileError(f"{path}: not a contact plan: {error}") from None


def to_rows(plan: ContactPlan) -> list[dict[str, Any]]:
    """The contacts as plain values for JSON: names instead of indices, ``None`` for NaN, and the volume."""
    names, volume = [node.name for node in plan.nodes], plan.volume_bytes()
    return [
        {
            "source": names[c["source"]],
            "target": names[c["target"]],
            "kind": LinkKind(c["kind"]).name.lower(),
            "start_s": float(c["start_s"]),
            "end_s": float(c["end_s"]),
            "max_elevation_deg": None if np.isnan(c["max_elevation_deg"]) else float(c["max_elevation_deg"]),
            "min_range_km": None if np.isnan(c["min_range_km"]) else float(c["min_range_km"]),
            "rate_bps": float(c["rate_bps"]),
            "volume_bytes": float(size),
        }
        for c, size in zip(plan.contacts, volume, strict=True)
    ]


def to_json(plan: ContactPlan) -> str:
    """``epoch``, ``horizon_s`` and ``contacts`` (``to_rows``) as one JSON object."""
    values = {"epoch": plan.epoch_utc, "horizon_s": plan.horizon_s, "contacts": to_rows(plan)}
    return json.dumps(values, indent=1)


def to_csv(plan: ContactPlan) -> str:
    """A line of column names, then a line per contact: exact, with UTC beside the seconds after the epoch.

    What a table cannot say (horizon, planes and slots, nodes without contacts) is ``csv_metadata``.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(CSV_COLUMNS)
    names = [node.name for node in plan.nodes]
    for contact, start_utc, end_utc in zip(plan.contacts.tolist(), *_utc_of(plan), strict=True):
        source, target, kind, *rest = contact
        kind_name = LinkKind(kind).name.lower()
        rows.writerow([names[source], names[target], kind_name, start_utc, end_utc, *map(repr, rest)])
    return text.getvalue()


def csv_metadata(plan: ContactPlan) -> str:
    """The plan but for its contacts, as JSON: the file ``NAME.csv-metadata.json`` beside ``NAME.csv``."""
    return json.dumps(header_of(plan), indent=1)


def metadata_path(path: Path) -> Path:
    """Return the path of a CSV's metadata, as in W3C's CSV on the Web."""
    return path.with_name(f"{path.name}-metadata.json")


def from_csv(text: str, metadata: str | None = None) -> ContactPlan:
    """Read what ``to_csv`` wrote.

    Without the ``metadata`` the epoch is what UTC and seconds of the first contact differ by, the horizon ends with
    the last contact, nodes are those that have contacts, and planes are the satellites that links within planes join.
    Raises ``ContactPlanFileError`` naming the line.
    """
    if text.startswith("# {"):  # as SkySplit wrote it up to 0.1: the metadata is the first line
        metadata, _, text = text.partition("\n")
        return _from_rows(_rows_before_utc(text), metadata.removeprefix("# "))
    return _from_rows(list(csv.reader(io.StringIO(text))), metadata)


def _from_rows(rows: list[list[str]], metadata: str | None) -> ContactPlan:
    if not rows or tuple(rows[0]) != CSV_COLUMNS:
        first_row = ",".join(rows[0])[:40] if rows else ""
        raise ContactPlanFileError(f"line 1: found {first_row!r}, expected {','.join(CSV_COLUMNS)}")
    header = json.loads(metadata) if metadata is not None else _header_of_rows(rows[1:])
    if metadata is not None and len(rows) > 1 and rows[1][3:4] != [""]:
        apart_s = float((epoch_of(header["epoch"]) - _epoch_of_row(rows[1])).to_value("s"))
        if abs(apart_s) > 1e-6:
            raise ContactPlanFileError(
                f"line 2: UTC and seconds differ by another epoch than that of the metadata, {header['epoch']}: "
                "they are of two plans"
            )
    index = {node["name"]: number for number, node in enumerate(header["nodes"])}
    contacts = []
    for number, row in enumerate(rows[1:], start=2):
        try:
            source, target, kind, _, _, *numbers, open_start, open_end = row
            flags = [{"True": True, "False": False}[flag] for flag in (open_start, open_end)]
            contacts.append(
                (index[source], index[target], LinkKind[kind.upper()], *map(float, numbers), *flags)
            )
        except (KeyError, ValueError) as error:
            raise ContactPlanFileError(f"line {number}: cannot read {error}") from None
    return plan_of(header, np.array(contacts, CONTACT))


def _rows_before_utc(text: str) -> list[list[str]]:
    """The rows of a file without UTC columns, with empty ones in their place."""
    rows = [[*row[:3], "", "", *row[3:]] for row in csv.reader(io.StringIO(text))]
    if rows and tuple(rows[0][:3] + rows[0][5:]) == CONTACT.names:
        rows[0] = list(CSV_COLUMNS)
    return rows


def _header_of_rows(rows: list[list[str]]) -> dict[str, Any]:
    """What the metadata would say, as far as the contacts tell."""
    if not rows:
        raise ContactPlanFileError("there are no contacts, and no metadata")
    stations: dict[str, None] = {}
    satellites: dict[str, int] = {}
    joined: list[tuple[str, str]] = []
    end_s = 0.0
    for number, row in enumerate(rows, start=2):
        if len(row) != len(CSV_COLUMNS):
            raise ContactPlanFileError(
                f"line {number}: found {len(row)} columns, expected {len(CSV_COLUMNS)}"
            )
        source, target, kind = row[:3]
        for name, is_station in ((source, kind == "uplink"), (target, kind == "downlink")):
            if is_station:
                stations[name] = None
            else:
                satellites.setdefault(name, len(satellites))
        if kind == "intra_isl":
            joined.append((source, target))
        end_s = max(end_s, float(row[CSV_COLUMNS.index("end_s")]))
    plane = list(range(len(satellites)))
    for _ in range(len(satellites)):  # to the smallest number that links within the plane lead to
        before = list(plane)
        for source, target in joined:
            a, b = satellites[source], satellites[target]
            plane[a] = plane[b] = min(plane[a], plane[b])
        if plane == before:
            break
    numbers = {first: number for number, first in enumerate(sorted(set(plane)))}
    members: dict[int, int] = {}
    nodes = []
    for name, index in satellites.items():
        slot = members[plane[index]] = members.get(plane[index], -1) + 1
        nodes.append({"name": name, "kind": "satellite", "plane": numbers[plane[index]], "slot": slot})
    nodes += [{"name": name, "kind": "station"} for name in stations]
    return {
        "format": FORMAT,
        "epoch": Time(_epoch_of_row(rows[0]), precision=9).isot + "Z",
        "horizon_s": end_s,
        "nodes": nodes,
    }


def _epoch_of_row(row: list[str]) -> Time:
    """The epoch by which UTC and seconds of a contact differ."""
    if len(row) != len(CSV_COLUMNS):
        raise ContactPlanFileError(f"line 2: found {len(row)} columns, expected {len(CSV_COLUMNS)}")
    first = dict(zip(CSV_COLUMNS, row, strict=True))
    return epoch_of(first["start_utc"]) - TimeDelta(float(first["start_s"]), format="sec")


def _utc_of(plan: ContactPlan) -> tuple[list[str], list[str]]:
    """Start and end of every contact as ISO 8601 UTC with nanoseconds."""

    def utc(seconds: np.ndarray) -> list[str]:
        time = Time(plan.epoch + TimeDelta(seconds, format="sec"), precision=9)
        return [f"{text}Z" for text in time.utc.isot.tolist()]

    return utc(plan.contacts["start_s"]), utc(plan.contacts["end_s"])


def _to_npz(plan: ContactPlan) -> bytes:
    content = io.BytesIO()
    header = np.frombuffer(json.dumps(header_of(plan)).encode(), np.uint8)
    np.savez_compressed(content, contacts=plan.contacts, header=header)
    return content.getvalue()


def _from_npz(content: bytes) -> ContactPlan:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return plan_of(json.loads(file["header"].tobytes()), file["contacts"])


def _to_parquet(plan: ContactPlan) -> bytes:
    import pyarrow
    import pyarrow.parquet

    columns = {name: np.ascontiguousarray(plan.contacts[name]) for name in CONTACT.names or ()}
    table = pyarrow.table(columns, metadata={"skysplit": json.dumps(header_of(plan))})
    content = io.BytesIO()
    pyarrow.parquet.write_table(table, content)
    return content.getvalue()


def _from_parquet(content: bytes) -> ContactPlan:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowException, OSError) as error:
        raise ContactPlanFileError(str(error)) from None
    contacts = np.empty(table.num_rows, CONTACT)
    for name in CONTACT.names or ():
        contacts[name] = table[name].to_numpy()
    return plan_of(json.loads((table.schema.metadata or {})[b"skysplit"]), contacts)
