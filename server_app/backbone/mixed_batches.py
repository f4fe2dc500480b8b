"""The batches of a ground that trains alone: the images of all satellites in one sequence.

An image is known by its place in one list, the shares of the satellites one after the other. Each pass has it under the
view under which its satellite's own batches have it, so that both sides know it without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from mission.schema import Training
from splitmodel.training import VIEWS, Batch, round_batches, round_seed


def own_batches(training: Training, seed: int, satellite: int, samples: int, number: int) -> list[Batch]:
    """The batches of a satellite by itself in a round, as it makes them, too; none without images."""
    if not samples:
        return []
    views = VIEWS[training.augment]
    own_seed = round_seed(seed, satellite, number)
    return round_batches(samples, training.batch_size, training.local_epochs, views, own_seed)


def first_pass_of(batches: Sequence[Batch], training: Training) -> list[Batch]:
    """Those of a round that make up its first pass."""
    return list(batches[: len(batches) // training.local_epochs])


def mixed_batches(
    training: Training, seed: int, number: int, samples: Sequence[int], first_pass: Sequence[tuple[int, int]]
) -> list[Batch]:
    """The batches of a round, in order.

    Args:
        training: The scenario's ``[training]`` table.
        seed: Of the run.
        number: Of the round.
        samples: Images of each satellite.
        first_pass: Runs of (satellite, images) in which the first pass takes the images of each, in the order of its
            own first pass; empty where all are there, and mixed by chance as in the later passes.
    """
    firsts = [0, *accumulate(samples)]
    total = firsts[-1]
    mixed = round_batches(total, training.batch_size, training.local_epochs, 1, round_seed(seed, 0, number))
    per_pass = len(mixed) // training.local_epochs
    views_EN = np.zeros((training.local_epochs, total), np.int64)
    order_of: list[NDArray[np.int64]] = []
    for satellite, count in enumerate(samples):
        own = own_batches(training, seed, satellite, count, number)
        for position, batch in enumerate(own):
            epoch = position * training.local_epochs // len(own)
            views_EN[epoch, firsts[satellite] + batch.indices] = batch.views
        indices = [batch.indices for batch in first_pass_of(own, training)]
        order_of.append(firsts[satellite] + np.concatenate(indices or [np.zeros(0, np.int64)]))
    orders = [batch.indices for batch in mixed]
    if first_pass:
        orders[:per_pass] = np.array_split(_as_they_come(order_of, first_pass), per_pass)
    return [
        Batch(indices, views_EN[position // per_pass, indices]) for position, indices in enumerate(orders)
    ]


def _as_they_come(
    order_of: Sequence[NDArray[np.int64]], first_pass: Sequence[tuple[int, int]]
) -> NDArray[np.int64]:
    taken = [0] * len(order_of)
    parts = []
    for satellite, count in first_pass:
        parts.append(order_of[satellite][taken[satellite] : taken[satellite] + count])
        taken[satellite] += count
    if taken != [len(order) for order in order_of]:
        raise ValueError(
            f"the first pass takes {taken} images, the satellites have {list(map(len, order_of))}"
        )
    return np.concatenate(parts)
