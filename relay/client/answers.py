"""The ground's answers to what satellites send: asked of the model once, given as often as needed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, NamedTuple, Protocol

from relay.wire.manifest import Buffer, Conflict, Manifest


class Reply(NamedTuple):
    """A bundle to send back, and how much the handler had computed when it was ready, see :class:`Paced`."""

    manifest: Manifest
    payload: Buffer
    computed_s: float = 0.0


Replies = Sequence[Reply]

Handler = Callable[[str, Manifest, Buffer], Awaitable[Replies]]
"""`handler(satellite, manifest, payload)` returns the bundles to send back.

It is awaited one bundle at a time per satellite, in the order sent, and concurrently for different satellites;
what it computes for long belongs in an executor.
"""


class Paced(Protocol):
    """Lets a handler report when it waits and when it computes, so that an emulation can count mission time."""

    def waiting(self) -> AbstractContextManager[None]:
        """While it waits for what other satellites send: mission time must go on."""
        ...

    def work_on(self, future: asyncio.Future[Any]) -> None:
        """Until this is there, it is at work."""
        ...

    def compute(self, duration_s: float) -> float:
        """It has computed for so long by the plan's rates; returns how much that makes in all."""
        ...


class Unpaced:
    """The same where mission time is planned: nobody needs to know."""

    def waiting(self) -> AbstractContextManager[None]:
        """See :class:`Paced`."""
        return contextlib.nullcontext()

    def work_on(self, future: asyncio.Future[Any]) -> None:
        """See :class:`Paced`."""

    def compute(self, duration_s: float) -> float:
        """See :class:`Paced`."""
        return 0.0


REPLIES_KEPT_BYTES = 32 << 20  # per satellite
REQUESTS_REMEMBERED = 1 << 16  # per satellite


@dataclass
class _Satellite:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    finished: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict)  # transfer id → digest
    _: KW_ONLY
    replies: OrderedDict[bytes, Replies] = field(default_factory=OrderedDict)
    replies_bytes: int = 0


class Answers:
    """Asks the handler, and remembers: a bundle that comes again gets the reply of the first time.

    That makes sending safe to repeat, over a new stream or after a crash of either side.
    """

    def __init__(self, handler: Handler, satellites: Collection[str], *, paced: Paced | None = None) -> None:
        self.satellites = frozenset(satellites)
        self._handler = handler
        self._paced = paced or Unpaced()
        self._memory = {name: _Satellite() for name in self.satellites}

    async def to(self, satellite: str, request: Manifest, payload: Buffer) -> Replies:
        """The reply to a bundle of a satellite. Raises what the handler raises, and then does not remember it;
        raises Conflict for a transfer id that came before with other contents, or whose reply is no longer kept.
        """
        memory = self._memory[satellite]
        async with self._turn_of(memory):
            known = memory.finished.get(request.transfer_id)
            if known is None:
                replies = await self._handler(satellite, request, payload)
                self._remember(memory, request, replies)
                return replies
            if known != request.digest:
                raise Conflict(
                    f"transfer {request.transfer_id.hex()} of {satellite} had other contents before"
                )
            if request.transfer_id not in memory.replies:
                raise Conflict(f"transfer {request.transfer_id.hex()} of {satellite} was answered long ago")
            return memory.replies[request.transfer_id]

    @contextlib.asynccontextmanager
    async def _turn_of(self, memory: _Satellite) -> AsyncIterator[None]:
        if memory.turn.locked():  # by a bundle that may itself wait for other satellites
            with self._paced.waiting():
                await memory.turn.acquire()
        else:
            await memory.turn.acquire()
        try:
            yield
        finally:
            memory.turn.release()

    def _remember(self, memory: _Satellite, request: Manifest, replies: Replies) -> None:
        memory.finished[request.transfer_id] = request.digest
        if len(memory.finished) > REQUESTS_REMEMBERED:
            memory.finished.popitem(last=False)
        memory.replies[request.transfer_id] = replies
        memory.replies_bytes += _size(replies)
        while memory.replies_bytes > REPLIES_KEPT_BYTES and len(memory.replies) > 1:
            memory.replies_bytes -= _size(memory.replies.popitem(last=False)[1])


def _size(replies: Replies) -> int:
    return sum(manifest.total_bytes for manifest, *_ in replies)
