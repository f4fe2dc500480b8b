"""The sending side of one link: opens and shuts with its windows, paces real bytes, resumes where it stopped.

Rate and light time are shaped here, at the sender: a chunk occupies the link for as long as its bits take, and
is then held back for the light time. (The kernel's shapers need privileges, and `netem` is often absent.)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import grpc

from mission.text.plain_text import plain
from relay.clock.paced_clock import SESSION_S, PacedClock
from relay.clock.timed_link import LinkSchedule, Window
from relay.spool.spool import Entry, Spool
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.frames import encode_chunk, encode_transfer_header
from relay.wire.manifest import SLOW_CHUNK_BYTES, Limits

log = logging.getLogger(__name__)

BURST_S = (
    0.02  # how late the sender may run and still catch up: more than a scheduler's hiccup, less than a window
)
# Below this rate, this size. What is urgent waits for the chunk that is on the line: at 2 Mbit/s 64 KiB would take as
# long as a whole step's round trip.
CHUNK_BYTES = ((20e6, 8 << 10), (250e6, SLOW_CHUNK_BYTES), (1e9, 256 << 10), (math.inf, 1 << 20))
MIN_CREDIT_BYTES = 1 << 20
MAX_CREDIT_BYTES = 8 << 20
TURNAROUND_S = 0.02  # what an acknowledgement takes beside the light time
ASK_S = 0.02  # of link time between acknowledgements, at most: what a broken stream may have to send again
ACK_TIMEOUT_S = 1.0
RETRY_S = 0.25
_LOOK_S = 0.05
BROKEN_S = 5.0  # how long a link that failed is avoided where there is another way


class Outage(NamedTuple):
    """A time in which a link carries nothing, though the contact plan says it does. Mission seconds."""

    source: str
    target: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Faults:
    """Faults that the emulation adds to a perfect link: chunks lost at random, and unplanned outages."""

    loss: float = 0.0
    outages: tuple[Outage, ...] = ()
    _: KW_ONLY
    seed: int = 0


@dataclass(frozen=True)
class Refusal:
    """The neighbour will never take this transfer."""

    error: str
    text: str


class _StreamEnded(Exception):
    """The neighbour has closed the stream without an error of its own."""


@dataclass(eq=False)
class _Sending:
    """How far one transfer has come on this link."""

    entry: Entry
    sent: int
    _: KW_ONLY
    acked: int
    furthest: int
    start_s: float  # mission time
    opened: bool = False  # in this session


@dataclass(frozen=True, eq=False)
class Outbox:
    """The bundles that a link sends, and the parties that it tells.

    Attributes:
        queue: Transfers for the neighbour, the most urgent first.
        passed: Called with a transfer and the mission time at which it was begun, when the neighbour has all of it.
        done: Called after that, or with a refusal when the neighbour will never take a transfer.
        changed: Called when the link has been found not to work.
    """

    queue: Callable[[], Iterable[Entry]]
    passed: Callable[[Entry, float], None]
    _: KW_ONLY
    done: Callable[[Entry, Refusal | None], None]
    changed: Callable[[], None]


class OutgoingLink:
    """Sends to one neighbour what its outbox holds: always the first that has bytes to send."""

    def __init__(
        self,
        node: str,
        peer: str,
        *,
        channel: grpc.aio.Channel,
        clock: PacedClock,
        spool: Spool,
        limits: Limits,
        outbox: Outbox,
        faults: Faults,
    ) -> None:
        self.node = node
        self.peer = peer
        self.schedule = LinkSchedule(())  # set before `run`, which serves it to its end
        self.sent_bytes = 0
        self.resent_bytes = 0
        self.last_error = ""  # why the link was last found not to work
        self.wake = asyncio.Event()  # set when there may be something new to send
        self._put = channel.stream_stream(
            service.path(service.PUT), response_deserializer=pb.Acknowledgement.FromString
        )
        self._cancel = channel.unary_unary(
            service.path(service.CANCEL),
            request_serializer=pb.TransferId.SerializeToString,
            response_deserializer=pb.Nothing.FromString,
        )
        self._caller = ((service.NODE_KEY, node),)
        self._clock = clock
        self._spool = spool
        self._limits = limits
        self._buffer = bytearray(limits.chunk_bytes)
        self._outbox = outbox
        self._outages = [o for o in faults.outages if (o.source, o.target) == (node, peer)]
        self._loss = faults.loss
        self._random = random.Random(f"{faults.seed} {node} {peer}")
        self._sendings: dict[bytes, _Sending] = {}
        self._abandoned: list[bytes] = []  # begun here, finished another way
        self._not_before_s: dict[bytes, float] = {}  # wall time of the next offer of what was refused for now
        self._broken_until_s = 0.0  # wall time
        self._out_until_s = 0.0  # mission time
        self._free_s = -math.inf  # mission time at which the last bit will have left
        self._unasked = 0  # bytes sent since an acknowledgement was asked for
        self._on_line = 0  # frames that are paced, or that the neighbour is slow to take

    @property
    def in_flight_bytes(self) -> int:
        """Sent, but not yet acknowledged."""
        return sum(sending.sent - sending.acked for sending in self._sendings.values())

    @property
    def moving(self) -> bool:
        """Whether bytes move on this link now, or would if it worked.

        What still has to come in, or what the neighbour has no room for, waits for another link's window.
        """
        if self.in_flight_bytes:
            return True
        if self.schedule.open_at(self._clock.now_s) is None:
            return False
        return any(
            entry.complete or entry.end_offset > self._acked(entry)
            for entry in self._outbox.queue()
            if entry.transfer_id not in self._not_before_s
        )

    @property
    def broken(self) -> bool:
        """Whether the link has just been found not to work, so that another way may be better."""
        return time.monotonic() < self._broken_until_s or self._clock.now_s < self._out_until_s

    def begun(self, entry: Entry) -> bool:
        """Whether the neighbour holds a part of this transfer."""
        return self._acked(entry) > 0

    def forget(self, transfer_id: bytes) -> None:
        """Drop what is known of a transfer that has left the spool, here and at the neighbour if it began."""
        self._not_before_s.pop(transfer_id, None)
        sending = self._sendings.pop(transfer_id, None)
        if sending is None or sending.furthest == 0:
            return
        manifest = sending.entry.manifest
        # What the destination has of it is of use, whichever way the rest takes.
        if sending.acked < manifest.total_bytes and manifest.destination != self.peer:
            self._abandoned.append(transfer_id)

    async def run(self) -> None:
        """Serve one window after the other until the plan ends.

        Mission time may lie before what was sent last: a ground that died begins its round again.
        """
        self._free_s, self._out_until_s = min(self._free_s, self._clock.now_s), 0.0
        while (window := self.schedule.next_after(self._clock.now_s)) is not None:
            await self._clock.sleep_until(window.start_s)
            if self._pick() is None:  # no stream before there is something to send
                await self._woken(self._clock.wall_s(window.end_s - self._clock.now_s))
                continue
            try:
                await self._clock.sleep_until(await self._session(window))
            except (grpc.aio.AioRpcError, _StreamEnded) as error:
                details = error.details() if isinstance(error, grpc.aio.AioRpcError) else None
                self._broken_until_s = time.monotonic() + BROKEN_S
                self._break(details or str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _session(self, window: Window) -> float:
        """One stream to the neighbour, within one window; returns the mission time before which to rest."""
        while self._abandoned:
            await self._cancel(
                pb.TransferId(transfer_id=self._abandoned[-1]), metadata=self._caller, timeout=5.0
            )
            self._abandoned.pop()
        call = self._put(metadata=self._caller, timeout=SESSION_S)  # mission time may stand in between
        await call.wait_for_connection()
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._on_line = 0
        feeding = asyncio.create_task(self._feed(window, line))
        carrying = asyncio.create_task(self._write(call, line))
        hearing = asyncio.create_task(self._read_acknowledgements(call, window.owlt_s))
        try:
            await asyncio.wait((feeding, carrying, hearing), return_when=asyncio.FIRST_COMPLETED)
            for broken in (hearing, carrying):
                if broken.done():
                    await broken
            # The link has gone. What left before still arrives, and so does its acknowledgement.
            deadline_s = time.monotonic() + self._clock.wall_s(2 * window.owlt_s) + ACK_TIMEOUT_S
            while self.in_flight_bytes and time.monotonic() < deadline_s and not hearing.done():
                await self._woken(_LOOK_S)
                if self._clock.standing:  # what is on the line waits, too
                    deadline_s += _LOOK_S
            return await feeding
        finally:
            for task in (feeding, carrying, hearing):
                task.cancel()
            try:
                await asyncio.gather(feeding, carrying, hearing, return_exceptions=True)
            finally:  # a round that starts may cancel a session that is just ending
                call.cancel()
                for sending in self._sendings.values():
                    sending.sent, sending.opened = sending.acked, False

    async def _feed(self, window: Window, line: asyncio.Queue[tuple[float, bytes]]) -> float:
        """Put chunks on the line until the window or the link ends; returns when the link may work again."""
        chunk_bytes = _chunk_bytes(window.rate_bps, self._limits)
        credit_bytes = _credit_bytes(window)
        ask_bytes = min(credit_bytes / 2, ASK_S * window.rate_bps / 8)
        acked, heard_s = -1, time.monotonic()
        while (now_s := self._clock.now_s) < window.end_s:
            self.wake.clear()
            acked_before, acked = acked, self._acked_bytes()
            if acked != acked_before or not self.in_flight_bytes or self._on_line:
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > ACK_TIMEOUT_S + self._clock.wall_s(4 * window.owlt_s):
                self._rewind_all()
            sending = self._pick() if self.in_flight_bytes + chunk_bytes <= credit_bytes else None
            if sending is None:
                waiting = self.in_flight_bytes or self._not_before_s
                await self._woken(RETRY_S if waiting else self._clock.wall_s(window.end_s - now_s))
                self._free_s = max(self._free_s, self._clock.now_s)  # an idle link saves nothing up
                continue
            begin_s = max(self._free_s, now_s - BURST_S, window.start_s)
            room_bytes = int((window.end_s - begin_s) * window.rate_bps / 8)
            if room_bytes < 1:
                break
            size = max(0, min(chunk_bytes, sending.entry.end_offset - sending.sent, room_bytes))
            last = size == room_bytes or self.in_flight_bytes + size + chunk_bytes > credit_bytes
            frames = self._frames(sending, size, ask=last or self._unasked + size >= ask_bytes)
            # Manifests and headers take their time on the link, too; of what gets lost, the payload.
            self._free_s = begin_s + 8 * max(size, sum(map(len, frames))) / window.rate_bps
            await self._clock.sleep_until(self._free_s)
            for outage in self._outages:
                if outage.start_s <= self._clock.now_s < outage.end_s:
                    self._out_until_s = outage.end_s
                    self._break("the link is out")
                    return outage.end_s
            self._on_line += len(frames)
            for frame in frames:
                line.put_nowait((self._free_s + window.owlt_s, frame))
        return window.end_s

    def _pick(self) -> _Sending | None:
        now_wall_s = time.monotonic()
        for entry in self._outbox.queue():
            if self._not_before_s.get(entry.transfer_id, 0.0) > now_wall_s:
                continue
            sending = self._sendings.get(entry.transfer_id)
            if sending is None:
                start = max(entry.base_offset, entry.delivered_offset)
                sending = _Sending(entry, start, acked=start, furthest=start, start_s=self._clock.now_s)
                self._sendings[entry.transfer_id] = sending
            if sending.sent < entry.end_offset or not sending.opened:
                return sending
        return None

    def _frames(self, sending: _Sending, size: int, *, ask: bool) -> list[bytes]:
        """The next `size` bytes of a transfer as frames, opened if need be; none of them if they get lost.

        An acknowledgement is asked for where `ask` says so, and of what nothing follows for now.
        """
        entry, offset = sending.entry, sending.sent
        ask = ask or offset + size == entry.end_offset
        self._unasked = 0 if ask else self._unasked + size
        frames = []
        if not sending.opened:
            base_offset = max(entry.base_offset, entry.delivered_offset)
            frames.append(encode_transfer_header(entry.signed, base_offset, entry.via))
            sending.opened = True
        if size > 0 and not (self._loss and self._random.random() < self._loss):
            payload = memoryview(self._buffer)[:size]
            self._spool.read_into(entry, offset, payload)
            frames.append(encode_chunk(entry.transfer_id, offset, payload, answer=ask))
        sending.sent += size
        self.sent_bytes += size
        self.resent_bytes += max(0, min(sending.furthest, sending.sent) - offset)
        sending.furthest = max(sending.furthest, sending.sent)
        return frames

    async def _write(self, call: grpc.aio.StreamStreamCall, line: asyncio.Queue[tuple[float, bytes]]) -> None:
        while True:
            due_s, frame = await line.get()
            await self._clock.sleep_until(due_s)
            await call.write(frame)
            self._on_line -= 1

    async def _read_acknowledgements(self, call: grpc.aio.StreamStreamCall, owlt_s: float) -> None:
        """Acknowledgements take the light time back, too."""
        loop = asyncio.get_running_loop()
        async for acknowledgement in call:
            loop.call_later(self._clock.wall_s(owlt_s), self._acknowledge, acknowledgement)
        raise _StreamEnded("the neighbour has ended the stream")

    def _break(self, last_error: str) -> None:
        self.last_error = plain(last_error)
        log.info("%s → %s: %s", self.node, self.peer, self.last_error)
        self._outbox.changed()

    def _acknowledge(self, acknowledgement: pb.Acknowledgement) -> None:
        transfer_id = acknowledgement.transfer_id
        sending = self._sendings.get(transfer_id)
        self.last_error, self._broken_until_s = "", 0.0
        self.wake.set()
        if sending is None:
            return
        entry = sending.entry
        if acknowledgement.HasField("refusal"):
            refusal = Refusal(plain(acknowledgement.refusal.error, 64), plain(acknowledgement.refusal.text))
            if acknowledgement.temporary:
                sending.sent, sending.opened = sending.acked, False
                self._not_before_s[transfer_id] = time.monotonic() + RETRY_S
                self.last_error = refusal.text
            else:
                self._outbox.done(entry, refusal)
            return
        self._not_before_s.pop(transfer_id, None)
        offset = acknowledgement.next_offset
        if offset < entry.base_offset:
            self._outbox.done(
                entry, Refusal("OutOfOrder", f"{self.peer} has lost bytes below {entry.base_offset}")
            )
            return
        sending.acked = offset if acknowledgement.rewind else max(sending.acked, offset)
        sending.sent = sending.acked if acknowledgement.rewind else max(sending.sent, sending.acked)
        if entry.manifest.destination == self.peer:
            entry.delivered_offset = sending.acked
        if sending.acked >= entry.manifest.total_bytes:
            self._outbox.passed(entry, sending.start_s)
            self._outbox.done(entry, None)

    def _acked(self, entry: Entry) -> int:
        sending = self._sendings.get(entry.transfer_id)
        return 0 if sending is None else sending.acked

    def _acked_bytes(self) -> int:
        return sum(sending.acked for sending in self._sendings.values())

    def _rewind_all(self) -> None:
        for sending in self._sendings.values():
            sending.sent = sending.acked

    async def _woken(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.wake.wait()
        self.wake.clear()


def _chunk_bytes(rate_bps: float, limits: Limits) -> int:
    """Small on slow links, where each hop of a cut-through waits for one; large where the CPU is the limit."""
    size = next(size for upper_bps, size in CHUNK_BYTES if rate_bps < upper_bps)
    return min(size, limits.chunk_bytes)


def _credit_bytes(window: Window) -> int:
    """How far to run ahead of acknowledgements: twice the bandwidth-delay product, within limits."""
    product_bytes = window.rate_bps * (2 * window.owlt_s + TURNAROUND_S) / 8
    return int(min(max(2 * product_bytes, MIN_CREDIT_BYTES), MAX_CREDIT_BYTES))
