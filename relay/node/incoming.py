"""The receiving side of one stream: openings and chunks in, acknowledgements out, bytes into the spool.

No network in here: a stream is a function from frames to acknowledgements, which a fuzzer can call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

from relay.spool.spool import AlreadyDelivered, Contested, Entry, QuotaExceeded, Spool
from relay.wire import wire_pb2 as pb
from relay.wire.frames import (
    CHUNK,
    MANIFEST,
    Chunk,
    check_finite,
    checked_bytes,
    decode_chunk,
    decode_transfer_header,
)
from relay.wire.identity import NodeIdentity
from relay.wire.manifest import (
    BadManifest,
    CorruptChunk,
    LimitExceeded,
    Limits,
    Manifest,
    OutOfOrder,
    WireError,
)

MAX_HOPS = 64
REFUSED_REMEMBERED = 1024  # transfers of one stream whose chunks may still be under way
CORRUPT_TOLERATED = 16  # chunks of one stream
REJECTED_TOLERATED = 64  # transfers of one stream: to check a forged signature costs more than to send it
REWOUND_AT_ONCE = 64  # transfers that one corrupt chunk may have answered
CHECKED_BYTES = 1 << 20  # read at once when values are checked; a whole number of values of every type


@dataclass(frozen=True, eq=False)
class Admission:
    """Decide what a node takes in from a peer.

    Attributes:
        admit: Raises WireError for a transfer that the node does not want.
        for_us: Whether the values of a transfer are to be checked here, not further on.
        is_node: Whether a name may stand in the list of nodes that a transfer has passed.
        ready_s: Mission time before which a transfer is not to be sent on, by what its sender had computed.
        drop: Lets go of a transfer that was found wrong.
    """

    admit: Callable[[Manifest], None]
    for_us: Callable[[Manifest], bool]
    _: KW_ONLY
    is_node: Callable[[str], bool]
    ready_s: Callable[[float], float]
    drop: Callable[[bytes], None]


class IncomingStream:
    """Transfers that one peer sends over one stream; `on_data(entry)` is called whenever bytes have been stored.

    A transfer header gives the right to send chunks only once its signature has been checked and the spool holds it.
    """

    def __init__(
        self,
        peer: str,
        *,
        spool: Spool,
        limits: Limits,
        identity: NodeIdentity | None,
        admission: Admission,
        on_data: Callable[[Entry], None],
    ) -> None:
        self._peer = peer
        self._spool = spool
        self._limits = limits
        self._identity = identity
        self._admission = admission
        self._on_data = on_data
        self._opened: set[bytes] = set()  # in this stream, and taken by the spool
        self._refused: OrderedDict[bytes, None] = OrderedDict()  # in this stream; the sender may not know yet
        self._corrupt = 0  # chunks
        self._rejected = 0  # transfers
        self._gap_at: dict[bytes, int] = {}  # offset of the last chunk that came too early

    def receive(self, frame: bytes) -> list[pb.Acknowledgement]:
        """Return the answers to a frame. Raises WireError for a frame no honest peer sends: the stream must end."""
        frame_type = frame[0] if frame else None
        if frame_type == MANIFEST:
            if self._rejected >= REJECTED_TOLERATED:
                raise LimitExceeded(f"{self._rejected} transfers of one stream had to be refused for good")
            transfer_header, manifest = decode_transfer_header(frame, self._limits)
            return self._open(transfer_header, manifest)
        if frame_type != CHUNK:
            raise BadManifest("a frame that is neither manifest nor chunk")
        try:
            chunk = decode_chunk(frame, self._limits)
        except CorruptChunk:
            # Its header cannot be trusted either: whatever this stream has under way goes on from what is stored.
            self._corrupt += 1
            if self._corrupt > CORRUPT_TOLERATED or len(self._opened) > REWOUND_AT_ONCE:
                raise  # a new stream costs this side less
            return [_acknowledge(entry, rewind=True) for entry in self._unfinished()]
        if chunk.transfer_id in self._refused:
            return []
        if chunk.transfer_id not in self._opened:
            raise OutOfOrder(f"a chunk of transfer {chunk.transfer_id.hex()}, which was not opened")
        entry = self._spool.entries.get(chunk.transfer_id)
        if entry is None:  # delivered, taken back, or given up; the sender learns it if it still cares
            return [self._refuse(chunk.transfer_id, QuotaExceeded("no longer held here: open it again"))]
        if not self._spool.may_write(entry, self._peer):
            return [self._refuse(chunk.transfer_id, Contested(f"coming from {entry.sender} now"))]
        return self._store(entry, chunk)

    def _open(self, transfer_header: pb.TransferHeader, manifest: Manifest) -> list[pb.Acknowledgement]:
        transfer_id = manifest.transfer_id
        try:
            if self._identity is not None:
                self._identity.verify(transfer_header.signed, manifest.source)
            self._admission.admit(manifest)
            base_offset = 0 if self._admission.for_us(manifest) else transfer_header.base_offset
            if not all(map(self._admission.is_node, transfer_header.via)):
                raise BadManifest("a transfer that has passed a node of another mission")
            via = (*transfer_header.via[: MAX_HOPS - 1], self._peer)
            entry = self._spool.open(transfer_header.signed, manifest, via=via, base_offset=base_offset)
        except AlreadyDelivered:
            self._ignore(transfer_id)
            return [pb.Acknowledgement(transfer_id=transfer_id, next_offset=manifest.total_bytes)]
        except WireError as error:
            return [self._refuse(transfer_id, error)]
        self._refused.pop(transfer_id, None)
        if len(self._opened) >= 2 * len(self._spool.entries) + REFUSED_REMEMBERED:
            self._opened &= self._spool.entries.keys()
        self._opened.add(transfer_id)
        entry.ready_s = max(entry.ready_s, self._admission.ready_s(transfer_header.computed_s))
        self._on_data(entry)
        # The first chunk is under way: there is something to say only if it is not the one wanted.
        answer = entry.end_offset != transfer_header.base_offset
        return self._answer(entry, wanted=answer)

    def _store(self, entry: Entry, chunk: Chunk) -> list[pb.Acknowledgement]:
        try:
            self._spool.append(entry, chunk.offset, chunk.payload, self._peer)
        except OutOfOrder:
            # One rewind per gap is enough: the chunks behind it are under way. A chunk from before the last
            # one seen means that the sender has gone back, and has lost a chunk again.
            again = chunk.offset <= self._gap_at.get(entry.transfer_id, chunk.offset)
            self._gap_at[entry.transfer_id] = chunk.offset
            return [_acknowledge(entry, rewind=True)] if again else []
        except QuotaExceeded as error:
            return [self._refuse(entry.transfer_id, error)]
        self._gap_at.pop(entry.transfer_id, None)
        self._on_data(entry)
        return self._answer(entry, wanted=chunk.answer)

    def _answer(self, entry: Entry, *, wanted: bool) -> list[pb.Acknowledgement]:
        """Each costs both ends as much as a third of a megabyte, so there are none that nobody waits for."""
        if not entry.complete:
            return [_acknowledge(entry)] if wanted else []
        if not entry.verified:
            try:
                self._spool.verify(entry)
                if self._admission.for_us(entry.manifest):
                    self._check_values(entry)
            except WireError as error:
                self._admission.drop(entry.transfer_id)
                return [self._refuse(entry.transfer_id, error)]
            self._on_data(entry)
        return [_acknowledge(entry)]

    def _check_values(self, entry: Entry) -> None:
        """Raise NotFinite, as `check_finite`, without holding the whole payload in memory."""
        end = checked_bytes(entry.manifest)
        for offset in range(0, end, CHECKED_BYTES):
            size = min(CHECKED_BYTES, end - offset)
            check_finite(entry.manifest, self._spool.read(entry, offset, size))

    def _refuse(self, transfer_id: bytes, error: WireError) -> pb.Acknowledgement:
        """Say no, and pass over the chunks that are under way."""
        self._ignore(transfer_id)
        temporary = isinstance(error, QuotaExceeded)
        self._rejected += not temporary
        failure = pb.Failure(transfer_id=transfer_id, error=type(error).__name__, text=str(error))
        return pb.Acknowledgement(transfer_id=transfer_id, refusal=failure, temporary=temporary)

    def _ignore(self, transfer_id: bytes) -> None:
        self._opened.discard(transfer_id)
        self._gap_at.pop(transfer_id, None)
        self._refused[transfer_id] = None
        if len(self._refused) > REFUSED_REMEMBERED:
            self._refused.popitem(last=False)

    def _unfinished(self) -> list[Entry]:
        entries = (self._spool.entries.get(transfer_id) for transfer_id in self._opened)
        return [entry for entry in entries if entry is not None and not entry.complete]


def _acknowledge(entry: Entry, *, rewind: bool = False) -> pb.Acknowledgement:
    return pb.Acknowledgement(transfer_id=entry.transfer_id, next_offset=entry.end_offset, rewind=rewind)
