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
import re
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from astropy.time import Time

from orbit.contact_plan import CONTACT, ContactPlan, ContactPlanError, LinkKind, Node

FORMAT = "skysplit-contact-plan-1"


class ContactPlanFileError(ContactPlanError):
    """A file that holds no contact plan; the message names the file and, where it has lines, the line."""


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
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        EOFError,
        RecursionError,
    ) as error:
        raise ContactPlanFileError(f"{path}: not a contact plan: {error}") from None
    except zipfile.BadZipFile as error:
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
    text.write(f"# {json.dumps(_header(plan))}\n")
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
    return _plan(header, np.array(contacts, CONTACT))


def to_ion(plan: ContactPlan) -> str:
    """Commands for ION's ``ionadmin``: contacts with their rate in bytes a second, and ranges in light
    seconds.

    Node k of the plan is ION's node k + 1.  Contacts shorter than what is left of them in whole seconds are
    left out.
    """
    lines = [f"# {json.dumps(_header(plan))}", f"@ {plan.epoch_utc[:19].replace('-', '/').replace('T', '-')}"]
    for start, end, contact in _whole_seconds(plan):
        between = f"{contact['source'] + 1} {contact['target'] + 1}"
        lines.append(f"a contact +{start} +{end} {between} {round(contact['rate_bps'] / 8)}")
        lines.append(f"a range +{start} +{end} {between} {round(contact['owlt_s'])}")
    return "\n".join(lines) + "\n"


def from_ion(text: str, *, epoch: Time | None = None) -> ContactPlan:
    """Read ``a contact`` and ``a range`` commands, with times that are relative (``+s``) or dates.

    Without the comment that ``to_ion`` writes, nodes are called by their number and every node counts as a
    satellite; the epoch is then ``epoch`` or the time of the ``@`` command.  Raises
    ``ContactPlanFileError`` naming the line.
    """
    header: dict[str, Any] | None = None
    contacts: list[tuple[float, float, int, int, float]] = []
    delays: dict[tuple[float, float, int, int], float] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        words = raw.split()
        try:
            if raw.startswith("# {"):
                header = json.loads(raw[2:])
                epoch = _epoch(header["epoch"])
            elif not words or words[0].startswith("#") or words[:2] == ["m", "horizon"]:
                continue
            elif words[0] == "@":
                epoch = epoch or _ion_date(words[1])
            elif words[:2] in (["a", "contact"], ["a", "range"]):
                start, end = (_ion_seconds(word, epoch) for word in words[2:4])
                source, target = int(words[4]), int(words[5])
                if words[1] == "contact":
                    contacts.append((start, end, source, target, float(words[6]) * 8))
                else:
                    delays[start, end, source, target] = float(words[6])
            else:
                raise ValueError("expected 'a contact', 'a range', '@' or a comment")
        except (ValueError, IndexError, KeyError, TypeError, RecursionError) as error:
            raise ContactPlanFileError(f"line {number}: {raw[:40]!r}: {error}") from None
    if epoch is None:
        raise ContactPlanFileError("there is no epoch: neither a '@' command nor a comment of ours gives one")
    return _numbered_plan(header, epoch, contacts, delays)


def to_hdtn(plan: ContactPlan) -> str:
    """HDTN's contact plan in JSON; node k of the plan is HDTN's node k + 1."""
    contacts = [
        {
            "contact": number,
            "source": int(contact["source"]) + 1,
            "dest": int(contact["target"]) + 1,
            "startTime": start,
            "endTime": end,
            "rateBitsPerSec": round(contact["rate_bps"]),
            "owlt": round(contact["owlt_s"]),
        }
        for number, (start, end, contact) in enumerate(_whole_seconds(plan))
    ]
    return json.dumps({**_header(plan), "contacts": contacts}, indent=1)


def from_hdtn(text: str, *, epoch: Time | None = None) -> ContactPlan:
    """Read HDTN's JSON; without the keys that ``to_hdtn`` adds, as in ``from_ion``, and ``epoch`` is
    needed."""
    said = json.loads(text)
    header = said if "format" in said else None
    epoch = _epoch(said["epoch"]) if header else epoch
    if epoch is None:
        raise ContactPlanFileError("there is no epoch: the file does not give one")
    contacts, delays = [], {}
    for number, contact in enumerate(said["contacts"]):
        try:
            key = (
                float(contact["startTime"]),
                float(contact["endTime"]),
                int(contact["source"]),
                int(contact["dest"]),
            )
            contacts.append((*key, float(contact["rateBitsPerSec"])))
            delays[key] = float(contact["owlt"])
        except (KeyError, ValueError, TypeError) as error:
            raise ContactPlanFileError(f"contacts[{number}]: cannot read {error}") from None
    return _numbered_plan(header, epoch, contacts, delays)


