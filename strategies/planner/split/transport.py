"""Features on their way to the ground: which samples leave through which session, hop by hop.

A *block* is a range of one satellite's samples that travels together.  Its hops follow each other by cut-through:
the next begins when the first micro-batch is there and does not end before the one ahead.  Links serve one block
after the other.  Where no way to the gateway stands at a time, a block waits on board until links open.
"""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import insort
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import NamedTuple

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.intra_orbit import intra_orbit_strategy
from strategies.planner.split.all_gather import Gathered
from strategies.planner.split.round_network import RoundNetwork
from strategies.planner.split.shares import BusyTimes
from strategies.problem.network import PayloadTooLargeError
from strategies.problem.plan import ON_NO_LINK, Kind, as_activities
from strategies.problem.routes import Tree
from strategies.problem.sunlight import finished_s

_ALIKE = (
    0.75  # satellites with so much of the most that any has left are alike; of those the nearest goes first
)
_SOON_S = 5.0  # sessions that begin so soon share the rest
_STORED_TRIED = (
    3  # satellites that are tried where none has an open way to the gateway, those with most left first
)
_SLOW_PIECE_S = (
    10.0  # a block takes no longer on slow inter-satellite links, so that blocks from all sides take turns
)
_PIECES = 4  # a session takes at most this part of what its group still has, so that sessions end together


@dataclass(frozen=True)
class FeatureChunk:
    """Samples ``[first, end)`` of a satellite; they reach the ground in ``[first_s, last_s]``."""

    satellite: int
    session: int
    _: KW_ONLY
    first: int
    end: int
    first_s: float
    last_s: float


@dataclass(frozen=True, eq=False)
class Delivery:
    """Blocks by arrival, their activities, and how many samples of each satellite found no session.

    ``busy`` knows when features are on a link with no more room for answers than their share.
    """

    blocks: list[FeatureChunk]
    activities: np.ndarray
    _: KW_ONLY
    left: np.ndarray
    busy: BusyTimes = field(default_factory=BusyTimes)


class _Coming(NamedTuple):
    """A block of so many bits, all at a node by ``last_s``.

    Its first micro-batch is ``lead_bits``, its last ``tail_bits``, to which there are no answers before it is through.
    """

    bits: float
    lead_bits: float
    tail_bits: float
    last_s: float
    relayed: bool  # over another link

    def served(self, begin_s: float, rate_bps: float) -> tuple[float, float]:
        """Return the time in which a link takes the block, from ``begin_s`` on; if it comes over another one, without
        a pause."""
        if not self.relayed:
            return begin_s, max(begin_s + self.bits / rate_bps, self.last_s)
        begin_s = max(begin_s, self.last_s + (self.lead_bits - self.bits) / rate_bps)
        return begin_s, max(begin_s + self.bits / rate_bps, self.last_s + self.lead_bits / rate_bps)


class _Hop(NamedTuple):
    """When a block would take an inter-satellite link.

    The link is free for the next block at ``end_s``, but answers may hold the block up until ``there_s``.  Its first
    micro-batch has left at ``lead_s``.  ``paced_s`` is when the next block may begin that gets a share of the link.
    """

    node: int
    peer: int
    begin_s: float
    end_s: float
    there_s: float
    lead_s: float
    owlt_s: float
    paced_s: float
    shared: bool  # answers get no more than their share while it is there


@dataclass(frozen=True)
class _Offer:
    """When a block would be embedded (if not before), pass its hops, cross to the ground.

    The downlink is free for the next block at ``end_s``, but answers may hold the block up until ``there_s``.
    """

    embed: tuple[float, float] | None
    hops: list[_Hop]
    _: KW_ONLY
    begin_s: float
    end_s: float = math.nan
    there_s: float = math.nan
    paced_s: float = math.nan  # when the downlink is free with its share only
    shared: bool = True


@dataclass(frozen=True)
class _Terms:
    """What part of a link features get, and by how much answers hold them up, up to a time.

    Answers come in a burst, or are all those to the features that have passed before: ``answers`` bits to one of them.
    """

    share: float = 1.0
    burst_s: float = 0.0
    _: KW_ONLY
    message_bits: float = 0.0
    answers: float = 0.0
    until_s: float

    def delay_s(self, rate_bps: float, passed_bits: float) -> float:
        return self.burst_s + (self.message_bits + self.answers * passed_bits) / rate_bps


