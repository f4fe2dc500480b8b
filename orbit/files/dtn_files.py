"""Contact plans of delay-tolerant networking software: commands of NASA's ION and the JSON of HDTN.

Both know nodes by number, whole seconds, whole light seconds and whole bytes or bits a second.  Windows are
shortened and rates rounded down, never the other way, and what the formats cannot say (names, planes, exact
rates) stands in comments or in further keys, so that a plan of ours comes back with its nodes; elevations and
ranges do not.

``ionadmin`` reads 255 characters of a line at a time and takes what follows as the next command, comment or not
(``runIonadmin`` in ION's ``ionadmin.c``): no line is longer.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any

import numpy as np
from astropy.time import Time

from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node
from orbit.files.contact_plan_header import FORMAT, ContactPlanFileError, epoch_of, header_of, plan_of

ION_LINE_BYTES = 255
ION_LARGEST = 2**32 - 1  # ionadmin keeps rates and light times in unsigned integers of 32 bits
HDTN_LARGEST = 2**64 - 1  # HDTN's router reads uint64_t
_DECIMALS = 6  # seconds are compared to the microsecond: a sum of an epoch and a time is a last bit off


def to_ion(plan: ContactPlan) -> str:
    """Commands for ION's ``ionadmin``: contacts with their rate in bytes a second, and ranges in light
    seconds.

    Node k of the plan is ION's node k + 1.  Times count from the whole second at or before the plan's epoch.
    Contacts shorter than what is left of them in whole seconds, or slower than a byte a second, are left out.

    Raises ``ContactPlanFileError`` for a rate beyond 32 bits, and for a name too long for a line.
    """
    reference = _whole_second_before(plan.epoch)
    before_s = round(float((plan.epoch - reference).to_value("s")), 9)
    lines = [
        f"# {FORMAT}",
        f"# epoch {plan.epoch_utc}",
        f"# horizon_s {plan.horizon_s!r}",
        *(
            f"# node {number} {node.kind} {node.plane} {node.slot} {_quoted(node.name)}"
            for number, node in enumerate(plan.nodes, start=1)
        ),
        f"@ {Time(reference, precision=0).isot.replace('-', '/').replace('T', '-')}",
    ]
    for start, end, contact in _whole_seconds(plan, before_s):
        source, target = int(contact["source"]) + 1, int(contact["target"]) + 1
        rate_bps = float(contact["rate_bps"])
        rate = math.floor(rate_bps / 8)
        if rate < 1:
            continue
        for value in (rate, end, round(contact["owlt_s"])):
            if value > ION_LARGEST:
                raise ContactPlanFileError(
                    f"contact {plan.nodes[source - 1].name} → {plan.nodes[target - 1].name}: found {value}, "
                    f"ION has 32 bits: allowed is up to {ION_LARGEST} bytes/s or seconds"
                )
        if rate * 8 != rate_bps:
            lines.append(f"# rate_bps {rate_bps!r}")
        lines.append(f"a contact +{start} +{end} {source} {target} {rate}")
        lines.append(f"a range +{start} +{end} {source} {target} {round(contact['owlt_s'])}")
    for line in lines:
        if len(line.encode()) > ION_LINE_BYTES:
            raise ContactPlanFileError(
                f"{line[:40]!r}: found {len(line.encode())} bytes, a line of ION has {ION_LINE_BYTES} at most"
            )
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class NumberedContacts:
    """The content of a file of DTN software.

    ``contacts`` are start and end [s after ``epoch``], source and target numbers and rate [bit/s]; ``light_s`` the
    light times of ranges by start, end and the two numbers.  ``header`` is that of ``header_of`` where SkySplit wrote
    the file.
    """

    header: dict[str, Any] | None
    epoch: Time
    _: KW_ONLY
    contacts: list[tuple[float, float, int, int, float]]
    light_s: dict[tuple[float, float, int, int], float]

    def light_time_s(self, contact: tuple[float, float, int, int, float]) -> float:
        """The light time of a contact, given either way round; 0 where none is."""
        start, end, source, target, _ = contact
        return self.light_s.get(
            (start, end, source, target), self.light_s.get((start, end, target, source), 0.0)
        )


def _quoted(name: str) -> str:
    """A name in JSON, as it is where it can be printed."""
    quoted = json.dumps(name, ensure_ascii=False)
    return quoted if quoted.isprintable() else json.dumps(name)


def from_ion(text: str, *, epoch: Time | None = None) -> ContactPlan:
    """The plan of :func:`read_ion`; without the comments of ``to_ion`` every node counts as a satellite that is
    called by its number."""
    return _numbered_plan(read_ion(text, epoch=epoch))


def from_hdtn(text: str, *, epoch: Time | None = None) -> ContactPlan:
    """The plan of :func:`read_hdtn`, as in :func:`from_ion`."""
    return _numbered_plan(read_hdtn(text, epoch=epoch))


def read_ion(text: str, *, epoch: Time | None = None) -> NumberedContacts:
    """Read ``a contact`` and ``a range`` commands, with times that are relative (``+s``) or dates.

    Relative times count from the time of the last ``@`` command, or from the epoch.  The epoch is that of the
    comments that ``to_ion`` writes, else ``epoch``, else the time of the first ``@`` command.  Commands that have
    nothing to do with contacts are skipped.
    Raises ``ContactPlanFileError`` naming the line.
    """
    header: dict[str, Any] | None = None
    contacts: list[tuple[float, float, int, int, float]] = []
    delays: dict[tuple[float, float, int, int], float] = {}
    reference: Time | None = None
    exact_bps: float | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        words = raw.split()
        try:
            if raw.startswith("# {"):  # as SkySplit wrote it up to 0.1
                header = json.loads(raw[2:])
                epoch = epoch_of(header["epoch"])
            elif raw.strip() == f"# {FORMAT}":
                header = {"format": FORMAT, "nodes": []}
            elif words and words[0].startswith("#"):
                if header is not None and words[1:2] == ["rate_bps"]:
                    exact_bps = float(words[2])
                elif header is not None:
                    _read_comment(raw, words[1:], header)
                    epoch = epoch_of(header["epoch"]) if words[1:2] == ["epoch"] else epoch
            elif not words or words[0] in _SKIPPED or words[0] == "m":
                continue
            elif words[0] == "@":
                reference = _ion_date(words[1])
                epoch = epoch or reference
            elif words[:2] in (["a", "contact"], ["a", "range"]):
                start, end = (_ion_seconds(word, epoch, reference) for word in words[2:4])
                source, target = int(words[4]), int(words[5])
                if words[1] == "contact":
                    rate_bps = float(words[6]) * 8 if exact_bps is None else exact_bps
                    contacts.append((start, end, source, target, rate_bps))
                    exact_bps = None
                else:
                    delays[start, end, source, target] = float(words[6])
            else:
                raise ValueError("expected 'a contact', 'a range', '@' or a comment")
        except (ValueError, IndexError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise ContactPlanFileError(f"line {number}: {raw[:40]!r}: {error}") from None
    if epoch is None:
        raise ContactPlanFileError("there is no epoch: neither a '@' command nor a comment of ours gives one")
    return NumberedContacts(_whole_header(header), epoch, contacts=contacts, light_s=delays)


_SKIPPED = (
    "1",
    "s",
    "e",
    "v",
    "l",
    "i",
    "t",
    "^",
    "q",
    "h",
    "?",
)  # commands of ionadmin that change no contact


def _read_comment(raw: str, words: list[str], header: dict[str, Any]) -> None:
    """Take what a comment of ``to_ion`` says into the header; other comments say nothing."""
    match words:
        case ["epoch", text]:
            header["epoch"] = text
        case ["horizon_s", text]:
            header["horizon_s"] = float(text)
        case ["node", _, kind, plane, slot, *_]:
            name = json.loads(raw[raw.index('"') :])
            header["nodes"].append({"name": name, "kind": kind, "plane": int(plane), "slot": int(slot)})


def _whole_header(header: dict[str, Any] | None) -> dict[str, Any] | None:
    """The header, if all of it is there."""
    missing = set() if header is None else {"epoch", "horizon_s", "nodes"} - header.keys()
    if missing:
        raise ContactPlanFileError(f"the comments of SkySplit do not give {', '.join(sorted(missing))}")
    return header


def to_hdtn(plan: ContactPlan) -> str:
    """HDTN's contact plan in JSON; node k of the plan is HDTN's node k + 1.

    Contacts slower than a bit a second are left out: HDTN takes a rate of 0 as unlimited.
    """
    contacts: list[dict[str, float]] = []
    for start, end, contact in _whole_seconds(plan, 0.0):
        rate_bps = float(contact["rate_bps"])
        if rate_bps < 1:
            continue
        if max(rate_bps, end) > HDTN_LARGEST:
            raise ContactPlanFileError(
                f"contacts[{len(contacts)}]: found {max(rate_bps, end):g}, HDTN has 64 bits: allowed is up to "
                f"{HDTN_LARGEST} bit/s or seconds"
            )
        contacts.append(
            {
                "contact": len(contacts),
                "source": int(contact["source"]) + 1,
                "dest": int(contact["target"]) + 1,
                "startTime": start,
                "endTime": end,
                "rateBitsPerSec": math.floor(rate_bps),
                "owlt": round(contact["owlt_s"]),
                **({} if rate_bps.is_integer() else {"rate_bps": rate_bps}),
            }
        )
    return json.dumps({**header_of(plan), "contacts": contacts}, indent=1)


def read_hdtn(text: str, *, epoch: Time | None = None) -> NumberedContacts:
    """Read HDTN's JSON; without the keys that ``to_hdtn`` adds ``epoch`` is needed.

    Rates are in ``rateBitsPerSec`` or, as in older files, in ``rate`` [Mbit/s].  Raises ``ContactPlanFileError``
    naming the contact, one of rate 0 too, which HDTN does not limit.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContactPlanFileError(f"not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("contacts"), list):
        raise ContactPlanFileError("there is no list of contacts")
    header = document if "format" in document else None
    epoch = epoch_of(document["epoch"]) if header else epoch
    if epoch is None:
        raise ContactPlanFileError("there is no epoch: the file does not give one")
    contacts, delays = [], {}
    for number, contact in enumerate(document["contacts"]):
        try:
            key = (
                float(contact["startTime"]),
                float(contact["endTime"]),
                int(contact["source"]),
                int(contact["dest"]),
            )
            if "rateBitsPerSec" in contact or "rate" not in contact:
                rate_bps = float(contact.get("rate_bps", contact["rateBitsPerSec"]))
            else:
                rate_bps = float(contact["rate"]) * 1e6
            delays[key] = float(contact.get("owlt", 0.0))
        except (AttributeError, KeyError, ValueError, TypeError, OverflowError) as error:
            raise ContactPlanFileError(f"contacts[{number}]: cannot read {error}") from None
        if rate_bps == 0:
            raise ContactPlanFileError(
                f"contacts[{number}].rateBitsPerSec: found 0, which HDTN takes as unlimited; allowed is a rate above 0"
            )
        contacts.append((*key, rate_bps))
    return NumberedContacts(header, epoch, contacts=contacts, light_s=delays)


def _whole_seconds(plan: ContactPlan, before_s: float) -> list[tuple[int, int, np.void]]:
    """Start, end and contact of every contact of which a whole second is left, counted from ``before_s`` before
    the epoch."""
    start = np.ceil((plan.contacts["start_s"] + before_s).round(_DECIMALS))
    end = np.floor((plan.contacts["end_s"] + before_s).round(_DECIMALS))
    order = np.lexsort([plan.contacts["kind"], plan.contacts["target"], plan.contacts["source"], start])
    return [(int(start[k]), int(end[k]), plan.contacts[k]) for k in order if end[k] > start[k]]


def _whole_second_before(epoch: Time) -> Time:
    """The whole UTC second at or before an epoch."""
    return Time(Time(epoch.utc, precision=9).isot[:19], format="isot", scale="utc")


def _numbered_plan(numbered: NumberedContacts) -> ContactPlan:
    """The plan of contacts between numbered nodes."""
    header, contacts = numbered.header, numbered.contacts
    if not contacts:
        raise ContactPlanFileError("there are no contacts")
    if header is None:
        numbers = sorted({node for contact in contacts for node in contact[2:4]})
        nodes = [asdict(Node(str(number), "satellite", plane=k)) for k, number in enumerate(numbers)]
        header = {"format": FORMAT, "horizon_s": max(contact[1] for contact in contacts), "nodes": nodes}
        header["epoch"] = Time(numbered.epoch.utc, precision=9).isot + "Z"
    else:
        numbers = list(range(1, len(header["nodes"]) + 1))
    index = {number: k for k, number in enumerate(numbers)}
    kinds, planes = ([node[key] for node in header["nodes"]] for key in ("kind", "plane"))
    rows = []
    for contact in contacts:
        start, end, source, target, rate_bps = contact
        if source not in index or target not in index:
            raise ContactPlanFileError(f"contact {source} → {target}: allowed are nodes 1 to {len(numbers)}")
        a, b = index[source], index[target]
        if kinds[a] == "station":
            kind = LinkKind.UPLINK
        elif kinds[b] == "station":
            kind = LinkKind.DOWNLINK
        else:
            kind = LinkKind.INTRA_ISL if planes[a] == planes[b] else LinkKind.INTER_ISL
        delay = numbered.light_time_s(contact)
        horizon_s = header["horizon_s"]
        if -(10.0**-_DECIMALS) <= start < 0.0:
            start = 0.0
        if horizon_s < end <= horizon_s + 10.0**-_DECIMALS:
            end = horizon_s
        rows.append((a, b, kind, start, end, rate_bps, delay, np.nan, np.nan, start <= 0, end >= horizon_s))
    return plan_of(header, np.array(rows, CONTACT))


def _ion_seconds(word: str, epoch: Time | None, reference: Time | None) -> float:
    """Seconds after the epoch of a time of ION's."""
    if word.startswith("+"):
        if epoch is None or reference is None:
            return float(word)
        return round(float(word) + float((reference - epoch).to_value("s")), 9)
    if epoch is None:
        raise ValueError("a date before the epoch is known")
    return round(float((_ion_date(word) - epoch).to_value("s")), 6)


def _ion_date(word: str) -> Time:
    match = re.fullmatch(r"(\d{4})/(\d\d)/(\d\d)-(\d\d:\d\d:\d\d)", word)
    if not match:
        raise ValueError("expected a date like 2026/03/01-06:00:00")
    return Time(f"{match[1]}-{match[2]}-{match[3]}T{match[4]}", scale="utc")
