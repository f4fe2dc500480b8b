"""Mission time in the emulation: it runs at the pace of the wall or slower, and jumps over gaps where nothing happens.

Never faster: copying would be scaled with it. At a slower pace what the software of messages takes counts for
less. One `TimeAuthority`, on the ground, lets all nodes jump together. It probes every node repeatedly. If two
consecutive probes find all nodes idle and no node has seen any activity in between, then no message is in flight:
a sender stays busy until its neighbour has acknowledged, and the neighbour counts an arrival before it acknowledges.
(Termination detection by probing twice, after Mattern 1987.)

A round begins with a `RoundStart`: from then on mission time stands until the applications of all satellites have
come, and again when all have gone. Starting a process on board or scoring on the ground is no part of the mission.
In a round it also stands while an application is at work, so that no machine is too slow for the mission: what it
computed takes what the plan says, see :mod:`relay.clock.computer`. Nodes tell at once when that begins and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import grpc

from relay.clock.timed_link import Network
from relay.wire import service
from relay.wire import wire_pb2 as pb

log = logging.getLogger(__name__)

PROBE_S = 0.1  # wall time between two probes while somebody is busy
SESSION_S = 24 * 3600.0
AGREED_S = 1e-3  # mission time by which a window that a node names may differ from the plan's
STEP_S = 0.02  # wall time by which a node's clock may be off and is left alone


class PacedClock:
    """Seconds after the scenario's epoch, at a pace of up to 1 to the wall's. Never runs back while it runs."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._start_wall_s = time.monotonic()
        self._start_s = now_s
        self._jumped = asyncio.Event()
        self.standing = False
        self.pace = 1.0
        self.on_jump: list[Callable[[], None]] = []

    @property
    def now_s(self) -> float:
        """Mission time."""
        if self.standing:
            return self._start_s
        return self._start_s + self.pace * (time.monotonic() - self._start_wall_s)

    def advance_to(self, instant_s: float) -> None:
        """Jump forward and wake whoever sleeps until then; an instant in the past changes nothing."""
        ahead_s = instant_s - self.now_s
        if ahead_s > 0:
            self._start_s += ahead_s
            self._wake()
            for tell in self.on_jump:
                tell()

    def pause(self, instant_s: float) -> None:
        """Stop at this instant, where the other nodes have stopped; it may lie a moment back."""
        self._start_s = instant_s
        self.standing = True

    def set_pace(self, pace: float) -> None:
        """Run at another pace from now on."""
        if pace != self.pace:
            self._start_s, self._start_wall_s = self.now_s, time.monotonic()
            self.pace = pace
            self._wake()

    def wall_s(self, duration_s: float) -> float:
        """Return the wall time that so much of mission time takes."""
        return duration_s / self.pace

    def go(self) -> None:
        """Run again; nothing where it runs already."""
        if self.standing:
            self._start_wall_s = time.monotonic()
            self.standing = False
            self._wake()

    async def sleep_until(self, instant_s: float) -> None:
        """Sleep until mission time has reached `instant_s`, by pace or by jump."""
        while (remaining_s := instant_s - self.now_s) > 0:
            jumped = self._jumped
            endless = self.standing or math.isinf(remaining_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if endless else self.wall_s(remaining_s)):
                    await jumped.wait()

    def _wake(self) -> None:
        self._jumped.set()
        self._jumped = asyncio.Event()


class Activity(NamedTuple):
    """A node's report on itself to the time authority."""

    busy: bool
    wake_s: float  # mission time at which it has something to do, inf when never
    changes: int  # grows with everything that begins, arrives or leaves
    round_start: int = 0  # the last one it knows of
    session_alive: bool = False  # its application is there
    attached: bool = False  # its application has been there since that round start, and has not died
    computing: bool = False  # its application is at work


