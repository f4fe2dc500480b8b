"""Heads averaged by images, and each class' row by the images of that class; plane by plane."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mission.client_update import average, client_update
from strategies.aggregation.averages import AggregationError, plane_sum
from strategies.aggregation.client_updates import Averaging, ClientUpdate
from strategies.intra_orbit import PlaneOrder

PLANES = [PlaneOrder(("a",), ring=False, linked=False), PlaneOrder(("b",), ring=False, linked=False)]
LABELS = {"a": [6, 2, 0], "b": [0, 8, 0]}
NOW = {"head.weight": np.zeros((3, 4), np.float32), "backbone.w": np.zeros((3, 4), np.float32)}


def all_of(value: float) -> dict[str, NDArray[np.float32]]:
    return {key: np.full_like(array, value) for key, array in NOW.items()}


DELIVERED = {"a": ClientUpdate(3, all_of(1.0), report={}), "b": ClientUpdate(3, all_of(5.0), report={})}


def rows(arrays: dict[str, NDArray], key: str) -> list[float]:
    assert (arrays[key] == arrays[key][:, :1]).all()
    assert arrays[key].dtype == np.float32
    return arrays[key][:, 0].tolist()


def test_by_images_every_row_is_the_mean_weighted_by_all_images() -> None:
    mean = Averaging(LABELS, 0.5, by_class=False).mean(NOW, DELIVERED, 3, PLANES)
    assert rows(mean, "head.weight") == rows(mean, "backbone.w") == [3.0, 3.0, 3.0]


def test_by_class_a_row_counts_by_images_of_its_class_and_nothing_else_changes() -> None:
    mean = Averaging(LABELS, 0.5, by_class=True).mean(NOW, DELIVERED, 3, PLANES)
    np.testing.assert_allclose(
        rows(mean, "head.weight"), [1.0, 4.2, 3.0], rtol=1e-6
    )  # of the last nobody has any
    assert rows(mean, "backbone.w") == [3.0, 3.0, 3.0]


def test_a_class_that_only_the_absent_have_seen_stays_as_it_was() -> None:
    mean = Averaging(LABELS, 0.5, by_class=True).mean(NOW, {"b": DELIVERED["b"]}, 3, PLANES)
    np.testing.assert_allclose(rows(mean, "head.weight"), [0.0, 4.0, 2.5], rtol=1e-6)


def test_what_is_old_counts_less_in_every_row() -> None:
    late = {
        "a": DELIVERED["a"],
        "b": ClientUpdate(0, all_of(5.0), report={}),
    }  # three rounds: half the weight
    mean = Averaging(LABELS, 0.5, by_class=True).mean(NOW, late, 3, PLANES)
    np.testing.assert_allclose(
        rows(mean, "head.weight"), [1.0, (2 + 5 * 4) / 10, (8 + 5 * 4) / 16], rtol=1e-6
    )


MANY = {name: [3 + index, 7 * index % 5, 1] for index, name in enumerate("abcdefg")}
TWO_PLANES = [
    PlaneOrder(("c", "a", "b"), ring=True, linked=True),
    PlaneOrder(("g", "d", "f", "e"), ring=False, linked=True),
]


def trained() -> dict[str, ClientUpdate]:
    rng = np.random.default_rng(0)
    return {
        name: ClientUpdate(
            3, {key: rng.normal(size=array.shape).astype(np.float32) for key, array in NOW.items()}, report={}
        )
        for name in MANY
    }


@pytest.mark.parametrize("by_class", [False, True])
def test_planes_are_summed_each_by_itself_in_its_order_then_by_number(by_class: bool) -> None:
    averaging, delivered = Averaging(MANY, 0.5, by_class=by_class), trained()
    sums = [
        plane_sum(
            [client_update(delivered[name].arrays, averaging.counts(name)) for name in plane.members],
            ring=plane.ring,
        )
        for plane in TWO_PLANES
    ]
    found, expected = averaging.mean(NOW, delivered, 3, TWO_PLANES), average(sums[0] + sums[1], NOW)
    for key, array in NOW.items():
        assert found[key].tobytes() == expected[key].tobytes()
        weights = np.array([averaging.counts(name) for name in MANY])
        rows = weights[:, 1:, None] if by_class and key.startswith("head.") else weights[:, :1, None]
        arrays = np.stack([delivered[name].arrays[key] for name in MANY]).astype(float)
        np.testing.assert_allclose(found[key], (rows * arrays).sum(0) / rows.sum(0), rtol=1e-6, atol=1e-7)
        assert found[key].shape == array.shape


@pytest.mark.parametrize("by_class", [False, True])
def test_whether_a_plane_or_the_ground_has_summed_changes_no_bit(by_class: bool) -> None:
    averaging, alone = Averaging(MANY, 0.5, by_class=by_class), trained()
    parts = [client_update(alone[name].arrays, averaging.counts(name)) for name in TWO_PLANES[0].members]
    summed = ClientUpdate(3, {}, report={}, plane_sum=plane_sum(parts, ring=True))
    ground = averaging.mean(NOW, alone, 3, TWO_PLANES)
    for who in (("a",), ("b", "c"), ("a", "b", "c")):  # the others of the plane have given the sum up
        plane = averaging.mean(NOW, alone | dict.fromkeys(who, summed), 3, TWO_PLANES)
        assert all(plane[key].tobytes() == ground[key].tobytes() for key in NOW)


def test_a_sum_that_counts_others_than_its_plane_is_refused() -> None:
    averaging, alone = Averaging(MANY, 0.5, by_class=False), trained()
    parts = [client_update(alone[name].arrays, averaging.counts(name)) for name in ("a", "b")]
    for wrong in (parts[0] + parts[1], parts[0][:-1]):
        with pytest.raises(AggregationError, match=r"the sum of c, a, b counts .*, allowed: \[\d+"):
            averaging.mean(NOW, alone | {"b": ClientUpdate(3, {}, report={}, plane_sum=wrong)}, 3, TWO_PLANES)
