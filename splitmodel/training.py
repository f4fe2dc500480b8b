"""What both halves of a training step must agree on without asking each other.

The learning rate of a step, the order in which a satellite visits its images, and the number of the view
(:mod:`.imagery.views`) under which it sees each: all follow from seeds and counters alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # plans, too, count batches and views, and are made without torch
    import torch

# By what `training.augment` is: views under which an image is trained on, and in how many of them it crosses the split.
VIEWS = {"none": 1, "dihedral": 8, "token-dihedral": 8}
VIEWS_THAT_CROSS = {"none": 1, "dihedral": 8, "token-dihedral": 1}


class Batch(NamedTuple):
    """One step's images.

    Attributes:
        indices: Positions in the satellite's share, shape (B,).
        views: View number of each image, shape (B,).
    """

    indices: NDArray[np.int64]
    views: NDArray[np.int64]


def learning_rate(base: float, schedule: str, progress: float) -> float:
    """Learning rate at a point of the run, ``progress`` in [0, 1]; cosine falls from ``base`` to 0."""
    if schedule == "constant":
        return base
    return base * 0.5 * (1.0 + math.cos(math.pi * progress))


def set_step(optimizer: torch.optim.AdamW, learning_rate: float, batches: int = 1) -> None:
    """Set what an AdamW step uses, whose gradient is the mean of so many batches as the learning rate is meant for.

    The square-root scaling rule for Adam of Malladi et al., arXiv 2205.10287: the rate grows with the root of the
    number, the moments forget so many times as fast, as far as they can, and epsilon shrinks with the root.
    """
    defaults = optimizer.defaults
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * math.sqrt(batches)
        group["betas"] = tuple(max(0.0, 1.0 - batches * (1.0 - beta)) for beta in defaults["betas"])
        group["eps"] = defaults["eps"] / math.sqrt(batches)


def take_step(optimizer: torch.optim.AdamW, clip_update: float) -> None:
    """Take an optimiser step in which no group's weights move, in the root mean square, by more than so many rates.

    Where the squared gradients that AdamW remembers are out of date, a step is several learning rates long, and the
    next gradient longer still. Update clipping of Shazeer and Stern 2018, arXiv 1804.04235, section 6, over a whole
    group; for AdamW: Wortsman et al. 2023, arXiv 2304.13013. 0 is a plain step.
    """
    if not clip_update:
        optimizer.step()
        return
    import torch

    groups = optimizer.param_groups
    before = [[weights.detach().clone() for weights in group["params"]] for group in groups]
    optimizer.step()
    with torch.no_grad():
        for group, old in zip(groups, before, strict=True):
            moves = [weights - was for weights, was in zip(group["params"], old, strict=True)]
            count = sum(move.numel() for move in moves)
            # In float64: the square of a step that leads astray must not be infinite, or nothing would be left of it.
            norms = [torch.linalg.vector_norm(move, dtype=torch.float64) for move in moves]
            length = float(torch.stack(norms).norm())
            longest = clip_update * group["lr"] * math.sqrt(count)
            if length > longest:
                for weights, was, move in zip(group["params"], old, moves, strict=True):
                    weights.copy_(was + move * (longest / length))


def round_seed(seed: int, satellite: int, number: int) -> tuple[int, int, int]:
    """Return the seed of a satellite's data order in a round: the run's seed, the satellite's position, the round."""
    return (seed, satellite, number)


def steps_per_round(samples: int, batch_size: int, epochs: int) -> int:
    """Optimiser steps that a satellite takes in a round; the last batch of an epoch may be smaller."""
    return epochs * math.ceil(samples / batch_size)


def batch_sizes(samples: int, batch_size: int) -> tuple[int, ...]:
    """Images of each batch of an epoch, which differ by at most one, the larger first."""
    steps = steps_per_round(samples, batch_size, 1)
    short, longer = divmod(samples, max(1, steps))
    return (short + 1,) * longer + (short,) * (steps - longer)


def round_batches(samples: int, batch_size: int, epochs: int, views: int, seed: Sequence[int]) -> list[Batch]:
    """A round's batches: every image once per epoch, in a new order, each under a random view.

    Args:
        samples: Images in the satellite's share.
        batch_size: Largest batch; the batches of an epoch differ by at most one image.
        epochs: Passes over the share.
        views: How many views there are (:data:`VIEWS`).
        seed: Anything that identifies satellite and round; same seed, same batches.
    """
    sizes = batch_sizes(samples, batch_size)
    parts = [slice(end - size, end) for end, size in zip(itertools.accumulate(sizes), sizes, strict=True)]
    return [
        Batch(order[part], under[part])
        for order, under in round_order(samples, epochs, views, seed)
        for part in parts
    ]


def round_order(
    samples: int, epochs: int, views: int, seed: Sequence[int]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The images of every epoch of a round in their order, and the view of each; see :func:`round_batches`."""
    rng = np.random.default_rng(list(seed))
    return [(rng.permutation(samples), rng.integers(views, size=samples)) for _ in range(epochs)]


def as_they_cross(batches: Sequence[Batch], augment: str) -> list[Batch]:
    """The same images under the views in which they cross: all as view 0 where the ground turns their tokens."""
    return [Batch(batch.indices, batch.views % VIEWS_THAT_CROSS[augment]) for batch in batches]


def new_batches(batches: Sequence[Batch], known: NDArray[np.bool_], batch_size: int) -> list[Batch]:
    """Images and views of these batches that are not known, each once, in their order, in batches of their own.

    Args:
        batches: Of a round.
        known: By image and view, shape (samples, views).
        batch_size: Largest batch.
    """
    views = known.shape[1]
    wanted = np.concatenate([batch.indices * views + batch.views for batch in batches] or [np.zeros(0, int)])
    first = np.sort(np.unique(wanted, return_index=True)[1])
    wanted = wanted[first]
    new = np.stack(np.divmod(wanted[~known.reshape(-1)[wanted]], max(1, views)), axis=1)
    return [
        Batch(part[:, 0], part[:, 1])
        for part in np.array_split(new, max(1, -(-len(new) // batch_size)))
        if len(part)
    ]
