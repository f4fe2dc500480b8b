"""The direct path of a simulated run: one stream per satellite to the ground, no relays between.

`GroundEndpoint` is the server inside the ground segment; it hands every complete bundle to a handler and
sends back what the handler answers. `GroundLink` is a satellite's end of it, a `client.BundleLink`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import queue
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Self

import grpc
import uvloop

from relay.client.answers import Answers, Handler
from relay.client.message_link import IncomingBundles, LinkTimeout, dial
from relay.wire import service
from relay.wire.frames import BundleReader, bundle_bytes, bundle_frames, encode_failure
from relay.wire.identity import IdentityError, NodeIdentity
from relay.wire.listening import leave_silent_connections_to_the_kernel
from relay.wire.manifest import BadManifest, Buffer, Bundle, Limits, Manifest, WireError
from relay.wire.wire_pb2 import Failure

IN_FLIGHT_BYTES = 8 << 20
STREAMS_AT_ONCE = 4  # of one satellite; those of processes that have died are still there for some seconds
_DONE = object()


class EndpointError(RuntimeError):
    """The ground endpoint cannot listen."""


class GroundEndpoint:
    """A gRPC server in its own thread with its own event loop.

    For `handler` see `answers.Handler`. What it raises is raised at the satellite as `client.RemoteError`.

    Only `satellites` are admitted: by certificate where `identity` is given, else by the name they state, if they know
    the `secret` of the run.
    Raises EndpointError if the port cannot be had; port 0 takes a free one.
    """

    def __init__(
        self,
        handler: Handler,
        satellites: Collection[str],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        identity: NodeIdentity | None = None,
        secret: str = "",
        limits: Limits | None = None,
    ) -> None:
        self._answers = Answers(handler, satellites)
        self._host = host
        self._port = port
        self._identity = identity
        self._secret = secret
        self._streams: Counter[str] = Counter()  # open, by satellite
        self._limits = limits or Limits()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="ground-endpoint", daemon=True)
        self._started: queue.SimpleQueue[int | Exception] = queue.SimpleQueue()
        self._stopping: asyncio.Event

    @property
    def address(self) -> str:
        """host:port, known once started."""
        return f"{self._host}:{self._port}"

    def start(self) -> Self:
        """Listen; returns itself."""
        self._thread.start()
        outcome = self._started.get(timeout=30)
        if isinstance(outcome, Exception):
            self._thread.join()
            raise EndpointError(
                f"cannot listen on {self._host}:{self._port}: the port is in use or not permitted"
            ) from outcome
        self._port = outcome
        return self

    def stop(self) -> None:
        """End all streams and join the thread; a second call does nothing."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has closed in between
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(timeout=10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        server = grpc.aio.server(options=service.server_options(self._limits))
        exchange = grpc.stream_stream_rpc_method_handler(self._exchange)  # no serialiser: frames are bytes
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service.SERVICE, {service.EXCHANGE: exchange})]
        )
        address = f"{self._host}:{self._port}"
        try:
            if self._identity is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, self._identity.server_credentials())
            await server.start()
            leave_silent_connections_to_the_kernel(port)
        except Exception as error:
            self._started.put(error)
            return
        self._started.put(port)
        await self._stopping.wait()
        await server.stop(grace=0.2)

    async def _exchange(self, requests: object, context: grpc.aio.ServicerContext) -> None:
        if context.time_remaining() is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, service.NO_DEADLINE)
        try:
            name = self._admit(context)
        except IdentityError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        if self._streams[name] >= STREAMS_AT_ONCE:
            text = f"{name} has {STREAMS_AT_ONCE} streams open, which is all it may have"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        self._streams[name] += 1
        try:
            await self._serve_stream(name, context)
        finally:
            self._streams[name] -= 1

    async def _serve_stream(self, name: str, context: grpc.aio.ServicerContext) -> None:
        bundles: asyncio.Queue[Bundle | None] = asyncio.Queue(maxsize=2)
        answering = asyncio.create_task(self._answer(name, bundles, context))
        try:
            await self._read(name, bundles, context)
            await bundles.put(None)
            await answering
        except WireError as error:
            await context.write(encode_failure(type(error).__name__, str(error)))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            answering.cancel()

    def _admit(self, context: grpc.aio.ServicerContext) -> str:
        metadata = dict(context.invocation_metadata() or ())
        name = (
            str(metadata.get(service.NODE_KEY, ""))
            if self._identity is None
            else self._identity.peer(context.auth_context())
        )
        if name not in self._answers.satellites:
            raise IdentityError(f"{name!r:.80} is not a satellite of this mission")
        known = str(metadata.get(service.SECRET_KEY, ""))
        if not hmac.compare_digest(known.encode(), self._secret.encode()):
            raise IdentityError("this stream does not know the secret of the run")
        return name

    async def _read(
        self, name: str, bundles: asyncio.Queue[Bundle | None], context: grpc.aio.ServicerContext
    ) -> None:
        reader = BundleReader(self._limits)
        while (frame := await context.read()) is not grpc.aio.EOF:
            bundle = reader.add(frame)
            if bundle is None:
                continue
            if isinstance(bundle, Failure):
                raise BadManifest(f"{name} sends a failure, which is the ground's to send")
            if bundle.manifest.source != name:
                raise IdentityError(f"{name} sends a bundle of {bundle.manifest.source}")
            await bundles.put(bundle)

    async def _answer(
        self, name: str, bundles: asyncio.Queue[Bundle | None], context: grpc.aio.ServicerContext
    ) -> None:
        """Replies are written while the model has the next bundle already."""
        writing: asyncio.Task[None] | None = None
        try:
            while (bundle := await bundles.get()) is not None:
                frames = await self._reply(name, bundle)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(_write(frames, context))
            if writing is not None:
                await writing
        finally:
            if writing is not None:
                writing.cancel()

    async def _reply(self, name: str, bundle: Bundle) -> Iterator[bytes]:
        try:
            replies = await self._answers.to(name, *bundle)
        except Exception as error:  # whatever the model raises belongs to the satellite that asked
            return iter([encode_failure(type(error).__name__, str(error), bundle.manifest.transfer_id)])
        return itertools.chain.from_iterable(
            bundle_frames(manifest, payload, self._limits.chunk_bytes) for manifest, payload, *_ in replies
        )


