"""Where each transfer in a node's spool goes next: to the neighbour over whom it arrives first, urgent ones first."""

from __future__ import annotations

import math
import time
from bisect import insort

from relay.clock.paced_clock import PacedClock
from relay.clock.timed_link import Network
from relay.node.outgoing import OutgoingLink
from relay.node.routing import NextHop, routes_from
from relay.spool.spool import Entry, Spool
from relay.wire.manifest import MessageKind

# A satellite that waits for its gradient or its hidden states cannot go on; features are sent ahead, in the order in
# which the ground takes them.
_URGENCY = {
    MessageKind.GRAD_HIDDEN: 0,
    MessageKind.HIDDEN: 0,
    MessageKind.GRAD_FEATURES: 0,
    MessageKind.HEAD: 0,
    MessageKind.GRAD_HEAD: 0,
    MessageKind.AGGREGATE: 1,
    MessageKind.SAMPLES: 2,
    MessageKind.FEATURES: 2,
    MessageKind.IMAGES: 2,
    MessageKind.LABELS: 2,
    MessageKind.RELEASE: 2,
}


# Ways that are looked up for one sender as they are. Beyond that, sizes count as the next power of two and only the
# node before this one is avoided, so that there are few ways whatever a sender makes up.
EXACT_WAYS = 64


def _urgency(entry: Entry) -> tuple[int, int]:
    return _URGENCY[entry.manifest.kind], entry.manifest.turn


class Forwarding:
    """Shares the spool of `node` out among its links; ways and queues are remembered until something changes."""

    def __init__(self, node: str, network: Network, *, spool: Spool, clock: PacedClock) -> None:
        self.network = network  # in force
        self.links: dict[str, OutgoingLink] = {}  # by neighbour
        self._node = node
        self._spool = spool
        self._clock = clock
        self._routes: dict[tuple[int, frozenset[str], bool], dict[str, NextHop]] = {}
        self._exact: dict[str, set[tuple[int, frozenset[str]]]] = {}  # what each sender has had looked up
        self._queues: dict[str, list[Entry]] = {}  # by neighbour; empty when out of date
        self.routing_s = 0.0  # wall time spent on looking up ways since the last `reroute`

    def queue_for(self, peer: str) -> list[Entry]:
        """Return the transfers for this neighbour, most urgent first."""
        if not self._queues:
            began_s = time.perf_counter()
            self._queues = {neighbour: [] for neighbour in self.links}
            in_order = sorted(self._spool.entries.values(), key=_urgency)
            for entry in in_order:
                hop = self._next_hop(entry)
                if hop is not None:
                    self._queues[hop].append(entry)
            self.routing_s += time.perf_counter() - began_s
        return self._queues[peer]

    def on_data(self, entry: Entry) -> None:
        """There is more of a transfer to send on; who sends it wakes up."""
        if entry.end_offset == entry.base_offset:  # it is new, or comes another way
            self._enqueue(entry)
        self._wake_sender(entry)

    def on_ready(self, entry: Entry) -> None:
        """A transfer of the node's own application may be sent from now on."""
        self._enqueue(entry)
        self._wake_sender(entry)

    def _enqueue(self, entry: Entry) -> None:
        """Put one transfer into its queue, behind those as urgent: cheaper than to make all queues anew."""
        if not self._queues:
            return  # made when they are next asked for
        began_s = time.perf_counter()
        for peer, queue in self._queues.items():
            if entry in queue:
                self._queues[peer] = [other for other in queue if other is not entry]
        hop = self._next_hop(entry)
        if hop is not None:
            insort(self._queues[hop], entry, key=_urgency)
        self.routing_s += time.perf_counter() - began_s

    def dropped(self, transfer_id: bytes) -> None:
        """A transfer has left the spool; the ways of the others are as good as before."""
        for link in self.links.values():
            link.forget(transfer_id)
        for peer, queue in self._queues.items():
            self._queues[peer] = [entry for entry in queue if entry.transfer_id != transfer_id]
        self._wake()

    def reroute(self) -> None:
        """Look for the best ways again: a link has failed, another network is in force, or time has passed."""
        self.routing_s = 0.0
        self._routes.clear()
        self._exact.clear()
        self._queues.clear()
        self._wake()

    @property
    def moving(self) -> bool:
        """Whether bytes move on any link."""
        return any(link.moving for link in self.links.values())

    @property
    def wake_s(self) -> float:
        """Mission time when the next link opens over which something waits to go; inf when none does."""
        now_s = self._clock.now_s
        waiting = [link.schedule for peer, link in self.links.items() if self.queue_for(peer)]
        shut = [schedule.next_after(now_s) for schedule in waiting if schedule.open_at(now_s) is None]
        return min((window.start_s for window in shut if window is not None), default=math.inf)

    def _next_hop(self, entry: Entry) -> str | None:
        now_s = self._clock.now_s
        if entry.manifest.destination == self._node or entry.ready_s > now_s:
            return None
        for peer, link in self.links.items():  # what has begun stays on its way while that way is open
            if link.begun(entry) and not link.broken and link.schedule.open_at(now_s):
                return peer
        size_bytes = entry.manifest.total_bytes - max(entry.base_offset, entry.delivered_offset)
        passed = frozenset(entry.via)
        exact = self._exact.setdefault(entry.sender, set())
        if (size_bytes, passed) not in exact:
            if len(exact) < EXACT_WAYS:
                exact.add((size_bytes, passed))
            else:
                size_bytes, passed = 1 << size_bytes.bit_length(), frozenset((entry.sender,))
        route = self._route(entry.manifest.destination, size_bytes, passed)
        return route.next_hop if route else None

    def _route(self, destination: str, size_bytes: int, passed: frozenset[str]) -> NextHop | None:
        """The best way on; only if there is no other, one over a broken link or back to where it was."""
        for avoided, working in ((passed, True), (passed, False), (frozenset[str](), False)):
            key = size_bytes, avoided, working
            if key not in self._routes:
                links = self.links.items() if working else ()
                broken = {(self._node, peer) for peer, link in links if link.broken}
                self._routes[key] = routes_from(
                    self.network, self._node, size_bytes, self._clock.now_s, broken, avoided
                )
            if destination in self._routes[key]:
                return self._routes[key][destination]
        return None

    def _wake_sender(self, entry: Entry) -> None:
        for peer, link in self.links.items():
            if entry in self.queue_for(peer):
                link.wake.set()

    def _wake(self) -> None:
        for link in self.links.values():
            link.wake.set()