class RoundStart:
    """A round under way with a network (as JSON) in force, for which the applications of `satellites` must come."""

    def __init__(self, number: int, network: str, *, satellites: Collection[str]) -> None:
        self.number = number
        self.network = network
        self._satellites = frozenset(satellites)

    def runs(self, answers: Mapping[str, Activity]) -> bool:
        """Return whether mission time advances.

        It does once all applications have connected, while none has died, at least one remains, and none is busy.
        """
        if any(answer.round_start != self.number or answer.computing for answer in answers.values()):
            return False
        answered = [answers[node] for node in self._satellites]
        return all(answer.attached for answer in answered) and any(
            answer.session_alive for answer in answered
        )


class TimeAuthority:
    """Lets mission time jump when all of `nodes` have nothing to do before some later instant.

    Nodes that have not connected count as busy: mission time then just runs at 1×. `satellites` are those nodes
    whose applications take part in a round.

    A report is believed only as far as the plan bears it out: a node can wait for nothing but the next window of a link
    of its own, and whoever names another time is taken to wait for none.
    """

    def __init__(self, clock: PacedClock, network: Network, *, satellites: Collection[str] = ()) -> None:
        self._clock = clock
        self._network = network  # in force
        self._nodes = frozenset(network.nodes)
        self._satellites = frozenset(satellites)
        self._news = asyncio.Event()  # set with every probe, and when mission time stops or goes on
        self._probe = 0
        self._reports: dict[str, tuple[int, Activity]] = {}  # node → probe answered, answer
        self._last_probe: dict[str, int] | None = None  # activity counts of an idle probe just before
        # Numbers that no authority before it has used: a report from a round that died with it is none of this one's.
        self._round_starts = secrets.randbits(48)
        self._round_start: RoundStart | None = None

    def enrol(self) -> None:
        """No round is under way any more: mission time runs, whoever is there."""
        self._round_start = None
        self._clock.set_pace(1.0)
        self._clock.go()
        self._tell()

    def start_round(self, network: Network, start_s: float, pace: float = 1.0) -> None:
        """Begin a round at `start_s`, or now where that is past, with this network in force, at this pace."""
        self._round_starts += 1
        self._clock.set_pace(pace)
        self._clock.pause(max(start_s, self._clock.now_s))
        self._network = network
        self._last_probe = None
        self._round_start = RoundStart(self._round_starts, network.to_json(), satellites=self._satellites)
        self._tell()

    async def run(self) -> None:
        """Advance until cancelled."""
        while True:
            self._probe += 1
            self._tell()
            await asyncio.sleep(PROBE_S)
            self._decide()

    async def serve(self, node: str, reports: AsyncIterator[pb.ClockReport]) -> AsyncIterator[pb.ClockTime]:
        """One node's stream: it gets the mission time with every probe and when it stops or goes on, and reports."""
        probe = known = 0
        standing = self._clock.standing
        hearing = asyncio.create_task(self._hear(node, reports))
        try:
            while not hearing.done():
                answered = node not in self._reports or self._reports[node][0] >= probe
                if not (self._probe > probe and answered) and standing == self._clock.standing:
                    await self._news.wait()
                    continue
                probe, standing = self._probe, self._clock.standing
                clock_time = pb.ClockTime(
                    mission_s=self._clock.now_s, probe=probe, standing=standing, pace=self._clock.pace
                )
                if self._round_start is not None:
                    clock_time.round_start = self._round_start.number
                    if known != clock_time.round_start:
                        known, clock_time.network = clock_time.round_start, self._round_start.network
                yield clock_time
        finally:
            hearing.cancel()
            self._reports.pop(node, None)

    async def _hear(self, node: str, reports: AsyncIterator[pb.ClockReport]) -> None:
        try:
            async for report in reports:
                activity = Activity(*(getattr(report, name) for name in Activity._fields))
                self._reports[node] = report.probe, activity
                self._stop_or_go()
        finally:
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _stop_or_go(self) -> None:
        """In a round, let mission time run or stand by what the nodes have said last; tell them where it changes."""
        answers = {node: answer for node, (_, answer) in self._reports.items()}
        if self._round_start is None or set(answers) != self._nodes:
            return
        stood = self._clock.standing
        if self._round_start.runs(answers):
            self._clock.go()
        else:
            self._clock.pause(self._clock.now_s)
        if stood != self._clock.standing:
            self._last_probe = None
            self._tell()

    def _decide(self) -> None:
        answers = {node: answer for node, (probe, answer) in self._reports.items() if probe == self._probe}
        complete = set(answers) == self._nodes
        if not complete or self._clock.standing or any(answer.busy for answer in answers.values()):
            self._last_probe = None
            return
        counts = {node: answer.changes for node, answer in answers.items()}
        if counts == self._last_probe:
            wake_s = min(self._planned(node, answer.wake_s) for node, answer in answers.items())
            if math.isfinite(wake_s):
                self._clock.advance_to(wake_s)
        self._last_probe = counts

    def _planned(self, node: str, wake_s: float) -> float:
        """When a node waits for a window: the time it reported where the plan has that window next, else never."""
        if wake_s == math.inf:
            return math.inf
        now_s = self._clock.now_s
        for peer in self._network.neighbours(node):
            window = self._network.links[node, peer].next_after(now_s)
            if window is not None and abs(window.start_s - wake_s) <= AGREED_S:
                return window.start_s
        if not wake_s <= now_s:  # one that has just opened is old news, not a lie; NaN is one
            log.warning("%s waits for mission time %s, when none of its links opens: ignored", node, wake_s)
        return math.inf


