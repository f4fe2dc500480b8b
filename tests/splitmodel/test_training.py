"""What satellite and ground agree on without asking: learning rate, data order, views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from splitmodel.imagery.views import view
from splitmodel.training import learning_rate, round_batches, steps_per_round


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 3), st.integers(0, 99))
def test_every_image_is_seen_once_an_epoch(samples: int, batch_size: int, epochs: int, seed: int) -> None:
    batches = round_batches(samples, batch_size, epochs, 8, [seed])
    assert len(batches) == steps_per_round(samples, batch_size, epochs)
    seen = np.concatenate([batch.indices for batch in batches])
    assert np.array_equal(np.bincount(seen, minlength=samples), np.full(samples, epochs))
    assert max(len(batch.indices) for batch in batches) <= batch_size


def test_the_seed_decides_order_and_views() -> None:
    first, again, other = (round_batches(50, 8, 1, 8, seed) for seed in ([1, 2], [1, 2], [1, 3]))
    assert all(np.array_equal(a.views, b.views) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.indices, b.indices) for a, b in zip(first, other, strict=True))


def test_the_eight_views_are_all_different_and_the_first_is_the_image() -> None:
    image = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    views = [view(image, np.full(2, number)) for number in range(8)]
    assert torch.equal(views[0], image)
    assert len({tuple(v.flatten().tolist()) for v in views}) == 8


def test_each_image_gets_its_own_view() -> None:
    image = torch.rand(1, 3, 4, 4).expand(8, 3, 4, 4)
    together = view(image, np.arange(8))
    for number in range(8):
        assert torch.equal(together[number], view(image[:1], np.array([number]))[0])


def test_the_cosine_falls_from_the_base_to_nothing() -> None:
    rates = [learning_rate(0.1, "cosine", progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0])
    assert learning_rate(0.1, "constant", 0.7) == 0.1
