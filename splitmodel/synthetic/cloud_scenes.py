"""Synthetic multispectral scenes with clouds and their shadows: six bands of 16 bit, three sensors, a class a pixel.

Procedural, as :mod:`splitmodel.synthetic.scenes`: land covers in patches of fields, with spectra that are roughly those
of the real covers; snow and sand are as bright as clouds in some bands, so that visible light alone does not tell them
apart. A scene is decided by (index, seed) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitmodel.synthetic.scene_fields import Draws, Field, inside, parcels

BANDS = ("Blue", "Green", "Red", "NIR", "SWIR1", "SWIR2")
SENSORS = ("A", "B", "C")  # scene i is of sensor i modulo 3
CLOUD_CLASSES = ("clear", "cloud", "shadow")
COVERS = ("vegetation", "dry grass", "soil", "water", "rock", "sand", "snow")
SIZE = 32

_SERIES = 1 << 20  # apart from the classes of `splitmodel.synthetic.scenes`
_PARCELS = 7
# Reflectance × 10,000 of each cover and band, roughly.
_SPECTRA = np.array(
    [
        (300, 600, 400, 3200, 1700, 800),
        (800, 1100, 1300, 2500, 2600, 1900),
        (1000, 1400, 1900, 2500, 3200, 2800),
        (500, 450, 300, 150, 80, 50),
        (1400, 1600, 1700, 2000, 2200, 2100),
        (2500, 3300, 4100, 4900, 5600, 5200),
        (8200, 8300, 8200, 7500, 1200, 900),
    ],
    np.float32,
)
_CLOUD = np.array((7000, 7000, 7100, 7200, 5500, 4300), np.float32)
_SHADE = np.array((0.45, 0.5, 0.55, 0.65, 0.7, 0.7), np.float32)  # share of the light that a shadow takes
# What each sensor makes of the same reflectance, by band.
_GAINS = np.array(
    [(1, 1, 1, 1, 1, 1), (1.08, 1.05, 1.03, 0.96, 0.94, 0.9), (0.92, 0.95, 0.97, 1.05, 1.08, 1.1)], np.float32
)


class Scenes(NamedTuple):
    """Scenes of one series.

    Attributes:
        pixels: uint16, shape (n, SIZE, SIZE, 6).
        clouds: A class of `CLOUD_CLASSES` a pixel, uint8, shape (n, SIZE, SIZE).
        covers: One of `COVERS`, below clouds too, of the same shape.
    """

    pixels: NDArray[np.uint16]
    clouds: NDArray[np.uint8]
    covers: NDArray[np.uint8]


def render_clouds(indices: Sequence[int], *, seed: int, cloudy: bool = True) -> Scenes:
    """Draw scenes, the same as if drawn one by one.

    Args:
        indices: Which scenes of the endless series of this seed, each from 0.
        seed: From 0.
        cloudy: Whether there are clouds; without them the ground is the same.
    """
    if any(index < 0 for index in indices) or seed < 0:
        raise ValueError(f"scene index and seed count from 0; found {min(indices, default=0)} and {seed}")
    d = Draws.of(_SERIES, indices, seed, SIZE, uniforms=128, fields=2 + len(BANDS))
    parcel = parcels(d, _PARCELS)
    drawn = d.number(0, 1, _PARCELS)[:, :, 0, 0] ** 1.3 * len(COVERS)  # snow is rarer than vegetation
    cover_of = drawn.astype(np.int64).clip(0, len(COVERS) - 1)
    covers = np.take_along_axis(cover_of, parcel.reshape(len(parcel), -1), axis=1).reshape(parcel.shape)
    relief = 1.0 + 0.12 * d.noise(1.0)
    ground = _SPECTRA[covers] * (relief * d.number(0.85, 1.15))[..., None]
    opacity, shade = _clouds(d)
    if not cloudy:
        opacity, shade = np.zeros_like(opacity), np.zeros_like(shade)
    lit = ground * (1 - shade[..., None] * _SHADE)
    brightness = d.number(0.75, 1.15)[..., None]
    seen = lit * (1 - opacity[..., None]) + _CLOUD * brightness * opacity[..., None]
    sensors = np.array(indices, np.int64) % len(SENSORS)
    noise = np.moveaxis(d.white[:, -len(BANDS) :], 1, -1)
    values = seen * _GAINS[sensors][:, None, None] * (1 + 0.02 * noise) + 30 * noise
    clouds = np.where(opacity > 0.5, 1, np.where(shade > 0.5, 2, 0))
    return Scenes(
        np.clip(values, 1, 15_000).astype(np.uint16), clouds.astype(np.uint8), covers=covers.astype(np.uint8)
    )


def _clouds(d: Draws) -> tuple[Field, Field]:
    """Opacity of clouds and of their shadows, which lie to the side that the sun leaves."""
    billow = d.noise(0.9)
    opacity = inside(d.number(0.1, 1.1) - billow, 0.5)
    along, down = d.number(-5, 5)[:, 0, 0], d.number(3, 7)[:, 0, 0]
    shadow = np.stack(
        [
            np.roll(layer, (round(float(dy)), round(float(dx))), axis=(0, 1))
            for layer, dx, dy in zip(opacity, along, down, strict=True)
        ]
    )
    return opacity, shadow * (1 - opacity)
