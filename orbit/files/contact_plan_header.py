"""What every contact plan file says besides the contacts: format, epoch, horizon and nodes, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from astropy.time import Time

from orbit.contact_plan import CONTACT, ContactPlan, ContactPlanError, Node

FORMAT = "skysplit-contact-plan-1"


class ContactPlanFileError(ContactPlanError):
    """A file that holds no contact plan; the message names the file and, where it has lines, the line."""


def header_of(plan: ContactPlan) -> dict[str, Any]:
    """The plan but for its contacts, for ``json.dumps``."""
    return {
        "format": FORMAT,
        "epoch": plan.epoch_utc,
        "horizon_s": plan.horizon_s,
        "nodes": [asdict(node) for node in plan.nodes],
    }


def plan_of(header: dict[str, Any], contacts: np.ndarray) -> ContactPlan:
    """The plan of a header and contacts (``CONTACT``).  Raises ``ContactPlanError`` where they are none."""
    if header["format"] != FORMAT:
        raise ContactPlanFileError(f"format: found {header['format']!r}, allowed is {FORMAT}")
    if contacts.dtype != CONTACT:
        raise ContactPlanFileError("contacts: the columns are not those of a contact plan")
    nodes = tuple(Node(**node) for node in header["nodes"])
    return ContactPlan(epoch_of(header["epoch"]), float(header["horizon_s"]), nodes=nodes, contacts=contacts)


def epoch_of(text: str) -> Time:
    """The UTC epoch that ``ContactPlan.epoch_utc`` wrote."""
    return Time(text.removesuffix("Z"), format="isot", scale="utc")
