"""What training code holds of the wire: a `BundleLink`, whichever way its bundles travel.

In a simulated run it is a `direct.GroundLink` to the ground station; in the emulation a `relay_link.RelayLink` to
the node's own relay. Training code sends and receives, and never learns which of the two it uses.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Protocol, Self, TypeVar, runtime_checkable

import grpc
from google.protobuf.message import Message

from mission.text.plain_text import plain
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.frames import BundleReader
from relay.wire.identity import NodeIdentity, node_host
from relay.wire.manifest import MAX_TEXT, Buffer, Bundle, Limits, Manifest, MessageKind, WireError

RETRY_S = 0.25
CALL_S = 10.0
BUNDLES_AT_ONCE = (
    1024  # that a relay may have begun to give; each waits on the relay's disk, within its quota
)
_DONE = object()

Answer = TypeVar("Answer", bound=Message)


class LinkError(Exception):
    """A bundle could not be sent or received."""


class LinkTimeout(LinkError, TimeoutError):
    """Nothing came, or nothing could be sent, before the deadline."""


class LinkLost(LinkError, ConnectionError):
    """The other end is gone; a new link may send the same bundles again, which counts them once."""


class LinkRefused(LinkError, PermissionError):
    """The other end does not accept who we are or what we sent; trying again does not help."""


class RemoteError(LinkError):
    """The other end failed on a bundle. `error` is the name of its error's class."""

    def __init__(self, error: str, text: str, *, transfer_id: bytes) -> None:
        super().__init__(f"{error} at the other end: {text}")
        self.error = error
        self.text = text
        self.transfer_id = transfer_id


