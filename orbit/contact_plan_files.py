"""Contact plans as files: our own (exact, fast), Parquet and CSV for analysis, ION and HDTN for DTN
software."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from astropy.time import Time

from orbit.contact_plan import CONTACT, ContactPlan, ContactPlanError, Node

FORMAT = "skysplit-contact-plan-1"


class ContactPlanFileError(ContactPlanError):
    """A file that holds no contact plan; the message names the file and, where it has lines, the line."""


def save(plan: ContactPlan, path: Path) -> None:
    """Write the plan, exactly, as ``.npz``: ``contacts`` and a JSON header."""
    header = json.dumps(_header(plan))
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
        np.savez_compressed(file, contacts=plan.contacts, header=np.frombuffer(header.encode(), np.uint8))
    partial.replace(path)


def load(path: Path) -> ContactPlan:
    """Read what ``save`` wrote.  Raises ``ContactPlanFileError`` for anything else, ``OSError`` without the
    file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            contacts = file["contacts"]
        return _plan(header, contacts)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ContactPlanFileError(f"{path}: not a contact plan of ours: {error}") from None


def _header(plan: ContactPlan) -> dict[str, object]:
    return {
        "format": FORMAT,
        "epoch": plan.epoch_utc,
        "horizon_s": plan.horizon_s,
        "nodes": [asdict(node) for node in plan.nodes],
    }


def _plan(header: dict, contacts: np.ndarray) -> ContactPlan:
    if header["format"] != FORMAT:
        raise ContactPlanFileError(f"format: found {header['format']!r}, allowed is {FORMAT}")
    epoch = Time(header["epoch"].removesuffix("Z"), format="isot", scale="utc")
    nodes = tuple(Node(**node) for node in header["nodes"])
    return ContactPlan(epoch, float(header["horizon_s"]), nodes, np.asarray(contacts, CONTACT))
