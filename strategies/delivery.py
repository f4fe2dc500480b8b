"""Plan the uplink of files to every satellite: the passes, the bytes in each, and when each satellite has everything.

Unlike the average of a round, files may be larger than one pass can carry: the next pass continues at the next byte.
A plane whose satellites are linked needs the files once: whichever satellite receives a part passes it on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from orbit.routing import NoPathError, earliest_arrival
from strategies.problem.workload import Resources


class DeliveryError(ValueError):
    """Files do not get through before the horizon; the message names who lacks how much."""


@dataclass(frozen=True)
class UplinkPart:
    """A stretch of the files in one pass.

    Attributes:
        station: Node index of the sender.
        satellite: Node index of the receiver.
        start_s: From when antennas are held, set-up included, mission time.
        data_s: From when bytes are sent.
        end_s: When the last one has been sent.
        first_byte: Of the files, one after the other; half-open.
        end_byte: After the last.
    """

    station: int
    satellite: int
    _: KW_ONLY
    start_s: float
    data_s: float
    end_s: float
    first_byte: int
    end_byte: int


@dataclass(frozen=True, eq=False)
class ReleaseDelivery:
    """A planned delivery: its parts by start, and when each satellite has all bytes, shape ``(satellites,)``."""

    start_s: float
    parts: tuple[UplinkPart, ...]
    _: KW_ONLY
    delivered_s: np.ndarray

    @property
    def end_s(self) -> float:
        """Return the time at which the last satellite has all bytes."""
        return float(self.delivered_s.max(initial=self.start_s))


def plan_delivery(
    contact_plan: ContactPlan, size_bytes: int, *, resources: Resources, start_s: float = 0.0
) -> ReleaseDelivery:
    """Plan the delivery of ``size_bytes`` to every satellite, first contact first.

    A station serves as many satellites at a time as it has beams, a satellite has one antenna; each pass loses the
    set-up. A plane
    whose links do not bring everything to everybody is served satellite by satellite.

    Raises:
        DeliveryError: The contacts do not suffice before the horizon.
    """
    count = len(contact_plan.satellites)
    groups: list[tuple[int, ...]] = list(_planes(contact_plan))
    while True:
        parts, lacking = _sent_up(contact_plan, groups, size_bytes, start_s, resources)
        delivered_s = np.full(count, start_s)
        split: list[tuple[int, ...]] = []
        for number, group in enumerate(groups):
            own = [part for part in parts if part.satellite in group]
            known_s = None if number in lacking else _spread_s(contact_plan, group, own)
            if known_s is None:
                split += [(member,) for member in group]
            else:
                delivered_s[list(group)] = known_s
                split.append(group)
        if len(split) == len(groups):
            break
        groups = split
    if lacking:
        number, left = next(iter(lacking.items()))
        name = contact_plan.nodes[groups[number][0]].name
        raise DeliveryError(
            f"{name}: {left} of {size_bytes} bytes do not go up between {start_s:.0f} s and the horizon, "
            f"{contact_plan.horizon_s:.0f} s; {len(lacking)} satellites lack some"
        )
    return ReleaseDelivery(start_s, tuple(parts), delivered_s=delivered_s)


def _planes(contact_plan: ContactPlan) -> list[tuple[int, ...]]:
    """Satellites that links within their plane join, others by themselves."""
    linked = set(np.unique(contact_plan.of_kind(LinkKind.INTRA_ISL)["source"]).tolist())
    groups: list[tuple[int, ...]] = []
    for members in contact_plan.planes.values():
        together = tuple(member for member in members if member in linked)
        groups += [together] if together else []
        groups += [(member,) for member in members if member not in linked]
    return groups


def _sent_up(
    contact_plan: ContactPlan,
    groups: Sequence[tuple[int, ...]],
    size_bytes: int,
    start_s: float,
    resources: Resources,
) -> tuple[list[UplinkPart], dict[int, int]]:
    """Which bytes each group gets in which passes, and by group how many it still lacks at the horizon."""
    group_of = {member: number for number, group in enumerate(groups) for member in group}
    sent = [0] * len(groups)
    beam_free_s = {
        station: [start_s] * resources.beams_of(station) for station in contact_plan.stations.tolist()
    }
    antenna_free_s = np.full(len(contact_plan.satellites), start_s)
    parts: list[UplinkPart] = []
    uplinks = contact_plan.of_kind(LinkKind.UPLINK)
    for contact in uplinks[(uplinks["end_s"] > start_s) & (uplinks["rate_bps"] > 0)]:
        station, satellite = int(contact["source"]), int(contact["target"])
        number, free_s = group_of[satellite], beam_free_s[station]
        beam = int(np.argmin(free_s))
        held_s = max(float(contact["start_s"]), free_s[beam], float(antenna_free_s[satellite]))
        data_s = held_s + resources.setup_s
        bytes_per_s = float(contact["rate_bps"]) / 8.0
        room = math.floor((float(contact["end_s"]) - data_s) * bytes_per_s + 1e-6)
        taken = min(room, size_bytes - sent[number])
        if taken <= 0:
            continue
        end_s = data_s + taken / bytes_per_s
        parts.append(
            UplinkPart(
                station, satellite, start_s=held_s, data_s=data_s, end_s=end_s,
                first_byte=sent[number], end_byte=sent[number] + taken,
            )
        )  # fmt: skip
        sent[number] += taken
        free_s[beam] = antenna_free_s[satellite] = end_s
    lacking = {number: size_bytes - got for number, got in enumerate(sent) if got < size_bytes}
    return sorted(parts, key=lambda part: (part.start_s, part.satellite)), lacking


def _spread_s(
    contact_plan: ContactPlan, group: tuple[int, ...], parts: Sequence[UplinkPart]
) -> list[float] | None:
    """When each member of a plane has every part, over its links; None where one does not get there."""
    links = dataclasses.replace(contact_plan, contacts=contact_plan.of_kind(LinkKind.INTRA_ISL))
    light_s = {
        (int(row["source"]), int(row["target"])): float(row["owlt_s"])
        for row in contact_plan.of_kind(LinkKind.UPLINK)
    }
    known_s = []
    for member in group:
        arrived_s = 0.0
        for part in parts:
            heard_s = part.end_s + light_s[part.station, part.satellite]
            if member != part.satellite:
                try:
                    size = part.end_byte - part.first_byte
                    heard_s = earliest_arrival(
                        links, part.satellite, member, start_s=heard_s, size_bytes=size
                    ).arrive_s
                except NoPathError:
                    return None
            arrived_s = max(arrived_s, heard_s)
        known_s.append(arrived_s)
    return known_s
