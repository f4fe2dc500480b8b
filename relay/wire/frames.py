"""Frames: the messages into which a bundle is cut, and the assembler that puts it together again.

A frame is one gRPC message of a bundle stream; its first byte says which of three it is:

    M  a transfer header: a signed manifest, and how the transfer begins (protobuf)
    C  a chunk: header, then raw bytes; its CRC-32C covers header *and* bytes (over the bytes alone, a
       mutated header passes)
    F  a failure at the other end (protobuf)

Everything a peer sends is checked before memory is set aside for it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xxhash
from crc32c import crc32c
from google.protobuf.message import DecodeError

from mission.text.plain_text import plain
from relay.wire import wire_pb2 as pb
from relay.wire.manifest import (
    CHUNK_HEADER_BYTES,
    CODECS,
    FLOAT_DTYPES,
    BadManifest,
    Buffer,
    Bundle,
    CorruptChunk,
    DigestMismatch,
    LimitExceeded,
    Limits,
    Manifest,
    NotFinite,
    OutOfOrder,
)

MANIFEST, CHUNK, FAILURE = b"M"[0], b"C"[0], b"F"[0]

# frame byte, wire version, answer wanted or not, payload length, offset, transfer id | CRC-32C of these and the payload
_HEADER = struct.Struct("<BBHIQ16s")
_CRC = struct.Struct("<I")
assert _HEADER.size + _CRC.size == CHUNK_HEADER_BYTES
WIRE_VERSION = 1
MAX_FAILURE_BYTES = 32 << 10


class Chunk(NamedTuple):
    """Bytes of a payload, and where they belong."""

    transfer_id: bytes
    offset: int
    payload: memoryview
    answer: bool  # an acknowledgement is wanted, though the transfer is not complete


def encode_chunk(transfer_id: bytes, offset: int, payload: Buffer, *, answer: bool = False) -> bytes:
    """A frame with bytes of a payload from an offset on."""
    view = memoryview(payload)
    header = _HEADER.pack(CHUNK, WIRE_VERSION, answer, view.nbytes, offset, transfer_id)
    return b"".join((header, _CRC.pack(crc32c(view, crc32c(header))), view))


def decode_chunk(frame: bytes, limits: Limits) -> Chunk:
    """Read one chunk frame without copying its payload. Raises CorruptChunk or LimitExceeded."""
    if len(frame) < CHUNK_HEADER_BYTES:
        raise CorruptChunk(f"chunk frame of {len(frame)} bytes: shorter than its header")
    frame_type, version, answer, length, offset, transfer_id = _HEADER.unpack_from(frame)
    if (frame_type, version) != (CHUNK, WIRE_VERSION) or answer > 1:
        raise CorruptChunk("chunk frame does not begin with the header of wire version 1")
    if length > limits.chunk_bytes:
        raise LimitExceeded(f"chunk of {length} bytes: at most {limits.chunk_bytes}")
    if len(frame) != CHUNK_HEADER_BYTES + length:
        raise CorruptChunk(f"chunk frame of {len(frame)} bytes announces {length} of payload")
    payload = memoryview(frame)[CHUNK_HEADER_BYTES:]
    if crc32c(payload, crc32c(frame[: _HEADER.size])) != _CRC.unpack_from(frame, _HEADER.size)[0]:
        raise CorruptChunk(f"chunk at offset {offset}: checksum does not match")
    return Chunk(transfer_id, offset, payload=payload, answer=bool(answer))


def chunks(transfer_id: bytes, payload: Buffer, chunk_bytes: int, start: int = 0) -> Iterator[bytes]:
    """The chunk frames of a payload from offset `start`; an empty payload has none."""
    view = memoryview(payload).cast("B")
    for offset in range(start, view.nbytes, chunk_bytes):
        yield encode_chunk(transfer_id, offset, view[offset : offset + chunk_bytes])


def encode_transfer_header(
    signed: pb.SignedManifest, base_offset: int = 0, via: Sequence[str] = (), *, computed_s: float = 0.0
) -> bytes:
    """A frame that opens a transfer; an application says to its own relay how much it had computed by then."""
    transfer_header = pb.TransferHeader(
        signed=signed, base_offset=base_offset, via=via, computed_s=computed_s
    )
    return b"M" + transfer_header.SerializeToString()


def decode_transfer_header(frame: bytes, limits: Limits) -> tuple[pb.TransferHeader, Manifest]:
    """Read how a transfer begins, and the manifest in it. Raises BadManifest or LimitExceeded."""
    if len(frame) > limits.manifest_bytes:
        raise LimitExceeded(f"manifest frame of {len(frame)} bytes: at most {limits.manifest_bytes}")
    try:
        transfer_header = pb.TransferHeader.FromString(frame[1:])
    except DecodeError as error:
        raise BadManifest("manifest frame is not readable protobuf") from error
    if not (math.isfinite(transfer_header.computed_s) and transfer_header.computed_s >= 0.0):
        raise BadManifest(f"computed for {transfer_header.computed_s} s; allowed: 0 or more")
    return transfer_header, Manifest.from_bytes(transfer_header.signed.manifest, limits)


def encode_failure(error: str, text: str, transfer_id: bytes = b"") -> bytes:
    """A frame that says why a transfer is refused."""
    return b"F" + pb.Failure(transfer_id=transfer_id, error=error, text=text[:4096]).SerializeToString()


def decode_failure(frame: bytes) -> pb.Failure:
    """Decode a failure from :func:`encode_failure`. Raises WireError."""
    if len(frame) > MAX_FAILURE_BYTES:
        raise LimitExceeded(f"failure frame of {len(frame)} bytes: at most {MAX_FAILURE_BYTES}")
    try:
        failure = pb.Failure.FromString(frame[1:])
    except DecodeError as error:
        raise BadManifest("failure frame is not readable protobuf") from error
    failure.error, failure.text = plain(failure.error, 64), plain(failure.text, 4096)
    return failure


def bundle_bytes(manifest: Manifest, chunk_bytes: int, *, signature_bytes: int = 0) -> int:
    """Bytes of all frames of a bundle, see :func:`bundle_frames`.

    Args:
        manifest: Of the bundle; its payload need not be there.
        chunk_bytes: Largest payload of a chunk.
        signature_bytes: What signature and certificate add, see :attr:`.identity.NodeIdentity.signature_bytes`.
    """
    transfer_header = (
        len(encode_transfer_header(pb.SignedManifest(manifest=manifest.to_bytes()))) + signature_bytes
    )
    return (
        transfer_header + manifest.total_bytes + CHUNK_HEADER_BYTES * -(-manifest.total_bytes // chunk_bytes)
    )


class Assembler:
    """Puts one payload together from its chunks, in order.

    Its memory is set aside once, and unlike a bytearray's is not touched: a promise of 256 MiB costs nothing before the
    bytes come.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._payload = np.empty(manifest.total_bytes, np.uint8).data
        self._hash = xxhash.xxh3_128()
        self.next_offset = 0

    @property
    def complete(self) -> bool:
        """Whether all bytes are there."""
        return self.next_offset == self.manifest.total_bytes

    def add(self, chunk: Chunk) -> None:
        """Raises OutOfOrder for a gap, an overlap, an empty chunk or bytes beyond the end."""
        end = chunk.offset + chunk.payload.nbytes
        if chunk.transfer_id != self.manifest.transfer_id:
            raise OutOfOrder(f"chunk of {chunk.transfer_id.hex()} inside {self.manifest.transfer_id.hex()}")
        if chunk.offset != self.next_offset or not chunk.offset < end <= self.manifest.total_bytes:
            raise OutOfOrder(
                f"chunk {chunk.offset}…{end} of transfer {chunk.transfer_id.hex()}: expected to start at "
                f"{self.next_offset} and end by {self.manifest.total_bytes}"
            )
        self._payload[chunk.offset : end] = chunk.payload
        self._hash.update(chunk.payload)
        self.next_offset = end

    def finish(self) -> Bundle:
        """The bundle, checked against its digest and for finite values. Raises OutOfOrder, DigestMismatch,
        NotFinite."""
        if not self.complete:
            raise OutOfOrder(f"transfer {self.manifest.transfer_id.hex()} ends at byte {self.next_offset}")
        if self._hash.digest() != self.manifest.digest:
            raise DigestMismatch(f"transfer {self.manifest.transfer_id.hex()}: not the payload announced")
        check_finite(self.manifest, self._payload)
        return Bundle(self.manifest, self._payload)


