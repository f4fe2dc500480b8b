"""A tensor of the split as bytes: scaled, where the codec quantises, and encoded.

Standardised, the channels of a block are of one size and the largest element of a block does not drown the others. The
gradient of standardised pooled states is that of the pooled states times their deviation.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from torch import Tensor

from splitmodel.crossing import codec_sizes, codecs
from splitmodel.crossing.scaling import SplitScaling


class Crossing(enum.Enum):
    """The tensors that cross the split."""

    FEATURES = "c1"
    POOLED = "c2"
    GRADIENT_OF_POOLED = "c3"


def encode(tensor: Tensor, codec: str, crossing: Crossing, scaling: SplitScaling | None) -> memoryview:
    """The bytes that :func:`decode` makes the tensor of again; see :func:`.codecs.encode` for its errors."""
    if scaling is not None and codec_sizes.quantises(codec):
        match crossing:
            case Crossing.FEATURES:
                tensor = scaling.features.standardise(tensor)
            case Crossing.POOLED:
                tensor = scaling.of_returned.standardise(tensor)
            case Crossing.GRADIENT_OF_POOLED:
                tensor = tensor * scaling.of_returned.deviation_D
    return codecs.encode(tensor, codec)


def decode(
    payload: bytes | bytearray | memoryview,
    codec: str,
    shape: Sequence[int],
    crossing: Crossing,
    scaling: SplitScaling | None,
) -> Tensor:
    """The inverse of :func:`encode`; see :func:`splitmodel.crossing.codecs.decode` for its errors."""
    tensor = codecs.decode(payload, codec, shape)
    if scaling is not None and codec_sizes.quantises(codec):
        match crossing:
            case Crossing.FEATURES:
                return scaling.features.restore(tensor)
            case Crossing.POOLED:
                return scaling.of_returned.restore(tensor)
            case Crossing.GRADIENT_OF_POOLED:
                return tensor / scaling.of_returned.deviation_D
    return tensor
