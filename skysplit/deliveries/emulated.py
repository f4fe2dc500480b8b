"""Carry out a planned delivery in the emulation: a relay for each node, and the planned passes in real time.

Mission time skips what no contact is open in, as in an emulated run. What satellites have lies below the run
directory, so that a delivery that was ended goes on with the chunks that are missing.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mission.run_config import GROUND
from orbit.contact_plan import LinkKind
from relay.client import control
from relay.client.relay_link import RelayLink
from relay.clock.timed_link import Network
from relay.node.settings import LocalRelay, local_relay
from relay.release.carrier import ReleaseReceiver, ReleaseSender
from relay.release.store import ReleaseStore
from server_app.emulated_clock import round_network
from skysplit.deliveries.planned import PlannedDelivery
from skysplit.deployment.node_folders import RELAY_FILE, write_node_folders
from skysplit.launch.emulate import node_folders, start_relays
from skysplit.launch.processes import Processes, free_ports
from strategies.delivery import plan_delivery
from strategies.problem.plan import Kind, Plan, activities, collect_activities
from strategies.problem.workload import StrategyConfig

DELIVERED = "delivered"
_LOOPBACK = "127.0.0.1"
_SILENCE_S = 600.0  # of wall time


@dataclass(frozen=True)
class EmulatedDelivery:
    """A delivery as it went.

    Attributes:
        release: The name of the release that each satellite uses now.
        used_s: Mission time from which it does.
        planned_s: Mission time at which it was planned to have all of it.
    """

    release: dict[str, str]
    _: KW_ONLY
    used_s: dict[str, float]
    planned_s: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the delivery as JSON values."""
        return dataclasses.asdict(self)


def emulate_delivery(
    run: Path,
    planned: PlannedDelivery,
    *,
    roll_back: bool = False,
    on_progress: Callable[[str], None] = lambda phase: None,
) -> EmulatedDelivery:
    """Send a run's files up over relays, or have satellites use what they used before, and wait until they do.

    Args:
        run: Directory of the run.
        planned: What goes up, and the passes.
        roll_back: Whether nothing is sent but the order to use the release of before.
        on_progress: Called with a phrase on what is done.

    Raises:
        relay.release.manifest.ReleaseError: A satellite refuses it, or has no earlier release.
        relay.client.message_link.LinkError: A relay does not answer.
        skysplit.launch.processes.ProcessError: A relay ended.
    """
    network, planned_s = delivery_network(planned)
    satellites = tuple(planned_s)
    nodes = (*satellites, GROUND)
    place = run / DELIVERED
    on_progress("starting relays")
    with node_folders(place, nodes) as base, Processes(place / "logs") as processes:
        processes.launch.remove_if_killed(base)
        ports = dict(zip(nodes, free_ports(len(nodes)), strict=True))
        addresses = {node: f"{_LOOPBACK}:{port}" for node, port in ports.items()}
        folders = write_node_folders(
            base, satellites, addresses, listen=_LOOPBACK, superlink_hosts=["localhost", _LOOPBACK]
        )
        start_relays(processes, folders, ports)
        relays = {node: local_relay(folder / RELAY_FILE) for node, folder in folders.items()}
        boards = [_OnBoard(relays[name], ReleaseStore(place / name)) for name in satellites]
        ground = relays[GROUND]
        with RelayLink(ground.address, GROUND, identity=ground.identity) as link:
            control.start_round(ground.address, GROUND, network, planned.delivery.start_s)
            on_progress("sending")
            sender = ReleaseSender(link, GROUND, identity=ground.identity)
            if roll_back:
                release = sender.roll_back(satellites, timeout_s=_SILENCE_S)
            else:
                sender.deliver(run / "final", planned.manifest, satellites, timeout_s=_SILENCE_S)
                release = dict.fromkeys(satellites, planned.manifest.release)
        for board in boards:
            board.join(_SILENCE_S)
        used_s = {board.name: board.used_s for board in boards}
    return EmulatedDelivery(release, used_s=used_s, planned_s=planned_s)


def delivery_network(planned: PlannedDelivery) -> tuple[Network, dict[str, float]]:
    """Return the links of a delivery in which every satellite is sent its own copy, and when it is planned to have it.

    Links with stations are there while the plan holds their antennas; after its end all are there, should it be late.

    Raises:
        strategies.delivery.DeliveryError: The contacts do not suffice before the horizon.
    """
    contact_plan, start_s = planned.contact_plan, planned.delivery.start_s
    contacts = contact_plan.contacts
    alone = dataclasses.replace(contact_plan, contacts=contacts[contacts["kind"] != LinkKind.INTRA_ISL])
    delivery = plan_delivery(alone, planned.manifest.size, resources=planned.resources, start_s=start_s)
    sessions = [
        activities(
            1,
            kind=Kind.SESSION,
            node=part.satellite,
            peer=part.station,
            start_s=part.start_s,
            end_s=part.end_s,
        )
        for part in delivery.parts
    ]
    names = [node.name for node in contact_plan.nodes]
    plan = Plan(
        start_s,
        delivery.end_s,
        lower_bound_s=0.0,
        strategy_config=StrategyConfig(),
        activities=collect_activities(sessions),
        finish_s=delivery.delivered_s,
        delivered_s=delivery.delivered_s,
        names=tuple(names),
    )
    network = round_network(plan, contact_plan, planned.resources, GROUND)
    known = np.asarray(contact_plan.satellites).tolist()
    return network, {names[index]: float(delivery.delivered_s[index]) for index in known}


class _OnBoard(threading.Thread):
    """A satellite that takes one release, or rolls back, and notes when."""

    def __init__(self, relay: LocalRelay, store: ReleaseStore) -> None:
        super().__init__(daemon=True, name=relay.node)
        self.used_s = float("nan")
        self._relay, self._store = relay, store
        self.start()

    def run(self) -> None:
        relay = self._relay
        with RelayLink(relay.address, relay.node, identity=relay.identity) as link:
            receiver = ReleaseReceiver(
                link, relay.node, store=self._store, ground=GROUND, identity=relay.identity
            )
            receiver.serve(_SILENCE_S)
            self.used_s = link.mission_time_s()
            link.drain(_SILENCE_S)
