"""A relay's own application, at the other end of `Fetch`: training code on a satellite, the backbone on the ground.

It may come and go (on a satellite, its process lives for one Flower message); its bundles wait for it on disk and
are given again to the next one until it has said that it needs them no more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import grpc

from relay.clock.computer import Computer
from relay.node.outgoing import Refusal
from relay.spool.spool import Entry, Spool
from relay.wire import wire_pb2 as pb
from relay.wire.frames import WITHDRAWN, encode_chunk, encode_failure, encode_transfer_header
from relay.wire.manifest import Limits


class Application:
    """Gives bundles to whoever fetches them last; an older stream ends when a newer begins.

    Args:
        node: Name of the node.
        spool: Where its bundles are.
        computer: On which it computes.
        limits: Of what it is sent.
        taken: Called with what it has taken.
        changed: Called when it has become busy, or is so no more.
    """

    def __init__(
        self,
        node: str,
        spool: Spool,
        *,
        computer: Computer,
        limits: Limits,
        taken: Callable[[Entry], None],
        changed: Callable[[], None],
    ) -> None:
        self.arrived = asyncio.Event()  # set when there is something new to give
        self.busy = False  # it is there, and does something else than wait for a bundle
        self.attached = False  # it has been there since the last round start, and has not died
        self._node = node
        self._spool = spool
        self._limits = limits
        self._taken = taken
        self._computer = computer
        self._changed = changed
        self._failures: deque[tuple[bytes, Refusal]] = deque()
        self._stream: asyncio.Task[None] | None = None
        self._given = 0  # bundles and failures in this stream

    @property
    def present(self) -> bool:
        """Whether it is there."""
        return self._stream is not None

    def fail(self, transfer_id: bytes, refusal: Refusal) -> None:
        """Tell the application that what it sent will never arrive."""
        self._failures.append((transfer_id, refusal))
        self.arrived.set()

    async def serve(
        self, requests: AsyncIterator[pb.FetchRequest], context: grpc.aio.ServicerContext
    ) -> None:
        """Answer a node's own application: hand it what has arrived, take in what it sends."""
        if self._stream is not None:
            self._stream.cancel()
        giving = self._stream = asyncio.create_task(self._give(context))
        self._given, self.attached = 0, True
        self._computer.begin()
        self._set_busy(busy=True)
        hearing = asyncio.create_task(self._hear(requests, giving))
        try:
            await asyncio.wait((giving, hearing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = hearing.done() and not hearing.cancelled() and hearing.exception() is None
            giving.cancel()
            hearing.cancel()
            if self._stream is giving:
                # Who leaves ends the stream; one that breaks is that of a process which has died, and will come again.
                self._stream, self.attached = None, self.attached and ended
                self._set_busy(busy=False)

    async def _hear(self, requests: AsyncIterator[pb.FetchRequest], giving: asyncio.Task[None]) -> None:
        async for request in requests:
            entry = self._spool.entries.get(request.taken)
            if entry is not None and entry.manifest.destination == self._node and entry.verified:
                self._spool.deliver(entry)
                self._taken(entry)
            if self._stream is giving:
                self._computer.done_s(request.computed_s)
                self._set_busy(busy=not (request.waiting and request.received == self._given))

    def _set_busy(self, *, busy: bool) -> None:
        if busy and not self.busy:
            self._computer.wake()
        was, self.busy = self.busy, busy
        if was != busy:
            self._changed()

    async def _give(self, context: grpc.aio.ServicerContext) -> None:
        """Pass bundles on as they come in, so that the last hop costs little more than the link's own time.

        They take turns, a chunk each: one that waits for its next window holds up no other.
        """
        offsets: dict[bytes, int] = {}  # of bundles begun in this stream
        finished: set[bytes] = set()
        while True:
            self.arrived.clear()
            while self._failures:
                transfer_id, refusal = self._failures.popleft()
                self._given += 1
                self._set_busy(busy=True)
                await context.write(encode_failure(refusal.error, refusal.text, transfer_id))
            for transfer_id in offsets.keys() - self._spool.entries.keys():
                del offsets[transfer_id]
                await context.write(encode_failure(WITHDRAWN, "found wrong, or expired", transfer_id))
            gave = False
            for entry in self._for_application(finished):
                if entry.transfer_id not in offsets:
                    await context.write(encode_transfer_header(entry.signed))
                    offsets[entry.transfer_id] = 0
                offset = offsets[entry.transfer_id]
                if entry.complete and offset + self._limits.chunk_bytes >= entry.end_offset:
                    self._given += 1
                    self._set_busy(busy=True)
                    finished.add(entry.transfer_id)
                    del offsets[entry.transfer_id]
                chunk = self._spool.read(entry, offset, self._limits.chunk_bytes)
                if chunk:
                    gave = True
                    if entry.transfer_id in offsets:
                        offsets[entry.transfer_id] += len(chunk)
                    await context.write(encode_chunk(entry.transfer_id, offset, chunk))
            if not gave:
                await self.arrived.wait()

    def _for_application(self, finished: set[bytes]) -> list[Entry]:
        return [
            entry
            for entry in self._spool.entries.values()
            if entry.manifest.destination == self._node
            and entry.transfer_id not in finished
            and entry.verified >= entry.complete
        ]
