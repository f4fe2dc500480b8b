"""Synthetic scenes: procedural images that look a little like Earth from orbit, for demonstrations and tests.

A scene is decided by (class, index, seed) alone, whatever else is drawn with it: each has its own random
stream, counter-based (Philox, Salmon et al. 2011). A class is a *structure* – rows, cells, bands, blocks –;
colours, light and noise are drawn without looking at the class, as if each scene came from another season and
another composite of bands, so that hue alone tells nothing.

Lengths below are in pixels of a 32×32 scene; a 64×64 scene shows the same ground at twice the resolution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]  # (scenes, size, size), or broadcastable to it; float32 throughout

SIZES = (32, 64)
_EXTENT = 32.0
_UNIFORMS, _FIELDS = 96, 3  # random numbers and white-noise fields at most per scene


@dataclass
class _Draws:
    """The random numbers of n scenes of one class, handed out in order, and the fields made of them."""

    uniforms: Field  # (n, _UNIFORMS) in [0, 1)
    white: Field  # (n, _FIELDS, size, size), standard normal
    taken: int = 0
    fields_taken: int = 0

    @classmethod
    def of(cls, class_index: int, indices: Sequence[int], seed: int, size: int) -> "_Draws":
        uniforms = np.empty((len(indices), _UNIFORMS), np.float32)
        white = np.empty((len(indices), _FIELDS, size, size), np.float32)
        for row, index in enumerate(indices):
            stream = np.random.Generator(np.random.Philox(key=[seed, class_index], counter=[0, 0, 0, index]))
            stream.random(out=uniforms[row], dtype=np.float32)
            stream.standard_normal(out=white[row], dtype=np.float32)
        return cls(uniforms, white)

    def number(self, low: float, high: float, count: int = 1) -> Field:
        """Uniform in [low, high): shape (n, 1, 1), or (n, count, 1, 1) for a count above 1."""
        drawn = self.uniforms[:, self.taken : self.taken + count]
        self.taken += count
        shape = (-1, 1, 1) if count == 1 else (-1, count, 1, 1)
        return (low + (high - low) * drawn).reshape(shape)

    def noise(self, roughness: float) -> Field:
        """Fractal noise, mean 0 and deviation 1: amplitude ∝ frequency^(roughness - 3)."""
        return self._filtered(lambda frequency: np.maximum(frequency, 1 / _EXTENT) ** (roughness - 3))

    def grain(self, wavelength: float) -> Field:
        """Noise, mean 0 and deviation 1, of spots about one wavelength apart."""
        return self._filtered(
            lambda frequency: np.exp(-2 * (np.log2(np.maximum(frequency, 1e-3) * wavelength)) ** 2)
        )

    def _filtered(self, gain: Callable[[Field], Field]) -> Field:
        field = self.white[:, self.fields_taken]
        self.fields_taken += 1
        size = field.shape[-1]
        per_pixel = size / _EXTENT
        frequency = per_pixel * np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
        weight = gain(frequency)
        weight[0, 0] = 0.0
        field = np.fft.irfft2(np.fft.rfft2(field) * weight.astype(np.float32), s=(size, size))
        return (field / field.std(axis=(1, 2), keepdims=True)).astype(np.float32)

    def axes(self, angle: Field | None = None) -> tuple[Field, Field]:
        """Coordinates along and across a direction (random by default) around a point near the middle."""
        size = self.white.shape[-1]
        ticks = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * _EXTENT
        x = ticks[None, None, :] - self.number(-6, 6)
        y = ticks[None, :, None] - self.number(-6, 6)
        angle = self.number(0, np.pi) if angle is None else angle
        return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _inside(distance: Field, softness: float = 0.6) -> Field:
    """1 where the signed distance is negative, 0 where positive, with an edge about one pixel wide."""
    return np.clip(0.5 - distance / (2 * softness), 0, 1)


def _wave(position: Field, period: Field) -> Field:
    return 0.5 + 0.5 * np.sin(2 * np.pi * position / period)


def _band(across: Field, width: Field | float) -> Field:
    return _inside(np.abs(across) - width / 2)


def _cell(position: Field, pitch: Field) -> tuple[Field, Field]:
    """Distance to the middle of the cell of a regular row, and the number of the cell."""
    number = np.floor(position / pitch)
    return position - (number + 0.5) * pitch, number


def _scatter(d: _Draws, column: Field, row: Field) -> Field:
    """A pseudo-random value in [0, 1) for each cell of a scene's grid: what stands in it, and how bright."""
    mixed: NDArray[Any] = d.number(0, 2**24).astype(np.uint32)
    for number in (column, row):
        mixed = (mixed ^ number.astype(np.int32).view(np.uint32)) * np.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> 13)) * np.uint32(0xC2B2AE35)  # multipliers of MurmurHash3's finaliser
    return (mixed >> 8).astype(np.float32) / 2**24


