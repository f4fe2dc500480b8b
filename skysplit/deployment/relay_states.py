"""What the relays of an emulation say of themselves: links, queues, bytes, mission time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skysplit.deployment.expiry import ending

if TYPE_CHECKING:
    from relay.wire.wire_pb2 import TransferRecord

_PATTERNS = ("relay.json", "*/relay.json", "nodes/*/relay.json")


def relay_files(where: Path) -> list[Path]:
    """Return the files of the relays of a run directory, a folder of nodes or one node's folder."""
    return sorted(file for pattern in _PATTERNS for file in where.glob(pattern))


def relay_states(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Ask each relay for its state; of one that does not answer return its name alone."""
    from relay.client.control import status as ask
    from relay.client.message_link import LinkError
    from relay.node.settings import local_relay

    states: list[dict[str, Any]] = []
    for file in files:
        own_relay = local_relay(file)
        try:
            state = ask(own_relay.address, own_relay.node)
        except LinkError:
            states.append({"node": own_relay.node, "answers": False})
            continue
        states.append(
            {
                "node": state.node,
                "answers": True,
                "certificates_ending": list(ending([file.parent])),
                "mission_s": state.mission_s,  # below 0 before launch
                "queued_transfers": state.queued_transfers,
                "queued_bytes": state.queued_bytes,
                "received_bytes": state.received_bytes,
                "delivered_transfers": state.delivered_transfers,
                "links": [
                    {
                        "peer": link.peer,
                        "open": link.open,
                        "sent_bytes": link.sent_bytes,
                        "last_error": link.last_error,
                    }
                    for link in state.links
                ],
                "newest_transfers": [_transfer(state.node, transfer) for transfer in state.newest_transfers],
                "arriving_transfers": [
                    _transfer(state.node, transfer) | {"arrived_bytes": transfer.arrived_bytes}
                    for transfer in state.arriving_transfers
                ],
            }
        )
    return states


def _transfer(node: str, transfer: TransferRecord) -> dict[str, Any]:
    """A transfer that a node tells of."""
    from relay.wire.manifest import MessageKind

    return {
        "round": transfer.round,
        "step": transfer.step,
        "kind": MessageKind(transfer.kind).name.lower(),
        "from": node if transfer.sent else transfer.peer,
        "to": transfer.peer if transfer.sent else node,
        "bytes": transfer.size_bytes,
        "start_s": transfer.start_s,
        "end_s": transfer.end_s,
    }
