"""Images of any band count and depth become what the embedding takes; what was not measured is the band's mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitmodel.preprocess import Preprocess

MEAN, STD = (1200.0, 900.0, 2500.0, 30.0, 5.0, 1.0), (300.0, 250.0, 800.0, 11.0, 2.0, 0.5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_raw_values_of_every_depth_are_normalised_by_band(dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 8)).astype(dtype)
    if dtype is np.uint16:
        values[0, 0, 0, 0] = 65_535
    if dtype is np.int16:
        values[0, 0, 0, 0] = -32_768
    ours = Preprocess(8, 8, mean=MEAN, std=STD, rescale_factor=1.0)(torch.from_numpy(values))
    wanted = (values.astype(np.float64) - np.reshape(MEAN, (6, 1, 1))) / np.reshape(STD, (6, 1, 1))
    np.testing.assert_allclose(ours.numpy(), wanted, rtol=2e-6, atol=2e-4)


def test_resized_16_bit_values_are_not_cut_to_bytes() -> None:
    values = torch.full((1, 1, 4, 4), 10_000, dtype=torch.int32).to(torch.uint16)
    resized = Preprocess(8, 8, mean=(0.0,), std=(1.0,), rescale_factor=1.0)(values)
    assert torch.equal(resized, torch.full((1, 1, 8, 8), 10_000.0))


@pytest.mark.parametrize(
    ("dtype", "no_data", "hole"), [(np.int16, -9999, -9999), (np.uint16, 0, 0), (np.float32, None, np.nan)]
)
def test_what_was_not_measured_is_zero_and_does_not_reach_its_neighbours(
    dtype: type, no_data: float | None, hole: float
) -> None:
    values = np.full((1, 1, 8, 8), 700).astype(dtype)
    values[0, 0, :, :4] = hole
    same = Preprocess(8, 8, mean=(500.0,), std=(100.0,), rescale_factor=1.0, no_data=no_data)(
        torch.from_numpy(values)
    )
    assert same[0, 0, :, :4].abs().max() == 0.0
    torch.testing.assert_close(same[0, 0, :, 4:], torch.full((8, 4), 2.0))
    resized = Preprocess(4, 4, mean=(500.0,), std=(100.0,), rescale_factor=1.0, no_data=no_data)(
        torch.from_numpy(values)
    )
    assert 0.0 <= float(resized.min()) <= float(resized.max()) <= 2.0


def test_bands_mean_and_deviation_must_be_equally_many() -> None:
    with pytest.raises(ValueError, match="found 2 bands, 3 means and 3 standard deviations"):
        Preprocess(8, 8, bands=("red", "green"))
