"""Contact plans as files: exact ones (``.npz``, Parquet, CSV), and those of DTN software (ION, HDTN).

ION and HDTN know nodes by number, whole seconds and whole light seconds.  Windows are shortened to whole
seconds, never lengthened, and what the formats cannot say (names, planes, elevations) stands in comments or
further keys, so that a plan of ours comes back with its nodes; elevations and ranges do not.
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

from orbit.contact_plan import CONTACT, ContactPlan, ContactPlanError, LinkKind
from orbit.contact_plan_header import ContactPlanFileError, header_of, plan_of
from orbit.dtn_files import from_hdtn, from_ion, to_hdtn, to_ion


def save(plan: ContactPlan, path: Path) -> None:
    """Write the plan to ``path`` in the format its ending names: .npz, .parquet, .csv, .ion or .json
    (HDTN)."""
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
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(write[path.suffix](plan))
    partial.replace(path)


def load(path: Path) -> ContactPlan:
    """Read what ``save`` wrote.  Raises ``ContactPlanFileError`` for anything else, ``OSError`` without the
    file."""
    read: dict[str, Callable[[bytes], ContactPlan]] = {
        ".npz": _from_npz,
        ".parquet": _from_parquet,
        ".csv": lambda content: from_csv(content.decode()),
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
    said = {"epoch": plan.epoch_utc, "horizon_s": plan.horizon_s, "contacts": to_rows(plan)}
    return json.dumps(said, indent=1)


def to_csv(plan: ContactPlan) -> str:
    """One line per contact, exact, after a comment line that holds the rest of the plan as JSON."""
    text = io.StringIO()
    text.write(f"# {json.dumps(header_of(plan))}\n")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(CONTACT.names or ())
    names = [node.name for node in plan.nodes]
    for contact in plan.contacts.tolist():
        source, target, kind, *rest = contact
        rows.writerow([names[source], names[target], LinkKind(kind).name.lower(), *map(repr, rest)])
    return text.getvalue()


def from_csv(text: str) -> ContactPlan:
    """Read what ``to_csv`` wrote.  Raises ``ContactPlanFileError`` naming the line."""
    first, _, body = text.partition("\n")
    if not first.startswith("# {"):
        raise ContactPlanFileError(f"line 1: found {first[:24]!r}, expected '# ' and a JSON object")
    header = json.loads(first[2:])
    index = {node["name"]: number for number, node in enumerate(header["nodes"])}
    contacts = []
    for number, row in enumerate(csv.reader(io.StringIO(body)), start=2):
        if number == 2:
            if tuple(row) != CONTACT.names:
                raise ContactPlanFileError(f"line 2: found {','.join(row)[:40]!r}, expected the column names")
            continue
        try:
            source, target, kind, *numbers, open_start, open_end = row
            flags = [{"True": True, "False": False}[flag] for flag in (open_start, open_end)]
            contacts.append(
                (index[source], index[target], LinkKind[kind.upper()], *map(float, numbers), *flags)
            )
        except (KeyError, ValueError) as error:
            raise ContactPlanFileError(f"line {number}: cannot read {error}") from None
    return plan_of(header, np.array(contacts, CONTACT))


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