@runtime_checkable
class BundleLink(Protocol):
    """A synchronous two-way link for bundles, closed by leaving its `with` block."""

    def send(self, manifest: Manifest, payload: Buffer) -> None:
        """Hand a bundle over, in order; sending the same transfer again is harmless.

        Raises LinkTimeout, LinkLost, LinkRefused.
        """
        ...

    def receive(self, timeout_s: float) -> Bundle:
        """The next bundle addressed to this end, checked against its manifest.

        Raises LinkTimeout, LinkLost, LinkRefused, RemoteError, or WireError for a bundle that is not what its
        manifest says.
        """
        ...

    def acknowledge(self, keep: Collection[bytes] = ()) -> None:
        """Tell the relay that the messages received so far have been used and need not be kept for a new process.

        Except for these transfers.
        """
        ...

    def compute(self, duration_s: float) -> None:
        """Have computed for so long, by the plan's rates: what is sent after it is ready so much later.

        Where mission time is planned, nothing.
        """
        ...

    def bundle_bytes(self, manifest: Manifest) -> int:
        """Bytes of a bundle on the wire, manifest and headers included; either way, as if this end had signed it."""
        ...

    def mission_time_s(self) -> float | None:
        """Mission time, where it is measured; None in a simulated run, which plans it."""
        ...

    def close(self) -> None:
        """End the stream."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class IncomingBundles:
    """The bundles of a stream of frames, read by a thread of its own, at most a few ahead of who takes them."""

    def __init__(
        self,
        call: grpc.Call,
        limits: Limits,
        *,
        peer: str,
        ended: Callable[[], None],
        max_concurrency: int = 1,
    ) -> None:
        self.end: LinkError | None = None  # why the stream is over
        self._call = call
        self._frames = BundleReader(limits, max_concurrency=max_concurrency)
        self._peer = peer
        self._ended = ended
        self._items: queue.Queue[Bundle | Exception] = queue.Queue(maxsize=4)
        self._drained = False  # the stream is over and everything that came before its end has been taken
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"bundles-from-{peer}", daemon=True)
        self._reader.start()

    @property
    def empty(self) -> bool:
        """Whether nothing is waiting."""
        return self._items.empty()

    def receive(self, timeout_s: float) -> Bundle:
        """See `BundleLink.receive`."""
        if self._drained and self.end is not None:
            raise self.end
        try:
            item = self._items.get(timeout=timeout_s)
        except queue.Empty:
            raise LinkTimeout(f"no bundle from {self._peer} within {timeout_s:g} s") from None
        if isinstance(item, Exception):
            self._drained = item is self.end
            raise item
        return item

    def close(self) -> None:
        """End the stream and the thread that reads it."""
        self._closed.set()
        self._drained = True
        self._call.cancel()
        self._reader.join(timeout=5)

    def _read(self) -> None:
        try:
            for frame in self._call:
                item = self._frames.add(frame)
                if isinstance(item, pb.Failure):
                    self._deliver(RemoteError(item.error, item.text, transfer_id=item.transfer_id))
                elif item is not None:
                    self._deliver(item)
            self.end = LinkLost(f"{self._peer} has ended the stream")
        except WireError as error:
            self._call.cancel()
            self._deliver(error)
            self.end = LinkLost(f"{self._peer} sent what cannot be read: {error}")
        except grpc.RpcError as error:
            self.end = link_error(error, self._peer)
        if self._closed.is_set():
            self.end = LinkLost("the link is closed")
        self._deliver(self.end)
        self._ended()

    def _deliver(self, item: Bundle | Exception) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.25)
                return


def dial(address: str, peer: str, identity: NodeIdentity | None, limits: Limits) -> grpc.Channel:
    """A channel to `peer`, which must prove to be it where we have an identity ourselves."""
    options = [*service.channel_options(limits), *_past_proxies(address)]
    if identity is None or service.is_local(address):
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, identity.channel_credentials(), [*options, _named(peer)])


def dial_async(address: str, peer: str, identity: NodeIdentity | None, limits: Limits) -> grpc.aio.Channel:
    """As `dial`, for use in an event loop."""
    options = [*service.channel_options(limits), *_past_proxies(address)]
    if identity is None or service.is_local(address):
        return grpc.aio.insecure_channel(address, options=options)
    options = [*options, _named(peer)]
    return grpc.aio.secure_channel(address, identity.channel_credentials(), options=options)


def _past_proxies(address: str) -> list[tuple[str, int]]:
    """No proxy reaches this machine itself, whatever the environment says."""
    here = address.startswith(("127.", "localhost:", "[::1]:"))
    return [("grpc.enable_http_proxy", 0)] if here else []


def _named(peer: str) -> tuple[str, str]:
    return "grpc.ssl_target_name_override", node_host(peer)


def call(channel: grpc.Channel, node: str, method: str, request: Message, answer: type[Answer]) -> Answer:
    """One unary call in the name of `node`. Raises LinkTimeout, LinkLost, LinkRefused."""
    ask = channel.unary_unary(
        service.path(method),
        request_serializer=type(request).SerializeToString,
        response_deserializer=answer.FromString,
    )
    try:
        return ask(request, timeout=CALL_S, metadata=[(service.NODE_KEY, node)])
    except grpc.RpcError as error:
        raise link_error(error, "the relay") from None


def failure_bundle(request: Manifest, error: Exception) -> Bundle:
    """Encode a failure for relays: an empty bundle whose attributes describe it."""
    manifest = Manifest.describe(
        b"",
        run=request.run,
        kind=MessageKind.HIDDEN,
        source=request.destination,
        destination=request.source,
        dtype="uint8",
        shape=(0,),
        round=request.round,
        step=request.step,
        micro_batch=request.micro_batch,
        attributes={
            "failed": request.transfer_id.hex(),
            "error": type(error).__name__,
            "text": str(error)[:MAX_TEXT],
        },
    )
    return Bundle(manifest, b"")


def failure_in(manifest: Manifest) -> RemoteError | None:
    """The failure that a bundle tells of, if it does."""
    attributes = manifest.attributes
    if "failed" not in attributes:
        return None
    try:
        transfer_id = bytes.fromhex(str(attributes["failed"]))
    except ValueError:
        transfer_id = b""  # of no transfer
    return RemoteError(
        plain(attributes.get("error"), 64), plain(attributes.get("text")), transfer_id=transfer_id
    )


_REFUSALS = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)


def link_error(error: grpc.RpcError, peer: str) -> LinkError:
    """A gRPC error in a link's words: with whom, what."""
    code, details = error.code(), plain(error.details(), 1024)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return LinkTimeout(f"{peer}: the time for this stream is over")
    if code in _REFUSALS:
        return LinkRefused(f"refused by {peer}: {details}")
    return LinkLost(f"{peer} cannot be reached ({code.name}): {details}")
