"""Random images with the statistics of photographs."""

from __future__ import annotations

import numpy as np
import torch

from splitmodel.imagery.natural_noise import natural_noise


def test_amplitudes_fall_with_the_inverse_of_the_frequency() -> None:
    images, _ = natural_noise(60, 1, height=64, width=64, seed=1)
    logarithm = images.log() * torch.hann_window(64)[:, None] * torch.hann_window(64)
    power = torch.fft.fft2(logarithm).abs().square().mean(dim=(0, 1)).numpy()
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    ring = (frequency > 0.06) & (frequency < 0.3)
    slope, _ = np.polyfit(np.log(frequency[ring]), np.log(power[ring]), 1)
    assert -2.4 < slope < -1.6


def test_images_have_the_contrast_that_is_told_and_channels_are_bright_in_the_same_places() -> None:
    images, contrast = natural_noise(200, 3, height=32, width=48, seed=2)
    assert images.shape == (200, 3, 32, 48)
    assert float(images.min()) > 0.0
    assert 0.02 < float(contrast.min()) < 0.05 < 0.2 < float(contrast.max()) < 0.31
    deviation = images.log().flatten(1).std(1)
    assert np.corrcoef(deviation.log(), contrast.log())[0, 1] > 0.9
    red, green = (images[:, channel].log().flatten() for channel in (0, 1))
    assert np.corrcoef(red, green)[0, 1] > 0.8


def test_the_same_seed_gives_the_same_images() -> None:
    once, again, other = (natural_noise(2, 1, height=8, width=8, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
