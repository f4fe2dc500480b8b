"""Synthetic scenes: procedural images that look a little like Earth from orbit, for demonstrations and tests.

A scene is decided by (class, index, seed) alone, whatever else is drawn with it: each has its own random
stream, counter-based (Philox, Salmon et al. 2011). A class is a *structure* – rows, cells, bands, blocks –;
colours, light and noise are drawn without looking at the class, as if each scene came from another season and
another composite of bands, so that hue alone tells nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from splitmodel.synthetic.scene_fields import (
    EXTENT,
    Draws,
    Field,
    band,
    cell,
    inside,
    of_parcel,
    parcels,
    scatter,
    wave,
)

SIZES = (32, 64)  # pixels of a side


# Each class gives (cover, tone): share of the second colour at each pixel, 0–1, and relative brightness.

# --- classes of the pretraining


def _meadow(d: Draws) -> tuple[Field, Field]:
    return inside(d.noise(0.3), 2.0), 0.06 * d.noise(1.0)


def _forest(d: Draws) -> tuple[Field, Field]:
    crowns = d.grain(4.0)
    return inside(0.3 - crowns, 0.7), 0.12 * crowns


def _ploughed_field(d: Draws) -> tuple[Field, Field]:
    _, across = d.axes()
    return 0.8 * wave(across, d.number(2.4, 5)), 0.08 * d.noise(1.0)


def _field_mosaic(d: Draws) -> tuple[Field, Field]:
    parcel = parcels(d, 9)
    return of_parcel(d, parcel, 9, 0, 1), of_parcel(d, parcel, 9, -0.2, 0.2)


def _road(d: Draws) -> tuple[Field, Field]:
    _, across = d.axes()
    return band(across, d.number(1.5, 2.5)), 0.12 * d.noise(1.2)


def _river(d: Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    bend = d.number(2, 4.5) * np.sin(2 * np.pi * along / d.number(18, 36) + d.number(0, 6.3))
    water = band(across - bend, d.number(3, 7))
    return water, 0.14 * d.noise(1.2) * (1 - water)


def _lake(d: Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    water = inside(np.hypot(x, y * d.number(1, 1.6)) - d.number(7, 11) - 2.5 * d.noise(0.5), 1.0)
    return water, 0.14 * d.noise(1.2) * (1 - water)


def _city_blocks(d: Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(6, 9)
    (dx, i), (dy, j) = cell(x, pitch), cell(y, pitch)
    block = inside(np.maximum(np.abs(dx), np.abs(dy)) - pitch / 2 + 0.9)
    return 0.85 * block, 0.5 * (scatter(d, i, j) - 0.5) * block


def _warehouses(d: Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(11, 15)
    (dx, i), (dy, j) = cell(x, pitch), cell(y, 0.7 * pitch)
    share = 0.22 + 0.22 * scatter(d, i, j)
    roof = inside(np.maximum(np.abs(dx) - share * pitch, np.abs(dy) - 0.6 * share * pitch))
    return roof, 0.3 * (scatter(d, j, i) - 0.5) * roof + 0.04 * d.noise(1.5)


def _orchard(d: Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(3.2, 5)
    distance = np.hypot(cell(x, pitch)[0], cell(y, pitch)[0])
    return inside(distance - 0.3 * pitch), 0.08 * d.noise(1.0)


def _clouds(d: Draws) -> tuple[Field, Field]:
    billow = d.noise(0.9)
    shade = np.roll(billow, (4, 4), axis=(1, 2))
    return inside(0.6 - billow, 0.9), -0.45 * inside(0.8 - shade, 0.6) * inside(billow - 0.4, 0.6)


def _dunes(d: Draws) -> tuple[Field, Field]:
    _, across = d.axes()
    crest = np.modf((across + 1.6 * d.noise(0.2) + 100) / d.number(5, 9))[0]
    return crest, 0.1 * (crest - 0.5)


def _ridges(d: Draws) -> tuple[Field, Field]:
    relief = 1 - np.abs(d.noise(0.8))
    return inside(0.5 - relief, 0.5), 0.25 * (np.roll(relief, 1, axis=2) - relief)


def _pivot_irrigation(d: Draws) -> tuple[Field, Field]:
    x, y = d.axes(d.number(-0.1, 0.1))
    pitch = d.number(12, 16)
    (dx, i), (dy, j) = cell(x, pitch), cell(y, pitch)
    disc = inside(np.hypot(dx, dy) - 0.46 * pitch)
    return disc * (0.45 + 0.55 * scatter(d, i, j)), 0.2 * (scatter(d, j, i) - 0.5) * disc + 0.05 * d.noise(
        1.5
    )


def _terraces(d: Draws) -> tuple[Field, Field]:
    return wave(d.noise(0.1), d.number(0.35, 0.6)), 0.06 * d.noise(1.0)


def _marsh(d: Draws) -> tuple[Field, Field]:
    return inside(np.abs(d.noise(0.6)) - 0.22, 0.15), 0.08 * d.noise(1.0)


def _railway(d: Draws) -> tuple[Field, Field]:
    _, across = d.axes()
    track = band(np.abs(across) - d.number(1.5, 3), d.number(1, 1.6))
    return track, 0.12 * d.noise(1.2)


def _hairpin(d: Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    return band(across - d.number(0.5, 1.5) * np.abs(along), d.number(1.8, 3)), 0.12 * d.noise(1.2)


def _village(d: Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(4.5, 6.5)
    (dx, i), (dy, j) = cell(x + d.noise(0.2), pitch), cell(y, pitch)
    house = inside(np.hypot(dx, dy) - 0.3 * pitch) * (scatter(d, i, j) > 0.5)
    return house, 0.3 * (scatter(d, i, j) - 0.5) * house + 0.05 * d.noise(1.5)


def _islets(d: Draws) -> tuple[Field, Field]:
    land = inside(0.9 - d.grain(18.0), 0.25)
    return land, 0.14 * d.noise(1.2) * land


def _field_edge(d: Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    return inside(across) * (0.5 + 0.5 * wave(along, d.number(2.4, 5))), 0.1 * d.noise(1.2)


def _hedgerows(d: Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(8, 12)
    (dx, _), (dy, _) = cell(x + 0.8 * d.noise(0.2), pitch), cell(y, 1.3 * pitch)
    to_hedge = np.minimum(pitch / 2 - np.abs(dx), 0.65 * pitch - np.abs(dy))
    return inside(to_hedge - d.number(0.7, 1.1)), 0.1 * d.noise(1.2)


# --- classes held back for fine-tuning


def _strip_fields(d: Draws) -> tuple[Field, Field]:
    parcel = parcels(d, 5)
    x, y = d.axes()
    turn = of_parcel(d, parcel, 5, 0, np.pi)
    rows = wave(y * np.cos(turn) - x * np.sin(turn), d.number(2.4, 4))
    return 0.25 + 0.6 * rows * of_parcel(d, parcel, 5, 0.5, 1), of_parcel(d, parcel, 5, -0.15, 0.15)


def _crossroads(d: Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    lean = d.number(-0.5, 0.5)
    other = along * np.cos(lean) + across * np.sin(lean)
    width = d.number(1.5, 2.5)
    return np.maximum(band(across, width), band(other, width)), 0.12 * d.noise(1.2)


def _braided_river(d: Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    strands = [
        band(across - d.number(2, 4) * np.sin(2 * np.pi * along / d.number(14, 26) + d.number(0, 6.3)), width)
        for width in (d.number(1.5, 2.5), d.number(1.5, 2.5), d.number(1.5, 2.5))
    ]
    water = np.maximum.reduce(strands)
    return water, 0.14 * d.noise(1.2) * (1 - water)


def _ponds(d: Draws) -> tuple[Field, Field]:
    water = inside(1.0 - d.grain(9.0), 0.25)
    return water, 0.14 * d.noise(1.2) * (1 - water)


def _suburb(d: Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    across = across + d.number(1, 2.5) * np.sin(2 * np.pi * along / d.number(24, 40))
    pitch = d.number(3.6, 4.6)
    (dx, i), (dy, j) = cell(along, pitch), cell(across, 1.6 * pitch)
    stands = scatter(d, i, j) > 0.3
    house = inside(np.maximum(np.abs(dx), np.abs(dy)) - 0.27 * pitch) * stands
    street = band(np.abs(dy) - 0.8 * pitch, 1.0)
    return np.maximum(house, 0.5 * street), 0.25 * (scatter(d, j, i) - 0.5) * house + 0.08 * d.noise(1.5)


def _airstrip(d: Draws) -> tuple[Field, Field]:
    along, across = d.axes()
    width = d.number(3.5, 5)
    end = inside(np.abs(along) - d.number(11, 18))
    taxiway = band(across - width - d.number(1, 2.5), 1.2)
    line = band(across, 0.8) * (np.modf(np.abs(along) / 3)[0] < 0.5)
    return np.maximum(band(across, width) * end, taxiway) - 0.7 * line * end, 0.1 * d.noise(1.2)


def _plantation(d: Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(3.2, 5)
    dy, row = cell(y, 0.866 * pitch)
    dx, _ = cell(x + 0.5 * pitch * (row % 2), pitch)
    planted = inside(d.noise(0.2) - 0.8, 0.1)
    return inside(np.hypot(dx, dy) - 0.3 * pitch) * planted, 0.08 * d.noise(1.0)


def _clear_cuts(d: Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(10, 14)
    (dx, i), (dy, j) = cell(x, pitch), cell(y, pitch)
    cut = inside(np.maximum(np.abs(dx), np.abs(dy)) - 0.42 * pitch) * (scatter(d, i, j) > 0.5)
    crowns = d.grain(4.0)
    return inside(0.3 - crowns, 0.7) * (1 - cut), 0.12 * crowns * (1 - cut)


def _coast(d: Draws) -> tuple[Field, Field]:
    _, across = d.axes()
    shore = across + 2.2 * d.noise(0.6)
    water = inside(shore, 0.8)
    return water, 0.14 * d.noise(1.2) * (1 - water) + 0.4 * band(shore - 1, 1.5)


def _greenhouses(d: Draws) -> tuple[Field, Field]:
    x, y = d.axes()
    pitch = d.number(3.5, 5)
    (dx, i), (dy, j) = cell(y, pitch), cell(x, 3.2 * pitch)
    roof = inside(np.maximum(np.abs(dx) - 0.32 * pitch, np.abs(dy) - 1.4 * pitch)) * (scatter(d, i, j) > 0.2)
    return roof, 0.2 * (scatter(d, j, i) - 0.5) * roof + 0.06 * d.noise(1.5)


_PRETRAINING: dict[str, Callable[[Draws], tuple[Field, Field]]] = {
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
    "railway": _railway,
    "hairpin": _hairpin,
    "village": _village,
    "islets": _islets,
    "field edge": _field_edge,
    "hedgerows": _hedgerows,
}
_HELD_BACK: dict[str, Callable[[Draws], tuple[Field, Field]]] = {
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
    draws = Draws.of(list(_STRUCTURES).index(name), indices, seed, size)
    colours, light = _colours(draws), _light(draws)
    cover, tone = _STRUCTURES[name](draws)
    mix = np.clip(cover, 0, 1)[..., None]
    scene = colours[:, 0] * (1 - mix) + colours[:, 1] * mix
    scene = scene * (1 + tone[..., None]) * light + 0.02 * draws.pixel_noise[..., None]
    return (np.clip(scene, 0, 1) * 255 + 0.5).astype(np.uint8)


def _colours(d: Draws) -> Field:
    """Two colours per scene, (n, 2, 1, 1, 3), far enough apart in brightness for the structure to be seen."""
    n = len(d.uniforms)
    mixed = []
    for _ in range(2):
        share = d.number(0, 1, len(_COVERS))[:, :, 0, 0] ** 6  # one or two covers dominate
        mixed.append(share / share.sum(axis=1, keepdims=True) @ _COVERS)
    first, second = mixed
    contrast = d.number(0.15, 0.35)[:, :, 0]
    brightness = (second - first).mean(axis=1, keepdims=True)
    second = second + np.where(brightness < 0, -1, 1) * np.maximum(contrast - np.abs(brightness), 0)
    return np.stack([first, second], axis=1).reshape(n, 2, 1, 1, 3)


def _light(d: Draws) -> Field:
    """Brightness and a slow gradient of it over the scene: (n, size, size, 1)."""
    along, _ = d.axes(d.number(0, 2 * np.pi))
    return (d.number(0.75, 1.25) * (1 + d.number(0, 0.15) * along / EXTENT))[..., None]