def _whole_seconds(plan: ContactPlan) -> list[tuple[int, int, np.void]]:
    """Start, end and contact of every contact of which a whole second is left."""
    start, end = np.ceil(plan.contacts["start_s"]), np.floor(plan.contacts["end_s"])
    return [(int(start[k]), int(end[k]), plan.contacts[k]) for k in np.flatnonzero(end > start)]


def _numbered_plan(
    header: dict[str, Any] | None,
    epoch: Time,
    contacts: list[tuple[float, float, int, int, float]],
    delays: dict[tuple[float, float, int, int], float],
) -> ContactPlan:
    """The plan of contacts between numbered nodes; light times are looked up either way round."""
    if not contacts:
        raise ContactPlanFileError("there are no contacts")
    if header is None:
        numbers = sorted({node for contact in contacts for node in contact[2:4]})
        nodes = [asdict(Node(str(number), "satellite", plane=k)) for k, number in enumerate(numbers)]
        header = {"format": FORMAT, "horizon_s": max(contact[1] for contact in contacts), "nodes": nodes}
        header["epoch"] = Time(epoch.utc, precision=9).isot + "Z"
    else:
        numbers = list(range(1, len(header["nodes"]) + 1))
    index = {number: k for k, number in enumerate(numbers)}
    kinds, planes = ([node[key] for node in header["nodes"]] for key in ("kind", "plane"))
    rows = []
    for start, end, source, target, rate_bps in contacts:
        if source not in index or target not in index:
            raise ContactPlanFileError(f"contact {source} → {target}: allowed are nodes 1 to {len(numbers)}")
        a, b = index[source], index[target]
        if kinds[a] == "station":
            kind = LinkKind.UPLINK
        elif kinds[b] == "station":
            kind = LinkKind.DOWNLINK
        else:
            kind = LinkKind.INTRA_ISL if planes[a] == planes[b] else LinkKind.INTER_ISL
        delay = delays.get((start, end, source, target), delays.get((start, end, target, source), 0.0))
        horizon_s = header["horizon_s"]
        rows.append((a, b, kind, start, end, rate_bps, delay, np.nan, np.nan, start <= 0, end >= horizon_s))
    return _plan(header, np.array(rows, CONTACT))


def _ion_seconds(word: str, epoch: Time | None) -> float:
    if word.startswith("+"):
        return float(word)
    if epoch is None:
        raise ValueError("a date before the epoch is known")
    return float((_ion_date(word) - epoch).to_value("s"))


def _ion_date(word: str) -> Time:
    match = re.fullmatch(r"(\d{4})/(\d\d)/(\d\d)-(\d\d:\d\d:\d\d)", word)
    if not match:
        raise ValueError("expected a date like 2026/03/01-06:00:00")
    return Time(f"{match[1]}-{match[2]}-{match[3]}T{match[4]}", scale="utc")


def _to_npz(plan: ContactPlan) -> bytes:
    content = io.BytesIO()
    header = np.frombuffer(json.dumps(_header(plan)).encode(), np.uint8)
    np.savez_compressed(content, contacts=plan.contacts, header=header)
    return content.getvalue()


def _from_npz(content: bytes) -> ContactPlan:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return _plan(json.loads(file["header"].tobytes()), file["contacts"])


def _to_parquet(plan: ContactPlan) -> bytes:
    import pyarrow
    import pyarrow.parquet

    columns = {name: np.ascontiguousarray(plan.contacts[name]) for name in CONTACT.names or ()}
    table = pyarrow.table(columns, metadata={"skysplit": json.dumps(_header(plan))})
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
    return _plan(json.loads((table.schema.metadata or {})[b"skysplit"]), contacts)


def _header(plan: ContactPlan) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "epoch": plan.epoch_utc,
        "horizon_s": plan.horizon_s,
        "nodes": [asdict(node) for node in plan.nodes],
    }


def _plan(header: dict[str, Any], contacts: np.ndarray) -> ContactPlan:
    if header["format"] != FORMAT:
        raise ContactPlanFileError(f"format: found {header['format']!r}, allowed is {FORMAT}")
    if contacts.dtype != CONTACT:
        raise ContactPlanFileError("contacts: the columns are not those of a contact plan")
    nodes = tuple(Node(**node) for node in header["nodes"])
    return ContactPlan(_epoch(header["epoch"]), float(header["horizon_s"]), nodes, contacts)


def _epoch(text: str) -> Time:
    return Time(text.removesuffix("Z"), format="isot", scale="utc")
