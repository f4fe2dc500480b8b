"""A codec of one's own."""

import math

import numpy as np

from splitmodel.crossing.codec import Codec


class SixBit(Codec):
    """63 levels, six bits each, up to the largest magnitude of the row, which goes ahead as float32."""

    def row_bytes(self, elements):
        """Return 4 bytes of scale and 6 bits an element."""
        return 4 + math.ceil(6 * elements / 8)

    def pack(self, values_RE):
        """Round to levels from 0 to 62; 31 is zero."""
        largest_R1 = np.abs(values_RE).max(axis=1, keepdims=True)
        levels_RE = 31 + np.rint(31 * values_RE / np.where(largest_R1 > 0, largest_R1, 1))
        bits_RE6 = np.unpackbits(levels_RE.astype(np.uint8)[..., None], axis=2)[..., 2:]
        packed = np.packbits(bits_RE6.reshape(len(values_RE), -1), axis=1)
        return np.concatenate([largest_R1.astype("<f4").view(np.uint8), packed], axis=1)

    def unpack(self, packed_RB, elements):
        """Multiply levels with the size of a step."""
        largest_R1 = packed_RB[:, :4].copy().view("<f4")
        bits = np.unpackbits(packed_RB[:, 4:], axis=1, count=6 * elements)
        levels_RE = bits.reshape(len(packed_RB), elements, 6) @ np.array([32, 16, 8, 4, 2, 1], np.float32)
        return (levels_RE - 31) / np.float32(31) * largest_R1
