"""How many bytes a tensor takes when it crosses, by codec: all that a plan needs to know of one.

Plain codecs hold the elements in row-major order. Block codecs quantise blocks of consecutive elements with one scale
each (Dettmers et al. 2022, arXiv 2110.02861, with a linear map): all scales come first (bfloat16), then all elements.
Blocks do not cross from one row (along the first dimension) into the next, so that rows can be cut apart and put
together while encoded. Codecs of other packages (:mod:`.codec`) have no scales in front: their bytes are row after row.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitmodel.crossing.codec import CheckedCodec, CodecError, registered_codec

EXACT = "fp32"  # what crosses before the scaling is known


@dataclass(frozen=True)
class Plain:
    """Elements of so many bytes, one after the other."""

    element_bytes: int
    quantises = False

    def scale_bytes(self, elements: int) -> int:
        """Return 0: there are no scales."""
        return 0

    def bytes_of(self, elements: int) -> int:
        """Return the bytes of a row of so many elements."""
        return elements * self.element_bytes


@dataclass(frozen=True)
class Blocks:
    """Blocks of ``size`` elements of ``bits`` each, with a scale of two bytes a block."""

    size: int
    bits: int
    quantises = True

    @property
    def steps(self) -> int:
        """Quantised values are whole numbers from -steps to steps."""
        return 2 ** (self.bits - 1) - 1

    def scale_bytes(self, elements: int) -> int:
        """Return the bytes of a row's scales, which come before all elements."""
        return 2 * math.ceil(elements / self.size)

    def bytes_of(self, elements: int) -> int:
        """Return the bytes of a row of so many elements, scales included."""
        return self.scale_bytes(elements) + math.ceil(elements * self.bits / 8)


SIZES: Mapping[str, Plain | Blocks] = {
    "fp32": Plain(4),
    "bf16": Plain(2),
    "fp16": Plain(2),
    "int8": Blocks(size=64, bits=8),
    "int4": Blocks(size=32, bits=4),
}


def size_of(codec: str) -> Plain | Blocks | CheckedCodec:
    """Return what tells a codec's bytes; `CodecError` for an unknown one."""
    return SIZES.get(codec) or registered_codec(codec, (*SIZES, "raw"))


def encoded_bytes(shape: Sequence[int], codec: str) -> int:
    """Return exactly how long a tensor of this shape is encoded; `CodecError` for an unknown codec or shape."""
    if any(not isinstance(length, int) or length < 0 for length in shape):
        raise CodecError(f"a shape is whole numbers from 0; found {tuple(shape)}")
    rows, elements = rows_of(shape)
    return rows * size_of(codec).bytes_of(elements)


def require_usable(codec: str) -> None:
    """Raise CodecError unless the codec is one of ours, or one of another package that can be used."""
    size_of(codec).bytes_of(1)


def quantises(codec: str) -> bool:
    """Return whether a block's largest element sets the error of the others, so that scaled channels cross better."""
    return size_of(codec).quantises


def rows_of(shape: Sequence[int]) -> tuple[int, int]:
    """Return rows, and elements of each; a tensor of fewer than two dimensions is one row."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))
