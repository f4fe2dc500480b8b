"""Heads averaged by images, and each class' row by the images of that class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.under_way import Averaging, Contribution

LABELS = {"a": [6, 2, 0], "b": [0, 8, 0]}
NOW = {"head.weight": np.zeros((3, 4), np.float32), "backbone.w": np.zeros((3, 4), np.float32)}


def all_of(value: float) -> dict[str, NDArray[np.float32]]:
    return {key: np.full_like(array, value) for key, array in NOW.items()}


DELIVERED = {"a": Contribution(3, all_of(1.0), {}), "b": Contribution(3, all_of(5.0), {})}


def rows(arrays: dict[str, NDArray], key: str) -> list[float]:
    assert (arrays[key] == arrays[key][:, :1]).all()
    assert arrays[key].dtype == np.float32
    return arrays[key][:, 0].tolist()


def test_by_images_every_row_is_the_mean_weighted_by_all_images() -> None:
    mean = Averaging(LABELS, 0.5, by_class=False).mean(NOW, DELIVERED, 3)
    assert rows(mean, "head.weight") == rows(mean, "backbone.w") == [3.0, 3.0, 3.0]


def test_by_class_a_row_counts_by_images_of_its_class_and_nothing_else_changes() -> None:
    mean = Averaging(LABELS, 0.5, by_class=True).mean(NOW, DELIVERED, 3)
    np.testing.assert_allclose(
        rows(mean, "head.weight"), [1.0, 4.2, 3.0], rtol=1e-6
    )  # of the last nobody has any
    assert rows(mean, "backbone.w") == [3.0, 3.0, 3.0]


def test_a_class_that_only_the_absent_have_seen_stays_as_it_was() -> None:
    mean = Averaging(LABELS, 0.5, by_class=True).mean(NOW, {"b": DELIVERED["b"]}, 3)
    np.testing.assert_allclose(rows(mean, "head.weight"), [0.0, 4.0, 2.5], rtol=1e-6)


def test_what_is_old_counts_less_in_every_row() -> None:
    late = {"a": DELIVERED["a"], "b": Contribution(0, all_of(5.0), {})}  # three rounds: half the weight
    mean = Averaging(LABELS, 0.5, by_class=True).mean(NOW, late, 3)
    np.testing.assert_allclose(
        rows(mean, "head.weight"), [1.0, (2 + 5 * 4) / 10, (8 + 5 * 4) / 16], rtol=1e-6
    )
