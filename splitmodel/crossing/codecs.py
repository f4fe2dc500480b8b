"""Pack a tensor for a crossing of the split, and unpack it: raw little-endian bytes, no header.

Shape and codec travel beside the bytes. Plain codecs hold the elements in row-major order. Block codecs
quantise blocks of consecutive elements with one scale each (Dettmers et al. 2022, arXiv 2110.02861, with a linear
map): all scales come first (bfloat16), then all elements. Blocks do not cross from one row (along the first dimension)
into the next, so that rows can be cut apart and put together while encoded. Codecs of other packages
(:mod:`.codec`) have no scales in front: their bytes are row after row.

| codec | bytes per element | largest error of an element |
|---|---|---|
| fp32 | 4 | 0 |
| bf16 | 2 | 2⁻⁸ · its magnitude |
| fp16 | 2 | 2⁻¹¹ · its magnitude, or 2⁻²⁵ below 6.1e-5 |
| int8 | 1 + 2/64 | 0.504 · largest magnitude of its block ÷ 127 |
| int4 | 1/2 + 2/32 | 0.504 · largest magnitude of its block ÷ 7 |
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from splitmodel.crossing.codec import CheckedCodec, CodecError, registered_codec

LARGEST = 2.0**126  # magnitudes above are refused: no activation has them, and scale × 127 must stay finite


@dataclass(frozen=True)
class _Plain:
    dtype: torch.dtype
    quantises = False

    def scale_bytes(self, elements: int) -> int:
        return 0

    def bytes_of(self, elements: int) -> int:
        return elements * self.dtype.itemsize

    def pack(self, values_RE: Tensor) -> Tensor:
        return values_RE.to(self.dtype).view(-1).view(torch.uint8)

    def unpack(self, data: Tensor, rows: int, elements: int) -> Tensor:
        return data.view(self.dtype).float()


@dataclass(frozen=True)
class _Blocks:
    size: int
    bits: int
    quantises = True

    @property
    def steps(self) -> int:
        """Quantised values are whole numbers from -steps to steps."""
        return 2 ** (self.bits - 1) - 1

    def scale_bytes(self, elements: int) -> int:
        return 2 * math.ceil(elements / self.size)

    def bytes_of(self, elements: int) -> int:
        return self.scale_bytes(elements) + math.ceil(elements * self.bits / 8)

    def pack(self, values_RE: Tensor) -> Tensor:
        rows, elements = values_RE.shape
        blocks = F.pad(values_RE, (0, -elements % self.size)).view(-1, self.size)
        scales = _rounded_up_to_bf16(blocks.abs().amax(dim=1) / self.steps)
        # The smallest subnormals would make an infinite inverse; a block that small is all zero.
        inverse = torch.where(scales > 1e-38, 1 / scales, 0)
        levels_RE = (blocks * inverse[:, None]).round_().to(torch.int8).view(rows, -1)[:, :elements]
        if self.bits == 4:
            levels_RE = F.pad(levels_RE, (0, elements % 2))
            levels_RE = (levels_RE[:, 0::2] & 0x0F) | (levels_RE[:, 1::2] << 4)
        levels = levels_RE.reshape(-1).view(torch.uint8)
        return torch.cat([scales.to(torch.bfloat16).view(torch.uint8), levels])

    def unpack(self, data: Tensor, rows: int, elements: int) -> Tensor:
        scale_bytes = rows * self.scale_bytes(elements)
        scales = data[:scale_bytes].view(torch.bfloat16).float()
        if not (float(scales.min()) >= 0 and float(scales.max()) <= 2 * LARGEST / self.steps):
            raise CodecError("a scale is negative, not finite or too large")
        levels_RE = data[scale_bytes:].view(torch.int8).view(rows, -1)
        if self.bits == 4:
            low, high = (levels_RE << 4) >> 4, levels_RE >> 4  # arithmetic shifts keep the sign
            levels_RE = torch.stack([low, high], dim=2).view(rows, -1)
        padded = F.pad(levels_RE[:, :elements], (0, -elements % self.size)).reshape(-1, self.size)
        return (padded * scales[:, None]).view(rows, -1)[:, :elements].reshape(-1)


CODECS: Mapping[str, _Plain | _Blocks] = {
    "fp32": _Plain(torch.float32),
    "bf16": _Plain(torch.bfloat16),
    "fp16": _Plain(torch.float16),
    "int8": _Blocks(size=64, bits=8),
    "int4": _Blocks(size=32, bits=4),
}


def encoded_bytes(shape: Sequence[int], codec: str) -> int:
    """Exactly how long `encode` makes a tensor of this shape; `CodecError` for an unknown codec or shape."""
    if any(not isinstance(length, int) or length < 0 for length in shape):
        raise CodecError(f"a shape is whole numbers from 0; found {tuple(shape)}")
    rows, elements = _rows(shape)
    return rows * _codec(codec).bytes_of(elements)


def require_usable(codec: str) -> None:
    """Raise CodecError unless the codec is one of ours, or one of another package that can be used."""
    _codec(codec).bytes_of(1)


def quantises(codec: str) -> bool:
    """Whether a block's largest element sets the error of the others, so that scaled channels cross better."""
    return _codec(codec).quantises


