"""Flies a plan: a discrete-event replay that takes from it what was decided, and finds out by itself when it ends.

Decisions are who holds which antenna and laser from when on, which way blocks of features, hidden states, gradients and
weights go, in which order links carry blocks, and in which order the ground makes its forward and backward passes.  All
times are the replay's own: everything goes as soon as what it waits for is there and its link or processor is free.
Small messages go ahead of features, first come first served; features travel a micro-batch at a time.

Nothing of the planner or the checker is imported but the form of a plan and of its workload.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mission.client_update import pieces_of
from orbit.contact_plan import ContactPlan, LinkKind
from strategies.intra_orbit import intra_orbit_strategy
from strategies.problem.plan import Kind, Plan
from strategies.problem.round_state import RoundState, without
from strategies.problem.workload import ComputeRates, Resources, Workload

_TINY_S = 1e-6
_SGL = (LinkKind.DOWNLINK, LinkKind.UPLINK)


class ReplayError(RuntimeError):
    """The plan's own decisions lead nowhere; the message says what waits for what."""


@dataclass(frozen=True, eq=False)
class Flown:
    """When the round has ended, and each satellite's last step."""

    end_s: float
    finish_s: np.ndarray


def replay(
    plan: Plan,
    contact_plan: ContactPlan,
    workload: Workload,
    rates: ComputeRates,
    resources: Resources,
    state: RoundState | None = None,
) -> Flown:
    """Fly a plan.  Raises ``ReplayError`` where it cannot be flown to its end."""
    state = state or RoundState()
    if state.lost:
        contact_plan, workload = without(contact_plan, state.lost), workload.without(state.lost)
    return _EmulatedClock(plan, contact_plan, workload, rates, resources, state).fly()


class _Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, time_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(time_s, self.now_s), next(self._count), event))

    def run(self) -> None:
        while self._events:
            self.now_s, _, event = heapq.heappop(self._events)
            event()


@dataclass(eq=False)
class _Item:
    """Something that crosses a link."""

    bits: float
    arrived: Callable[[], None]
    what: str
    over: Callable[[], None] = lambda: None  # called when the last bit has left
    fits: Callable[[], bool] = lambda: True  # whether there is room for it at the other end
    left: float = 0.0
    ready: bool = False

    def __post_init__(self) -> None:
        self.left = self.bits


@dataclass(frozen=True)
class _TransferHeader:
    start_s: float
    end_s: float
    rate_bps: float
    owlt_s: float


class _Link:
    """One direction of a link: small messages first, then features in the order decided."""

    def __init__(self, clock: _Clock, transfer_headers: list[_TransferHeader], name: str) -> None:
        self._clock, self._transfer_headers, self.name = (
            clock,
            sorted(transfer_headers, key=lambda one: one.start_s),
            name,
        )
        self._small: deque[_Item] = deque()
        self._large: deque[_Item] = deque()
        self._current: tuple[_Item, bool, float, _TransferHeader] | None = None
        self._token = 0

    def expect(self, items: Iterable[_Item]) -> None:
        """Features that are going to cross, one after the other."""
        self._large.extend(items)

    def send(self, item: _Item) -> None:
        self._small.append(item)
        self.serve()

    def offer(self, item: _Item) -> None:
        """Features of which this item is are at the link now."""
        item.ready = True
        self.serve()

    def waiting(self) -> list[str]:
        return [f"{item.what} for {self.name}" for item in itertools.chain(self._small, self._large)]

    def serve(self) -> None:
        now_s = self._clock.now_s
        if self._current is not None:
            item, small, since_s, transfer_header = self._current
            if small or not self._small:
                return
            item.left = max(item.left - (now_s - since_s) * transfer_header.rate_bps, 0.0)
            self._current, self._token = None, self._token + 1
        small = bool(self._small)
        if not small and not (self._large and self._large[0].ready and self._large[0].fits()):
            return
        item = self._small[0] if small else self._large[0]
        transfer_header = self._transfer_header(item, now_s)
        if transfer_header is None:
            return
        self._token += 1
        token = self._token
        if transfer_header.start_s > now_s + 1e-9:

            def wake() -> None:
                if token == self._token and self._current is None:
                    self.serve()

            self._clock.at(transfer_header.start_s, wake)
            return
        self._current = (item, small, now_s, transfer_header)

        def over() -> None:
            if token != self._token:
                return
            self._current = None
            (self._small if small else self._large).popleft()
            item.over()
            self._clock.at(self._clock.now_s + transfer_header.owlt_s, item.arrived)
            self.serve()

        self._clock.at(now_s + item.left / transfer_header.rate_bps, over)

    def _transfer_header(self, item: _Item, now_s: float) -> _TransferHeader | None:
        """The first opening in which the item fits; what does not fit starts anew in the next."""
        for transfer_header in self._transfer_headers:
            if transfer_header.end_s <= now_s:
                continue
            bits = item.left if transfer_header.start_s <= now_s + 1e-9 else item.bits
            if (
                max(transfer_header.start_s, now_s) + bits / transfer_header.rate_bps
                <= transfer_header.end_s + _TINY_S
            ):
                item.left = bits
                return transfer_header
        return None


class _Memory:
    """The memory of a satellite for features of others: a piece enters once there is room for it and for all that leave
    before it."""

    def __init__(self, bits: float, leaving: Iterable[tuple[float, int, _Item]]) -> None:
        self._room, self._left = bits, dict[int, float]()
        for _, _, item in sorted(leaving, key=lambda one: one[:2]):
            self._left[id(item)] = item.bits
        self.into: list[_Link] = []  # links whose pieces come in here

    def fits(self, item: _Item) -> bool:
        """Return whether a piece may come in now that leaves as ``item``."""
        ahead = 0.0
        for key, bits in self._left.items():
            ahead += bits
            if key == id(item):
                break
        return ahead <= self._room * (1.0 + 1e-9)

    def free(self, item: _Item) -> None:
        """A piece has left as ``item``."""
        del self._left[id(item)]
        for link in self.into:
            link.serve()


