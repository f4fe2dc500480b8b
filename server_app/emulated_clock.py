"""The emulation's side of a run: relays fly the plan of each round, and mission time is measured.

Rounds keep a timetable: the next one begins when the plan of the last one ends, or at once where it ran late. So an
emulated run plans the same rounds as a simulated one with the same compute rates, and ends with the same weights.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np

from mission.clock import VirtualClock
from orbit.contact_plan import ContactPlan, LinkKind
from relay.client import control
from relay.client.message_link import LinkError
from relay.clock.timed_link import LinkSchedule, Network, Window, fastest
from relay.node.settings import LocalRelay
from relay.wire import wire_pb2 as pb
from relay.wire.manifest import MessageKind
from strategies.problem.plan import ON_NO_LINK, Kind, Plan
from strategies.problem.workload import Resources

_LATE_S = 6 * 3600.0  # how long after its planned end a round may still find contacts
_ON_TIME_S = 5.0  # a round that ends no later than this keeps the timetable

_MESSAGE_S = 0.005  # of a core, that a message takes at each end of a link
_ENDS = 2
_SAME_S = 1e-6
_SHARE = 0.05  # of a round that this may take
_SLOWEST = 0.01

Span = tuple[float, float]

log = logging.getLogger(__name__)


class EmulatedClock(VirtualClock):
    """Mission time of an emulation.

    Args:
        epoch: Start of mission time.
        relay: The ground's relay, which has the say over time.
        contact_plan: All contacts of the horizon.
        resources: Antennas and terminals, and what pointing them takes.

    Attributes:
        pointed: Pairs whose antennas or lasers are on each other when the next round starts, as in
            :class:`strategies.problem.round_state.RoundState`.
        contact_plan: What may carry data from now on.
    """

    def __init__(
        self,
        epoch: datetime,
        relay: LocalRelay,
        *,
        contact_plan: ContactPlan,
        resources: Resources,
    ) -> None:
        super().__init__(epoch)
        self.pointed: frozenset[tuple[int, int]] = frozenset()
        self._relay = relay
        self.contact_plan = contact_plan
        self._resources = resources

    def start_round(self, plan: Plan) -> None:
        """Have all relays follow the plan; mission time stands until all satellites are there.

        Raises:
            relay.client.message_link.LinkError: The ground's relay does not answer.
        """
        network = round_network(plan, self.contact_plan, self._resources, self._relay.node, self.pointed)
        self.pointed = plan.pointed
        self.departed_s = max(plan.start_s, self._measured_s())
        pace = pace_of(plan, len(self.contact_plan.satellites) + 1)
        log.info("round: mission time runs at %.3g of the wall's pace", pace)
        control.start_round(self._relay.address, self._relay.node, network, plan.start_s, pace=pace)

    def advance_to(self, instant_s: float) -> None:
        """Move to the end of a round: as planned, or as measured where that is later."""
        measured_s = self._measured_s()
        super().advance_to(measured_s if measured_s > instant_s + _ON_TIME_S else instant_s)

    def _measured_s(self) -> float:
        return control.status(self._relay.address, self._relay.node).mission_s

    def transfer_records(self, run: str, number: int) -> Iterator[dict[str, Any]]:
        """Return the transfers over each link in a round, as :data:`mission.record.TRANSFER_RECORDS`.

        Links of the ground are measured there, those between satellites where they end. A satellite whose relay does
        not answer is left out.

        Raises:
            relay.client.message_link.LinkError: The ground's relay does not answer.
        """
        ground = self._relay.node
        for transfer_record in control.transfer_records(self._relay.address, ground, run, number):
            yield self._row(transfer_record, ground, "uplink" if transfer_record.sent else "downlink")
        plane = {node.name: node.plane for node in self.contact_plan.nodes if node.kind == "satellite"}
        for name in plane:
            try:
                address, identity = self._relay.peers[name], self._relay.identity
                transfer_records = control.transfer_records(address, name, run, number, identity)
            except LinkError as error:
                log.warning("the transfers over the links of %s are not recorded: %s", name, error)
                continue
            for transfer_record in transfer_records:
                if not transfer_record.sent and transfer_record.peer != ground:
                    link = (
                        LinkKind.INTRA_ISL
                        if plane[name] == plane[transfer_record.peer]
                        else LinkKind.INTER_ISL
                    )
                    yield self._row(transfer_record, name, link.name.lower())

    def _row(self, transfer_record: pb.TransferRecord, node: str, link: str) -> dict[str, Any]:
        from_ground = transfer_record.source == self._relay.node
        return {
            "round": transfer_record.round,
            "link": link,
            "node": node,
            "peer": transfer_record.peer,
            "satellite": transfer_record.destination if from_ground else transfer_record.source,
            "kind": MessageKind(transfer_record.kind).name.lower(),
            "step": transfer_record.step,
            "micro_batch": transfer_record.micro_batch,
            "bytes": transfer_record.size_bytes,
            "start_s": transfer_record.start_s,
            "end_s": transfer_record.end_s,
        }


def pace_of(plan: Plan, nodes: int) -> float:
    """Return at what pace mission time has to run for software to add little to a plan: 1 is the wall's.

    A relay, or an application, takes some milliseconds of a core for a message, during which mission time runs; every
    node of the emulation is thought to be on this machine. Where messages are few and long that is nothing; a step
    whose messages cross in a few milliseconds would take several times its planned time.
    """
    activities = plan.activities
    on_links = activities[activities["link"] != ON_NO_LINK]
    busiest = int(np.unique(on_links["satellite"], return_counts=True)[1].max(initial=1))
    software_s = _ENDS * busiest * _MESSAGE_S * max(1.0, nodes / (os.cpu_count() or 1))
    return min(1.0, max(_SLOWEST, _SHARE * _active_s(activities) / software_s))


def _active_s(activities: np.ndarray) -> float:
    """How long something happens in a plan: mission time jumps over the rest."""
    in_order = np.sort(activities[["start_s", "end_s"]], order="start_s")
    until_s = np.maximum.accumulate(in_order["end_s"])
    begins_s = np.maximum(in_order["start_s"][1:], until_s[:-1])
    return float(
        (until_s[1:] - np.minimum(begins_s, until_s[1:])).sum() + until_s[0] - in_order["start_s"][0]
    )


def round_network(
    plan: Plan,
    contact_plan: ContactPlan,
    resources: Resources,
    ground: str,
    pointed: frozenset[tuple[int, int]] = frozenset(),
) -> Network:
    """The links of a round, all stations one node.

    Satellites of a plane see each other as geometry has it. Every other link is there while the plan holds antenna or
    laser for it, set-up excepted: from its first use to the end of the contact, or until another needs the antenna.
    Those that are ``pointed`` when the plan starts need no set-up.
    After the planned end every space-ground contact is there, should the round be late.
    """
    names = [node.name if node.kind == "satellite" else ground for node in contact_plan.nodes]
    held = _held(plan, resources, pointed)
    windows: dict[tuple[str, str], list[Window]] = defaultdict(list)
    for row in contact_plan.during(plan.start_s, plan.end_s + _LATE_S):
        if row["rate_bps"] <= 0:
            continue
        contact = float(row["start_s"]), float(row["end_s"])
        spans = [(plan.start_s, plan.end_s + _LATE_S)]
        if row["kind"] != LinkKind.INTRA_ISL:
            spans = held[frozenset((int(row["source"]), int(row["target"])))]
            if row["kind"] != LinkKind.INTER_ISL:
                spans = [*spans, (plan.end_s, plan.end_s + _LATE_S)]
        for span in spans:
            start_s, end_s = max(contact[0], span[0]), min(contact[1], span[1])
            if start_s < end_s:
                windows[names[row["source"]], names[row["target"]]].append(
                    Window(start_s, end_s, rate_bps=float(row["rate_bps"]), owlt_s=float(row["owlt_s"]))
                )
    links = {link: LinkSchedule(fastest(windows[link])) for link in sorted(windows)}
    return Network(tuple(dict.fromkeys(names)), links)


def _held(
    plan: Plan, resources: Resources, pointed: frozenset[tuple[int, int]]
) -> dict[frozenset[int], list[Span]]:
    """When the plan has each pair of nodes ready to exchange data."""
    held: dict[frozenset[int], list[Span]] = defaultdict(list)
    sessions = plan.of_kind(Kind.SESSION)
    for session in sessions:
        shares = (sessions["node"] == session["node"]) | (sessions["peer"] == session["peer"])
        later_s = sessions["start_s"][shares & (sessions["start_s"] >= session["end_s"])]
        until_s = float(np.min(later_s, initial=np.inf))
        pair = frozenset((int(session["node"]), int(session["peer"])))
        held[pair].append((_ready_s(session, resources.setup_s, plan, pointed), until_s))
    for hold in plan.of_kind(Kind.ISL_POINTING):
        pair = frozenset((int(hold["node"]), int(hold["peer"])))
        held[pair].append((_ready_s(hold, resources.acquisition_s, plan, pointed), float(hold["end_s"])))
    return held


def _ready_s(activity: np.void, setup_s: float, plan: Plan, pointed: frozenset[tuple[int, int]]) -> float:
    """When a session or a laser link can carry data."""
    start_s = float(activity["start_s"])
    pair = int(activity["node"]), int(activity["peer"])
    stays = start_s <= plan.start_s and (pair in pointed or pair[::-1] in pointed)
    # In a round that was planned anew on the way, pairs that have stayed on each other carry data at once.
    rows = plan.activities[plan.activities["bytes"] > 0]
    of_pair = np.isin(rows["node"], pair) & np.isin(rows["peer"], pair)
    soon = of_pair & (rows["start_s"] >= start_s) & (rows["start_s"] < start_s + setup_s - _SAME_S)
    return start_s if stays or soon.any() else start_s + setup_s
