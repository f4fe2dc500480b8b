"""How the training images are spread over the satellites.

Every partition is a function of the labels (or of what else is known of each image), the satellites and the seed
alone, so that each satellite works out its own share without asking anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mission.entry_points import PARTITIONS, EntryPointError, registered_function
from mission.schema import Data
from splitmodel.imagery import ImageSet, TargetKind

Shares = list[NDArray[np.int64]]
KINDS = ("iid", "dirichlet", "pathological", "orbit")
_BY_GROUPS = ("sensor", "column")
_DRAWS = 100


class PartitionError(ValueError):
    """A partition leaves a satellite without a sample, or asks for more classes than there are."""


def shares_of(
    data: Data, images: ImageSet, planes: Sequence[int], satellites: Sequence[str], seed: int
) -> Shares:
    """Return the shares that a scenario's ``[data]`` table asks for; see :func:`partition` and :func:`by_groups`.

    Raises:
        PartitionError: A satellite would have too few samples, or the partition of another package fails.
    """
    if data.partition in _BY_GROUPS:
        column = data.sensor_column if data.partition == "sensor" else data.partition_column
        groups = images.column(column)
        if groups is None:
            raise PartitionError(
                f'data.partition: found "{data.partition}", but {data.source} data have no column {column!r}; allowed '
                "with a table, or with a folder and its manifest.csv"
            )
        spread = planes if data.partition == "sensor" else range(len(planes))
        return by_groups(groups, spread, satellites, smallest=data.smallest_share, seed=seed)
    if data.partition not in KINDS:
        return by_registered(data.partition, images.labels, planes, smallest=data.smallest_share, seed=seed)
    has_classes = images.targets.kind is TargetKind.CLASS
    if not has_classes and data.partition != "iid":
        raise PartitionError(
            f'data.partition: found "{data.partition}", which spreads classes, but {images.source.where} has '
            f"{images.targets.kind}; allowed: iid, sensor, column"
        )
    return partition(
        data.partition,
        images.labels if has_classes else np.zeros(len(images), np.int64),
        planes,
        alpha=data.alpha,
        classes_per_satellite=data.classes_per_satellite,
        seed=seed,
        smallest=data.smallest_share,
    )


def partition(
    kind: str,
    labels: NDArray[np.int64],
    planes: Sequence[int],
    *,
    alpha: float,
    classes_per_satellite: int,
    seed: int,
    smallest: int = 1,
) -> Shares:
    """Share out all samples: each index in exactly one share.

    Args:
        kind: ``iid``, ``dirichlet``, ``pathological`` or ``orbit``.
        labels: Class indices, shape (N,).
        planes: Plane of each satellite; its length is the number of satellites.
        alpha: Dirichlet concentration, per satellite (``dirichlet``) or per plane (``orbit``).
        classes_per_satellite: Classes that a satellite sees (``pathological``).
        seed: Same seed, same shares.
        smallest: Images that each satellite has at least; where chance decides (``dirichlet``, ``orbit``) it is asked
            again until they have, as Flower Datasets' partitioners do.

    Returns:
        Sorted sample indices of each satellite.

    Raises:
        PartitionError: A satellite would have too few samples; it is named with what to change.
    """
    if kind not in KINDS:
        raise PartitionError(
            f"data.partition: found {kind!r}, allowed: {', '.join((*KINDS, 'sensor', 'column'))}"
        )
    rng = np.random.default_rng([seed, len(planes)])
    draws = _DRAWS if kind in ("dirichlet", "orbit") and len(labels) >= smallest * len(planes) else 1
    for _ in range(draws):
        shares = _drawn(kind, labels, planes, alpha, classes_per_satellite, rng)
        if min(map(len, shares)) >= smallest:
            break
    return _checked(kind, shares, len(labels), smallest)


def by_registered(
    name: str, labels: NDArray[np.int64], planes: Sequence[int], *, smallest: int, seed: int
) -> Shares:
    """Share out all samples as a function does that a package registers under ``skysplit.partitions``.

    It is called with ``labels``, shape (N,), ``planes``, the plane of each satellite, and ``rng``, drawn from the seed,
    and returns the sample indices of each satellite. Every satellite asks it by itself, so it must depend on nothing
    else.

    Raises:
        PartitionError: It cannot be imported, fails, leaves a sample out or gives one twice, or gives too few.
    """
    try:
        function = registered_function(PARTITIONS, name, (*KINDS, *_BY_GROUPS))
    except EntryPointError as error:
        raise PartitionError(str(error)) from error
    try:
        rng = np.random.default_rng([seed, len(planes)])
        given = function(labels=labels.copy(), planes=tuple(planes), rng=rng)
        shares = [np.asarray(share, np.int64) for share in given]
    except Exception as error:  # whatever a package's code does
        raise PartitionError(f"data.partition {name!r}: failed: {type(error).__name__}: {error}") from error
    if len(shares) != len(planes):
        raise PartitionError(
            f"data.partition {name!r}: gave {len(shares)} shares, allowed: one for each of {len(planes)} satellites"
        )
    every = np.sort(np.concatenate(shares))
    if not np.array_equal(every, np.arange(len(labels))):
        raise PartitionError(
            f"data.partition {name!r}: gave {len(every)} samples, allowed: each of {len(labels)} once"
        )
    return _checked(name, shares, len(labels), smallest)


def by_groups(
    groups: NDArray[np.str_],
    spread: Sequence[int],
    satellites: Sequence[str],
    *,
    smallest: int = 1,
    seed: int,
) -> Shares:
    """Share out all samples so that those of one group (a sensor, a place) stay together.

    Where groups are called as satellites are, each satellite has its own. Otherwise groups, in the order of their
    names, go to the members of ``spread`` (planes or satellites) in order: several neighbouring groups to one where
    there are more groups, one to several neighbouring members where there are fewer. Satellites that have the same
    groups share their samples evenly, by chance.

    Args:
        groups: Group of each sample, shape (N,).
        spread: Plane (or number) of each satellite.
        satellites: Their names.
        smallest: Images that each satellite has at least.
        seed: Same seed, same shares.

    Returns:
        Sorted sample indices of each satellite.

    Raises:
        PartitionError: A satellite would have too few samples.
    """
    names = sorted(set(groups.tolist()))
    own: Shares = [np.empty(0, np.int64)] * len(satellites)
    if set(names) <= set(satellites):
        own = [np.flatnonzero(groups == satellite) for satellite in satellites]
        return _checked("column", own, len(groups), smallest)
    rng = np.random.default_rng([seed, len(satellites)])
    members = sorted(set(spread))
    parts = min(len(names), len(members))
    for some_names, some_members in zip(
        np.array_split(np.array(names), parts), np.array_split(np.array(members), parts), strict=True
    ):
        indices = np.flatnonzero(np.isin(groups, some_names))
        holders = [satellite for satellite, of in enumerate(spread) if of in some_members]
        for holder, piece in zip(
            holders, np.array_split(rng.permutation(indices), len(holders)), strict=True
        ):
            own[holder] = piece
    return _checked("column", own, len(groups), smallest)


def _drawn(
    kind: str,
    labels: NDArray[np.int64],
    planes: Sequence[int],
    alpha: float,
    classes_per_satellite: int,
    rng: np.random.Generator,
) -> Shares:
    match kind:
        case "iid":
            return list(np.array_split(rng.permutation(len(labels)), len(planes)))
        case "dirichlet":
            return _dirichlet(labels, len(planes), alpha, rng)
        case "pathological":
            return _pathological(labels, len(planes), classes_per_satellite, rng)
        case _:
            return _by_orbit(labels, planes, alpha, rng)


def _checked(kind: str, shares: Shares, images: int, smallest: int) -> Shares:
    """The shares, sorted, where each has enough samples."""
    few = [satellite for satellite, share in enumerate(shares) if len(share) < smallest]
    if few:
        lacks = (
            "without a sample"
            if smallest == 1
            else f"with {len(shares[few[0]])} of at least {smallest} samples"
        )
        change = (
            "raise data.alpha or data.train_samples" if kind != "column" else "name fewer places or sensors"
        )
        raise PartitionError(
            f"data.partition: {kind} leaves satellite {few[0]} (and {len(few) - 1} more) of {len(shares)} {lacks} "
            f"({images} images); {change}, lower data.smallest_share, or use fewer satellites"
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
