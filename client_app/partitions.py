"""How the training images are spread over the satellites.

Every partition is a function of labels, number of satellites and seed alone, so that each satellite works out
its own share without asking anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mission.schema import Data

Shares = list[NDArray[np.int64]]


class PartitionError(ValueError):
    """A partition leaves a satellite without a sample, or asks for more classes than there are."""


def shares_of(data: Data, labels: NDArray[np.int64], planes: Sequence[int], seed: int) -> Shares:
    """The shares that a scenario's ``[data]`` table asks for; see :func:`partition`."""
    return partition(
        data.partition,
        labels,
        planes,
        alpha=data.alpha,
        classes_per_satellite=data.classes_per_satellite,
        seed=seed,
    )


def partition(
    kind: str,
    labels: NDArray[np.int64],
    planes: Sequence[int],
    *,
    alpha: float,
    classes_per_satellite: int,
    seed: int,
) -> Shares:
    """Share out all samples: each index in exactly one share.

    Args:
        kind: ``iid``, ``dirichlet``, ``pathological`` or ``orbit``.
        labels: Class indices, shape (N,).
        planes: Plane of each satellite; its length is the number of satellites.
        alpha: Dirichlet concentration, per satellite (``dirichlet``) or per plane (``orbit``).
        classes_per_satellite: Classes that a satellite sees (``pathological``).
        seed: Same seed, same shares.

    Returns:
        Sorted sample indices of each satellite.

    Raises:
        PartitionError: A satellite would have no sample; it is named with what to change.
    """
    rng = np.random.default_rng([seed, len(planes)])
    match kind:
        case "iid":
            shares = list(np.array_split(rng.permutation(len(labels)), len(planes)))
        case "dirichlet":
            shares = _dirichlet(labels, len(planes), alpha, rng)
        case "pathological":
            shares = _pathological(labels, len(planes), classes_per_satellite, rng)
        case "orbit":
            shares = _by_orbit(labels, planes, alpha, rng)
        case _:
            raise PartitionError(
                f"data.partition: found {kind!r}, allowed: iid, dirichlet, pathological, orbit"
            )
    empty = [satellite for satellite, share in enumerate(shares) if not len(share)]
    if empty:
        raise PartitionError(
            f"data.partition: {kind} leaves satellite {empty[0]} (and {len(empty) - 1} more) of {len(planes)} without "
            f"a sample ({len(labels)} images); raise data.alpha or data.train_samples, or use fewer satellites"
        )
    return [np.sort(share) for share in shares]


def _dirichlet(labels: NDArray[np.int64], shares: int, alpha: float, rng: np.random.Generator) -> Shares:
    """Label skew of Hsu et al. (arXiv 1909.06335): each class is cut in Dirichlet(alpha) proportions."""
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(shares)]
    for label in np.unique(labels):
        indices = rng.permutation(np.flatnonzero(labels == label))
        cuts = (np.cumsum(rng.dirichlet([alpha] * shares))[:-1] * len(indices)).round().astype(int)
        for part, piece in zip(parts, np.split(indices, cuts), strict=True):
            part.append(piece)
    return [np.concatenate(part) for part in parts]


def _pathological(labels: NDArray[np.int64], shares: int, classes: int, rng: np.random.Generator) -> Shares:
    """Each satellite sees a fixed number of classes (McMahan et al., arXiv 1602.05629, with equal shards)."""
    present = np.unique(labels)
    if classes > len(present):
        raise PartitionError(
            f"data.classes_per_satellite: found {classes}, allowed: up to the {len(present)} classes of the data"
        )
    if shares * classes < len(present):
        raise PartitionError(
            f"data.classes_per_satellite: {shares} satellites with {classes} classes each "
            f"cannot hold {len(present)} classes"
        )
    deck = np.tile(rng.permutation(present), -(-shares * classes // len(present)))[: shares * classes]
    holders: dict[int, list[int]] = {int(label): [] for label in present}
    for position, label in enumerate(deck):
        holders[int(label)].append(position // classes)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(shares)]
    for label, satellites in holders.items():
        pieces = np.array_split(rng.permutation(np.flatnonzero(labels == label)), len(satellites))
        for satellite, piece in zip(satellites, pieces, strict=True):
            parts[satellite].append(piece)
    return [np.concatenate(part) for part in parts]


def _by_orbit(
    labels: NDArray[np.int64], planes: Sequence[int], alpha: float, rng: np.random.Generator
) -> Shares:
    """Satellites of one plane see similar classes: Dirichlet over planes, evenly inside a plane."""
    names = sorted(set(planes))
    shares: Shares = [np.empty(0, np.int64)] * len(planes)
    for plane, indices in zip(names, _dirichlet(labels, len(names), alpha, rng), strict=True):
        members = [satellite for satellite, of in enumerate(planes) if of == plane]
        for satellite, piece in zip(
            members, np.array_split(rng.permutation(indices), len(members)), strict=True
        ):
            shares[satellite] = piece
    return shares
