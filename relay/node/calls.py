"""What a relay answers to who calls it: neighbours, its own application, and who watches it."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import grpc

from relay.clock.computer import Computer
from relay.clock.paced_clock import PacedClock, TimeAuthority
from relay.clock.timed_link import Network
from relay.node.application import Application
from relay.node.incoming import Admission, IncomingStream
from relay.spool.spool import Entry, Spool
from relay.spool.transfer_records import TransferLog
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.identity import IdentityError, NodeIdentity
from relay.wire.manifest import BadManifest, Limits, Manifest, WireError

log = logging.getLogger(__name__)

# Calls that one caller may have open at once. A neighbour needs one stream of a kind; those of a connection that has
# died are still there until its keepalive says so.
MAX_CONCURRENCY = {service.PUT: 8, service.CLOCK: 4, service.FETCH: 4, service.TRANSFER_RECORDS: 2}
AT_ONCE_OTHERS = 8
OWN_AT_ONCE = 256  # of the node's own application, by its socket file or its own certificate
SKEW_S = 0.5  # how much light time and the error of two clocks may shift what a neighbour sends


class Expired(WireError):
    """Nobody wants this transfer any more."""


class NodeServices(Protocol):
    """The parts of a node that its calls need."""

    name: str
    clock: PacedClock
    spool: Spool
    application: Application
    computer: Computer
    transfer_records: TransferLog
    received_bytes: int

    @property
    def network(self) -> Network:
        """In force."""

    def on_data(self, entry: Entry) -> None:
        """Bytes of a transfer have been stored."""

    def drop(self, transfer_id: bytes) -> None:
        """A transfer is taken back."""

    def status(self) -> pb.NodeStatus:
        """Return the status of the node."""


class Calls:
    """The gRPC service of a node; `authority` is set where the node has the say over mission time."""

    def __init__(
        self,
        node: NodeServices,
        *,
        identity: NodeIdentity | None,
        limits: Limits,
        authority: TimeAuthority | None,
    ) -> None:
        self._node = node
        self._identity = identity
        self._limits = limits
        self._authority = authority
        self._open: Counter[tuple[str, str]] = Counter()  # calls by caller and method

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service as gRPC knows it."""
        stream, unary = grpc.stream_stream_rpc_method_handler, grpc.unary_unary_rpc_method_handler
        tell = grpc.unary_stream_rpc_method_handler
        methods = {
            service.PUT: stream(self._put, response_serializer=pb.Acknowledgement.SerializeToString),
            service.FETCH: stream(self._fetch, request_deserializer=pb.FetchRequest.FromString),
            service.CANCEL: unary(self._cancel, pb.TransferId.FromString, pb.Nothing.SerializeToString),
            service.STATUS: unary(self._status, pb.Nothing.FromString, pb.NodeStatus.SerializeToString),
            service.TRANSFER_RECORDS: tell(
                self._transfer_records,
                pb.TransferRecordsRequest.FromString,
                pb.TransferRecord.SerializeToString,
            ),
            service.ENROLMENT: unary(self._enrol, pb.Nothing.FromString, pb.Nothing.SerializeToString),
            service.START_ROUND: unary(
                self._start_round, pb.RoundStart.FromString, pb.Nothing.SerializeToString
            ),
            service.CLOCK: stream(self._clock, pb.ClockReport.FromString, pb.ClockTime.SerializeToString),
        }
        return grpc.method_handlers_generic_handler(service.SERVICE, methods)

    async def _put(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        async with self._call(service.PUT, context) as peer:
            await self._take(peer, context)

    async def _take(self, peer: str, context: grpc.aio.ServicerContext) -> None:
        node = self._node
        incoming = node.network.links.get((peer, node.name))
        if incoming is None and peer != node.name:
            text = f"{peer} never has a contact to {node.name}"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
        stream = IncomingStream(
            peer,
            spool=node.spool,
            limits=self._limits,
            identity=self._identity,
            admission=Admission(
                admit=lambda manifest: self._admit(peer, manifest),
                for_us=lambda manifest: node.name in (peer, manifest.destination),
                is_node=node.network.is_node,
                ready_s=node.computer.done_s if peer == node.name else lambda _: -math.inf,
                drop=node.drop,
            ),
            on_data=node.on_data,
        )
        await context.send_initial_metadata(())  # tells the sender that it is through
        while (frame := await context.read()) is not grpc.aio.EOF:
            if incoming is not None and not incoming.open_near(node.clock.now_s, SKEW_S):
                text = f"no contact from {peer} to {node.name} at {node.clock.now_s:.1f} s"
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
            node.received_bytes += len(frame)
            try:
                answers = stream.receive(frame)
            except WireError as error:
                log.warning("stream of %s ended: %s", peer, error)
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{type(error).__name__}: {error}")
            for answer in answers:
                await context.write(answer)

    def _admit(self, peer: str, manifest: Manifest) -> None:
        node = self._node
        if not (node.network.is_node(manifest.destination) and node.network.is_node(manifest.source)):
            raise BadManifest(f"from {manifest.source} to {manifest.destination}: not nodes of this mission")
        if peer == node.name and manifest.source != node.name:
            raise IdentityError(f"the application of {node.name} sends in the name of {manifest.source}")
        if manifest.expiry_s < node.clock.now_s:
            raise Expired(f"transfer {manifest.transfer_id.hex()} expired at {manifest.expiry_s:.0f} s")

    async def _fetch(
        self, requests: AsyncIterator[pb.FetchRequest], context: grpc.aio.ServicerContext
    ) -> None:
        async with self._call(service.FETCH, context) as caller:
            if caller != self._node.name:
                text = f"these bundles are for {self._node.name}"
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
            await self._node.application.serve(requests, context)

    async def _cancel(self, request: pb.TransferId, context: grpc.aio.ServicerContext) -> pb.Nothing:
        """A neighbour takes back what it has begun to send here, or the application what is its own."""
        async with self._call(service.CANCEL, context) as caller:
            entry = self._node.spool.entries.get(request.transfer_id)
            if entry is not None and entry.sender == caller:
                self._node.drop(request.transfer_id)
            return pb.Nothing()

    async def _status(self, _: pb.Nothing, context: grpc.aio.ServicerContext) -> pb.NodeStatus:
        async with self._call(service.STATUS, context):
            return self._node.status()

    async def _transfer_records(
        self, request: pb.TransferRecordsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.TransferRecord]:
        async with self._call(service.TRANSFER_RECORDS, context):
            for transfer_record in self._node.transfer_records.of_round(request.run, request.round):
                yield transfer_record

    async def _enrol(self, _: pb.Nothing, context: grpc.aio.ServicerContext) -> pb.Nothing:
        async with self._call(service.ENROLMENT, context) as caller:
            (await self._authority_for(caller, context)).enrol()
            return pb.Nothing()

    async def _start_round(self, request: pb.RoundStart, context: grpc.aio.ServicerContext) -> pb.Nothing:
        async with self._call(service.START_ROUND, context) as caller:
            authority = await self._authority_for(caller, context)
            try:
                network = Network.from_json(request.network)
                if set(network.nodes) != set(self._node.network.nodes):
                    raise ValueError("the network of a round must have exactly the nodes of the mission")
                if not math.isfinite(request.start_s):
                    raise ValueError(f"start_s = {request.start_s}: not a mission time")
                if not 0.0 <= request.pace <= 1.0:
                    raise ValueError(f"pace = {request.pace}: allowed are 0 to 1")
            except (ValueError, KeyError, TypeError) as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"round start: {error}")
            authority.start_round(network, request.start_s, request.pace or 1.0)
            return pb.Nothing()

    async def _authority_for(self, caller: str, context: grpc.aio.ServicerContext) -> TimeAuthority:
        """The time authority, for the ground's own application; ends the call of anybody else."""
        if caller != self._node.name or self._authority is None:
            text = f"{caller} cannot begin a round at {self._node.name}"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
        assert self._authority is not None
        return self._authority

    async def _clock(
        self, requests: AsyncIterator[pb.ClockReport], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ClockTime]:
        async with self._call(service.CLOCK, context) as caller:
            if self._authority is None:
                text = f"{self._node.name} has no say over mission time"
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
            assert self._authority is not None
            async for clock_time in self._authority.serve(caller, requests):
                yield clock_time

    @asynccontextmanager
    async def _call(self, method: str, context: grpc.aio.ServicerContext) -> AsyncIterator[str]:
        """Who calls; ends the call of one that has as many of this kind open as it may have."""
        caller = await self._caller(context)
        own = caller == self._node.name
        most = OWN_AT_ONCE if own else MAX_CONCURRENCY.get(method, AT_ONCE_OTHERS)
        if self._open[caller, method] >= most:
            text = (
                f"{caller} has {most} calls of {method} open at {self._node.name}, which is all it may have"
            )
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        self._open[caller, method] += 1
        try:
            yield caller
        finally:
            self._open[caller, method] -= 1
            if not self._open[caller, method]:
                del self._open[caller, method]

    async def _caller(self, context: grpc.aio.ServicerContext) -> str:
        """Return the caller, by certificate if there is one; end the call unless it is a node of the mission."""
        if context.time_remaining() is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, service.NO_DEADLINE)
        if context.peer().startswith("unix:"):
            return self._node.name
        stated = str(dict(context.invocation_metadata() or ()).get(service.NODE_KEY, ""))
        try:
            name = stated if self._identity is None else self._identity.peer(context.auth_context())
            if not self._node.network.is_node(name):
                raise IdentityError(f"{name!r} is not a node of this mission")
        except IdentityError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        return name