class Transport:
    """Sends ``pending[k]`` samples of each satellite, from ``first_sample[k]`` on, through ``sessions``.

    Sessions take turns by time, a block of one satellite each time.  With the sequential baseline of ``intra_orbit``
    one satellite of a plane sends at a time.  Samples ``gathered`` leave from the nearest satellite that has a copy,
    others from where they were taken.  A satellite holds ``buffer_bytes`` for others.

    Raises ``PayloadTooLargeError`` where one micro-batch exceeds the buffer of a gateway.
    """

    def __init__(
        self,
        network: RoundNetwork,
        sessions: np.ndarray,
        *,
        intra_orbit: str,
        buffer_bytes: float,
        pending: np.ndarray,
        first_sample: np.ndarray,
        gathered: Gathered | None = None,
    ) -> None:
        problem, links, shares = network.problem, network.links, network.shares
        workload, start_s = problem.workload, problem.start_s
        self.workload, self.routes, self.sessions = workload, links.routes, sessions
        self.passes, self.start_s = network.contacts, start_s
        self.plane, self.group = links.plane, links.group
        self.stores_whole = intra_orbit_strategy(intra_orbit).stores_whole
        self.bits = workload.c1_bytes * 8.0
        self.shares, self.share_down, self.share_isl = shares, shares.downlink, shares.isl
        self.embed_s = workload.embedding_flops / problem.rates.satellite_flops
        self.sunlight = problem.resources.sunlight
        self.buffer_bytes = buffer_bytes
        if self.buffer_bytes < 2.0 * workload.micro_batch * workload.c1_bytes:
            raise PayloadTooLargeError(
                f"one micro-batch of features is {workload.micro_batch * workload.c1_bytes:.0f} "
                f"bytes, a satellite buffers {self.buffer_bytes:.0f}; allowed is twice a micro-batch or more"
            )
        self.left = pending.astype(int).copy()
        self.next_sample = first_sample.astype(int).copy()
        self.embedded_s = np.full(len(pending), start_s)
        self.copies = gathered.copies if gathered else {}
        self.link_free_s = dict(gathered.link_free_s) if gathered else {}
        self.plane_free_s: dict[int, float] = {}
        # What satellites hold of others' features: until when, and how many bytes, by when it leaves.
        self.held: dict[int, list[tuple[float, float]]] = {}
        self.free_s = sessions["data_s"].copy()
        self.paced_s = sessions["data_s"].copy()  # when features with their share only leave a downlink
        # Until when answers hold up features that have a link to themselves: the next ones pass after them.
        self.through_s = sessions["data_s"].copy()
        self.link_through_s: dict[tuple[int, int], float] = {}
        self.alone_until_s, self.quiet_until_s = self._undisturbed(first_sample)
        self.link_paced_s: dict[tuple[int, int], float] = {}  # when features with their share leave a link
        self.passed_bits: dict[tuple[int, int], float] = {}  # of features, over each link
        self._same_until_s: dict[int, float] = {}
        self.answer_bits = np.zeros(len(sessions))  # that the samples sent through a session bring about
        self.slowest_isl_bps = float(self.routes.links["rate_bps"].min(initial=math.inf))
        self.slow_isls = self.slowest_isl_bps < float(self.passes["down_bps"].max(initial=0.0))
        self._rivals = sessions["group"][:, None] == sessions["group"][None, :]
        self.busy = BusyTimes()
        self.blocks: list[FeatureChunk] = []
        self.rows: list[tuple] = []

    def run(self) -> Delivery:
        """Everything that the sessions can take."""
        heap = [(float(session["data_s"]), index) for index, session in enumerate(self.sessions)]
        heapq.heapify(heap)
        while heap and self.left.any():
            free_s, index = heapq.heappop(heap)
            self.free_s[index] = free_s = self._send(index, free_s)
            if free_s < self.sessions["limit_s"][index]:
                heapq.heappush(heap, (free_s, index))
        blocks = sorted(self.blocks, key=lambda block: (block.first_s, block.session))
        return Delivery(blocks, as_activities(self.rows), left=self.left, busy=self.busy)

    def _undisturbed(self, on_ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Until when each session carries answers to its own samples alone, and until when a group's links carry none.

        A group's first session is alone until its next one begins, unless some of its samples are on the ground
        already.  Before the first session there are no answers.
        """
        sessions = self.sessions
        alone_until_s = np.full(len(sessions), -np.inf)
        quiet_until_s = np.full(int(self.group.max()) + 1, np.inf)
        for label in np.unique(sessions["group"]).tolist():
            of_group = np.flatnonzero(sessions["group"] == label)
            by_start = of_group[np.argsort(sessions["data_s"][of_group], kind="stable")]
            quiet_until_s[label] = float(sessions["data_s"][by_start[0]])
            if not on_ground[self.group == label].any():
                following = sessions["data_s"][by_start[1:]]
                alone_until_s[by_start[0]] = float(following.min(initial=np.inf))
        return alone_until_s, quiet_until_s

    def _send(self, index: int, free_s: float) -> float:
        """Send one block through a session that is free at ``free_s``; returns when it is to be asked again."""
        session = self.sessions[index]
        limit_s = float(session["limit_s"])
        tree = self.routes.tree(int(session["satellite"]), free_s)
        near, origin = self._reach(tree)
        if not len(near):
            return self._send_stored(index, free_s)
        if self.sunlight is not None:
            near = self._lit(near, free_s)
        if self.slow_isls and not self.copies:
            return self._send_first_there(index, near, tree, free_s)
        source = self._next_source(near)
        path = tree.path(origin.get(source, source))
        count = self._piece(index, near, free_s, source)
        while (count := self._whole(count, source)) > 0:
            offer = self._offer(index, source, count, path, free_s)
            if offer is None:
                return self._send_stored(index, free_s)
            late_s = offer.there_s - limit_s
            if late_s <= 0.0:
                self._commit(index, source, count, offer)
                return offer.end_s
            count = min(
                count - math.ceil(late_s * self._rate_bps(index) * self.share_down / self.bits), count - 1
            )
        return limit_s

    def _send_first_there(self, index: int, near: np.ndarray, tree: Tree, free_s: float) -> float:
        """As :meth:`_send`, where inter-satellite links are slower than the downlink.

        Blocks come in over several links at the same time then, and the first that is there goes down first.
        """
        limit_s = float(self.sessions["limit_s"][index])
        best: tuple[float, int, int, _Offer] | None = None
        for source in self._one_of_each_side(near, tree):
            path = tree.path(source)
            slowest_bps = 1.0 / max(float(tree.serial_s_per_bit[source]), 1e-15)
            count = self._piece(index, near, free_s, source)
            if len(path) > 1:
                count = min(
                    count, max(int(_SLOW_PIECE_S * slowest_bps / self.bits), self.workload.micro_batch)
                )
            while (count := self._whole(count, source)) > 0:
                offer = self._offer(index, source, count, path, free_s)
                if offer is None or offer.there_s <= limit_s:
                    break
                count //= 2
            if count > 0 and offer is not None:
                key = (offer.begin_s, -int(self.left[source]), source, offer)
                if best is None or key[:3] < best[:3]:
                    best, best_count = key, count
        if best is None:
            return self._send_stored(index, free_s)
        self._commit(index, best[2], best_count, best[3])
        return best[3].end_s

    def _one_of_each_side(self, near: np.ndarray, tree: Tree) -> list[int]:
        """Of the satellites behind each neighbour of the gateway the nearest one with most left, and the gateway."""
        side, left = tree.side[near], self.left[near]
        most = np.zeros(len(tree.side), left.dtype)
        np.maximum.at(most, side, left)
        alike = near[left >= _ALIKE * most[side]]
        _, first = np.unique(tree.side[alike], return_index=True)
        return alike[np.sort(first)].tolist()

    def _piece(self, index: int, near: np.ndarray, free_s: float, source: int) -> int:
        """How many samples of a source a session takes at once."""
        rivals = int(
            np.sum(
                self._rivals[index]
                & (self.sessions["data_s"] <= free_s + _SOON_S)
                & (self.free_s < self.sessions["limit_s"])
            )
        )
        piece = max(int(self.left[near].sum()) // (_PIECES * max(rivals, 1)), self.workload.micro_batch)
        return int(min(self.left[source], piece, self.buffer_bytes / 2.0 // self.workload.c1_bytes))

    def _send_stored(self, index: int, free_s: float) -> float:
        """Send a block that waits on board of satellites until links open; returns when the session is asked again.

        Each contact takes what it has room for, as contact graph routing books volumes (CCSDS 734.3-B-1); a block goes
        the way on which it arrives first.
        """
        session = self.sessions[index]
        limit_s, next_bucket_s = float(session["limit_s"]), self.routes.until_s(free_s)
        gateway, group = int(session["satellite"]), int(session["group"])
        waiting = np.flatnonzero((self.left > 0) & (self.group == group))
        if not len(waiting):
            return limit_s
        if self.copies:
            return next_bucket_s
        for source in waiting[np.argsort(-self.left[waiting], kind="stable")][:_STORED_TRIED].tolist():
            count = self._piece(index, waiting, free_s, source)
            while (count := self._whole(count, source)) > 0:
                path = self._foremost(source, gateway, count)
                offer = path and self._offer(index, source, count, path, free_s)
                if offer and offer.there_s <= limit_s:
                    self._commit(index, source, count, offer)
                    return offer.end_s
                count //= 2
        return next_bucket_s

    def _foremost(self, source: int, gateway: int, count: int) -> list[int] | None:
        """The nodes by which a block is first at a gateway, stored where it waits; None where it never arrives."""
        ready_s = finished_s(self.sunlight, source, float(self.embedded_s[source]), count * self.embed_s)
        hops = self.routes.foremost(
            source,
            gateway,
            ready_s,
            count * self.bits / self.share_isl,
            lambda node, peer: self.link_free_s.get((node, peer), self.start_s),
            self.shares.isl_delay_s(self.slowest_isl_bps),
        )
        return [source, *(peer for _, peer, _ in hops)] if hops else None

    def _reach(self, tree: Tree) -> tuple[np.ndarray, dict[int, int]]:
        """Satellites with samples left, nearest first, and from where the samples of those with copies leave."""
        if not self.copies:
            return tree.order[self.left[tree.order] > 0], {}
        flight_s = tree.flight_s
        sources = np.flatnonzero(self.left)
        origin = {
            source: min(self.copies[source], key=lambda holder: (flight_s[holder], holder))
            for source in sources.tolist()
        }
        reach_s = flight_s[[origin[source] for source in sources.tolist()]]
        order = np.argsort(reach_s, kind="stable")
        return sources[order[np.isfinite(reach_s[order])]], origin

    def _lit(self, near: np.ndarray, free_s: float) -> np.ndarray:
        """Satellites whose next micro-batch is there by ``free_s``, or those who have it first."""
        batch_s = self.workload.micro_batch * self.embed_s
        ready_s = np.array(
            [
                finished_s(self.sunlight, source, float(self.embedded_s[source]), batch_s)
                for source in near.tolist()
            ]
        )
        return near[ready_s <= max(free_s, float(ready_s.min()))]

    def _next_source(self, near: np.ndarray) -> int:
        """Who sends next, of the satellites with samples left, nearest first.

        The nearest of those that have most left, so that no chain of steps starts when all others are done; but
        with several epochs the one that has least left, because its second epoch waits for the end of its first.
        """
        left = self.left[near]
        if self.workload.passes > 1:
            return int(near[np.argmin(left)])
        return int(near[np.argmax(left >= _ALIKE * left.max())])

    def _whole(self, count: int, source: int) -> int:
        """``count`` cut to whole micro-batches, unless it is all that ``source`` has left."""
        size = self.workload.micro_batch
        return count if count >= self.left[source] else count // size * size

    def _offer(self, index: int, source: int, count: int, path: list[int], free_s: float) -> _Offer | None:
        """When ``count`` samples would travel; nothing is reserved.  None where a link stays shut."""
        lead = min(self.workload.micro_batch, count)
        bits = count * self.bits, lead * self.bits, self._last(count) * self.bits
        if source in self.copies:
            copy, first = self.copies[source][path[0]], int(self.next_sample[source])
            embed, first_s, last_s = None, copy.at(first + lead), copy.at(first + count)
        else:
            begun_s = float(self.embedded_s[source])
            first_s, last_s = (
                finished_s(self.sunlight, source, begun_s, number * self.embed_s) for number in (lead, count)
            )
            embed = (begun_s, last_s)
        stored = self.stores_whole
        if stored and len(path) > 1:
            first_s = max(first_s, last_s, self.plane_free_s.get(int(self.plane[source]), self.start_s))
        hops: list[_Hop] = []
        terms = self._terms(index, source, path) if len(path) > 1 else []
        for node, peer in itertools.pairwise(path):
            ready_s = max(
                first_s, self.link_free_s.get((node, peer), self.start_s), self._room_s(peer, count)
            )
            hop = self._hop(node, peer, ready_s, _Coming(*bits, last_s=last_s, relayed=bool(hops)), terms)
            if hop is None:
                return None
            hops.append(hop)
            last_s = hop.there_s + hop.owlt_s
            first_s = last_s if stored else hop.lead_s + hop.owlt_s
        offer = _Offer(embed, hops, begin_s=max(free_s, first_s))
        return self._down(offer, index, count, _Coming(*bits, last_s=last_s, relayed=bool(hops)))

    def _terms(self, index: int, source: int, path: list[int]) -> list[_Terms]:
        """On which terms features of a satellite share inter-satellite links with answers, the best first."""
        shares = self.shares
        quiet_until_s = math.inf if shares.isl == 1.0 else float(self.quiet_until_s[self.group[source]])
        terms = [_Terms(until_s=quiet_until_s)]
        if math.isfinite(quiet_until_s):
            alone_until_s = min(float(self.alone_until_s[index]), self._same_tree_until_s(index))
            gateway, data_s = int(self.sessions["satellite"][index]), float(self.sessions["data_s"][index])
            if not self.copies and self.routes.tree(gateway, data_s).path(source) == path:
                # Answers take the same links, after the features, and those up the other way.
                terms.append(
                    _Terms(
                        message_bits=shares.message_bits,
                        answers=1.0 / shares.downlink - 1.0,
                        until_s=alone_until_s,
                    )
                )
            burst_s = shares.isl_burst_s(self.slowest_isl_bps)
            terms.append(_Terms(shares.isl, burst_s, message_bits=shares.message_bits, until_s=math.inf))
        return terms

    def _same_tree_until_s(self, index: int) -> float:
        """Until when the paths to a session's gateway stay what they are at its beginning."""
        if index not in self._same_until_s:
            session = self.sessions[index]
            gateway, time_s, limit_s = (
                int(session["satellite"]),
                float(session["data_s"]),
                float(session["limit_s"]),
            )
            tree = self.routes.tree(gateway, time_s)
            while time_s < limit_s and self.routes.tree(gateway, time_s) is tree:
                time_s = self.routes.until_s(time_s)
            self._same_until_s[index] = time_s
        return self._same_until_s[index]

    def _hop(self, node: int, peer: int, ready_s: float, block: _Coming, terms: list[_Terms]) -> _Hop | None:
        """When a block takes a link, on the best terms that hold until then; None where the link is shut before."""
        passed_bits = self.passed_bits.get((node, peer), 0.0) + block.bits - block.tail_bits
        best: _Hop | None = None
        for term in terms:
            spare_s = term.delay_s(self.slowest_isl_bps, passed_bits)
            from_s = ready_s
            if term.share < 1.0:
                from_s = max(ready_s, self.link_paced_s.get((node, peer), ready_s))
            begin_s, shut_s, link_bps, owlt_s = self.routes.window(
                node, peer, from_s, block.bits / term.share, spare_s
            )
            usable_bps = link_bps * term.share
            begin_s, end_s = block.served(begin_s, usable_bps)
            there_s = end_s + term.delay_s(link_bps, passed_bits)
            if there_s <= min(shut_s + 1e-9, term.until_s) and (best is None or there_s < best.there_s):
                best = _Hop(
                    node, peer, begin_s=begin_s, end_s=end_s, there_s=there_s, owlt_s=owlt_s,
                    lead_s=self._after(node, peer, begin_s, term) + block.lead_bits / usable_bps,
                    paced_s=there_s if term.share == 1.0 else end_s,
                    shared=term.share < 1.0,
                )  # fmt: skip
                if not self.stores_whole:
                    break
        return best

    def _after(self, node: int, peer: int, begin_s: float, term: _Terms) -> float:
        """When the first of a block passes a link on which it may begin at ``begin_s``."""
        return max(begin_s, self.link_through_s.get((node, peer), begin_s)) if term.share == 1.0 else begin_s

    def _down(self, offer: _Offer, index: int, count: int, block: _Coming) -> _Offer:
        """An offer with its way to the ground, which may begin at ``offer.begin_s``.

        Features get their share of the downlink, and all of it but for the answers that there can be by then where that
        is sooner.
        """
        rate_bps = self._rate_bps(index)
        begin_s = max(offer.begin_s, float(self.paced_s[index]))
        begin_s, paced_s = block.served(begin_s, rate_bps * self.share_down)
        there_s = paced_s + self.shares.downlink_delay_s(rate_bps)
        if self.alone_until_s[index] >= there_s:
            answer_bits = float(self.answer_bits[index]) + self._answer_bits(count - self._last(count))
            alone_begin_s, end_s = block.served(offer.begin_s, rate_bps)
            alone_s = end_s + answer_bits / rate_bps
            if alone_s < there_s:
                return replace(
                    offer, begin_s=alone_begin_s, end_s=end_s, there_s=alone_s, paced_s=paced_s, shared=False
                )
        return replace(offer, begin_s=begin_s, end_s=paced_s, there_s=there_s, paced_s=paced_s)

    def _rate_bps(self, index: int) -> float:
        return float(self.passes["down_bps"][self.sessions["pass_index"][index]])

    def _last(self, count: int) -> int:
        """Samples of the last micro-batch of a block."""
        return (count - 1) % self.workload.micro_batch + 1

    def _answer_bits(self, count: int) -> float:
        """What comes down of samples that are on the ground, in all their passes."""
        return count * self.workload.passes * self.workload.c3_bytes * 8.0

    def _room_s(self, node: int, count: int) -> float:
        """From when on a satellite has room for ``count`` samples more of others."""
        held = self.held.get(node)
        if held is None or math.isinf(self.buffer_bytes):
            return self.start_s
        room_s, room_bytes = self.start_s, self.buffer_bytes - count * self.workload.c1_bytes
        holds = sum(size for _, size in held)
        for leaves_s, size in held:
            if holds <= room_bytes:
                break
            room_s, holds = leaves_s, holds - size
        return room_s

    def _hold(self, offer: _Offer, size: float) -> None:
        """A block takes the memory of the satellites on its way, from where it comes until it has left."""
        left_s = [*(hop.there_s for hop in offer.hops), offer.there_s][1:]
        for hop, leaves_s in zip(offer.hops, left_s, strict=True):
            insort(self.held.setdefault(hop.peer, []), (leaves_s, size))

    def _commit(self, index: int, source: int, count: int, offer: _Offer) -> None:
        session = self.sessions[index]
        first = int(self.next_sample[source])
        end, size = first + count, count * self.workload.c1_bytes
        gateway, station = int(session["satellite"]), int(session["station"])

        def note(
            kind: Kind,
            link: int,
            node: int,
            peer: int,
            begin_s: float,
            end_s: float,
            amount: float,
            flops: float,
        ) -> None:
            self.rows.append((kind, link, source, node, peer, begin_s, end_s, amount, flops, first, end, 0))

        if offer.embed:
            self.embedded_s[source] = offer.embed[1]
        if offer.embed and self.embed_s:
            note(Kind.EMBED, ON_NO_LINK, source, -1, *offer.embed, 0.0, count * self.workload.embedding_flops)
        for hop in offer.hops:
            inside = self.plane[hop.node] == self.plane[hop.peer]
            link = LinkKind.INTRA_ISL if inside else LinkKind.INTER_ISL
            note(Kind.FEATURES, link, hop.node, hop.peer, hop.begin_s, hop.there_s, size, 0.0)
            if hop.shared:
                self.busy.add((hop.node, hop.peer), hop.begin_s, hop.there_s)
            self.link_free_s[hop.node, hop.peer] = hop.end_s
            self.link_paced_s[hop.node, hop.peer] = hop.paced_s
            if not hop.shared:
                self.link_through_s[hop.node, hop.peer] = hop.there_s
            passed_bits = self.passed_bits.get((hop.node, hop.peer), 0.0)
            self.passed_bits[hop.node, hop.peer] = passed_bits + count * self.bits
        note(Kind.FEATURES, LinkKind.DOWNLINK, gateway, station, offer.begin_s, offer.there_s, size, 0.0)
        if offer.hops and self.stores_whole:
            self.plane_free_s[int(self.plane[source])] = offer.hops[-1].there_s
        self._hold(offer, size)
        self.paced_s[index] = offer.paced_s
        if offer.shared:
            self.busy.add((index, "down"), offer.begin_s, offer.there_s)
        begin_s = offer.begin_s
        if not offer.shared:
            begin_s, self.through_s[index] = max(begin_s, float(self.through_s[index])), offer.there_s
        self.answer_bits[index] += self._answer_bits(count)
        self.next_sample[source] = end
        self.left[source] -= count
        self.free_s[index] = offer.end_s
        owlt_s = float(self.passes["owlt_s"][session["pass_index"]])
        self.blocks.append(
            FeatureChunk(
                source,
                index,
                first=first,
                end=end,
                first_s=begin_s + owlt_s,
                last_s=offer.there_s + owlt_s,
            )
        )
