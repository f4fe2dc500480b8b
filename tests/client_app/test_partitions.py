"""Every image goes to exactly one satellite, and the label skew is the one asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client_app.partitions import PartitionError, by_groups, partition

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


@pytest.mark.parametrize(("kind", "enough"), [("dirichlet", 30), ("orbit", 50)])
def test_a_skewed_partition_is_drawn_again_until_each_satellite_has_the_smallest_share(
    kind: str, enough: int
) -> None:
    labels = np.arange(400) % 7

    def shares(smallest: int) -> list[np.ndarray]:
        return partition(
            kind, labels, [0, 0, 1, 1, 2, 2], alpha=0.3, classes_per_satellite=2, seed=3, smallest=smallest
        )

    assert min(map(len, shares(1))) < enough <= min(map(len, shares(enough)))
    assert sorted(np.concatenate(shares(enough)).tolist()) == list(range(400))
    assert all(np.array_equal(a, b) for a, b in zip(shares(enough), shares(enough), strict=True))
    with pytest.raises(PartitionError, match=r"of at least 90 samples .*lower data\.smallest_share"):
        shares(90)


def of_groups(groups: list[str], spread: list[int], satellites: list[str] | None = None) -> list[list[str]]:
    """Groups of each satellite's samples."""
    names = satellites or [f"sat-{index}" for index in range(len(spread))]
    shares = by_groups(np.array(groups), spread, names, seed=1)
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(groups)))
    return [sorted({groups[index] for index in share}) for share in shares]


def test_each_plane_has_the_images_of_its_sensor() -> None:
    sensors = ["L5", "L7", "S2"] * 20
    assert of_groups(sensors, [0, 0, 1, 1, 2, 2]) == [["L5"]] * 2 + [["L7"]] * 2 + [["S2"]] * 2
    assert of_groups(sensors, [0, 0, 1, 1]) == [["L5", "L7"]] * 2 + [["S2"]] * 2
    assert of_groups(sensors, [0, 1, 2, 3, 4, 5]) == [["L5"]] * 2 + [["L7"]] * 2 + [["S2"]] * 2


def test_satellites_that_share_a_group_share_it_evenly() -> None:
    groups = np.array(["a"] * 31 + ["b"] * 8)
    shares = by_groups(groups, [0, 1, 2, 3], ["w", "x", "y", "z"], seed=1)
    assert [len(share) for share in shares] == [16, 15, 4, 4]


def test_a_column_of_satellites_gives_each_its_own() -> None:
    assert of_groups(["z", "x", "y", "x"], [0, 0, 0], ["x", "y", "z"]) == [["x"], ["y"], ["z"]]
    with pytest.raises(PartitionError, match="leaves satellite 2 .* without a sample"):
        of_groups(["x", "y"], [0, 0, 0], ["x", "y", "z"])


def test_more_places_than_satellites_are_spread_as_neighbours() -> None:
    places = [f"tile-{number:02}" for number in range(10)]
    assert of_groups(places * 3, [0, 1, 2]) == [places[:4], places[4:7], places[7:]]
