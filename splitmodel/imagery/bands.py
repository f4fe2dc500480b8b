"""Which bands of a file are the channels of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache


class BandError(ValueError):
    """Bands of a file do not fit a model; the message says what to set."""


@lru_cache(maxsize=64)  # the same question for every image
def picked_bands(
    bands: tuple[str, ...], wanted: tuple[str | int, ...], model: tuple[str, ...], channels: int
) -> tuple[int, ...]:
    """Return, for each channel of the model, the position of its band in the file.

    Bands are matched by name where model and file (or ``wanted``) name them; numbers, and names that a model does not
    use, are taken in the order in which they are given.

    Args:
        found: Names of the file's bands, empty where one has none.
        wanted: ``data.bands``; empty leaves it to the names.
        model: Names of the model's channels; empty where it does not name them.
        channels: How many the model has.

    Raises:
        BandError: A band is missing, or the number of bands is not the model's.
    """
    if wanted:
        picks = tuple(_position(bands, band) for band in wanted)
        if len(picks) != channels:
            raise BandError(
                f"data.bands picks {len(picks)} bands, the model takes {_of_model(model, channels)}; "
                f"allowed: one for each, in its order{_fewer(model)}"
            )
        asked = [canonical(band) if isinstance(band, str) else "" for band in wanted]
        known = [canonical(band) for band in model]
        if set(asked) & set(known):
            missing = [name for name, key in zip(model, known, strict=True) if key not in asked]
            if missing:
                raise BandError(
                    f"data.bands lacks {', '.join(missing)}; the model takes {_of_model(model, channels)}"
                    f"{_fewer(model)}"
                )
            return tuple(picks[asked.index(key)] for key in known)
        return picks
    if model:
        available = [canonical(band) for band in bands]
        missing = [band for band in model if canonical(band) not in available]
        if not missing:
            return tuple(_position(bands, band) for band in model)
        raise BandError(
            f"found {_of_file(bands)}; the model takes {_of_model(model, channels)}"
            + (f", of which {', '.join(missing)} are missing" if any(bands) else "")
            + "; name the bands of the files with data.band_names, or pick them by number in the model's order with "
            f"data.bands = [{', '.join(map(str, range(1, channels + 1)))}]{_fewer(model)}"
        )
    if len(bands) != channels:
        example = [1] * channels if len(bands) == 1 else range(1, channels + 1)
        raise BandError(
            f"found {_of_file(bands)}; the model takes {channels}; pick them, in its order, with data.bands, "
            f"for example data.bands = [{', '.join(map(str, example))}]"
            + (" to repeat the one band" if len(bands) == 1 else "")
        )
    return tuple(range(channels))


def canonical(name: str) -> str:
    """Return a band's name as it is compared: in any case, ``B2`` and ``B02`` alike."""
    return re.sub(r"^b0+(?=\d)", "b", name.strip().casefold())


def _position(bands: Sequence[str], band: str | int) -> int:
    if isinstance(band, int):
        if not 1 <= band <= len(bands):
            raise BandError(
                f"data.bands: found {band}, but the file has {_of_file(bands)}; allowed: 1 to {len(bands)}"
            )
        return band - 1
    positions = [position for position, name in enumerate(bands) if canonical(name) == canonical(band)]
    if len(positions) != 1:
        raise BandError(
            f"data.bands: found {band!r}, which {len(positions) or 'none'} of the file's bands is called; "
            f"the file has {_of_file(bands)}; allowed: one of these names, or a number from 1"
        )
    return positions[0]


def _of_file(bands: Sequence[str]) -> str:
    count = f"{len(bands)} band{'' if len(bands) == 1 else 's'}"
    return f"{count} ({', '.join(name or '?' for name in bands)})" if any(bands) else f"{count} without names"


def _fewer(model: Sequence[str]) -> str:
    """What else can be set where the model names its bands: it may not need all of them."""
    return (
        "; model.bands chooses among the model's bands where its family can (prithvi, galileo)"
        if model
        else ""
    )


def _of_model(model: Sequence[str], channels: int) -> str:
    return f"{channels} ({', '.join(model)})" if model else str(channels)
