"""Files of contacts that were computed elsewhere: plans of DTN software, our own files, tables of intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from astropy.time import Time

from orbit.contact_plan import ContactPlan, Node
from orbit.files.contact_plan_files import CSV_COLUMNS, load
from orbit.files.contact_plan_header import ContactPlanFileError
from orbit.files.dtn_files import NumberedContacts, read_hdtn, read_ion
from orbit.files.given_contacts import GivenContact
from orbit.files.interval_tables import read_intervals


def read_given_contacts(
    path: Path,
    *,
    epoch: Time,
    nodes: Sequence[Node],
    columns: Mapping[str, str] | None = None,
    called: Mapping[str, str] | None = None,
) -> list[GivenContact]:
    """The contacts of a file, with times after ``epoch``.

    The ending of its name tells the format: .ion or .ionrc, .json (HDTN), .npz, .parquet, .csv for our own tables
    and, as .txt, those of others, whose columns ``columns`` names (``orbit.files.interval_tables``).
    ``called`` maps what
    the file calls a node, by name or number, to its name in ``nodes``; other numbers count ``nodes`` from 1.

    Raises ``ContactPlanFileError`` naming the file and the line, ``OSError`` without the file.
    """
    called = called or {}
    try:
        contacts = list(_contacts(path, epoch, nodes, columns or {}, called))
    except ContactPlanFileError as error:
        raise ContactPlanFileError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise ContactPlanFileError(f"{path}: byte {error.start} is not UTF-8 text") from None
    return [
        replace(
            contact,
            where=f"{path}: {contact.where}",
            source=called.get(contact.source, contact.source),
            target=called.get(contact.target, contact.target),
        )
        for contact in contacts
    ]


def _contacts(
    path: Path, epoch: Time, nodes: Sequence[Node], columns: Mapping[str, str], called: Mapping[str, str]
) -> Iterator[GivenContact]:
    match path.suffix.lower():
        case ".ion" | ".ionrc":
            return _of_numbers(read_ion(path.read_text(encoding="utf-8"), epoch=epoch), epoch, nodes, called)
        case ".json":
            return _of_numbers(read_hdtn(path.read_text(encoding="utf-8"), epoch=epoch), epoch, nodes, called)
        case ".npz" | ".parquet":
            return _of_plan(load(path), epoch)
        case ".csv" | ".txt":
            text = path.read_text(encoding="utf-8-sig")
            if text.startswith("# {") or text.partition("\n")[0].strip() == ",".join(CSV_COLUMNS):
                return _of_plan(load(path), epoch)
            return read_intervals(text, epoch, columns)
    raise ContactPlanFileError(
        f"{path}: found ending {path.suffix!r}, allowed are .ion, .ionrc, .json (HDTN), .csv, .txt, .npz and .parquet"
    )


def _of_plan(plan: ContactPlan, epoch: Time) -> Iterator[GivenContact]:
    later_s = float((plan.epoch - epoch).to_value("s"))
    later_s = 0.0 if abs(later_s) < 1e-9 else later_s
    for number, row in enumerate(plan.contacts):
        yield GivenContact(
            f"contacts[{number}]",
            plan.nodes[row["source"]].name,
            target=plan.nodes[row["target"]].name,
            start_s=float(row["start_s"]) + later_s,
            end_s=float(row["end_s"]) + later_s,
            rate_bps=float(row["rate_bps"]),
            light_time_s=float(row["owlt_s"]),
        )


def _of_numbers(
    numbered: NumberedContacts, epoch: Time, nodes: Sequence[Node], called: Mapping[str, str]
) -> Iterator[GivenContact]:
    later_s = float((numbered.epoch - epoch).to_value("s"))
    header = numbered.header
    names = [node.name for node in nodes] if header is None else [node["name"] for node in header["nodes"]]

    def name_of(number: int) -> str:
        if header is None and str(number) in called:
            return str(number)
        return names[number - 1] if 1 <= number <= len(names) else str(number)

    for row, contact in enumerate(numbered.contacts):
        start_s, end_s, source, target, rate_bps = contact
        # Whole light seconds: 0 says less than the mission's orbits do.
        yield GivenContact(
            f"contact {row} ({source} → {target})",
            name_of(source),
            target=name_of(target),
            start_s=round(start_s + later_s, 6),
            end_s=round(end_s + later_s, 6),
            rate_bps=rate_bps,
            light_time_s=numbered.light_time_s(contact) or None,
        )
