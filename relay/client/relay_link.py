"""A node's end at its own relay, in the emulation: what training code holds of the wire there."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import Self, TypeVar

import grpc

from relay.client.message_link import (
    BUNDLES_AT_ONCE,
    RETRY_S,
    IncomingBundles,
    LinkLost,
    LinkRefused,
    LinkTimeout,
    RemoteError,
    call,
    dial,
    failure_in,
    link_error,
)
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.frames import bundle_bytes, chunks, encode_transfer_header
from relay.wire.identity import NodeIdentity
from relay.wire.manifest import SLOW_CHUNK_BYTES, BadManifest, Buffer, Bundle, Limits, Manifest, WireError

# A relay that has not heard the end of the stream takes who goes for a process that has died, and waits for it.
_GOODBYE_S = 60.0

_DONE = object()
_Result = TypeVar("_Result")


class RelayLink:
    """The end of a node's own application at its own relay; see `client.BundleLink` for the contract.

    `address` is the relay's host:port or, on the same machine, `unix:` and the path of its socket file.
    `send` returns when the relay has the bundle on disk, and waits up to `send_timeout_s` for room there. The next
    link gets again what was received and not acknowledged; leaving the `with` block without an error acknowledges it.
    While the link is open, mission time does not jump, except while `receive` waits for a bundle. A relay that goes
    away is dialled for `redial_s`: its disk has what was sent, and delivers again what was not acknowledged.
    """

    def __init__(
        self,
        address: str,
        node: str,
        *,
        identity: NodeIdentity | None = None,
        limits: Limits | None = None,
        send_timeout_s: float = 600.0,
        session_s: float = 24 * 3600.0,
        redial_s: float = 60.0,
    ) -> None:
        self._limits = limits or Limits()
        self._identity = identity
        self._send_timeout_s = send_timeout_s
        self._channel = dial(address, node, identity, self._limits)
        self._node = node
        self._caller = [(service.NODE_KEY, node)]
        self._put = self._channel.stream_stream(
            service.path(service.PUT), response_deserializer=pb.Acknowledgement.FromString
        )
        self._fetch = self._channel.stream_stream(
            service.path(service.FETCH), request_serializer=pb.FetchRequest.SerializeToString
        )
        self._session_s = session_s
        self._redial_s = redial_s
        self._sent_to: dict[bytes, str] = {}  # over this link, and for whom
        self._had: set[bytes] = set()  # over this link, acknowledged or not
        self._unacknowledged: list[bytes] = []
        self._open()

    def send(self, manifest: Manifest, payload: Buffer) -> None:
        """Hand a bundle to the relay."""
        if memoryview(payload).nbytes != manifest.total_bytes:
            raise BadManifest(f"payload of {memoryview(payload).nbytes} bytes, not {manifest.total_bytes}")
        self._sent_to[manifest.transfer_id] = manifest.destination
        deadline_s = time.monotonic() + self._send_timeout_s
        while not self._until_back(lambda: self._sent(manifest, payload, deadline_s)):
            if time.monotonic() > deadline_s:
                raise LinkTimeout(f"no room in the relay for {self._send_timeout_s:g} s")
            self._tell(waiting=True)  # room may come with a later window, which time must be free to reach
            time.sleep(RETRY_S)
            self._tell(waiting=False)

    def receive(self, timeout_s: float) -> Bundle:
        """The next bundle. Raises LinkError where none comes in time."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            bundle = self._until_back(lambda: self._next(deadline_s - time.monotonic()), self._open)
            transfer_id = bundle.manifest.transfer_id
            if transfer_id in self._had:
                if transfer_id not in self._unacknowledged:  # the relay has not heard of it
                    self._requests.put(pb.FetchRequest(taken=transfer_id))
                continue
            self._had.add(transfer_id)
            self._unacknowledged.append(transfer_id)
            failure = failure_in(bundle.manifest)
            if failure is None:
                return bundle
            # Else a process that has died was told of it, or somebody tells of what was not sent to it.
            if self._sent_to.get(failure.transfer_id) == bundle.manifest.source:
                raise failure

    def acknowledge(self, keep: Collection[bytes] = ()) -> None:
        """Tell the relay that what was received need not be kept, except for these transfers."""
        for transfer_id in self._unacknowledged:
            if transfer_id not in keep:
                self._requests.put(pb.FetchRequest(taken=transfer_id))
        self._unacknowledged = [transfer_id for transfer_id in self._unacknowledged if transfer_id in keep]

    def compute(self, duration_s: float) -> None:
        """Have computed for so long, by the plan's rates; what is sent from now on is ready after that."""
        self._computed_s += duration_s

    def bundle_bytes(self, manifest: Manifest) -> int:
        """Bytes of a bundle on a slow link, manifest, signature and headers included."""
        signature_bytes = self._identity.signature_bytes if self._identity is not None else 0
        return bundle_bytes(manifest, SLOW_CHUNK_BYTES, signature_bytes=signature_bytes)

    def mission_time_s(self) -> float:
        """Mission time at the relay, when all that was computed is done. Raises LinkTimeout, LinkLost, LinkRefused."""
        status = self._status()
        return status.computes_until_s + max(0.0, self._computed_s - status.computed_s)

    def drain(self, timeout_s: float) -> None:
        """Wait until the relay holds nothing any more; who leaves before may be the last, and then mission time stands.

        Raises LinkTimeout, LinkLost, LinkRefused.
        """
        deadline_s = time.monotonic() + timeout_s
        self._tell(waiting=True)
        while self._status().queued_transfers:
            if time.monotonic() > deadline_s:
                raise LinkTimeout(f"the relay of {self._node} still holds transfers after {timeout_s:g} s")
            time.sleep(RETRY_S)
        self._tell(waiting=False)

    def close(self) -> None:
        """Say that nothing more comes."""
        self._tell(waiting=False)
        # Half-closes; the relay answers by ending the stream, with all acknowledged.
        self._requests.put(_DONE)
        deadline_s = time.monotonic() + _GOODBYE_S
        with contextlib.suppress(LinkTimeout, LinkLost, LinkRefused):
            while True:
                with contextlib.suppress(RemoteError, WireError):  # of no account now
                    self._incoming.receive(max(0.0, deadline_s - time.monotonic()))
        self._incoming.close()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.acknowledge()
        self.close()

    def _open(self) -> None:
        """Begin a stream of bundles."""
        requests: queue.SimpleQueue[pb.FetchRequest | object] = queue.SimpleQueue()
        stream = self._fetch(iter(requests.get, _DONE), timeout=self._session_s, metadata=self._caller)
        self._requests = requests
        self._received = 0  # bundles and failures of this stream
        self._computed_s = 0.0  # in this stream
        self._incoming = IncomingBundles(
            stream,
            self._limits,
            peer=f"the relay of {self._node}",
            ended=lambda: requests.put(_DONE),
            max_concurrency=BUNDLES_AT_ONCE,
        )

    def _next(self, timeout_s: float) -> Bundle:
        if self._incoming.empty:
            self._tell(waiting=True)
        try:
            bundle = self._incoming.receive(max(0.0, timeout_s))
        except LinkTimeout:
            self._tell(waiting=False)
            raise
        except RemoteError:
            self._received += 1
            raise
        self._received += 1
        return bundle

    def _until_back(
        self, attempt: Callable[[], _Result], again: Callable[[], None] = lambda: None
    ) -> _Result:
        """Try until the relay, should it have gone, has been away for too long; `again` comes before each new try."""
        deadline_s: float | None = None
        while True:
            try:
                return attempt()
            except LinkLost:
                deadline_s = deadline_s or time.monotonic() + self._redial_s
                if time.monotonic() > deadline_s:
                    raise
            time.sleep(RETRY_S)
            again()

    def _status(self) -> pb.NodeStatus:
        return call(self._channel, self._node, service.STATUS, pb.Nothing(), pb.NodeStatus)

    def _tell(self, *, waiting: bool) -> None:
        self._requests.put(
            pb.FetchRequest(waiting=waiting, received=self._received, computed_s=self._computed_s)
        )

    def _sent(self, manifest: Manifest, payload: Buffer, deadline_s: float) -> bool:
        """Put a bundle into the relay; False if it has no room now."""
        if self._identity is None:
            signed = pb.SignedManifest(manifest=manifest.to_bytes())
        else:
            signed = self._identity.sign(manifest)

        def frames() -> Iterator[bytes]:
            yield encode_transfer_header(signed, computed_s=self._computed_s)
            yield from chunks(manifest.transfer_id, payload, self._limits.chunk_bytes)

        timeout_s = max(1.0, deadline_s - time.monotonic())
        call = self._put(frames(), timeout=timeout_s, metadata=self._caller)
        try:
            for answer in call:
                if answer.HasField("refusal"):
                    if answer.temporary:
                        return False
                    raise LinkRefused(f"refused by the relay: {answer.refusal.text}")
                if answer.next_offset >= manifest.total_bytes:
                    return True
        except grpc.RpcError as error:
            raise link_error(error, "the relay") from None
        finally:
            call.cancel()
        raise LinkLost("the relay has ended the stream")
