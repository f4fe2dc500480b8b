"""The relay of one node: takes parcels in, keeps them on disk, sends them on when the contact plan allows.

A node's neighbours send with `Put`, and so does its own application, which gets its parcels by `Fetch`. What is
addressed elsewhere is queued for the neighbour over whom it arrives first, and goes on while it still comes in
(cut-through); when a window closes or a neighbour fails, the rest may take another way.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from functools import partial

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio

from relay import service
from relay import wire_pb2 as pb
from relay.application import Application
from relay.identity import IdentityError, NodeIdentity, node_host, peer_name
from relay.incoming import IncomingStream
from relay.link import LinkSchedule, Network
from relay.outgoing import OutgoingLink, Refusal
from relay.paced_clock import Activity, PacedClock, TimeAuthority, follow
from relay.routing import Route, earliest_arrival
from relay.settings import RelaySettings
from relay.spool import Entry, Spool
from relay.wire import BadManifest, Kind, Manifest, WireError

log = logging.getLogger(__name__)

SKEW_S = 0.5  # how much light time and the error of two clocks may shift what a neighbour sends
SWEEP_S = 1.0  # how often routes are looked up anew and what has expired is let go

# A satellite that waits for its gradient or its hidden states cannot go on; features are sent ahead.
_URGENCY = {
    Kind.GRAD_HIDDEN: 0,
    Kind.HIDDEN: 0,
    Kind.GRAD_FEATURES: 0,
    Kind.AGGREGATE: 1,
    Kind.SAMPLES: 2,
    Kind.FEATURES: 2,
}


class RelayError(RuntimeError):
    """The relay cannot start."""


class Expired(WireError):
    """Nobody wants this transfer any more."""


class RelayNode:
    """One relay, to be run in an asyncio loop: `await start()`, `await stop()`."""

    def __init__(
        self,
        settings: RelaySettings,
        *,
        identity: NodeIdentity | None = None,
        clock: PacedClock | None = None,
    ) -> None:
        if identity is not None and identity.name != settings.name:
            raise IdentityError(f"relay {settings.name} is given the certificate of {identity.name}")
        self.name = settings.name
        self.clock = clock or PacedClock(settings.start_s)
        self.port = settings.port
        self.delivered = self.rejected = self.received_bytes = 0
        self.spool = Spool(
            settings.folder,
            quota_bytes=settings.quota_bytes,
            sender_quota_bytes=settings.neighbour_quota_bytes,
            limits=settings.limits,
        )
        self.links: dict[str, OutgoingLink] = {}
        self._settings = settings
        self._identity = identity
        self._limits = settings.limits
        self._network = settings.network
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._serving: dict[str, asyncio.Task[None]] = {}  # links, by neighbour
        self._departure = 0  # the last one this node was told of
        self._routes: dict[tuple[str, int, tuple[str, ...]], Route | None] = {}
        self._queues: dict[str, list[Entry]] = {}  # by neighbour; empty when out of date
        self._changes = 0
        self.application = Application(self.name, self.spool, self._limits, taken=self._count_delivery)
        self._authority: TimeAuthority | None = None
        if settings.time_authority == settings.name:
            nodes = settings.network.nodes
            self._authority = TimeAuthority(self.clock, nodes, [node for node in nodes if node != self.name])

    @property
    def local_address(self) -> str:
        """Where the node's own application reaches its relay."""
        return service.local_address(self._settings.folder)

    async def start(self) -> None:
        """Listen, then serve all links. Raises RelayError if the port cannot be had."""
        self._server = grpc.aio.server(options=service.server_options(self._limits))
        self._server.add_generic_rpc_handlers((self._handlers(),))
        address = f"{self._settings.host}:{self.port}"
        try:
            if self._identity is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, self._identity.server_credentials())
            self._server.add_insecure_port(self.local_address)
        except RuntimeError as error:
            text = (
                f"relay {self.name} cannot listen on {address} and {self.local_address}: the port is in use, "
                "not ours to take, or the folder's path is longer than a socket's may be (107 bytes)"
            )
            raise RelayError(text) from error
        health = aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, self._server)
        await health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        self._start_links()
        self.clock.on_jump.append(self._reroute)
        self._tasks.append(asyncio.create_task(self._sweep()))
        if self._authority is not None:
            self._tasks.append(asyncio.create_task(self._authority.run()))
        if self._settings.time_authority is not None:
            clock = None if self._authority else self.clock
            channel = self._channel(self._settings.time_authority)
            following = follow(clock, self.name, channel, self.activity, self._depart)
            self._tasks.append(asyncio.create_task(following))

    def _start_links(self) -> None:
        """Serve the links of the network in force; those that are not in it are shut."""
        for peer in self._network.neighbours(self.name):
            if peer not in self.links:
                self.links[peer] = OutgoingLink(
                    self.name,
                    peer,
                    channel=self._channel(peer),
                    clock=self.clock,
                    spool=self.spool,
                    limits=self._limits,
                    queue=lambda peer=peer: self._queue_for(peer),  # type: ignore[misc]
                    done=self._done,
                    changed=self._reroute,
                    faults=self._settings.faults,
                )
        for peer, link in self.links.items():
            link.schedule = self._network.links.get((self.name, peer), LinkSchedule(()))
            self._serving[peer] = asyncio.create_task(_serve(link, self._serving.get(peer)))

    def _depart(self, number: int, network: str) -> None:
        """Follow another contact plan from now on; what rests in the spool takes its ways."""
        self._departure = number
        self.application.boarded = self.application.present
        self._network = Network.from_json(network)
        self._start_links()
        self._reroute()

    async def stop(self) -> None:
        tasks = *self._tasks, *self._serving.values()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.stop(grace=0.1)
        for channel in self._channels.values():
            await channel.close()
        self.spool.close()

    def activity(self) -> Activity:
        """What this node says to the time authority."""
        moving = any(link.moving for link in self.links.values())
        return Activity(
            busy=moving or self.application.busy,
            wake_s=self._wake_s(),
            changes=self._changes,
            departure=self._departure,
            manned=self.application.present,
            boarded=self.application.boarded,
        )

    def status(self) -> pb.NodeStatus:
        now_s = self.clock.now_s
        links = []
        for peer, link in self.links.items():
            window = link.schedule.next_after(now_s)
            is_open = window is not None and window.start_s <= now_s
            change_s = math.inf if window is None else window.end_s if is_open else window.start_s
            links.append(
                pb.LinkStatus(
                    peer=peer,
                    open=is_open,
                    next_change_s=change_s,
                    sent_bytes=link.sent_bytes,
                    resent_bytes=link.resent_bytes,
                    trouble=link.trouble,
                )
            )
        return pb.NodeStatus(
            node=self.name,
            mission_s=now_s,
            queued_transfers=len(self.spool.entries),
            queued_bytes=self.spool.used_bytes,
            quota_bytes=self.spool.quota_bytes,
            received_bytes=self.received_bytes,
            delivered_transfers=self.delivered,
            rejected_transfers=self.rejected,
            links=links,
        )

    # ------------------------------------------------------------------------------------ queue and routes

    def _queue_for(self, peer: str) -> list[Entry]:
        """What is to go to this neighbour next, most urgent first; looked up anew when anything has changed."""
        if not self._queues:
            self._queues = {neighbour: [] for neighbour in self.links}
            in_order = sorted(self.spool.entries.values(), key=lambda entry: _URGENCY[entry.manifest.kind])
            for entry in in_order:
                hop = self._next_hop(entry) if entry.manifest.destination != self.name else None
                if hop is not None:
                    self._queues[hop].append(entry)
        return self._queues[peer]

    def _next_hop(self, entry: Entry) -> str | None:
        now_s = self.clock.now_s
        for peer, link in self.links.items():  # what has begun stays on its way while that way is open
            if link.begun(entry) and not link.broken and link.schedule.open_at(now_s):
                return peer
        size_bytes = entry.manifest.total_bytes - max(entry.base_offset, entry.delivered_offset)
        key = entry.manifest.destination, size_bytes, entry.via
        if key not in self._routes:
            self._routes[key] = self._route(*key)
        route = self._routes[key]
        return route.next_hop if route else None

    def _route(self, destination: str, size_bytes: int, via: tuple[str, ...]) -> Route | None:
        """The best way on; only if there is no other, one over a broken link or back to where it was."""
        find = partial(earliest_arrival, self._network, self.name, destination, size_bytes, self.clock.now_s)
        broken = {(self.name, peer) for peer, link in self.links.items() if link.broken}
        return find(avoid_links=broken, avoid_nodes=via) or find(avoid_nodes=via) or find()

    def _wake_s(self) -> float:
        """When the next link opens over which something waits to go."""
        now_s = self.clock.now_s
        waiting = [link.schedule for peer, link in self.links.items() if self._queue_for(peer)]
        shut = [schedule.next_after(now_s) for schedule in waiting if schedule.open_at(now_s) is None]
        return min((window.start_s for window in shut if window is not None), default=math.inf)

    def _done(self, entry: Entry, refusal: Refusal | None) -> None:
        if entry.transfer_id not in self.spool.entries:
            return
        self._changes += 1
        self._drop(entry.transfer_id)
        if refusal is None:
            return
        self.rejected += 1
        manifest = entry.manifest
        log.warning("%s of %s refused: %s", manifest.kind.name, manifest.source, refusal.text)
        if manifest.source == self.name:
            self.application.fail(entry.transfer_id, refusal)

    def _count_delivery(self) -> None:
        self.delivered += 1
        self._changes += 1

    def _drop(self, transfer_id: bytes) -> None:
        self.spool.remove(transfer_id)
        for link in self.links.values():
            link.forget(transfer_id)
        self._queues.clear()
        self._wake()

    def _wake(self) -> None:
        for link in self.links.values():
            link.wake.set()

    def _reroute(self) -> None:
        """Look for the best ways again: a link has failed, or time has passed."""
        self._routes.clear()
        self._queues.clear()
        self._wake()

    async def _sweep(self) -> None:
        """Let go of what has expired, a transfer that nobody wants or an old route."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = self.clock.now_s
            for entry in list(self.spool.entries.values()):
                if entry.manifest.expiry_s < now_s:
                    self._done(entry, Refusal("Expired", f"expired at {entry.manifest.expiry_s:.0f} s"))
            self._reroute()

    # -------------------------------------------------------------------------------------------- service

    def _handlers(self) -> grpc.GenericRpcHandler:
        stream, unary = grpc.stream_stream_rpc_method_handler, grpc.unary_unary_rpc_method_handler
        methods = {
            service.PUT: stream(self._put, response_serializer=pb.Acknowledgement.SerializeToString),
            service.FETCH: stream(self._fetch, request_deserializer=pb.FetchRequest.FromString),
            service.CANCEL: unary(self._cancel, pb.TransferId.FromString, pb.Nothing.SerializeToString),
            service.STATUS: unary(self._tell_status, pb.Nothing.FromString, pb.NodeStatus.SerializeToString),
            service.DEPART: unary(
                self._begin_departure, pb.Departure.FromString, pb.Nothing.SerializeToString
            ),
        }
        if self._authority is not None:
            methods[service.CLOCK] = stream(
                self._clock, pb.ClockReport.FromString, pb.ClockTime.SerializeToString
            )
        return grpc.method_handlers_generic_handler(service.SERVICE, methods)

    async def _put(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        peer = await self._caller(context)
        incoming = self._network.links.get((peer, self.name))
        if incoming is None and peer != self.name:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"{peer} never has a contact to {self.name}"
            )
        stream = IncomingStream(
            peer,
            spool=self.spool,
            limits=self._limits,
            identity=self._identity,
            admit=lambda manifest: self._admit(peer, manifest),
            for_us=lambda manifest: self.name in (peer, manifest.destination),
            grown=self._grown,
        )
        await context.send_initial_metadata(())  # tells the sender that it is through
        while (frame := await context.read()) is not grpc.aio.EOF:
            if incoming is not None and not incoming.open_near(self.clock.now_s, SKEW_S):
                text = f"no contact from {peer} to {self.name} at {self.clock.now_s:.1f} s"
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
            self.received_bytes += len(frame)
            try:
                answers = stream.receive(frame)
            except WireError as error:
                log.warning("stream of %s ended: %s", peer, error)
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{type(error).__name__}: {error}")
            for answer in answers:
                await context.write(answer)

    def _admit(self, peer: str, manifest: Manifest) -> None:
        if manifest.destination not in self._network.nodes or manifest.source not in self._network.nodes:
            raise BadManifest(f"from {manifest.source} to {manifest.destination}: not nodes of this mission")
        if peer == self.name and manifest.source != self.name:
            raise IdentityError(f"the application of {self.name} sends in the name of {manifest.source}")
        if manifest.expiry_s < self.clock.now_s:
            raise Expired(f"transfer {manifest.transfer_id.hex()} expired at {manifest.expiry_s:.0f} s")

    def _grown(self, entry: Entry) -> None:
        self._changes += 1
        if entry.manifest.destination != self.name:
            if entry.end_offset == entry.base_offset:  # it is new
                self._queues.clear()
            for peer, link in self.links.items():
                if entry in self._queue_for(peer):
                    link.wake.set()
        else:
            self.application.arrived.set()

    async def _fetch(
        self, requests: AsyncIterator[pb.FetchRequest], context: grpc.aio.ServicerContext
    ) -> None:
        if await self._caller(context) != self.name:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"these parcels are for {self.name}")
        await self.application.serve(requests, context)

    async def _cancel(self, request: pb.TransferId, context: grpc.aio.ServicerContext) -> pb.Nothing:
        """A neighbour takes back what it has begun to send here, or the application what is its own."""
        caller = await self._caller(context)
        entry = self.spool.entries.get(request.transfer_id)
        if entry is not None and entry.sender == caller:
            self._drop(request.transfer_id)
        return pb.Nothing()

    async def _tell_status(self, _: pb.Nothing, context: grpc.aio.ServicerContext) -> pb.NodeStatus:
        await self._caller(context)
        return self.status()

    async def _begin_departure(self, request: pb.Departure, context: grpc.aio.ServicerContext) -> pb.Nothing:
        caller = await self._caller(context)
        if caller != self.name or self._authority is None:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"{caller} cannot begin a round at {self.name}"
            )
        try:
            network = Network.from_json(request.network)
            self._check(network)
        except (ValueError, KeyError, TypeError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"departure: {error}")
        assert self._authority is not None
        assert self._authority is not None
        self._authority.depart(request.network, request.start_s)
        return pb.Nothing()

    def _check(self, network: Network) -> None:
        if set(network.nodes) != set(self._network.nodes):
            raise ValueError("the network of a round has the nodes of the mission, no others")

    async def _clock(
        self, requests: AsyncIterator[pb.ClockReport], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ClockTime]:
        caller = await self._caller(context)
        assert self._authority is not None
        async for told in self._authority.attend(caller, requests):
            yield told

    async def _caller(self, context: grpc.aio.ServicerContext) -> str:
        if context.time_remaining() is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, service.NO_DEADLINE)
        if context.peer().startswith("unix:"):
            return self.name
        stated = str(dict(context.invocation_metadata() or ()).get(service.NODE_KEY, ""))
        try:
            name = stated if self._identity is None else peer_name(context.auth_context())
            if name not in self._network.nodes:
                raise IdentityError(f"{name!r} is no node of this mission")
        except IdentityError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        return name

    def _channel(self, peer: str) -> grpc.aio.Channel:
        if peer in self._channels:
            return self._channels[peer]
        options = service.channel_options(self._limits)
        own = f"{self._settings.host}:{self.port}"
        address = own if peer == self.name else self._settings.peers[peer]
        if self._identity is None:
            channel = grpc.aio.insecure_channel(address, options=options)
        else:
            named = [*options, ("grpc.ssl_target_name_override", node_host(peer))]
            credentials = self._identity.channel_credentials()
            channel = grpc.aio.secure_channel(address, credentials, options=named)
        self._channels[peer] = channel
        return channel


async def _serve(link: OutgoingLink, before: asyncio.Task[None] | None) -> None:
    """Serve a link by its schedule, once the task that served it by another has ended."""
    if before is not None:
        before.cancel()
        await asyncio.gather(before, return_exceptions=True)
    await link.run()