# The square of any value up to here is finite in float32, so no layer norm or optimiser step makes infinity of it. No
# activation, gradient or weight of a model that still learns comes near.
LARGEST = 2.0**63
_FLOATS = {  # as unsigned words, all bits but the sign, the bits of the largest magnitude allowed
    "float64": ("<u8", (1 << 63) - 1, int(np.array(LARGEST, "<f8").view("<u8"))),
    "float32": ("<u4", (1 << 31) - 1, int(np.array(LARGEST, "<f4").view("<u4"))),
    "float16": ("<u2", 0x7FFF, 0x7BFF),
    "bfloat16": ("<u2", 0x7FFF, int(np.array(LARGEST, "<f4").view("<u4")) >> 16),
}
_CODEC_FLOATS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_FLOAT16_MAX = 65504.0


def checked_bytes(manifest: Manifest) -> int:
    """Return how much of a payload, from its first byte, `check_finite` looks at."""
    dtype = _checked_as(manifest)
    if dtype == "blocks":
        return 2 * CODECS[manifest.codec].scales(manifest.shape)
    return manifest.total_bytes if dtype in FLOAT_DTYPES else 0


def check_finite(manifest: Manifest, payload: Buffer) -> None:
    """Raise NotFinite for NaN, infinity or a magnitude above `LARGEST`, as sent or once it is dequantised.

    `payload` may be the first `checked_bytes`, or a piece of them that begins and ends between two values: each value
    is judged by itself.
    """
    dtype = _checked_as(manifest)
    if dtype == "blocks":
        # Scales are bfloat16 and not negative; times the largest level, each must still be in bounds.
        levels = (1 << (CODECS[manifest.codec].bits - 1)) - 1
        bound = min(LARGEST, _FLOAT16_MAX) if manifest.dtype == "float16" else LARGEST
        largest = int(np.array(bound / levels, "<f4").view("<u4")) >> 16
        words = np.frombuffer(payload, "<u2", count=min(checked_bytes(manifest), _size(payload)) // 2)
        finite = bool(((words <= largest) | (words == 0x8000)).all())  # 0x8000 is minus zero
    elif dtype in _FLOATS:
        word, mask, largest = _FLOATS[dtype]
        if manifest.dtype == "float16" and dtype != "float16":
            largest = int(np.array(_FLOAT16_MAX, "<f4").view("<u4")) >> (16 if dtype == "bfloat16" else 0)
        values = np.frombuffer(payload, word)
        finite = bool(((values & values.dtype.type(mask)) <= largest).all())
    else:
        return
    if not finite:
        raise NotFinite(
            f"{manifest.kind.name} of {manifest.source} (round {manifest.round}, step {manifest.step}): "
            f"NaN, infinite values, or magnitudes above {LARGEST:.2g}"
        )


def _size(payload: Buffer) -> int:
    return memoryview(payload).nbytes


def _checked_as(manifest: Manifest) -> str:
    if manifest.codec == "raw":
        return manifest.dtype
    # What bytes of another package's codec stand for is known, and checked, at the ends alone.
    return _CODEC_FLOATS.get(manifest.codec, "blocks" if manifest.codec in CODECS else "own")


WITHDRAWN = "Withdrawn"  # the failure of a bundle begun on this stream that will not be finished


class BundleReader:
    """Turns the frames of one stream into bundles, of which up to `max_concurrency` may be under way."""

    def __init__(self, limits: Limits, *, max_concurrency: int = 1) -> None:
        self._limits = limits
        self._max_concurrency = max_concurrency
        self._assemblers: dict[bytes, Assembler] = {}

    def add(self, frame: bytes) -> Bundle | pb.Failure | None:
        """The bundle this frame completes, if any, or the failure it tells of. Raises WireError."""
        frame_type = frame[0] if frame else None
        if frame_type == FAILURE:
            failure = decode_failure(frame)
            if failure.error == WITHDRAWN:
                self._assemblers.pop(failure.transfer_id, None)
                return None
            return failure
        if frame_type == MANIFEST:
            _, manifest = decode_transfer_header(frame, self._limits)
            if len(self._assemblers) == self._max_concurrency:
                raise OutOfOrder(f"a manifest while {self._max_concurrency} bundles are not complete")
            transfer_id = manifest.transfer_id
            self._assemblers[transfer_id] = Assembler(manifest)
        elif frame_type == CHUNK:
            chunk = decode_chunk(frame, self._limits)
            transfer_id = chunk.transfer_id
            if transfer_id not in self._assemblers:
                raise OutOfOrder("a chunk before its manifest")
            self._assemblers[transfer_id].add(chunk)
        else:
            raise BadManifest("a frame that is neither manifest, chunk nor failure")
        if not self._assemblers[transfer_id].complete:
            return None
        return self._assemblers.pop(transfer_id).finish()


def bundle_frames(manifest: Manifest, payload: Buffer, chunk_bytes: int) -> Iterator[bytes]:
    """All frames of a bundle. Raises BadManifest if the payload is not as long as the manifest says."""
    if memoryview(payload).nbytes != manifest.total_bytes:
        raise BadManifest(f"payload of {memoryview(payload).nbytes} bytes, {manifest.total_bytes} announced")
    yield encode_transfer_header(pb.SignedManifest(manifest=manifest.to_bytes()))
    yield from chunks(manifest.transfer_id, payload, chunk_bytes)
