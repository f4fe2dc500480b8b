"""The ground's end of the emulation: the application at the ground's own relay that answers satellites.

It offers what `direct.GroundEndpoint` offers in a simulated run, to the same handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
import uvloop

from relay.client.answers import Answers, Handler, Reply
from relay.client.message_link import BUNDLES_AT_ONCE, RETRY_S, LinkRefused, dial_async, failure_bundle
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.frames import BundleReader, chunks, encode_transfer_header
from relay.wire.identity import NodeIdentity
from relay.wire.manifest import Buffer, Bundle, Limits, Manifest, WireError

log = logging.getLogger(__name__)

ANSWERED_AT_ONCE = 64
SESSION_S = 24 * 3600.0
PUT_S = 600.0


class RelayEndpoint:
    """Fetches what arrives at the relay of `node`, asks the handler, and sends its replies by the same relay.

    Runs in a thread with an event loop of its own. A bundle is taken off the relay's disk only when its replies
    are on it, so a crash of either repeats the question, never loses it. Mission time stands while a handler is at
    work, and its replies leave when what it computed is done by the plan's rates, see :class:`.answers.Paced`. When the
    relay goes away the endpoint dials until it is back.

    `answered_at_once` bundles may wait for each other in the handler.
    """

    def __init__(
        self,
        handler: Handler,
        satellites: Collection[str],
        *,
        address: str,
        node: str,
        identity: NodeIdentity | None = None,
        limits: Limits | None = None,
        answered_at_once: int = ANSWERED_AT_ONCE,
    ) -> None:
        self._answers = Answers(handler, satellites, paced=self)
        self._address = address
        self._node = node
        self._identity = identity
        self._limits = limits or Limits()
        self._answered_at_once = max(ANSWERED_AT_ONCE, answered_at_once)
        self._caller = ((service.NODE_KEY, node),)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="relay-endpoint", daemon=True)
        self._serving: asyncio.Task[None]
        self._started = threading.Event()
        self._requests: asyncio.Queue[pb.FetchRequest] = asyncio.Queue()  # to the relay, in this session
        self._received = self._at_work = 0  # bundles of this session, and what is computed in it
        self._sessions = 0
        self._computed_s = self._computed_before_s = 0.0  # in all, and before this session

    def start(self) -> Self:
        """Begin to take bundles; returns itself."""
        self._thread.start()
        self._started.wait()
        return self

    def stop(self) -> None:
        """End the stream and join the thread; a second call does nothing."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has closed in between
                self._loop.call_soon_threadsafe(self._serving.cancel)
            self._thread.join(timeout=10)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """In a handler: it waits for what other satellites send, which mission time may have to jump for."""
        self._at_work -= 1
        self._tell()
        try:
            yield
        finally:
            self._at_work += 1
            self._tell()

    def work_on(self, future: asyncio.Future[Any]) -> None:
        """In a handler: count this as work until it is there."""
        session = self._sessions
        self._at_work += 1

        def end(_: asyncio.Future[Any]) -> None:
            if session == self._sessions:
                self._at_work -= 1
                self._tell()

        future.add_done_callback(end)

    def compute(self, duration_s: float) -> float:
        """Count so many seconds of computing, by the plan's rates; by one thread only. Returns the count."""
        self._computed_s += duration_s
        return self._computed_s

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        with (
            asyncio.Runner(loop_factory=lambda: self._loop) as runner,
            contextlib.suppress(asyncio.CancelledError),
        ):
            runner.run(self._serve())

    async def _serve(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving = task
        self._started.set()
        async with dial_async(self._address, self._node, self._identity, self._limits) as channel:
            while True:
                try:
                    await self._session(channel)
                except* (grpc.aio.AioRpcError, WireError) as group:
                    log.warning("relay of %s: %s", self._node, group.exceptions[0])
                await asyncio.sleep(RETRY_S)

    async def _session(self, channel: grpc.aio.Channel) -> None:
        """One stream of bundles. Raises a group with AioRpcError or WireError when it breaks."""
        fetch = channel.stream_stream(
            service.path(service.FETCH), request_serializer=pb.FetchRequest.SerializeToString
        )(metadata=self._caller, timeout=SESSION_S, wait_for_ready=True)
        self._requests = asyncio.Queue()
        self._received = self._at_work = 0
        self._sessions += 1
        self._computed_before_s = self._computed_s
        self._tell()
        room = asyncio.Semaphore(self._answered_at_once)
        reader = BundleReader(self._limits, max_concurrency=BUNDLES_AT_ONCE)

        async def tell() -> None:
            while True:
                await fetch.write(await self._requests.get())

        async def answer(bundle: Bundle) -> None:
            await self._answer(channel, bundle)
            self._at_work -= 1
            self._tell(taken=bundle.manifest.transfer_id)
            room.release()

        try:
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(tell())
                async for frame in fetch:
                    item = reader.add(frame)
                    if isinstance(item, pb.Failure):
                        log.warning("a reply to %s was refused on its way: %s", self._node, item.text)
                        self._received += 1
                        self._tell()
                    elif item is not None:
                        await room.acquire()
                        self._received, self._at_work = self._received + 1, self._at_work + 1
                        tasks.create_task(answer(item))
                telling.cancel()
        finally:
            fetch.cancel()

    def _tell(self, *, taken: bytes = b"") -> None:
        waiting = self._at_work == 0
        computed_s = self._computed_s - self._computed_before_s
        self._requests.put_nowait(
            pb.FetchRequest(taken=taken, waiting=waiting, received=self._received, computed_s=computed_s)
        )

    async def _answer(self, channel: grpc.aio.Channel, bundle: Bundle) -> None:
        manifest, payload = bundle
        try:
            if manifest.source not in self._answers.satellites:
                raise WireError(f"{manifest.source} is not a satellite of this mission")
            replies = await self._answers.to(manifest.source, manifest, payload)
        except Exception as error:  # whatever the model raises belongs to the satellite that asked
            replies = [Reply(*failure_bundle(manifest, error))]
        for reply in replies:
            while not await self._put(channel, *reply):
                with self.waiting():  # room may come with a later window, which time must be free to reach
                    await asyncio.sleep(RETRY_S)

    async def _put(
        self, channel: grpc.aio.Channel, manifest: Manifest, payload: Buffer, computed_s: float = 0.0
    ) -> bool:
        """Put a reply on the relay's disk; False if there is no room now. Raises LinkRefused, AioRpcError."""
        if self._identity is None:
            signed = pb.SignedManifest(manifest=manifest.to_bytes())
        else:
            signed = self._identity.sign(manifest)
        call = channel.stream_stream(
            service.path(service.PUT), response_deserializer=pb.Acknowledgement.FromString
        )(metadata=self._caller, timeout=PUT_S)
        try:
            computed_s = max(0.0, computed_s - self._computed_before_s)
            await call.write(encode_transfer_header(signed, computed_s=computed_s))
            for frame in chunks(manifest.transfer_id, payload, self._limits.chunk_bytes):
                await call.write(frame)
            async for answer in call:
                if answer.HasField("refusal"):
                    if answer.temporary:
                        return False
                    raise LinkRefused(f"refused by the relay of {self._node}: {answer.refusal.text}")
                if answer.next_offset >= manifest.total_bytes:
                    return True
        finally:
            call.cancel()
        return False
