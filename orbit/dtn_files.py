"""Contact plans of delay-tolerant networking software: commands of NASA's ION and the JSON of HDTN.

Both know nodes by number, whole seconds and whole light seconds.  Windows are shortened to whole seconds,
never lengthened, and what the formats cannot say (names, planes) stands in a comment or in further keys, so
that a plan of ours comes back with its nodes; elevations and ranges do not.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

import numpy as np
from astropy.time import Time

from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node
from orbit.contact_plan_header import FORMAT, ContactPlanFileError, epoch_of, header_of, plan_of


def to_ion(plan: ContactPlan) -> str:
    """Commands for ION's ``ionadmin``: contacts with their rate in bytes a second, and ranges in light
    seconds.

    Node k of the plan is ION's node k + 1.  Contacts shorter than what is left of them in whole seconds are
    left out.
    """
    lines = [
        f"# {json.dumps(header_of(plan))}",
        f"@ {plan.epoch_utc[:19].replace('-', '/').replace('T', '-')}",
    ]
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
                epoch = epoch_of(header["epoch"])
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
    return json.dumps({**header_of(plan), "contacts": contacts}, indent=1)


def from_hdtn(text: str, *, epoch: Time | None = None) -> ContactPlan:
    """Read HDTN's JSON; without the keys that ``to_hdtn`` adds, as in ``from_ion``, and ``epoch`` is
    needed."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContactPlanFileError(f"not JSON: {error}") from None
    if not isinstance(said, dict) or not isinstance(said.get("contacts"), list):
        raise ContactPlanFileError("there is no list of contacts")
    header = said if "format" in said else None
    epoch = epoch_of(said["epoch"]) if header else epoch
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
    order = np.lexsort([plan.contacts["kind"], plan.contacts["target"], plan.contacts["source"], start])
    return [(int(start[k]), int(end[k]), plan.contacts[k]) for k in order if end[k] > start[k]]


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
    return plan_of(header, np.array(rows, CONTACT))


def _ion_seconds(word: str, epoch: Time | None) -> float:
    if word.startswith("+"):
        return float(word)
    if epoch is None:
        raise ValueError("a date before the epoch is known")
    return round(float((_ion_date(word) - epoch).to_value("s")), 6)


def _ion_date(word: str) -> Time:
    match = re.fullmatch(r"(\d{4})/(\d\d)/(\d\d)-(\d\d:\d\d:\d\d)", word)
    if not match:
        raise ValueError("expected a date like 2026/03/01-06:00:00")
    return Time(f"{match[1]}-{match[2]}-{match[3]}T{match[4]}", scale="utc")
