"""What each satellite still has to learn from, in order: its samples in micro-batches, epoch after epoch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from strategies.planner.split.transport import FeatureChunk


class Chain:
    """The steps that one satellite still has to take; ``blocks`` bring its samples to the ground.

    The first ``done`` samples times epochs are finished.
    """

    def __init__(self, blocks: Sequence[FeatureChunk], epochs: int, *, micro_batch: int, done: int) -> None:
        self._blocks = sorted(blocks, key=lambda block: block.first)
        self._firsts = [block.first for block in self._blocks]
        self._epochs, self._micro_batch = epochs, micro_batch
        self.samples = self._blocks[-1].end
        self.epoch, self.first = divmod(done, self.samples)

    @property
    def end(self) -> int:
        """The end of the next micro-batch; they are cut from the first sample on."""
        return min((self.first // self._micro_batch + 1) * self._micro_batch, self.samples)

    @property
    def step(self) -> int:
        """Number of the next step in the round."""
        return self.epoch * -(-self.samples // self._micro_batch) + self.first // self._micro_batch

    @property
    def block(self) -> FeatureChunk:
        """Return the chunk that brings the last sample of the next micro-batch."""
        return self._blocks[bisect_right(self._firsts, self.end - 1) - 1]

    def advance(self) -> bool:
        """Take the next step; False where none is left after it."""
        self.first = self.end
        if self.first == self.samples:
            self.epoch, self.first = self.epoch + 1, 0
        return self.left() > 0

    def left(self) -> int:
        """Samples times epochs still to do."""
        return (self._epochs - self.epoch) * self.samples - self.first

    def features_s(self) -> float:
        """Return the time at which the features of the next micro-batch are on the ground."""
        end, there_s = self.end, -np.inf
        position = bisect_right(self._firsts, self.first) - 1
        while position < len(self._blocks) and self._firsts[position] < end:
            block = self._blocks[position]
            arrived = (min(end, block.end) - block.first) / (block.end - block.first)
            there_s = max(there_s, block.first_s + (block.last_s - block.first_s) * arrived)
            position += 1
        return there_s


def chains_of(
    blocks: Sequence[FeatureChunk], epochs: int, micro_batch: int, done: np.ndarray
) -> dict[int, Chain]:
    """The chain of every satellite that has something left when ``done[k]`` samples times epochs are taken off."""
    of_satellite: dict[int, list[FeatureChunk]] = {}
    for block in blocks:
        of_satellite.setdefault(block.satellite, []).append(block)
    chains = {
        satellite: Chain(chunks, epochs, micro_batch=micro_batch, done=int(done[satellite]))
        for satellite, chunks in sorted(of_satellite.items())
    }
    return {satellite: chain for satellite, chain in chains.items() if chain.left() > 0}