async def follow(
    clock: PacedClock | None,
    node: str,
    authority: grpc.aio.Channel,
    activity: Callable[[], Activity],
    start_round: Callable[[int, str], None],
    *,
    changed: asyncio.Event,
) -> None:
    """Keep a node's clock with the authority's, and answer its probes, for as long as the task lives.

    Whenever `changed` is set, the authority hears of it unasked.

    A clock behind is set forward. One ahead is left alone: it is ahead by one message's way at most. `clock` is None
    on the authority itself, whose clock leads. `start_round(number, network)` is called with every round start.
    """
    stream = authority.stream_stream(
        service.path(service.CLOCK),
        request_serializer=pb.ClockReport.SerializeToString,
        response_deserializer=pb.ClockTime.FromString,
    )
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError):
            call = stream(metadata=[(service.NODE_KEY, node)], timeout=SESSION_S, wait_for_ready=True)
            heard = _Heard()
            reporting = asyncio.create_task(_report(call, heard, activity, changed))
            try:
                async for clock_time in call:
                    if clock_time.network:
                        start_round(clock_time.round_start, clock_time.network)
                    if clock is not None:
                        keep_time(clock, clock_time)
                    heard.probe = clock_time.probe
                    changed.set()
            finally:
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)
        await asyncio.sleep(1.0)


@dataclass
class _Heard:
    """The last probe that a node has heard of."""

    probe: int = 0


async def _report(
    call: grpc.aio.StreamStreamCall, heard: _Heard, activity: Callable[[], Activity], changed: asyncio.Event
) -> None:
    while True:
        await changed.wait()
        changed.clear()
        await call.write(pb.ClockReport(probe=heard.probe, **activity()._asdict()))


def keep_time(clock: PacedClock, clock_time: pb.ClockTime) -> None:
    """Set a node's clock by what the time authority says."""
    if not math.isfinite(clock_time.mission_s):
        log.warning("mission time %s from the time authority: ignored", clock_time.mission_s)
        return
    if not 0.0 < clock_time.pace <= 1.0:
        log.warning("a pace of %s from the time authority: ignored", clock_time.pace)
        return
    clock.set_pace(clock_time.pace)
    if clock_time.mission_s - clock.now_s > STEP_S * clock.pace:
        clock.advance_to(clock_time.mission_s)
    if clock_time.standing:
        clock.pause(clock_time.mission_s)
    else:
        clock.go()
