"""What travels between satellites and ground: a bundle is a manifest and its payload.

The payload is an opaque run of bytes, which the manifest describes. The wire checks sizes, checksums and that
no value is NaN or infinite, and never builds a tensor. How a bundle is cut into messages is told in `frames`.
"""

from __future__ import annotations

import enum
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import xxhash
from google.protobuf.message import DecodeError

from mission import entry_points
from mission.text.plain_text import is_node_name
from relay.wire import wire_pb2 as pb

Buffer = bytes | bytearray | memoryview
TRANSFER_ID_BYTES = 16
DIGEST_BYTES = 16
CHUNK_HEADER_BYTES = 36
SLOW_CHUNK_BYTES = 64 << 10  # of a payload, on all but the fastest links


class WireError(ValueError):
    """Something on the wire is not what it must be; the subclass says what."""


class BadManifest(WireError):
    """A manifest that contradicts itself or cannot be read."""


class LimitExceeded(WireError):
    """More than this side is willing to hold."""


class CorruptChunk(WireError):
    """A chunk that cannot be read or whose checksum does not match."""


class OutOfOrder(WireError):
    """A chunk or manifest that does not follow what came before it."""


class DigestMismatch(WireError):
    """All chunks arrived, but the payload is not the one the manifest names."""


class NotFinite(WireError):
    """A payload with NaN or infinite values or scales."""


class Conflict(WireError):
    """A transfer id used again for other contents."""


class MessageKind(enum.IntEnum):
    """The crossings c1 to c4 of the split, the weights that are averaged, names of images for c1, raw images with
    their labels, a head that all share with its gradient, and trained files on their way up with the answers."""

    FEATURES = pb.FEATURES
    HIDDEN = pb.HIDDEN
    GRAD_HIDDEN = pb.GRAD_HIDDEN
    GRAD_FEATURES = pb.GRAD_FEATURES
    AGGREGATE = pb.AGGREGATE
    SAMPLES = pb.SAMPLES
    IMAGES = pb.IMAGES
    LABELS = pb.LABELS
    HEAD = pb.HEAD
    GRAD_HEAD = pb.GRAD_HEAD
    RELEASE = pb.RELEASE


DTYPE_BYTES = MappingProxyType(
    {
        "float64": 8,
        "float32": 4,
        "float16": 2,
        "bfloat16": 2,
        "int64": 8,
        "int32": 4,
        "int16": 2,
        "int8": 1,
        "uint16": 2,
        "uint8": 1,
        "bool": 1,
    }
)
FLOAT_DTYPES = frozenset({"float64", "float32", "float16", "bfloat16"})


