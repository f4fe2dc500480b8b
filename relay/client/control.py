"""What a relay is asked and told beside bundles, one call each, by its own application or who watches it."""

from __future__ import annotations

import grpc
from google.protobuf.message import Message

from relay.client.message_link import CALL_S, Answer, call, dial, link_error
from relay.clock.timed_link import Network
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.identity import NodeIdentity
from relay.wire.manifest import Limits


def status(address: str, node: str, identity: NodeIdentity | None = None) -> pb.NodeStatus:
    """Return a relay's mission time, queue and links. Raises LinkTimeout, LinkLost, LinkRefused."""
    return _call(address, node, identity, service.STATUS, pb.Nothing(), pb.NodeStatus)


def transfer_records(
    address: str, node: str, run: str, number: int, identity: NodeIdentity | None = None
) -> list[pb.TransferRecord]:
    """Return the transfers over a relay's links in a round. Raises LinkTimeout, LinkLost, LinkRefused."""
    with dial(address, node, identity, Limits()) as channel:
        ask = channel.unary_stream(
            service.path(service.TRANSFER_RECORDS),
            request_serializer=pb.TransferRecordsRequest.SerializeToString,
            response_deserializer=pb.TransferRecord.FromString,
        )
        request = pb.TransferRecordsRequest(run=run, round=number)
        try:
            return list(ask(request, timeout=CALL_S, metadata=[(service.NODE_KEY, node)]))
        except grpc.RpcError as error:
            raise link_error(error, "the relay") from None


def enrol(address: str, node: str, identity: NodeIdentity | None = None) -> None:
    """End the round that a ground which has died may have left under way: mission time runs, whoever is there.

    Said and raises as :func:`start_round`.
    """
    _call(address, node, identity, service.ENROLMENT, pb.Nothing(), pb.Nothing)


def start_round(
    address: str,
    node: str,
    network: Network,
    start_s: float,
    *,
    pace: float = 1.0,
    identity: NodeIdentity | None = None,
) -> None:
    """Begin a round at mission time `start_s`, or now where that is past, with this network in force everywhere.

    Mission time runs at `pace`, up to 1, to the wall's.

    Said by the ground's application to its own relay, which is the time authority. Mission time stands until the
    applications of all satellites have come, and when all have gone. Raises LinkTimeout, LinkLost, LinkRefused.
    """
    request = pb.RoundStart(start_s=start_s, network=network.to_json(), pace=pace)
    _call(address, node, identity, service.START_ROUND, request, pb.Nothing)


def _call(
    address: str,
    node: str,
    identity: NodeIdentity | None,
    method: str,
    request: Message,
    answer: type[Answer],
) -> Answer:
    with dial(address, node, identity, Limits()) as channel:
        return call(channel, node, method, request, answer)
