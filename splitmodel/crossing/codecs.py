"""Pack a tensor for a crossing of the split, and unpack it: raw little-endian bytes, no header.

Shape and codec travel beside the bytes, whose number and order :mod:`.codec_sizes` tells.

| codec | bytes per element | largest error of an element |
|---|---|---|
| fp32 | 4 | 0 |
| bf16 | 2 | 2⁻⁸ · its magnitude |
| fp16 | 2 | 2⁻¹¹ · its magnitude, or 2⁻²⁵ below 6.1e-5 |
| int8 | 1 + 2/64 | 0.504 · largest magnitude of its block ÷ 127 |
| int4 | 1/2 + 2/32 | 0.504 · largest magnitude of its block ÷ 7 |
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from splitmodel.crossing.codec import CheckedCodec, CodecError
from splitmodel.crossing.codec_sizes import Blocks, encoded_bytes, rows_of, size_of

LARGEST = 2.0**126  # magnitudes above are refused: no activation has them, and scale × 127 must stay finite
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}  # of plain codecs


def encode(tensor: Tensor, codec: str) -> memoryview:
    """The tensor's bytes. With `fp32` they may be the tensor's own memory: send them before changing it.

    Raises:
        CodecError: an unknown codec, a value that is not finite or above 2¹²⁶ (65504 with `fp16`).
    """
    size_of(codec)  # known, whatever the tensor
    values = tensor.detach().to("cpu", torch.float32).contiguous()
    largest = 65504.0 if codec == "fp16" else LARGEST
    if not values.numel():
        return memoryview(b"")
    low, high = (float(bound) for bound in torch.aminmax(values))
    if not (-largest <= low and high <= largest):  # true for NaN, too
        raise CodecError(f"{codec} carries finite values up to {largest:g}; found {low:g} to {high:g}")
    return _packed(values.view(rows_of(values.shape)), codec).numpy().data.cast("B")


def decode(buffer: bytes | bytearray | memoryview, codec: str, shape: Sequence[int]) -> Tensor:
    """The tensor in float32, in memory of its own. Nothing is allocated before the size is known to be right.

    Raises:
        CodecError: unknown codec, more or fewer bytes than the shape needs, a value or scale not finite.
    """
    expected, length = encoded_bytes(shape, codec), memoryview(buffer).nbytes
    if length != expected:
        raise CodecError(f"{codec} of shape {tuple(shape)} takes {expected} bytes; found {length}")
    if not length:
        return torch.empty(tuple(shape))
    data = torch.empty(length, dtype=torch.uint8)
    data.numpy()[:] = np.frombuffer(buffer, np.uint8)
    values = _unpacked(data, *rows_of(shape), codec)
    if not bool(torch.isfinite(torch.stack(torch.aminmax(values))).all()):
        raise CodecError(f"{codec}: a value is not finite")
    return values.view(tuple(shape))


def to_rows(buffer: bytes | bytearray | memoryview, codec: str, shape: Sequence[int]) -> NDArray[np.uint8]:
    """An encoded tensor cut into its rows along the first of two or more dimensions, shape (rows, bytes of one)."""
    rows, elements = rows_of(shape)
    data = np.frombuffer(buffer, np.uint8)
    scales = rows * size_of(codec).scale_bytes(elements)
    return np.concatenate([data[:scales].reshape(rows, -1), data[scales:].reshape(rows, -1)], axis=1)


def from_rows(rows: NDArray[np.uint8], codec: str, elements: int) -> memoryview:
    """The encoded tensor of these rows, each of so many elements; the inverse of `to_rows`."""
    scales = size_of(codec).scale_bytes(elements)
    return np.concatenate([rows[:, :scales].reshape(-1), rows[:, scales:].reshape(-1)]).data


def _packed(values_RE: Tensor, codec: str) -> Tensor:
    """The bytes of all rows."""
    match size_of(codec):
        case CheckedCodec() as own:
            packed = own.pack(values_RE.numpy())
            return torch.from_numpy(np.require(packed, requirements=("C", "W"))).view(-1)
        case Blocks() as blocks:
            return _quantised(values_RE, blocks)
        case _:
            return values_RE.to(_DTYPES[codec]).view(-1).view(torch.uint8)


def _unpacked(data: Tensor, rows: int, elements: int, codec: str) -> Tensor:
    """The values of all rows; the inverse of `_packed`."""
    match size_of(codec):
        case CheckedCodec() as own:
            values = own.unpack(data.view(rows, -1).numpy(), elements)
            return torch.from_numpy(np.require(values, requirements=("C", "W"))).view(-1)
        case Blocks() as blocks:
            return _dequantised(data, rows, elements, blocks)
        case _:
            return data.view(_DTYPES[codec]).float()


def _quantised(values_RE: Tensor, of: Blocks) -> Tensor:
    """All scales, then all levels."""
    rows, elements = values_RE.shape
    blocks = F.pad(values_RE, (0, -elements % of.size)).view(-1, of.size)
    scales = _rounded_up_to_bf16(blocks.abs().amax(dim=1) / of.steps)
    # The smallest subnormals would make an infinite inverse; a block that small is all zero.
    inverse = torch.where(scales > 1e-38, 1 / scales, 0)
    levels_RE = (blocks * inverse[:, None]).round_().to(torch.int8).view(rows, -1)[:, :elements]
    if of.bits == 4:
        levels_RE = F.pad(levels_RE, (0, elements % 2))
        levels_RE = (levels_RE[:, 0::2] & 0x0F) | (levels_RE[:, 1::2] << 4)
    levels = levels_RE.reshape(-1).view(torch.uint8)
    return torch.cat([scales.to(torch.bfloat16).view(torch.uint8), levels])


def _dequantised(data: Tensor, rows: int, elements: int, of: Blocks) -> Tensor:
    scale_bytes = rows * of.scale_bytes(elements)
    scales = data[:scale_bytes].view(torch.bfloat16).float()
    if not (float(scales.min()) >= 0 and float(scales.max()) <= 2 * LARGEST / of.steps):
        raise CodecError("a scale is negative, not finite or too large")
    levels_RE = data[scale_bytes:].view(torch.int8).view(rows, -1)
    if of.bits == 4:
        low, high = (levels_RE << 4) >> 4, levels_RE >> 4  # arithmetic shifts keep the sign
        levels_RE = torch.stack([low, high], dim=2).view(rows, -1)
    padded = F.pad(levels_RE[:, :elements], (0, -elements % of.size)).reshape(-1, of.size)
    return (padded * scales[:, None]).view(rows, -1)[:, :elements].reshape(-1)


def _rounded_up_to_bf16(values: Tensor) -> Tensor:
    """The next bfloat16 not below: so that no element of a block exceeds its scale × steps."""
    return ((values.view(torch.int32) + 0xFFFF) & ~0xFFFF).view(torch.float32)