def _parcels(d: _Draws, count: int) -> NDArray[np.intp]:
    """Number of the Voronoi cell of each pixel: shape (n, size, size), values below `count`."""
    x, y = d.axes()
    squared = (x[:, None] - d.number(-20, 20, count)) ** 2 + (y[:, None] - d.number(-20, 20, count)) ** 2
    return squared.argmin(axis=1)


def _of_parcel(d: _Draws, parcel: NDArray[np.intp], count: int, low: float, high: float) -> Field:
    values = d.number(low, high, count)[:, :, 0, 0]
    return np.take_along_axis(values, parcel.reshape(len(parcel), -1), axis=1).reshape(parcel.shape)


# Each class gives (cover, tone): share of the second colour at each pixel, 0–1, and relative brightness.

# --- classes of the pretraining


def _meadow(d: _Draws) -> tuple[Field, Field]:
    return _inside(d.noise(0.3), 2.0), 0.06 * d.noise(1.0)


def _forest(d: _Draws) -> tuple[Field, Field]:
    crowns = d.grain(4.0)
    return _inside(0.3 - crowns, 0.7), 0.12 * crowns


def _ploughed_field(d: _Draws) -> tuple[Field, Field]:
    _, across = d.axes()
    return 0.8 * _wave(across, d.number(2.4, 5)), 0.08 * d.noise(1.0)


def _field_mosaic(d: _Draws) -> tuple[Field, Field]:
    parcel = _parcels(d, 9)
    return _of_parcel(d, parcel, 9, 0, 1), _of_parcel(d, parcel, 9, -0.2, 0.2)


def _road(d: _Draws) -> tuple[Field, Field]:
    _, across = d.axes()
    return _band(across, d.number(1.5, 2.5)), 0.12 * d.noise(1.2)