class ElementCodec(NamedTuple):
    """A value takes `bits`; each `block` of values of a row (along the first dimension) has a bfloat16 scale, and all
    scales come first."""

    bits: int
    block: int = 0

    def scales(self, shape: tuple[int, ...]) -> int:
        """Return the number of scales of a tensor of this shape."""
        rows, values = _rows(shape)
        return rows * math.ceil(values / self.block) if self.block else 0

    def encoded_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the encoded size of a tensor of this shape."""
        rows, values = _rows(shape)
        return 2 * self.scales(shape) + rows * math.ceil(values * self.bits / 8)


# "raw" sends the dtype's own bytes; these are the activation codecs of the split model, for floats only.
CODECS: Mapping[str, ElementCodec] = MappingProxyType(
    {
        "fp32": ElementCodec(32),
        "bf16": ElementCodec(16),
        "fp16": ElementCodec(16),
        "int8": ElementCodec(8, block=64),
        "int4": ElementCodec(4, block=32),
    }
)

ROW_MARGIN_BYTES = 64  # that a row of another package's codec may take beyond float32


@cache
def own_codecs() -> frozenset[str]:
    """Codecs that packages on this host register, by name: a relay passes their bytes on and imports none of them."""
    return frozenset(entry_points.registered_names(entry_points.CODECS))


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that this side is willing to receive; checked before allocation."""

    chunk_bytes: int = 1 << 20
    transfer_bytes: int = 256 << 20
    _: KW_ONLY
    manifest_bytes: int = 8 << 10

    def __post_init__(self) -> None:
        for name in ("chunk_bytes", "transfer_bytes", "manifest_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"Limits.{name} = {getattr(self, name)}: must be at least 1")

    @property
    def message_bytes(self) -> int:
        """Largest gRPC message: a chunk of the largest size with its header, or a signed manifest."""
        return max(self.chunk_bytes + CHUNK_HEADER_BYTES, self.manifest_bytes) + 1024


MAX_RANK = 6
MAX_ATTRIBUTES = 16
MAX_TEXT = 256
_ATTRIBUTE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_UINT32 = range(1 << 32)
_INT64 = range(-(1 << 63), 1 << 63)

Attributes = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Says of a payload what it is, whose it is and how many bytes of which digest it has.

    `codec` is "raw" (the bytes of `dtype`, row-major, little-endian), a name in `CODECS`, or one in
    :func:`own_codecs`; its decoder gives `dtype` back. Of own codecs the exact size is known at the ends alone.
    `expiry_s` is the mission time after which nobody wants the payload any more. Of what is sent ahead of
    the steps of a round, relays send first what has the lowest `turn`. Raises BadManifest when any two fields
    contradict each other: a Manifest that exists is consistent.
    """

    transfer_id: bytes
    run: str
    _: KW_ONLY
    round: int
    step: int
    micro_batch: int
    kind: MessageKind
    source: str
    destination: str
    dtype: str
    shape: tuple[int, ...]
    codec: str
    total_bytes: int
    digest: bytes
    expiry_s: float = math.inf
    attributes: Attributes = field(default_factory=dict, hash=False)
    turn: int = 0

    def __post_init__(self) -> None:
        _require(len(self.transfer_id) == TRANSFER_ID_BYTES, "transfer_id", len(self.transfer_id), "16 bytes")
        _require(len(self.digest) == DIGEST_BYTES, "digest", len(self.digest), "16 bytes (xxh3-128)")
        for name in ("run", "source", "destination"):
            value = getattr(self, name)
            _require(is_node_name(value), name, value, "1 to 64 printable characters")
        for name in ("round", "step", "micro_batch", "turn"):
            _require(getattr(self, name) in _UINT32, name, getattr(self, name), "0 … 2**32 − 1")
        _require(self.dtype in DTYPE_BYTES, "dtype", self.dtype, ", ".join(DTYPE_BYTES))
        _require(len(self.shape) <= MAX_RANK, "shape", self.shape, f"at most {MAX_RANK} dimensions")
        _require(all(0 <= n < 1 << 40 for n in self.shape), "shape", self.shape, "0 … 2**40 per dimension")
        _require(not math.isnan(self.expiry_s), "expiry_s", self.expiry_s, "a mission time or inf")
        _require_size(self.total_bytes, self.dtype, self.shape, self.codec)
        object.__setattr__(self, "attributes", MappingProxyType(_plain(self.attributes)))
        _require(len(self.attributes) <= MAX_ATTRIBUTES, "attributes", len(self.attributes), "at most 16")
        for key, value in self.attributes.items():
            _require(bool(_ATTRIBUTE_NAME.match(key)), "attributes", key, "keys of 1 to 32 of a-z, 0-9, _")
            if isinstance(value, str):
                _require(len(value) <= MAX_TEXT, f"attributes[{key!r}]", value[:40], "at most 256 characters")
            elif isinstance(value, int):
                _require(value in _INT64, f"attributes[{key!r}]", value, "a 64-bit integer")
            else:
                ok = isinstance(value, float) and math.isfinite(value)
                _require(ok, f"attributes[{key!r}]", value, "text, integer or finite float")
        # Bound to its source, so that nobody can take the id of another's transfer before it comes.
        own_id = transfer_id_of(
            self.run,
            self.round,
            self.step,
            self.micro_batch,
            self.kind,
            self.source,
            self.destination,
            self.attributes,
        )
        allowed = "what follows from run, round, step, micro_batch, kind, source, destination, attributes"
        _require(self.transfer_id == own_id, "transfer_id", self.transfer_id.hex(), allowed)

    @classmethod
    def describe(
        cls,
        payload: Buffer,
        *,
        run: str,
        kind: MessageKind,
        source: str,
        destination: str,
        dtype: str,
        shape: tuple[int, ...],
        codec: str = "raw",
        round: int = 0,
        step: int = 0,
        micro_batch: int = 0,
        expiry_s: float = math.inf,
        attributes: Attributes = MappingProxyType({}),
        turn: int = 0,
    ) -> Manifest:
        """The manifest of `payload`, its transfer id and digest worked out. Raises BadManifest."""
        attributes = _plain(attributes)
        return cls(
            transfer_id=transfer_id_of(run, round, step, micro_batch, kind, source, destination, attributes),
            run=run,
            round=round,
            step=step,
            micro_batch=micro_batch,
            kind=kind,
            source=source,
            destination=destination,
            dtype=dtype,
            shape=tuple(shape),
            codec=codec,
            total_bytes=memoryview(payload).nbytes,
            digest=xxhash.xxh3_128(payload).digest(),
            expiry_s=expiry_s,
            attributes=attributes,
            turn=turn,
        )

    def to_bytes(self) -> bytes:
        """As it is signed and sent."""
        message = pb.Manifest(
            transfer_id=self.transfer_id,
            run=self.run,
            round=self.round,
            step=self.step,
            micro_batch=self.micro_batch,
            kind=self.kind.value,
            source=self.source,
            destination=self.destination,
            dtype=self.dtype,
            shape=self.shape,
            codec=self.codec,
            total_bytes=self.total_bytes,
            digest=self.digest,
            expiry_s=self.expiry_s,
            turn=self.turn,
        )
        for key, value in self.attributes.items():
            if isinstance(value, str):
                message.attributes[key].text = value
            elif isinstance(value, int):
                message.attributes[key].integer = value
            else:
                message.attributes[key].real = value
        return message.SerializeToString()

    @classmethod
    def from_bytes(cls, data: bytes, limits: Limits) -> Manifest:
        """Read a manifest of a peer. Raises BadManifest, or LimitExceeded for one too large or of too large a
        payload."""
        if len(data) > limits.manifest_bytes:
            raise LimitExceeded(f"manifest of {len(data)} bytes: at most {limits.manifest_bytes}")
        try:
            message = pb.Manifest.FromString(data)
        except DecodeError as error:
            raise BadManifest("manifest is not readable protobuf") from error
        _require(
            message.kind in MessageKind._value2member_map_,
            "kind",
            message.kind,
            ", ".join(MessageKind.__members__),
        )
        attributes: dict[str, str | int | float] = {}
        for key, attribute in message.attributes.items():
            which = attribute.WhichOneof("value")
            _require(which is not None, f"attributes[{key[:32]!r}]", "nothing", "text, integer or float")
            attributes[key] = getattr(attribute, which)
        manifest = cls(
            transfer_id=message.transfer_id,
            run=message.run,
            round=message.round,
            step=message.step,
            micro_batch=message.micro_batch,
            kind=MessageKind(message.kind),
            source=message.source,
            destination=message.destination,
            dtype=message.dtype,
            shape=tuple(message.shape),
            codec=message.codec,
            total_bytes=message.total_bytes,
            digest=message.digest,
            expiry_s=message.expiry_s,
            attributes=attributes,
            turn=message.turn,
        )
        if manifest.total_bytes > limits.transfer_bytes:
            raise LimitExceeded(
                f"payload of {manifest.total_bytes} bytes from {manifest.source}: "
                f"at most {limits.transfer_bytes}"
            )
        return manifest


class Bundle(NamedTuple):
    """A payload, and what it is."""

    manifest: Manifest
    payload: Buffer


def transfer_id_of(
    run: str,
    round: int,
    step: int,
    micro_batch: int,
    kind: MessageKind,
    source: str,
    destination: str,
    attributes: Attributes,
) -> bytes:
    """A transfer is known by what it is for, not by its bytes: a step sent again is the same transfer."""
    purpose = run, round, step, micro_batch, int(kind), source, destination, sorted(attributes.items())
    return hashlib.blake2b(repr(purpose).encode(), digest_size=TRANSFER_ID_BYTES).digest()


def _plain(attributes: Attributes) -> dict[str, str | int | float]:
    """Python's own types in place of their subclasses (bool, numpy's float64), which print differently."""
    plain: dict[str, str | int | float] = {}
    for key, value in attributes.items():
        base = next((kind for kind in (str, int, float) if isinstance(value, kind)), None)
        plain[key] = value if base is None else base(value)
    return plain


def encoded_bytes(dtype: str, shape: tuple[int, ...], codec: str) -> int:
    """Bytes of a tensor on the wire, as is or by a codec of ours.

    Raises BadManifest for a codec that does not fit the dtype, or is none of ours.
    """
    if codec == "raw":
        return math.prod(shape) * DTYPE_BYTES[dtype]
    _require(codec in CODECS, "codec", codec, ", ".join(["raw", *CODECS, *sorted(own_codecs())]))
    _require_float(dtype, codec)
    return CODECS[codec].encoded_bytes(shape)


def _require_size(total_bytes: int, dtype: str, shape: tuple[int, ...], codec: str) -> None:
    """Raise BadManifest unless a tensor may take so many bytes; as an own codec's, whole rows of one size."""
    of = f"{dtype}{list(shape)} as {codec}"
    if codec == "raw" or codec in CODECS or codec not in own_codecs():
        expected = encoded_bytes(dtype, shape, codec)
        _require(total_bytes == expected, "total_bytes", total_bytes, f"{expected} for {of}")
        return
    _require_float(dtype, codec)
    rows, values = _rows(shape)
    most = rows * (4 * values + ROW_MARGIN_BYTES) if values else 0
    fits = total_bytes <= most and (not rows or total_bytes % rows == 0)
    _require(fits, "total_bytes", total_bytes, f"a multiple of {rows} up to {most} for {of}")


def _require_float(dtype: str, codec: str) -> None:
    _require(dtype in FLOAT_DTYPES, "dtype", dtype, f"{', '.join(sorted(FLOAT_DTYPES))} with codec {codec}")


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows, and values of each; a tensor of fewer than two dimensions is one row."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise BadManifest(f"manifest: {name} = {value!r:.80}; allowed: {allowed}")
