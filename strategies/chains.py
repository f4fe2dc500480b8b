"""What each satellite still has to learn from, in order: its blocks, pass after pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from strategies.transport import Block
from strategies.workload import Workload


@dataclass
class Chain:
    """What one satellite still has to do: (block, epoch) in order, and the next sample."""

    tasks: list[tuple[Block, int]]
    task: int = 0
    sample: int = 0

    def advance(self, count: int) -> bool:
        """Pass ``count`` samples; False where nothing is left."""
        self.sample += count
        if self.sample >= self.tasks[self.task][0].end:
            self.task += 1
            if self.task == len(self.tasks):
                return False
            self.sample = self.tasks[self.task][0].first
        return True

    def skip(self, count: int) -> bool:
        """Pass the first ``count`` samples times epochs, done earlier; False where nothing is left."""
        while count > 0:
            step = min(count, self.tasks[self.task][0].end - self.sample)
            if not self.advance(step):
                return False
            count -= step
        return True

    def left(self) -> int:
        """Samples times epochs still to do."""
        done = self.sample - self.tasks[self.task][0].first
        return sum(block.end - block.first for block, _ in self.tasks[self.task :]) - done

    def steps_before(self, workload: Workload) -> int:
        """Steps of the satellite in this round before its next one."""
        block, epoch = self.tasks[self.task]
        samples = self.tasks[-1][0].end
        return epoch * -(-samples // workload.micro_batch) + self.sample // workload.micro_batch

    def features_s(self, micro_batch: int) -> float:
        """When the features of the next micro-batch are on the ground."""
        block, _ = self.tasks[self.task]
        arrived = (min(self.sample + micro_batch, block.end) - block.first) / (block.end - block.first)
        return block.first_s + (block.last_s - block.first_s) * arrived


def chains_of(blocks: Sequence[Block], passes: int, done: np.ndarray) -> dict[int, Chain]:
    """The chain of every satellite that has something left when ``done[k]`` samples times passes are taken off."""
    of_satellite: dict[int, list[Block]] = {}
    for block in blocks:
        of_satellite.setdefault(block.satellite, []).append(block)
    chains = {}
    for satellite, mine in sorted(of_satellite.items()):
        mine.sort(key=lambda block: block.first)  # a satellite takes its steps in their order
        chain = Chain([(block, epoch) for epoch in range(passes) for block in mine], sample=mine[0].first)
        if chain.skip(int(done[satellite])):
            chains[satellite] = chain
    return chains