def _river(d: _Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    bend = d.number(2, 4.5) * np.sin(2 * np.pi * along / d.number(18, 36) + d.number(0, 6.3))
    water = _band(across - bend, d.number(3, 7))
    return water, 0.14 * d.noise(1.2) * (1 - water)


def _lake(d: _Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    water = _inside(np.hypot(x, y * d.number(1, 1.6)) - d.number(7, 11) - 2.5 * d.noise(0.5), 1.0)
    return water, 0.14 * d.noise(1.2) * (1 - water)


def _city_blocks(d: _Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(6, 9)
    (dx, i), (dy, j) = _cell(x, pitch), _cell(y, pitch)
    block = _inside(np.maximum(np.abs(dx), np.abs(dy)) - pitch / 2 + 0.9)
    return 0.85 * block, 0.5 * (_scatter(d, i, j) - 0.5) * block


def _warehouses(d: _Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(11, 15)
    (dx, i), (dy, j) = _cell(x, pitch), _cell(y, 0.7 * pitch)
    share = 0.22 + 0.22 * _scatter(d, i, j)
    roof = _inside(np.maximum(np.abs(dx) - share * pitch, np.abs(dy) - 0.6 * share * pitch))
    return roof, 0.3 * (_scatter(d, j, i) - 0.5) * roof + 0.04 * d.noise(1.5)


def _orchard(d: _Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(3.2, 5)
    distance = np.hypot(_cell(x, pitch)[0], _cell(y, pitch)[0])
    return _inside(distance - 0.3 * pitch), 0.08 * d.noise(1.0)


def _clouds(d: _Draws) -> tuple[Field, Field]:
    billow = d.noise(0.9)
    shade = np.roll(billow, (4, 4), axis=(1, 2))
    return _inside(0.6 - billow, 0.9), -0.45 * _inside(0.8 - shade, 0.6) * _inside(billow - 0.4, 0.6)


def _dunes(d: _Draws) -> tuple[Field, Field]:
    _, across = d.axes()
    crest = np.modf((across + 1.6 * d.noise(0.2) + 100) / d.number(5, 9))[0]
    return crest, 0.1 * (crest - 0.5)


def _ridges(d: _Draws) -> tuple[Field, Field]:
    relief = 1 - np.abs(d.noise(0.8))
    return _inside(0.5 - relief, 0.5), 0.25 * (np.roll(relief, 1, axis=2) - relief)


def _pivot_irrigation(d: _Draws) -> tuple[Field, Field]:
    x, y = d.axes(d.number(-0.1, 0.1))
    pitch = d.number(12, 16)
    (dx, i), (dy, j) = _cell(x, pitch), _cell(y, pitch)
    disc = _inside(np.hypot(dx, dy) - 0.46 * pitch)
    return disc * (0.45 + 0.55 * _scatter(d, i, j)), 0.2 * (_scatter(d, j, i) - 0.5) * disc + 0.05 * d.noise(
        1.5
    )


def _terraces(d: _Draws) -> tuple[Field, Field]:
    return _wave(d.noise(0.1), d.number(0.35, 0.6)), 0.06 * d.noise(1.0)


def _marsh(d: _Draws) -> tuple[Field, Field]:
    return _inside(np.abs(d.noise(0.6)) - 0.22, 0.15), 0.08 * d.noise(1.0)


# --- classes held back for fine-tuning


def _strip_fields(d: _Draws) -> tuple[Field, Field]:
    parcel = _parcels(d, 5)
    x, y = d.axes()
    turn = _of_parcel(d, parcel, 5, 0, np.pi)
    rows = _wave(y * np.cos(turn) - x * np.sin(turn), d.number(2.4, 4))
    return 0.25 + 0.6 * rows * _of_parcel(d, parcel, 5, 0.5, 1), _of_parcel(d, parcel, 5, -0.15, 0.15)


def _crossroads(d: _Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    lean = d.number(-0.5, 0.5)
    other = along * np.cos(lean) + across * np.sin(lean)
    width = d.number(1.5, 2.5)
    return np.maximum(_band(across, width), _band(other, width)), 0.12 * d.noise(1.2)


def _braided_river(d: _Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    strands = [
        _band(
            across - d.number(2, 4) * np.sin(2 * np.pi * along / d.number(14, 26) + d.number(0, 6.3)), width
        )
        for width in (d.number(1.5, 2.5), d.number(1.5, 2.5), d.number(1.5, 2.5))
    ]
    water = np.maximum.reduce(strands)
    return water, 0.14 * d.noise(1.2) * (1 - water)


def _ponds(d: _Draws) -> tuple[Field, Field]:
    water = _inside(1.0 - d.grain(9.0), 0.25)
    return water, 0.14 * d.noise(1.2) * (1 - water)


def _suburb(d: _Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    across = across + d.number(1, 2.5) * np.sin(2 * np.pi * along / d.number(24, 40))
    pitch = d.number(3.6, 4.6)
    (dx, i), (dy, j) = _cell(along, pitch), _cell(across, 1.6 * pitch)
    stands = _scatter(d, i, j) > 0.3
    house = _inside(np.maximum(np.abs(dx), np.abs(dy)) - 0.27 * pitch) * stands
    street = _band(np.abs(dy) - 0.8 * pitch, 1.0)
    return np.maximum(house, 0.5 * street), 0.25 * (_scatter(d, j, i) - 0.5) * house + 0.08 * d.noise(1.5)


def _airstrip(d: _Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    width = d.number(3.5, 5)
    end = _inside(np.abs(along) - d.number(11, 18))
    taxiway = _band(across - width - d.number(1, 2.5), 1.2)
    line = _band(across, 0.8) * (np.modf(np.abs(along) / 3)[0] < 0.5)
    return np.maximum(_band(across, width) * end, taxiway) - 0.7 * line * end, 0.1 * d.noise(1.2)


def _plantation(d: _Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(3.2, 5)
    dy, row = _cell(y, 0.866 * pitch)
    dx, _ = _cell(x + 0.5 * pitch * (row % 2), pitch)
    planted = _inside(d.noise(0.2) - 0.8, 0.1)
    return _inside(np.hypot(dx, dy) - 0.3 * pitch) * planted, 0.08 * d.noise(1.0)


def _clear_cuts(d: _Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(10, 14)
    (dx, i), (dy, j) = _cell(x, pitch), _cell(y, pitch)
    cut = _inside(np.maximum(np.abs(dx), np.abs(dy)) - 0.42 * pitch) * (_scatter(d, i, j) > 0.5)
    crowns = d.grain(4.0)
    return _inside(0.3 - crowns, 0.7) * (1 - cut), 0.12 * crowns * (1 - cut)


def _coast(d: _Draws) -> tuple[Field, Field]:
    _, across = d.axes()
    shore = across + 2.2 * d.noise(0.6)
    water = _inside(shore, 0.8)
    return water, 0.14 * d.noise(1.2) * (1 - water) + 0.4 * _band(shore - 1, 1.5)


def _greenhouses(d: _Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(3.5, 5)
    (dx, i), (dy, j) = _cell(y, pitch), _cell(x, 3.2 * pitch)
    roof = _inside(np.maximum(np.abs(dx) - 0.32 * pitch, np.abs(dy) - 1.4 * pitch)) * (
        _scatter(d, i, j) > 0.2
    )
    return roof, 0.2 * (_scatter(d, j, i) - 0.5) * roof + 0.06 * d.noise(1.5)


_PRETRAINING: dict[str, Callable[[_Draws], tuple[Field, Field]]] = {
    "meadow": _meadow,
    "forest": _forest,
    "ploughed field": _ploughed_field,
    "field mosaic": _field_mosaic,
    "road": _road,
    "river": _river,
    "lake": _lake,
    "city blocks": _city_blocks,
    "warehouses": _warehouses,
    "orchard": _orchard,
    "clouds": _clouds,
    "dunes": _dunes,
    "ridges": _ridges,
    "pivot irrigation": _pivot_irrigation,
    "terraces": _terraces,
    "marsh": _marsh,
}
_HELD_BACK: dict[str, Callable[[_Draws], tuple[Field, Field]]] = {
    "strip fields": _strip_fields,
    "crossroads": _crossroads,
    "braided river": _braided_river,
    "ponds": _ponds,
    "suburb": _suburb,
    "airstrip": _airstrip,
    "plantation": _plantation,
    "clear cuts": _clear_cuts,
    "coast": _coast,
    "greenhouses": _greenhouses,
}
_STRUCTURES = _PRETRAINING | _HELD_BACK

PRETRAINING_CLASSES = tuple(_PRETRAINING)
HELD_BACK_CLASSES = tuple(_HELD_BACK)

# Reflectances of common covers, roughly: what the two colours of a scene are mixed from, in any class.
_COVERS = np.array(
    [
        (0.40, 0.48, 0.25),  # crop
        (0.17, 0.28, 0.17),  # conifers
        (0.50, 0.40, 0.29),  # bare soil
        (0.60, 0.56, 0.38),  # dry grass
        (0.48, 0.47, 0.46),  # rock, asphalt
        (0.72, 0.64, 0.50),  # sand
        (0.16, 0.26, 0.33),  # water
        (0.70, 0.71, 0.72),  # concrete, snow
        (0.45, 0.24, 0.26),  # false-colour vegetation
    ],
    np.float32,
)


def split_seed(seed: int, split: str) -> int:
    """A seed for one split of a data set: scenes of different splits of one seed never coincide."""
    return int(np.random.SeedSequence([seed, *split.encode()]).generate_state(1, np.uint64)[0])


def render(name: str, index: int, *, seed: int, size: int = 32) -> NDArray[np.uint8]:
    """One scene: uint8 of shape (size, size, 3). Errors as of `render_many`."""
    return render_many(name, [index], seed=seed, size=size)[0]


def render_many(name: str, indices: Sequence[int], *, seed: int, size: int = 32) -> NDArray[np.uint8]:
    """Scenes of one class, the same as if drawn one by one: uint8 of shape (len(indices), size, size, 3).

    Args:
        name: one of `PRETRAINING_CLASSES` or `HELD_BACK_CLASSES`.
        indices: which scenes of the endless series of this class and seed, each from 0.
        seed: from 0.
        size: pixels of a side, one of `SIZES`.

    Raises:
        ValueError: an unknown class, a size or an index that is not allowed.
    """
    if name not in _STRUCTURES:
        raise ValueError(f"no scenes of class {name!r}; there are: {', '.join(_STRUCTURES)}")
    if size not in SIZES:
        raise ValueError(f"scenes have {' or '.join(map(str, SIZES))} pixels a side; found {size}")
    if any(index < 0 for index in indices) or seed < 0:
        raise ValueError(f"scene index and seed count from 0; found {min(indices, default=0)} and {seed}")
    if not len(indices):
        return np.empty((0, size, size, 3), np.uint8)
    draws = _Draws.of(list(_STRUCTURES).index(name), indices, seed, size)
    colours, light = _colours(draws), _light(draws)
    cover, tone = _STRUCTURES[name](draws)
    mix = np.clip(cover, 0, 1)[..., None]
    scene = colours[:, 0] * (1 - mix) + colours[:, 1] * mix
    scene = scene * (1 + tone[..., None]) * light + 0.02 * draws.white[:, -1, :, :, None]
    return (np.clip(scene, 0, 1) * 255 + 0.5).astype(np.uint8)


def _colours(d: _Draws) -> Field:
    """Two colours per scene, (n, 2, 1, 1, 3), far enough apart in brightness for the structure to be seen."""
    n = len(d.uniforms)
    mixed = []
    for _ in range(2):
        share = d.number(0, 1, len(_COVERS))[:, :, 0, 0] ** 6  # one or two covers dominate
        mixed.append(share / share.sum(axis=1, keepdims=True) @ _COVERS)
    first, second = mixed
    contrast = d.number(0.10, 0.30)[:, :, 0]
    brightness = (second - first).mean(axis=1, keepdims=True)
    second = second + np.where(brightness < 0, -1, 1) * np.maximum(contrast - np.abs(brightness), 0)
    return np.stack([first, second], axis=1).reshape(n, 2, 1, 1, 3)


def _light(d: _Draws) -> Field:
    """Brightness and a slow gradient of it over the scene: (n, size, size, 1)."""
    along, _ = d.axes(d.number(0, 2 * np.pi))
    return (d.number(0.75, 1.25) * (1 + d.number(0, 0.15) * along / _EXTENT))[..., None]