async def _write(frames: Iterator[bytes], context: grpc.aio.ServicerContext) -> None:
    for frame in frames:
        await context.write(frame)


class GroundLink:
    """A satellite's synchronous end of the direct path; see `client.BundleLink` for its contract.

    `send` returns when the bundle is on its way, at most `IN_FLIGHT_BYTES` ahead of the network, and waits
    `send_timeout_s` for that. The stream ends after `session_s` at the latest.
    """

    def __init__(
        self,
        address: str,
        satellite: str,
        *,
        ground: str = "ground",
        identity: NodeIdentity | None = None,
        secret: str = "",
        limits: Limits | None = None,
        send_timeout_s: float = 60.0,
        session_s: float = 6 * 3600.0,
    ) -> None:
        self._limits = limits or Limits()
        self._send_timeout_s = send_timeout_s
        self._channel = dial(address, ground, identity, self._limits)
        self._outgoing: queue.Queue[bytes | object] = queue.Queue(
            maxsize=max(2, IN_FLIGHT_BYTES // self._limits.chunk_bytes)
        )
        call = self._channel.stream_stream(service.path(service.EXCHANGE))(
            iter(self._outgoing.get, _DONE),
            timeout=session_s,
            metadata=[(service.NODE_KEY, satellite), (service.SECRET_KEY, secret)],
        )
        self._incoming = IncomingBundles(call, self._limits, peer="the ground", ended=self._make_room)

    def send(self, manifest: Manifest, payload: Buffer) -> None:
        """Send a bundle."""
        for frame in bundle_frames(manifest, payload, self._limits.chunk_bytes):
            if self._incoming.end is not None:
                raise self._incoming.end
            try:
                self._outgoing.put(frame, timeout=self._send_timeout_s)
            except queue.Full:
                raise LinkTimeout(f"no room to send for {self._send_timeout_s:g} s") from None

    def receive(self, timeout_s: float) -> Bundle:
        """The next bundle. Raises LinkError where none comes in time."""
        return self._incoming.receive(timeout_s)

    def acknowledge(self, keep: Collection[bytes] = ()) -> None:
        """Nothing to do: a repeated request is answered anyway."""

    def compute(self, duration_s: float) -> None:
        """Nothing to do: the plan knows how long it takes."""

    def bundle_bytes(self, manifest: Manifest) -> int:
        """Bytes of a bundle on the wire, manifest and headers included."""
        return bundle_bytes(manifest, self._limits.chunk_bytes)

    def mission_time_s(self) -> None:
        """None: the direct path has no mission time."""

    def close(self) -> None:
        """End the stream."""
        self._incoming.close()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_room(self) -> None:
        """The stream is over: let a send that waits see it, and the thread that feeds gRPC end."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._outgoing.get_nowait()
        self._outgoing.put(_DONE)
