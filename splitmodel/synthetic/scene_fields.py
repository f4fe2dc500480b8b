"""The vocabulary of synthetic scenes: random numbers, noise, bands, cells and parcels, for n scenes at once.

Lengths are in pixels of a 32×32 scene; a 64×64 scene shows the same ground at twice the resolution.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]  # (scenes, size, size), or broadcastable to it; float32 throughout

EXTENT = 32.0
_UNIFORMS, _FIELDS = 96, 3  # random numbers and white-noise fields at most per scene


@dataclass
class Draws:
    """The random numbers of n scenes of one class, handed out in order, and the fields made of them."""

    uniforms: Field  # (n, _UNIFORMS) in [0, 1)
    white: Field  # (n, _FIELDS, size, size), standard normal
    _: KW_ONLY
    taken: int = 0
    fields_taken: int = 0

    @property
    def pixel_noise(self) -> Field:
        """White noise for the sensor: the last field, which no class is to take."""
        return self.white[:, -1]

    @classmethod
    def of(
        cls,
        class_index: int,
        indices: Sequence[int],
        seed: int,
        size: int,
        *,
        uniforms: int = _UNIFORMS,
        fields: int = _FIELDS,
    ) -> "Draws":
        """The draws of these scenes of a class: of each by its own index, whatever others are drawn.

        Args:
            class_index: Which class, or series of scenes.
            indices: Which of its scenes.
            seed: Of all.
            size: Pixels of a side.
            uniforms: Random numbers of a scene.
            fields: Fields of white noise of a scene.
        """
        drawn = np.empty((len(indices), uniforms), np.float32)
        white = np.empty((len(indices), fields, size, size), np.float32)
        for row, index in enumerate(indices):
            stream = np.random.Generator(np.random.Philox(key=[seed, class_index], counter=[0, 0, 0, index]))
            stream.random(out=drawn[row], dtype=np.float32)
            stream.standard_normal(out=white[row], dtype=np.float32)
        return cls(drawn, white)

    def number(self, low: float, high: float, count: int = 1) -> Field:
        """Uniform in [low, high): shape (n, 1, 1), or (n, count, 1, 1) for a count above 1."""
        drawn = self.uniforms[:, self.taken : self.taken + count]
        self.taken += count
        shape = (-1, 1, 1) if count == 1 else (-1, count, 1, 1)
        return (low + (high - low) * drawn).reshape(shape)

    def noise(self, roughness: float) -> Field:
        """Fractal noise, mean 0 and deviation 1: amplitude ∝ frequency^(roughness - 3)."""
        return self._filtered(lambda frequency: np.maximum(frequency, 1 / EXTENT) ** (roughness - 3))

    def grain(self, wavelength: float) -> Field:
        """Noise, mean 0 and deviation 1, of spots about one wavelength apart."""
        return self._filtered(
            lambda frequency: np.exp(-2 * (np.log2(np.maximum(frequency, 1e-3) * wavelength)) ** 2)
        )

    def _filtered(self, gain: Callable[[Field], Field]) -> Field:
        field = self.white[:, self.fields_taken]
        self.fields_taken += 1
        size = field.shape[-1]
        per_pixel = size / EXTENT
        frequency = per_pixel * np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
        weight = gain(frequency)
        weight[0, 0] = 0.0
        field = np.fft.irfft2(np.fft.rfft2(field) * weight.astype(np.float32), s=(size, size))
        return (field / field.std(axis=(1, 2), keepdims=True)).astype(np.float32)

    def axes(self, angle: Field | None = None) -> tuple[Field, Field]:
        """Coordinates along and across a direction (random by default) around a point near the middle."""
        size = self.white.shape[-1]
        ticks = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * EXTENT
        x = ticks[None, None, :] - self.number(-6, 6)
        y = ticks[None, :, None] - self.number(-6, 6)
        angle = self.number(0, np.pi) if angle is None else angle
        return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def inside(distance: Field, softness: float = 0.6) -> Field:
    """1 where the signed distance is negative, 0 where positive, with an edge about one pixel wide."""
    return np.clip(0.5 - distance / (2 * softness), 0, 1)


def wave(position: Field, period: Field) -> Field:
    """0 to 1 and back once in a period."""
    return 0.5 + 0.5 * np.sin(2 * np.pi * position / period)


def band(across: Field, width: Field | float) -> Field:
    """1 within half a width of a line, 0 beyond."""
    return inside(np.abs(across) - width / 2)


def cell(position: Field, pitch: Field) -> tuple[Field, Field]:
    """Distance to the middle of the cell of a regular row, and the number of the cell."""
    number = np.floor(position / pitch)
    return position - (number + 0.5) * pitch, number


def scatter(d: Draws, column: Field, row: Field) -> Field:
    """A pseudo-random value in [0, 1) for each cell of a scene's grid: what stands in it, and how bright."""
    mixed: NDArray[Any] = d.number(0, 2**24).astype(np.uint32)
    for number in (column, row):
        mixed = (mixed ^ number.astype(np.int32).view(np.uint32)) * np.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> 13)) * np.uint32(0xC2B2AE35)  # multipliers of MurmurHash3's finaliser
    return (mixed >> 8).astype(np.float32) / 2**24


def parcels(d: Draws, count: int) -> NDArray[np.intp]:
    """Number of the Voronoi cell of each pixel: shape (n, size, size), values below `count`."""
    x, y = d.axes()
    squared = (x[:, None] - d.number(-20, 20, count)) ** 2 + (y[:, None] - d.number(-20, 20, count)) ** 2
    return squared.argmin(axis=1)


def of_parcel(d: Draws, parcel: NDArray[np.intp], count: int, low: float, high: float) -> Field:
    """A value drawn for each parcel, at all of its pixels."""
    values = d.number(low, high, count)[:, :, 0, 0]
    return np.take_along_axis(values, parcel.reshape(len(parcel), -1), axis=1).reshape(parcel.shape)