def encode(tensor: Tensor, codec: str) -> memoryview:
    """The tensor's bytes. With `fp32` they may be the tensor's own memory: send them before changing it.

    Raises:
        CodecError: an unknown codec, a value that is not finite or above 2¹²⁶ (65504 with `fp16`).
    """
    chosen = _codec(codec)
    values = tensor.detach().to("cpu", torch.float32).contiguous()
    largest = 65504.0 if codec == "fp16" else LARGEST
    if not values.numel():
        return memoryview(b"")
    low, high = (float(bound) for bound in torch.aminmax(values))
    if not (-largest <= low and high <= largest):  # true for NaN, too
        raise CodecError(f"{codec} carries finite values up to {largest:g}; found {low:g} to {high:g}")
    return chosen.pack(values.view(_rows(values.shape))).numpy().data.cast("B")


def decode(buffer: bytes | bytearray | memoryview, codec: str, shape: Sequence[int]) -> Tensor:
    """The tensor in float32, in memory of its own. Nothing is allocated before the size is known to be right.

    Raises:
        CodecError: unknown codec, more or fewer bytes than the shape needs, a value or scale not finite.
    """
    chosen = _codec(codec)
    expected, length = encoded_bytes(shape, codec), memoryview(buffer).nbytes
    if length != expected:
        raise CodecError(f"{codec} of shape {tuple(shape)} takes {expected} bytes; found {length}")
    if not length:
        return torch.empty(tuple(shape))
    data = torch.empty(length, dtype=torch.uint8)
    data.numpy()[:] = np.frombuffer(buffer, np.uint8)
    values = chosen.unpack(data, *_rows(shape))
    if not bool(torch.isfinite(torch.stack(torch.aminmax(values))).all()):
        raise CodecError(f"{codec}: a value is not finite")
    return values.view(tuple(shape))


def to_rows(buffer: bytes | bytearray | memoryview, codec: str, shape: Sequence[int]) -> NDArray[np.uint8]:
    """An encoded tensor cut into its rows along the first of two or more dimensions, shape (rows, bytes of one)."""
    rows, elements = _rows(shape)
    data = np.frombuffer(buffer, np.uint8)
    scales = rows * _codec(codec).scale_bytes(elements)
    return np.concatenate([data[:scales].reshape(rows, -1), data[scales:].reshape(rows, -1)], axis=1)


def from_rows(rows: NDArray[np.uint8], codec: str, elements: int) -> memoryview:
    """The encoded tensor of these rows, each of so many elements; the inverse of `to_rows`."""
    scales = _codec(codec).scale_bytes(elements)
    return np.concatenate([rows[:, :scales].reshape(-1), rows[:, scales:].reshape(-1)]).data


def _rows(shape: Sequence[int]) -> tuple[int, int]:
    """Rows, and elements of each; a tensor of fewer than two dimensions is one row."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def _codec(name: str) -> "_Plain | _Blocks | CheckedCodec":
    return CODECS.get(name) or registered_codec(name, (*CODECS, "raw"))


def _rounded_up_to_bf16(values: Tensor) -> Tensor:
    """The next bfloat16 not below: so that no element of a block exceeds its scale × steps."""
    return ((values.view(torch.int32) + 0xFFFF) & ~0xFFFF).view(torch.float32)