class _Turns:
    """Blocks that cross a plane one after the other, in this order."""

    def __init__(self, blocks: Iterable[tuple[int, int, int]]) -> None:
        self._blocks = deque(blocks)
        self._waiting: dict[tuple[int, int, int], Callable[[], None]] = {}

    def ask(self, block: tuple[int, int, int], begin: Callable[[], None]) -> None:
        """Have ``begin`` called as soon as it is a block's turn."""
        self._waiting[block] = begin
        self._look()

    def over(self) -> None:
        """The block whose turn it is has crossed the plane."""
        self._blocks.popleft()
        self._look()

    def _look(self) -> None:
        if self._blocks and self._blocks[0] in self._waiting:
            self._waiting.pop(self._blocks[0])()


@dataclass(eq=False)
class _Batch:
    """A batched step: its rows in the table, and what of it is over."""

    number: int
    rows: np.ndarray
    forward_s: float
    backward_s: float
    parts: int
    there: list[int] = field(default_factory=list)  # members whose gradient of each part is on the ground
    computed: bool = False
    over: bool = False


class _EmulatedClock:
    def __init__(
        self, plan: Plan, contact_plan: ContactPlan, workload: Workload, rates: ComputeRates, resources: Resources,
        state: RoundState,
    ) -> None:  # fmt: skip
        self.plan, self.contact_plan, self.workload = plan, contact_plan, workload
        self.rates, self.resources, self.state = rates, resources, state
        self.rows = plan.activities
        self.satellites = len(contact_plan.satellites)
        self.clock = _Clock(plan.start_s)
        self.last_s = plan.start_s
        self.finish_s = np.full(self.satellites, plan.start_s)
        self.trained_alone = False
        self.computed_s = (
            plan.start_s
        )  # when the ground is done with what has come, where it trains by itself
        self.links: dict[tuple[int, int], _Link] = {}
        self.data_s = self._session_starts()
        self.transfer_headers = self._transfer_headers()

    def fly(self) -> Flown:
        self._features()
        if self.workload.central:
            self._central()
        elif not self.workload.on_board:
            self.ground = _Ground(self) if len(self.plan.steps) else None
            if self.ground is None:
                self._local_heads()
        self._training()
        self.weights = _Weights(self)
        self.clock.at(self.plan.start_s, self._nudge)
        self.clock.run()
        self._nothing_left()
        return Flown(self.last_s, self.finish_s)

    def _nudge(self) -> None:
        if getattr(self, "ground", None) is not None:
            self.ground.go()
        if self.weights is not None:
            self.weights.look()

    def done(self) -> None:
        self.last_s = max(self.last_s, self.clock.now_s)

    # Links as the decisions on antennas and lasers make them.

    def _session_starts(self) -> list[tuple[int, int, float, float, float]]:
        """Sessions as (satellite, station, data from, until, planned end): held until antenna or beam is needed."""
        sessions = self.rows[self.rows["kind"] == Kind.SESSION]
        found = []
        for row in sessions:
            others = sessions[sessions["start_s"] >= row["end_s"] - _TINY_S]
            own = others["start_s"][others["node"] == row["node"]]
            until_s = float(own.min(initial=math.inf))
            station = sessions[sessions["peer"] == row["peer"]]
            for next_s in np.sort(others["start_s"][others["peer"] == row["peer"]]).tolist():
                there = (station["start_s"] <= next_s) & (station["end_s"] > next_s)
                if there.sum() >= self.resources.beams_of(int(row["peer"])):
                    until_s = min(until_s, next_s)
                    break
            data_s = float(row["start_s"]) + self._set_up_s(row, self.resources.setup_s)
            found.append((int(row["node"]), int(row["peer"]), data_s, until_s, float(row["end_s"])))
        return found

    def _set_up_s(self, row: np.void, set_up_s: float) -> float:
        pair = (int(row["node"]), int(row["peer"]))
        from_start = abs(row["start_s"] - self.plan.start_s) <= _TINY_S
        known = pair in self.state.pointed or pair[::-1] in self.state.pointed
        return 0.0 if from_start and known else set_up_s

    def _transfer_headers(self) -> dict[tuple[int, int], list[_TransferHeader]]:
        found: dict[tuple[int, int], list[_TransferHeader]] = {}

        def add(contact: np.void, from_s: float, until_s: float) -> None:
            begin_s, end_s = max(float(contact["start_s"]), from_s), min(float(contact["end_s"]), until_s)
            if end_s > begin_s and contact["rate_bps"] > 0:
                pair = (int(contact["source"]), int(contact["target"]))
                transfer_header = _TransferHeader(
                    begin_s, end_s, float(contact["rate_bps"]), float(contact["owlt_s"])
                )
                found.setdefault(pair, []).append(transfer_header)

        for contact in self.contact_plan.of_kind(LinkKind.INTRA_ISL):
            add(contact, -math.inf, math.inf)
        for satellite, station, data_s, until_s, _ in self.data_s:
            for ends in ((satellite, station), (station, satellite)):
                for contact in self.contact_plan.between(*ends):
                    if contact["start_s"] <= data_s + _TINY_S and contact["end_s"] > data_s:
                        add(contact, data_s, until_s)
        for row in self.rows[self.rows["kind"] == Kind.ISL_POINTING]:
            ready_s = float(row["start_s"]) + self._set_up_s(row, self.resources.acquisition_s)
            until_s = math.inf if row["end_s"] >= self.plan.end_s - _TINY_S else float(row["end_s"])
            for ends in ((int(row["node"]), int(row["peer"])), (int(row["peer"]), int(row["node"]))):
                for contact in self.contact_plan.between(*ends):
                    if contact["start_s"] <= row["start_s"] + _TINY_S and contact["end_s"] > row["start_s"]:
                        add(contact, ready_s, until_s)
        return found

    def link(self, node: int, peer: int) -> _Link:
        if (node, peer) not in self.links:
            names = self.contact_plan.nodes
            name = f"{names[node].name} → {names[peer].name}"
            self.links[node, peer] = _Link(self.clock, self.transfer_headers.get((node, peer), []), name)
        return self.links[node, peer]

    def message(
        self, path: list[tuple[int, int]], bits: float, what: str, arrived: Callable[[], None]
    ) -> None:
        """A small message along a path, store and forward."""
        if not path:
            arrived()
            return
        (node, peer), rest = path[0], path[1:]
        self.link(node, peer).send(_Item(bits, lambda: self.message(rest, bits, what, arrived), what))

    # Computing on board.

    def lit_s(self, satellite: int, start_s: float, work_s: float) -> float:
        """When work that begins at a time is done, in sunlight where that is the condition."""
        sunlight = self.resources.sunlight
        if sunlight is None or work_s <= 0:
            return start_s + work_s
        for begin_s, end_s in sunlight.lit_s[satellite].tolist():
            begin_s = max(begin_s, start_s)
            if end_s > begin_s:
                if work_s <= end_s - begin_s:
                    return begin_s + work_s
                work_s -= end_s - begin_s
        return math.inf

    def _training(self) -> None:
        """Whole models on board, after the embedding of what takes the split way."""
        self.trained_s: dict[int, float] = {}
        for row in self.rows[self.rows["kind"] == Kind.TRAIN]:
            satellite = int(row["satellite"])
            count = int(row["end_sample"] - row["first_sample"])
            work_s = count * self.workload.onboard_flops * self.workload.epochs / self.rates.satellite_flops
            begin_s = self.embedded_s.get(satellite, self.plan.start_s)
            self.embedded_s[satellite] = self.trained_s[satellite] = self.lit_s(satellite, begin_s, work_s)
        for satellite, time_s in self.trained_s.items():
            if math.isfinite(time_s):
                self.clock.at(time_s, lambda satellite=satellite: self._trained(satellite))

    def _trained(self, satellite: int) -> None:
        self.trained_s.pop(satellite, None)
        self.over(satellite)

    def over(self, satellite: int) -> None:
        """A satellite's step or training is over."""
        self.finish_s[satellite] = max(self.finish_s[satellite], self.clock.now_s)
        self.done()
        if self.weights is not None and self.weights.done(satellite):
            self.weights.touch(satellite)
            if (
                not self.workload.aggregate_bytes
            ):  # nothing is summed: what the ground tells follows the last step
                self.weights.heard()

    # Features.

    def _features(self) -> None:
        """Let blocks go to the ground, which are embedded one after the other."""
        self.on_ground = {k: np.ones(count, bool) for k, count in enumerate(self.workload.samples)}
        self.pieces_left = 0
        self.embedded_s: dict[int, float] = {}
        crossing = _FeatureTraffic(self)
        # Embedding, in the order decided.
        each_s = self.workload.embedding_flops / self.rates.satellite_flops
        embeds = self.rows[self.rows["kind"] == Kind.EMBED]
        done: set[tuple[int, int]] = set()
        for row in embeds[np.argsort(embeds["start_s"], kind="stable")]:
            source, (first, end) = int(row["satellite"]), _span(row)
            for begin, until in self.pieces(source, first, end):
                now_s = self.embedded_s.get(source, self.plan.start_s)
                self.embedded_s[source] = now_s = self.lit_s(source, now_s, (until - begin) * each_s)
                done.add((source, begin))
                if math.isfinite(now_s):
                    self.clock.at(now_s, lambda s=source, b=begin: crossing.come(s, b, s))
        if not each_s:
            for source, first in crossing.at_home():
                if (source, first) not in done:
                    self.clock.at(self.plan.start_s, lambda s=source, b=first: crossing.come(s, b, s))

    def pieces(self, source: int, first: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of some samples that are embedded and sent by themselves.

        They are those of steps: a step need not wait for samples of the next that the same block brings.
        """
        cuts = {
            cut
            for cut in (*range(0, end, self.workload.micro_batch), *self._blocks.get(source, ()))
            if cut > first
        }
        edges = [first, *sorted(cut for cut in cuts if cut < end), end]
        return list(itertools.pairwise(edges))

    @cached_property
    def _blocks(self) -> dict[int, set[int]]:
        """Where the blocks of each satellite begin and end."""
        found: dict[int, set[int]] = {}
        for row in self.rows[np.isin(self.rows["kind"], (Kind.FEATURES, Kind.GATHER))]:
            found.setdefault(int(row["satellite"]), set()).update(_span(row))
        return found

    def landed(self, source: int, first: int, end: int) -> None:
        """Features are on the ground."""
        self.on_ground[source][first:end] = True
        self.pieces_left -= 1
        self.done()
        self._on_features(source, first, end)

    def _on_features(self, source: int, first: int, end: int) -> None:
        if getattr(self, "ground", None) is not None:
            self.ground.go()
        if self.workload.central:
            self._compute(end - max(first, min(self._passed(source), end)))
            if not self.pieces_left:
                self._train_on_the_ground()

    def _central(self) -> None:
        """The ground by itself: what has come already is computed at once."""
        for source, there in self.on_ground.items():
            done = min(self._passed(source), len(there))
            self._compute(int(there[done:].sum()))
        if not self.pieces_left:
            self.clock.at(self.plan.start_s, self._train_on_the_ground)

    def _passed(self, satellite: int) -> int:
        return int(self.state.done[satellite]) if self.state.done else 0

    def _compute(self, count: int) -> None:
        begin_s = max(self.computed_s, self.clock.now_s)
        self.computed_s = begin_s + count * self.workload.ground_flops / self.rates.ground_flops

    def _train_on_the_ground(self) -> None:
        """All later passes over all samples, after the first has been over each as it came."""
        for satellite, count in enumerate(self.workload.samples):
            later = count * (self.workload.passes - 1)
            self._compute(later - max(0, self._passed(satellite) - count))
        time_s, samples = self.computed_s, np.asarray(self.workload.samples)

        def over() -> None:
            self.trained_alone = True
            for satellite in np.flatnonzero(samples).tolist():
                self.over(satellite)

        self.clock.at(time_s, over)

    def _local_heads(self) -> None:
        for row in self.rows[self.rows["kind"] == Kind.HEAD]:
            count = int(row["end_sample"] - row["first_sample"])
            work_s = count * self.workload.head_flops * self.workload.epochs / self.rates.satellite_flops
            satellite = int(row["satellite"])
            self.clock.at(self.plan.start_s + work_s, lambda satellite=satellite: self.over(satellite))

    def _nothing_left(self) -> None:
        left = [what for link in self.links.values() for what in link.waiting()]
        if getattr(self, "ground", None) is not None:
            left += self.ground.waiting()
        if self.weights is not None:
            left += self.weights.waiting()
        left += [f"training of {self.contact_plan.nodes[k].name} in the dark" for k in self.trained_s]
        if left:
            raise ReplayError(f"{len(left)} things wait for ever: {'; '.join(left[:3])}")

    ground: _Ground | None = None
    weights: _Weights | None = None


class _FeatureTraffic:
    """Blocks of features in pieces of a micro-batch, hop by hop to the ground, each in memory where it has to wait.

    With a strategy that stores whole payloads a block goes on when all of it is there, and one of a plane's blocks at a
    time is on inter-satellite links.
    """

    def __init__(self, flight: _EmulatedClock) -> None:
        self.flight = flight
        rows = flight.rows
        crossing = rows[np.isin(rows["kind"], (Kind.FEATURES, Kind.GATHER))]
        hops = crossing[crossing["kind"] == Kind.FEATURES]
        self.relayed = {(int(row["satellite"]), *_span(row), int(row["peer"])) for row in hops}
        self.whole = intra_orbit_strategy(flight.plan.strategy_config.intra_orbit).stores_whole
        # Who waits for a piece at a node, and what is there.
        self.place: dict[tuple[int, int, int], list[Callable[[], None]]] = {}
        self.at: set[tuple[int, int, int]] = set()
        self.order: dict[tuple[int, int], list[tuple[float, int, _Item]]] = {}
        self.coming: list[tuple[int, _Item, tuple[int, int, int]]] = []  # what comes into a node's memory
        self.leaving: dict[int, dict[tuple[int, int, int], tuple[float, int, _Item]]] = {}
        self.count = itertools.count()
        self.turns: dict[int, _Turns] = {}
        if self.whole:
            self._give_turns(hops)
        for row in crossing:
            self._hop(row)
        for pair, items in self.order.items():
            flight.link(*pair).expect(item for _, _, item in sorted(items, key=lambda one: one[:2]))
        if math.isfinite(flight.resources.buffer_bytes):
            self._bound_memory(crossing)

    def come(self, source: int, first: int, node: int) -> None:
        """A piece is at a node."""
        self.at.add((source, first, node))
        for waiter in self.place.pop((source, first, node), []):
            waiter()

    def at_home(self) -> list[tuple[int, int]]:
        """Return the pieces (satellite, first sample) that somebody waits for where they were taken."""
        return [(source, first) for source, first, node in self.place if node == source]

    def _give_turns(self, hops: np.ndarray) -> None:
        """One block after the other crosses a plane."""
        isls = hops[hops["link"] != LinkKind.DOWNLINK]
        first_hops = isls[isls["node"] == isls["satellite"]]
        plane_of = {node: plane for plane, nodes in self.flight.contact_plan.planes.items() for node in nodes}
        blocks: dict[int, list[tuple[int, int, int]]] = {}
        for row in first_hops[np.argsort(first_hops["start_s"], kind="stable")]:
            blocks.setdefault(plane_of[int(row["satellite"])], []).append(
                (int(row["satellite"]), *_span(row))
            )
        for plane, of_plane in blocks.items():
            turns = _Turns(of_plane)
            self.turns |= dict.fromkeys((node for node in plane_of if plane_of[node] == plane), turns)

    def _hop(self, row: np.void) -> None:
        """One hop of a block, piece by piece."""
        flight = self.flight
        source, node, peer = int(row["satellite"]), int(row["node"]), int(row["peer"])
        first, end = _span(row)
        down, copied = row["link"] == LinkKind.DOWNLINK, row["kind"] == Kind.GATHER
        # Copies of a plane are where they are for good; what a block carries passes by.
        passes_by = not copied and (source, first, end, node) in self.relayed
        origin = -2 - node if passes_by else node
        pieces = flight.pieces(source, first, end)
        begins = [begin for begin, _ in pieces]
        link = flight.link(node, peer)
        items = []
        for begin, until in pieces:
            if down:
                flight.on_ground[source][begin:until] = False
                flight.pieces_left += 1
                arrived = lambda b=begin, u=until: flight.landed(source, b, u)  # noqa: E731
            else:
                to = peer if copied else -2 - peer
                arrived = lambda b=begin, to=to: self._moved(source, b, to, copied=copied)  # noqa: E731
            what = f"samples {begin}–{until} of {flight.contact_plan.nodes[source].name}"
            item = _Item((until - begin) * flight.workload.c1_bytes * 8.0, arrived, what)
            entry = (float(row["start_s"]), next(self.count), item)
            self.order.setdefault((node, peer), []).append(entry)
            if passes_by:
                self.leaving.setdefault(node, {})[source, begin, end] = entry
            if not down and not copied:
                self.coming.append((peer, item, (source, begin, end)))
            items.append(item)
        whole = self.whole and not copied and (passes_by or not down)
        if not whole:
            for begin, item in zip(begins, items, strict=True):
                self._when_at((source, begin, origin), lambda item=item: link.offer(item))
            return
        offer = lambda: [link.offer(item) for item in items]  # noqa: E731
        if origin == source:
            block = (source, first, end)
            self._when_at((source, begins[-1], origin), lambda: self.turns[source].ask(block, offer))
        else:
            self._when_at((source, begins[-1], origin), offer)
        if not down and not self._goes_on(source, first, end, peer):
            items[-1].over = self.turns[source].over

    def _goes_on(self, source: int, first: int, end: int, node: int) -> bool:
        """Return whether a block takes another inter-satellite link from a node."""
        rows = self.flight.rows
        onward = rows[
            (rows["kind"] == Kind.FEATURES) & (rows["node"] == node) & (rows["satellite"] == source)
        ]
        of_block = (onward["first_sample"] == first) & (onward["end_sample"] == end)
        return bool((of_block & (onward["link"] != LinkKind.DOWNLINK)).any())

    def _when_at(self, piece: tuple[int, int, int], ready: Callable[[], None]) -> None:
        if piece in self.at:
            self.flight.clock.at(self.flight.clock.now_s, ready)
        else:
            self.place.setdefault(piece, []).append(ready)

    def _moved(self, source: int, first: int, node: int, *, copied: bool) -> None:
        if copied:
            self.flight.done()
        self.come(source, first, node)

    def _bound_memory(self, crossing: np.ndarray) -> None:
        """Nothing comes in where there is no room; copies that stay have theirs for good."""
        copies = crossing[crossing["kind"] == Kind.GATHER]
        for node, leaving in self.leaving.items():
            kept = float(copies["bytes"][copies["peer"] == node].sum())
            memory = _Memory((self.flight.resources.buffer_bytes - kept) * 8.0, leaving.values())
            memory.into = [self.flight.link(*pair) for pair in self.order if pair[1] == node]
            for _, _, item in leaving.values():
                item.over = _both(item.over, lambda memory=memory, item=item: memory.free(item))
            for peer, item, piece in self.coming:
                if peer == node:
                    item.fits = lambda memory=memory, onward=leaving[piece][2]: memory.fits(onward)


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        first()
        second()

    return call


class _Ground:
    """The ground's passes in the order of the plan, and what crosses between them."""

    def __init__(self, flight: _EmulatedClock) -> None:
        self.flight, self.workload = flight, flight.workload
        self.lora = self.workload.chained
        steps, rates = flight.plan.steps, flight.rates
        self.batches: list[_Batch] = []
        for number in np.unique(steps["batch"]).tolist():
            rows = steps[steps["batch"] == number]
            count = (rows["end_sample"] - rows["first_sample"]).astype(int)
            messages = len(rows) * self.workload.micro_batches * rates.message_s
            parts = max(min(self.workload.micro_batches, int(one)) for one in count)
            forward_s = (
                float(count.sum()) * self.workload.backbone_forward_flops / rates.ground_flops + messages
            )
            backward_s = (
                float(count.sum()) * self.workload.backbone_backward_flops / rates.ground_flops + messages
            )
            batch = _Batch(number, rows, forward_s, backward_s if self.lora else 0.0, parts)
            batch.there = [0] * parts
            self.batches.append(batch)
        self.order = self._order()
        self.at = 0
        self.free_s = flight.plan.start_s
        self.busy = False
        self.updates = 0  # made in order
        self.steps_over: dict[int, int] = {}  # by satellite
        self.position: dict[tuple[int, int], int] = {}  # of each step among those of its satellite
        for satellite in np.unique(steps["satellite"]).tolist():
            numbers = np.sort(steps["step"][steps["satellite"] == satellite]).tolist()
            self.position |= {(satellite, number): index for index, number in enumerate(numbers)}
        self.paths = {kind: self._paths(kind) for kind in (Kind.HIDDEN, Kind.GRADIENT)}
        self.head_free_s: dict[int, float] = {}
        self.on_board: dict[int, int] = {}
        self.left = {int(k): int((steps["satellite"] == k).sum()) for k in np.unique(steps["satellite"])}
        self.heads = {int(row["satellite"]): row for row in flight.rows[flight.rows["kind"] == Kind.HEAD]}
        self.part_done = 0

    def _order(self) -> list[tuple[_Batch, bool]]:
        """Passes (batch, backward?) as the plan has them follow each other."""
        timed = []
        for batch in self.batches:
            start_s, end_s = float(batch.rows["start_s"].min()), float(batch.rows["end_s"].max())
            timed.append((start_s, 1, batch.number, batch, False))
            if self.lora:
                # None lasts beyond the beginning of the next: ends and beginnings tell their order.
                timed.append((end_s, 0, batch.number, batch, True))
        return [(batch, back) for *_, batch, back in sorted(timed, key=lambda one: one[:3])]

    def _paths(self, kind: Kind) -> dict[int, list[tuple[int, int, int, list[tuple[int, int]]]]]:
        """Ways of a satellite's crossings, as (pass, first sample, end, hops)."""
        rows = self.flight.rows[self.flight.rows["kind"] == kind]
        runs: dict[tuple[int, int, int, int], dict[int, int]] = {}
        for row in rows:
            key = (int(row["satellite"]), int(row["epoch"]), *_span(row))
            runs.setdefault(key, {})[int(row["node"])] = int(row["peer"])
        found: dict[int, list[tuple[int, int, int, list[tuple[int, int]]]]] = {}
        for (satellite, epoch, first, end), hops in runs.items():
            starts = set(hops) - set(hops.values())
            path, node = [], starts.pop() if starts else -1
            while node in hops:
                path.append((node, hops[node]))
                node = hops.pop(node)
            found.setdefault(satellite, []).append((epoch, first, end, path))
        return found

    def path(self, kind: Kind, step: np.void) -> list[tuple[int, int]]:
        for epoch, first, end, path in self.paths[kind].get(int(step["satellite"]), ()):
            if epoch == step["epoch"] and first <= step["first_sample"] < end:
                return path
        raise ReplayError(f"{self._name(step)}: no way for {kind.name}")

    def _name(self, step: np.void) -> str:
        return f"step {step['step']} of {self.flight.contact_plan.nodes[int(step['satellite'])].name}"

    def waiting(self) -> list[str]:
        return [
            f"{'backward' if back else 'forward'} pass of batch {batch.number} ({self._name(batch.rows[0])})"
            for batch, back in self.order[self.at :]
        ]

    def go(self) -> None:
        """Begin the next pass if all that it waits for is there."""
        if self.busy or self.at >= len(self.order):
            return
        batch, back = self.order[self.at]
        clock = self.flight.clock
        if back:
            self._backward_part(batch)
            return
        held_s = self._held_s(batch)
        if held_s is None:
            return
        if held_s > clock.now_s + 1e-9:
            clock.at(held_s, self.go)
            return
        self.busy = True
        self.at += 1
        begin_s = clock.now_s

        def over() -> None:
            self.busy = False
            batch.computed = True
            self.go()

        for row in batch.rows:
            parts = (
                min(self.workload.micro_batches, int(row["end_sample"] - row["first_sample"]))
                if self.lora
                else 1
            )
            for part in range(1, parts + 1):
                clock.at(
                    begin_s + batch.forward_s * part / parts,
                    lambda row=row, part=part, parts=parts: self._hidden(batch, row, part, parts),
                )
        clock.at(begin_s + batch.forward_s, over)

    def _held_s(self, batch: _Batch) -> float | None:
        """From when on the forward pass may begin, None while that is not known."""
        begin_s = self.flight.clock.now_s
        if self.workload.shared_adapter and self.updates < batch.number - self.workload.gradient_delay:
            return None
        for row in batch.rows:
            satellite = int(row["satellite"])
            if not self.flight.on_ground[satellite][row["first_sample"] : row["end_sample"]].all():
                return None
            if self.lora and self.steps_over.get(satellite, 0) < self.position[satellite, int(row["step"])]:
                return None
            held = [
                data_s
                for node, peer, data_s, _, end_s in self.flight.data_s
                if (node, peer) == (row["gateway"], row["station"])
                and data_s <= row["start_s"] + _TINY_S
                and end_s >= row["start_s"] - _TINY_S
            ]
            if not held:
                raise ReplayError(f"{self._name(row)}: no session to begin in")
            begin_s = max(begin_s, max(held))
        return begin_s

    def _hidden(self, batch: _Batch, row: np.void, part: int, parts: int) -> None:
        count = int(row["end_sample"] - row["first_sample"])
        bits = count * self.workload.up_bytes * 8.0 / parts
        path = self.path(Kind.HIDDEN, row) if bits else []
        self.flight.message(
            path, bits, f"hidden states of {self._name(row)}", lambda: self._board(batch, row, part, parts)
        )

    def _board(self, batch: _Batch, row: np.void, part: int, parts: int) -> None:
        satellite, clock, rates = int(row["satellite"]), self.flight.clock, self.flight.rates
        if not self.lora:
            self.left[satellite] -= 1
            self.flight.over(satellite)
            if not self.left[satellite] and satellite in self.heads:
                count = int(self.heads[satellite]["end_sample"] - self.heads[satellite]["first_sample"])
                work_s = count * self.workload.head_flops * self.workload.epochs / rates.satellite_flops
                clock.at(clock.now_s + work_s, lambda: self._trained(satellite))
            elif not self.left[satellite]:
                self._trained(satellite)
            return
        count = int(row["end_sample"] - row["first_sample"])
        head_s = rates.message_s + count * self.workload.head_flops / rates.satellite_flops / parts
        over_s = max(clock.now_s, self.head_free_s.get(satellite, 0.0)) + head_s
        self.head_free_s[satellite] = over_s
        bits = count * self.workload.c3_bytes * 8.0 / parts
        path = self.path(Kind.GRADIENT, row) if bits else []
        clock.at(
            over_s,
            lambda: self.flight.message(
                path, bits, f"gradient of {self._name(row)}", lambda: self._gradient(batch, part, parts)
            ),
        )

    def _trained(self, satellite: int) -> None:
        self.left[satellite] = -1
        self.flight.over(satellite)

    def _gradient(self, batch: _Batch, part: int, parts: int) -> None:
        # A member in fewer parts than others has the same share of each.
        for one in range(batch.parts * (part - 1) // parts, batch.parts * part // parts):
            batch.there[one] += 1
        self.go()

    def _backward_part(self, batch: _Batch) -> None:
        """The next part of a backward pass; the ground does nothing else in between."""
        if not batch.computed or batch.there[self.part_done] < len(batch.rows):
            return
        self.busy = True

        def over() -> None:
            self.busy = False
            self.part_done += 1
            if self.part_done == batch.parts:
                self.part_done = 0
                self.at += 1
                batch.over = True
                self.updates += 1
                for satellite in batch.rows["satellite"].tolist():
                    self.steps_over[satellite] = self.steps_over.get(satellite, 0) + 1
                    self.left[satellite] -= 1
                    if not self.left[satellite]:
                        self.left[satellite] = -1
                    self.flight.over(satellite)
            self.go()

        self.flight.clock.at(self.flight.clock.now_s + batch.backward_s / batch.parts, over)

    def finished(self, satellite: int) -> bool:
        """Return whether no step of a satellite is left."""
        return self.left.get(satellite, -1) == -1


@dataclass(eq=False)
class _Send:
    """One edge of a tree of weights, in so many pieces."""

    row: np.void
    after: list[_Send] = field(default_factory=list)
    arrived: int = 0
    sent: int = 0
    pieces: int = 1

    @property
    def over(self) -> bool:
        return self.arrived == self.pieces


class _Joined:
    """Which nodes are joined, by links that are told one after the other."""

    def __init__(self) -> None:
        self._towards: dict[int, int] = {}

    def of(self, node: int) -> int:
        """Return a node that stands for all that are joined to this one."""
        while self._towards.setdefault(node, node) != node:
            node = self._towards[node]
        return node

    def join(self, node: int, peer: int) -> None:
        """Join two nodes."""
        self._towards[self.of(node)] = self.of(peer)


class _Weights:
    """Sums on their way up, the average on its way back."""

    def __init__(self, flight: _EmulatedClock) -> None:
        self.flight = flight
        rows = flight.rows
        reduce, update = rows[rows["kind"] == Kind.REDUCE], rows[rows["kind"] == Kind.UPDATE]
        self.sums = [_Send(row) for row in reduce]
        self.returns = [_Send(row) for row in update]
        self.groups_of_all_reduce: list[_AllReduce] = []
        if flight.workload.on_board:
            self._all_reduces()
        self._chain(self.sums, towards=True)
        self._pieces(self.sums)
        for early in (True, False):
            self._pieces([send for send in self.returns if self._early(send) == early])

    def _all_reduces(self) -> None:
        """Planes that sum both ways at once, apart from the trees."""
        inner = [send for send in self.sums if send.row["link"] not in _SGL]
        pairs = {(int(send.row["node"]), int(send.row["peer"])) for send in inner}
        both = [send for send in inner if (int(send.row["peer"]), int(send.row["node"])) in pairs]
        groups = _Joined()
        for send in both:
            groups.join(int(send.row["node"]), int(send.row["peer"]))
        for label in {groups.of(int(send.row["node"])) for send in both}:
            mine = [send for send in both if groups.of(int(send.row["node"])) == label]
            self.groups_of_all_reduce.append(_AllReduce(self.flight, mine))
        gone = {id(send) for send in both}
        self.sums = [send for send in self.sums if id(send) not in gone]

    def _chain(self, sends: list[_Send], *, towards: bool) -> None:
        into: dict[int, list[_Send]] = {}
        for send in sends:
            into.setdefault(int(send.row["peer"]), []).append(send)
        for send in sends:
            send.after = (
                into.get(int(send.row["node"]), []) if send.row["node"] < self.flight.satellites else []
            )

    def _pieces(self, sends: list[_Send]) -> None:
        """Trees of which a link begins before one that it follows is over carry the weights in pieces."""
        inner = [send for send in sends if send.row["link"] not in _SGL]
        trees = _Joined()
        for send in inner:
            trees.join(int(send.row["node"]), int(send.row["peer"]))
        ends_s = [
            (trees.of(int(one.row["peer"])), int(one.row["peer"]), float(one.row["end_s"])) for one in inner
        ]
        flowing = {
            tree
            for tree, node, end_s in ends_s
            for send in inner
            if send.row["node"] == node and send.row["start_s"] < end_s - _TINY_S
        }
        for send in inner:
            if trees.of(int(send.row["node"])) in flowing:
                send.pieces = pieces_of(float(send.row["bytes"]))

    def waiting(self) -> list[str]:
        left = [send for send in (*self.sums, *self.returns) if not send.over]
        names = self.flight.contact_plan.nodes
        found = [
            f"weights {names[int(send.row['node'])].name} → {names[int(send.row['peer'])].name}"
            for send in left
        ]
        return found + ["an average round a plane" for one in self.groups_of_all_reduce if not one.over]

    def look(self) -> None:
        """Send whatever can be sent now."""
        for group in self.groups_of_all_reduce:
            group.look(self)
        for node in self._leaving:
            self.touch(node)

    def touch(self, node: int) -> None:
        """Send what can be sent from a node to which something has come, or which has trained."""
        for group in self.groups_of_all_reduce:
            if node in group.members:
                group.look(self)
        for send in self._leaving.get(node, ()):
            self._try(send, self._average_ready if send.row["kind"] == Kind.UPDATE else self._sum_ready)

    def heard(self) -> None:
        """The ground has got weights: when those were the last, it sends the average."""
        if all(send.over for send in self._downs):
            for send in self.returns:
                if send.row["link"] == LinkKind.UPLINK:
                    self._try(send, self._average_ready)

    @cached_property
    def _leaving(self) -> dict[int, list[_Send]]:
        found: dict[int, list[_Send]] = {}
        for send in (*self.sums, *self.returns):
            found.setdefault(int(send.row["node"]), []).append(send)
        return found

    @cached_property
    def _into(self) -> dict[tuple[Kind, bool, int], list[_Send]]:
        """Sends by kind, whether before the ground has heard all, and receiver."""
        found: dict[tuple[Kind, bool, int], list[_Send]] = {}
        for send in (*self.sums, *self.returns):
            key = (Kind(send.row["kind"]), self._early(send), int(send.row["peer"]))
            found.setdefault(key, []).append(send)
        return found

    @cached_property
    def _downs(self) -> list[_Send]:
        return [send for send in self.sums if send.row["link"] == LinkKind.DOWNLINK]

    @cached_property
    def _first_up_s(self) -> float:
        ups = (float(one.row["start_s"]) for one in self.returns if one.row["link"] == LinkKind.UPLINK)
        return min(ups, default=math.inf)

    def _early(self, send: _Send) -> bool:
        """Return whether a group averages by itself, before the ground has heard all groups."""
        if not self.flight.workload.on_board:
            return False
        return bool(send.row["kind"] == Kind.UPDATE and send.row["start_s"] < self._first_up_s - _TINY_S)

    def done(self, satellite: int) -> bool:
        """Return whether a satellite has finished its own weights."""
        flight = self.flight
        if satellite in flight.trained_s:
            return False
        if flight.workload.central:
            return flight.trained_alone
        return flight.ground is None or flight.ground.finished(satellite)

    def _sum_ready(self, send: _Send, piece: int) -> bool:
        node = int(send.row["node"])
        if not self.done(node) or any(one.arrived <= min(piece, one.pieces - 1) for one in send.after):
            return False
        if send.row["link"] == LinkKind.DOWNLINK and self.flight.workload.on_board:
            around = [group for group in self.groups_of_all_reduce if node in group.members]
            given = self._into.get((Kind.UPDATE, True, node), ())
            return all(group.over for group in around) and all(one.over for one in given)
        return True

    def _average_ready(self, send: _Send, piece: int) -> bool:
        if send.row["link"] == LinkKind.UPLINK:
            if not self._downs:  # nothing is averaged: the ground tells all what the last step has taught it
                return all(self.done(satellite) for satellite in range(self.flight.satellites))
            return all(one.over for one in self._downs)
        node, early = int(send.row["node"]), self._early(send)
        source = self._into.get((Kind.UPDATE, early, node))
        if source:
            return all(one.arrived > min(piece, one.pieces - 1) for one in source)
        # The root of a tree: it has heard all.
        if self._downs and not early:
            return False
        return self.done(node) and all(one.over for one in self._into.get((Kind.REDUCE, False, node), ()))

    def _try(self, send: _Send, ready: Callable[[_Send, int], bool]) -> None:
        while send.sent < send.pieces and ready(send, send.sent):
            send.sent += 1
            bits = float(send.row["bytes"]) * 8.0 / send.pieces

            def arrived(send: _Send = send) -> None:
                send.arrived += 1
                self.flight.done()
                if send.row["peer"] < self.flight.satellites:
                    self.touch(int(send.row["peer"]))
                elif send.over:
                    self.heard()

            item = _Item(bits, arrived, "weights")
            self.flight.link(int(send.row["node"]), int(send.row["peer"])).send(item)


class _AllReduce:
    """The average of a plane, round its ring or to the middle of its chain and back."""

    def __init__(self, flight: _EmulatedClock, sends: list[_Send]) -> None:
        self.flight, self.over, self.begun = flight, False, False
        self.row = sends[0].row
        self.links = {(int(send.row["node"]), int(send.row["peer"])) for send in sends}
        self.members = sorted({node for pair in self.links for node in pair})

    def look(self, weights: _Weights) -> None:
        if self.begun or not all(weights.done(node) for node in self.members):
            return
        self.begun = True
        flight = self.flight

        def end() -> None:
            self.over = True
            flight.done()
            weights.look()

        flight.clock.at(flight.clock.now_s + self._length_s(), end)

    def _length_s(self) -> float:
        size, bits = len(self.members), self.flight.workload.aggregate_bytes * 8.0
        contacts = []
        for pair in self.links:
            between = self.flight.contact_plan.between(*pair)
            contacts.append(between[between["start_s"] <= self.row["start_s"] + _TINY_S][-1])
        ring = len(self.links) == 2 * size and size > 2
        if intra_orbit_strategy(self.flight.plan.strategy_config.intra_orbit).stores_whole:
            return 2.0 * (size - 1) * max(float(c["owlt_s"]) + bits / float(c["rate_bps"]) for c in contacts)
        if ring:
            # 2 (S-1) steps; in each every satellite sends a piece of half of the weights either way.
            return (
                2.0
                * (size - 1)
                * max(float(c["owlt_s"]) + bits / (2.0 * size) / float(c["rate_bps"]) for c in contacts)
            )
        slowest_bps = min(float(c["rate_bps"]) for c in contacts)
        longest_s = max(float(c["owlt_s"]) for c in contacts)
        pieces, hops = pieces_of(bits / 8.0), size // 2
        return 2.0 * ((hops - 1 + pieces) * bits / pieces / slowest_bps + hops * longest_s)


def _span(row: np.void) -> tuple[int, int]:
    return int(row["first_sample"]), int(row["end_sample"])
