"""The relay of one node: takes bundles in, keeps them on disk, sends them on when the contact plan allows.

A node's neighbours send with `Put`, and so does its own application, which gets its bundles by `Fetch`. What is
addressed elsewhere is queued for the neighbour over whom it arrives first, and goes on while it still comes in
(cut-through); when a window closes or a neighbour fails, the rest may take another way.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import math
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio

from relay.client.message_link import dial_async
from relay.clock.computer import Computer
from relay.clock.paced_clock import Activity, PacedClock, TimeAuthority, follow
from relay.clock.timed_link import LinkSchedule, Network
from relay.node.application import Application
from relay.node.calls import Calls
from relay.node.forwarding import Forwarding
from relay.node.outgoing import Outbox, OutgoingLink, Refusal
from relay.node.settings import RelaySettings
from relay.spool.spool import Entry, Quota, Spool
from relay.spool.transfer_records import TransferLog
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.identity import IdentityError, NodeIdentity
from relay.wire.listening import connections_for, host_port, leave_silent_connections_to_the_kernel

log = logging.getLogger(__name__)

_NEWEST = 16  # transfers that a node's status names, of those that have passed and of those that arrive
SWEEP_S = 1.0  # how often routes are looked up anew and what has expired is let go
ROUTING_SHARE = 10  # times what looking up all routes took last: how long they stay as they are at least


class RelayError(RuntimeError):
    """The relay cannot start."""


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
            quota=Quota(settings.quota_bytes, settings.quota_transfers),
            sender_quota=Quota(settings.neighbour_quota_bytes, settings.neighbour_quota_transfers),
            limits=settings.limits,
        )
        self.computer = Computer(self.clock)
        self._report = asyncio.Event()  # set when the time authority should hear of it at once
        self.application = Application(
            self.name,
            self.spool,
            computer=self.computer,
            limits=settings.limits,
            taken=self._count_delivery,
            changed=self._report.set,
        )
        self.transfer_records = TransferLog(self.clock)
        self._forwarding = Forwarding(self.name, settings.network, spool=self.spool, clock=self.clock)
        self._settings = settings
        self._identity = identity
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: dict[bytes, asyncio.Task[None]] = {}  # for a transfer to be computed, by its id
        self._serving: dict[str, asyncio.Task[None]] = {}  # links, by neighbour
        self._round_start = 0  # the last one this node was told of
        self._changes = 0
        self._authority: TimeAuthority | None = None
        if settings.time_authority == settings.name:
            satellites = [node for node in settings.network.nodes if node != self.name]
            self._authority = TimeAuthority(self.clock, settings.network, satellites=satellites)

    @property
    def network(self) -> Network:
        """In force."""
        return self._forwarding.network

    @property
    def local_address(self) -> str:
        """Return the address at which the node's own application reaches its relay."""
        return service.local_address(self._settings.folder)

    async def start(self) -> None:
        """Listen, then serve all links. Raises RelayError if the port cannot be had."""
        self._server = grpc.aio.server(
            options=service.server_options(self._settings.limits, connections_for(len(self.network.nodes)))
        )
        calls = Calls(self, identity=self._identity, limits=self._settings.limits, authority=self._authority)
        self._server.add_generic_rpc_handlers((calls.handlers(),))
        address = host_port(self._settings.host, self.port)
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
        leave_silent_connections_to_the_kernel(self.port)
        self._start_links()
        self.clock.on_jump.append(self._forwarding.reroute)
        self._tasks.append(asyncio.create_task(self._sweep()))
        if self._authority is not None:
            self._tasks.append(asyncio.create_task(self._authority.run()))
        if self._settings.time_authority is not None:
            clock = None if self._authority else self.clock
            channel = self._channel(self._settings.time_authority)
            following = follow(
                clock, self.name, channel, self.activity, self._start_round, changed=self._report
            )
            self._tasks.append(asyncio.create_task(following))

    def _start_links(self) -> None:
        """Serve the links of the network in force; those that are not in it are shut."""
        links = self._forwarding.links
        for peer in self.network.neighbours(self.name):
            if peer not in links:
                links[peer] = OutgoingLink(
                    self.name,
                    peer,
                    channel=self._channel(peer),
                    clock=self.clock,
                    spool=self.spool,
                    limits=self._settings.limits,
                    outbox=self._outbox(peer),
                    faults=self._settings.faults,
                )
        for peer, link in links.items():
            link.schedule = self.network.links.get((self.name, peer), LinkSchedule(()))
            self._serving[peer] = asyncio.create_task(_serve(link, self._serving.get(peer)))

    def _outbox(self, peer: str) -> Outbox:
        return Outbox(
            queue=lambda: self._forwarding.queue_for(peer),
            passed=lambda entry, start_s: self.transfer_records.sent(entry, peer, start_s),
            done=self._done,
            changed=self._forwarding.reroute,
        )

    def _start_round(self, number: int, network: str) -> None:
        """Follow another contact plan from now on; what rests in the spool takes its ways."""
        self._round_start = number
        self.application.attached = self.application.present
        self._forwarding.network = Network.from_json(network)
        self._start_links()
        self._forwarding.reroute()

    async def stop(self) -> None:
        """End all that the node does."""
        tasks = *self._tasks, *self._serving.values(), *self._waiting.values()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.stop(grace=0.1)
        for channel in self._channels.values():
            await channel.close()
        self.spool.close()

    @property
    def certificate_ends(self) -> datetime.datetime | None:
        """Return the expiry of the node's certificate, or None without TLS."""
        return None if self._identity is None else self._identity.ends

    def activity(self) -> Activity:
        """Return this node's report to the time authority."""
        return Activity(
            busy=self._forwarding.moving or self.application.busy or self.computer.computes,
            wake_s=self._forwarding.wake_s,
            changes=self._changes,
            round_start=self._round_start,
            session_alive=self.application.present or self.computer.computes,
            attached=self.application.attached,
            computing=self.application.busy,
        )

    def status(self) -> pb.NodeStatus:
        """Return the node's present status."""
        now_s = self.clock.now_s
        links = []
        for peer, link in self._forwarding.links.items():
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
                    last_error=link.last_error,
                )
            )
        return pb.NodeStatus(
            node=self.name,
            mission_s=now_s,
            computes_until_s=max(now_s, self.computer.free_s),
            computed_s=self.computer.computed_s,
            queued_transfers=len(self.spool.entries),
            queued_bytes=self.spool.used_bytes,
            quota_bytes=self.spool.quota.size_bytes,
            received_bytes=self.received_bytes,
            delivered_transfers=self.delivered,
            rejected_transfers=self.rejected,
            links=links,
            newest_transfers=self.transfer_records.newest(_NEWEST),
            arriving_transfers=self.transfer_records.arriving(self.spool.entries, _NEWEST),
        )

    def on_data(self, entry: Entry) -> None:
        """Bytes of a transfer have been stored."""
        self._changes += 1
        if entry.sender != self.name:
            self.transfer_records.arrives(entry)
        if entry.manifest.destination == self.name:
            self.application.arrived.set()
        elif entry.ready_s <= self.clock.now_s:
            self._forwarding.on_data(entry)
        elif entry.transfer_id not in self._waiting:
            self._waiting[entry.transfer_id] = asyncio.create_task(self._until_ready(entry))

    async def _until_ready(self, entry: Entry) -> None:
        await self.clock.sleep_until(entry.ready_s)
        self._waiting.pop(entry.transfer_id)
        if entry.transfer_id in self.spool.entries:
            self._forwarding.on_ready(entry)

    def drop(self, transfer_id: bytes) -> None:
        """Nobody needs this transfer here any more."""
        self.spool.remove(transfer_id)
        self._forwarding.dropped(transfer_id)
        self.transfer_records.dropped(transfer_id)

    def _done(self, entry: Entry, refusal: Refusal | None) -> None:
        """A neighbour has the transfer, or it will never arrive."""
        if entry.transfer_id not in self.spool.entries:
            return
        self._changes += 1
        self.drop(entry.transfer_id)
        if refusal is None:
            return
        self.rejected += 1
        manifest = entry.manifest
        log.warning("%s of %s refused: %s", manifest.kind.name, manifest.source, refusal.text)
        if manifest.source == self.name:
            self.application.fail(entry.transfer_id, refusal)

    def _count_delivery(self, entry: Entry) -> None:
        self.transfer_records.dropped(entry.transfer_id)
        self.delivered += 1
        self._changes += 1

    async def _sweep(self) -> None:
        """Let go of what has expired, a transfer that nobody wants or an old route."""
        reroute_s = 0.0
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = self.clock.now_s
            for entry in list(self.spool.entries.values()):
                if entry.manifest.expiry_s < now_s:
                    self._done(entry, Refusal("Expired", f"expired at {entry.manifest.expiry_s:.0f} s"))
            self._give_up_promises()
            if time.monotonic() >= reroute_s:
                # Many transfers with ways of their own must not make looking them up all that the relay does.
                reroute_s = time.monotonic() + ROUTING_SHARE * self._forwarding.routing_s
                self._forwarding.reroute()

    def _give_up_promises(self) -> None:
        """Let go of transfers that a neighbour has begun and does not go on with; it may begin them again."""
        idle_s = self._settings.promise_s / (60 if self.spool.crowded else 1)
        before_s = time.monotonic() - idle_s
        for entry in list(self.spool.entries.values()):
            if not entry.complete and entry.on_data_s < before_s and entry.sender != self.name:
                log.info(
                    "a transfer from %s has made no progress for %.0f s: cancelled", entry.sender, idle_s
                )
                self.drop(entry.transfer_id)

    def _channel(self, peer: str) -> grpc.aio.Channel:
        if peer not in self._channels:
            own = host_port(self._settings.host, self.port)
            address = own if peer == self.name else self._settings.peers[peer]
            self._channels[peer] = dial_async(address, peer, self._identity, self._settings.limits)
        return self._channels[peer]


async def _serve(link: OutgoingLink, before: asyncio.Task[None] | None) -> None:
    """Serve a link by its schedule, once the task that served it by another has ended."""
    if before is not None:
        before.cancel()
        await asyncio.gather(before, return_exceptions=True)
    await link.run()
