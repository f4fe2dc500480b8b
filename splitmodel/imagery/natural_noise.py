"""Random images with the statistics of photographs, where there are no photographs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# From haze to the full range of what a sensor is made for.
_LEAST_CONTRAST, _MOST_CONTRAST = 0.03, 0.3
# Of the variance, what all channels share: spectral bands are bright and dark in the same places.
_COMMON = 0.9


def natural_noise(count: int, channels: int, *, height: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return brightnesses around 1, shape (count, channels, height, width), and the contrast of each image.

    The logarithm of the brightness is a Gaussian field whose amplitude falls with the inverse of the spatial frequency
    (Field 1987, J. Opt. Soc. Am. A 4(12)). Its deviation, the contrast, shape (count,), is log-uniform.
    """
    generator = torch.Generator().manual_seed(seed)
    # Twice the size, then cut: the Fourier transform's images repeat, photographs do not.
    rows, columns = torch.fft.fftfreq(2 * height), torch.fft.rfftfreq(2 * width)
    frequency = torch.hypot(rows[:, None], columns[None, :])
    frequency[0, 0] = math.inf

    def fields(number: int) -> Tensor:
        white = torch.randn(count, number, 2 * height, 2 * width, generator=generator)
        made = torch.fft.irfft2(torch.fft.rfft2(white) / frequency, s=white.shape[-2:])
        return (made / made.std())[..., :height, :width]

    drawn = torch.rand(count, generator=generator)
    contrast = _LEAST_CONTRAST * (_MOST_CONTRAST / _LEAST_CONTRAST) ** drawn
    field = math.sqrt(_COMMON) * fields(1) + math.sqrt(1.0 - _COMMON) * fields(channels)
    return torch.exp(contrast[:, None, None, None] * field), contrast
