"""Names and settings of the gRPC service that every relay and the ground endpoint offer."""

from __future__ import annotations

from pathlib import Path

from relay.wire.listening import CONNECTIONS, server_limits
from relay.wire.manifest import Limits

SERVICE = "skysplit.relay.Relay"
EXCHANGE = "Exchange"  # stream of frames ↔ stream of frames: a satellite and the ground, directly
PUT = "Put"  # stream of frames (a transfer header, then chunks; transfers may alternate) → stream of Acknowledgement
FETCH = "Fetch"  # stream of FetchRequest → stream of frames: bundles addressed to this node
CLOCK = "Clock"  # stream of ClockReport ↔ stream of ClockTime
STATUS = "Status"  # StatusRequest → NodeStatus
ENROLMENT = "Enrolment"  # Nothing → Nothing: the ground's application begins anew, and no round is under way
START_ROUND = (
    "Depart"  # RoundStart → Nothing: the ground's application begins a round; its name on the wire is of 0.1
)
TRANSFER_RECORDS = (
    "Passages"  # TransferRecordsRequest → stream of TransferRecord; its name on the wire is of 0.1
)
CANCEL = "Cancel"  # TransferId → Nothing

SOCKET = "relay.sock"  # in a relay's folder, for its own application
NODE_KEY = "skysplit-node"  # metadata: who calls, where no certificate says so
SECRET_KEY = "skysplit-secret"  # metadata: of the run, on the direct path
NO_DEADLINE = "a call needs a deadline: one that never ends would hold its stream for ever"


def path(method: str) -> str:
    """A method's name on the wire."""
    return f"/{SERVICE}/{method}"


def channel_options(limits: Limits) -> list[tuple[str, int | str]]:
    """Return the options of a client's channel."""
    return [
        ("grpc.max_send_message_length", limits.message_bytes),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.max_metadata_size", 8192),
        ("grpc.http2.max_frame_size", 1 << 20),  # the default of 16 KiB costs a tenth of the CPU per byte
        # Two links of one process must not share a connection, its window and its failure.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def server_options(limits: Limits, connections: int = CONNECTIONS) -> list[tuple[str, int | str]]:
    """Return the options of a server."""
    return [
        *server_limits(connections),
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", 64),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        (
            "grpc.http2.max_ping_strikes",
            0,
        ),  # a busy machine sends pings late, and then too close to each other
        ("grpc.keepalive_permit_without_calls", 1),
        *channel_options(limits)[:-1],
    ]


def is_local(address: str) -> bool:
    """Whether an address is a socket file, which the file system protects and which TLS would only slow down."""
    return address.startswith("unix:")


def local_address(folder: Path) -> str:
    """Return the address at which a node's own application reaches the relay of this folder: without TLS, as the
    folder is its owner's."""
    return f"unix:{folder.resolve() / SOCKET}"
