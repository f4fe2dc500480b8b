"""LoRA dropout whose masks follow from seeds of the rows, not from how rows are batched or when they are computed.

A row's mask in a layer is drawn from the row's seed and the layer's name. So the same sample is masked alike in a
batch of its own satellite, in one pass with those of others, when a pass is made again for its gradients, and in
training without a split.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


def row_seeds(seed: Sequence[int], rows: int) -> tuple[int, ...]:
    """A seed for each row of a step.

    Args:
        seed: Whatever identifies the step: of the run, satellite, round, step; not negative.
        rows: How many.
    """
    return tuple(int(word) for word in np.random.SeedSequence(list(seed)).generate_state(rows, np.uint64))


def drop(inputs: Tensor, seeds: Sequence[int], layer: str, probability: float) -> Tensor:
    """Set elements to zero with a probability, and scale the others by 1 ÷ (1 - probability).

    Args:
        inputs: One row per seed, shape (B, …).
        seeds: Of the rows.
        layer: Name of the layer.
        probability: In [0, 1).
    """
    name = zlib.crc32(layer.encode())
    generator = torch.Generator(inputs.device)
    kept = torch.empty(inputs.shape, dtype=torch.bool, device=inputs.device)
    for row, seed in enumerate(seeds):
        generator.manual_seed((seed ^ (name << 17)) % 2**63)
        kept[row].bernoulli_(1 - probability, generator=generator)
    return inputs * kept.to(inputs.dtype).div_(1 - probability)


class SeededDropout(nn.Module):
    """Takes the place of peft's dropout in one layer; it drops nothing outside of `dropping`."""

    def __init__(self, layer: str, probability: float) -> None:
        super().__init__()
        self.layer = layer
        self.probability = probability
        self.seeds: Sequence[int] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs, masked where seeds are set."""
        if self.seeds is None:
            return inputs
        return drop(inputs, self.seeds, self.layer, self.probability)


@contextmanager
def dropping(model: nn.Module, seeds: Sequence[int]) -> Iterator[None]:
    """Within, the LoRA layers of a model drop by the seeds of the rows that pass; without dropout nothing changes."""
    layers = [module for module in model.modules() if isinstance(module, SeededDropout)]
    for layer in layers:
        layer.seeds = seeds
    try:
        yield
    finally:
        for layer in layers:
            layer.seeds = None
