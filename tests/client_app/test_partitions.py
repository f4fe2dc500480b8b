"""Every image goes to exactly one satellite, and the label skew is the one asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client_app.partitions import PartitionError, partition

KINDS = ["iid", "dirichlet", "pathological", "orbit"]


def shares_of(
    kind: str, labels: np.ndarray, planes: list[int], seed: int = 1, alpha: float = 0.5, classes: int = 2
):
    return partition(kind, labels, planes, alpha=alpha, classes_per_satellite=classes, seed=seed)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    satellites=st.integers(1, 12),
    planes=st.integers(1, 4),
    seed=st.integers(0, 1000),
    alpha=st.floats(0.05, 10),
)
def test_each_image_is_on_exactly_one_satellite(
    kind: str, satellites: int, planes: int, seed: int, alpha: float
) -> None:
    labels = np.arange(400) % 7
    try:
        shares = shares_of(kind, labels, [index % planes for index in range(satellites)], seed, alpha)
    except PartitionError:
        return
    assert sorted(np.concatenate(shares).tolist()) == list(range(400))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_shares(kind: str) -> None:
    labels = np.arange(600) % 10
    first, again, other = (shares_of(kind, labels, [0, 0, 1, 1, 2, 2], seed) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def skew(shares: list[np.ndarray], labels: np.ndarray) -> float:
    """Mean largest class share of a satellite."""
    return float(np.mean([np.bincount(labels[share]).max() / len(share) for share in shares]))


def test_a_smaller_alpha_is_more_skewed_than_a_larger_and_iid_least() -> None:
    labels = np.arange(4000) % 10
    planes = [0] * 10
    strong, weak, none = (
        skew(shares_of(kind, labels, planes, alpha=alpha), labels)
        for kind, alpha in (("dirichlet", 0.3), ("dirichlet", 5.0), ("iid", 1.0))
    )
    assert strong > weak > none


def test_pathological_satellites_see_the_number_of_classes_asked_for() -> None:
    labels = np.arange(1000) % 10
    for share in shares_of("pathological", labels, [0] * 10, classes=3):
        assert len(np.unique(labels[share])) == 3


def test_satellites_of_one_plane_see_similar_classes() -> None:
    labels = np.arange(4000) % 10
    planes = [0] * 4 + [1] * 4
    histograms = [
        np.bincount(labels[s], minlength=10) / len(s) for s in shares_of("orbit", labels, planes, alpha=0.3)
    ]
    within = np.abs(histograms[0] - histograms[1]).sum()
    across = np.abs(histograms[0] - histograms[4]).sum()
    assert within < 0.5 * across


@pytest.mark.parametrize(
    ("kind", "classes", "says"),
    [
        ("iid", 2, "without a sample"),
        ("pathological", 11, "classes_per_satellite: found 11"),
        ("pathological", 1, "cannot hold"),
        ("nearest", 2, "allowed: iid, dirichlet"),
    ],
)
def test_an_impossible_partition_names_the_key(kind: str, classes: int, says: str) -> None:
    labels = np.arange(5) if kind == "iid" else np.arange(100) % 10
    with pytest.raises(PartitionError, match=says):
        shares_of(kind, labels, [0] * 6, classes=classes)
