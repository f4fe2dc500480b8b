"""``predictions.npz`` of a run as markup: test images beside what is true and what the model says."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FILE = "predictions.npz"
_IGNORED = 255
# Paul Tol's bright scheme, which people of any colour vision tell apart, and on; grey is no class.
_COLOURS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#882255",
    "#44aa99",
    "#999933",
    "#332288",
)
_NO_CLASS = (187, 187, 187)
_SHOWN_PIXELS = 160  # of a side


def tiles_markup(path: Path, names: Sequence[str]) -> str:
    """Return a table of pictures: a row a tile with the image, truth and prediction.

    Args:
        path: The file, as ``server_app.results.predictions`` writes it.
        names: Of the classes; of numbers their one name.
    """
    with np.load(path) as kept:
        pictures, truth, predicted, tiles = (kept[key] for key in ("pictures", "truth", "predicted", "names"))
    is_classes = truth.dtype == np.uint8
    painted = _classes_painted if is_classes else _numbers_painted
    rows = []
    for picture, true, spoken, tile in zip(pictures, *painted(truth, predicted), tiles, strict=True):
        cells = "".join(
            f'<td data-heading="{what}">{_picture(values, f"{tile}: {what}")}</td>'
            for values, what in ((picture, "image"), (true, "truth"), (spoken, "prediction"))
        )
        rows.append(f'<tr><th scope="row">{html.escape(str(tile))}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{word}</th>' for word in ("tile", "image", "truth", "prediction"))
    legend = _legend(names) if is_classes else ""
    return (
        f'{legend}<div class="table tiles" tabindex="0" role="region" aria-label="Predicted tiles"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _classes_painted(*masks: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    palette = np.empty((256, 3), np.uint8)
    for value in range(256):
        palette[value] = _rgb(_COLOURS[value % len(_COLOURS)])
    palette[_IGNORED] = _NO_CLASS
    return (palette[mask] for mask in masks)


def _numbers_painted(*rasters: NDArray[np.float32]) -> Iterator[NDArray[np.uint8]]:
    """Numbers as grey, truth and prediction on one scale."""
    low, high = np.nanmin(rasters[0]), np.nanmax(rasters[0])
    for raster in rasters:
        shades = np.clip((raster - low) / max(float(high - low), 1e-9), 0.0, 1.0)
        yield np.repeat((np.nan_to_num(shades) * 255).astype(np.uint8)[..., None], 3, axis=-1)


def _picture(values_HWC: NDArray[np.uint8], label: str) -> str:
    stream = io.BytesIO()
    Image.fromarray(values_HWC).save(stream, format="PNG")
    data = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<img src="data:image/png;base64,{data}" alt="{html.escape(label)}" width="{_SHOWN_PIXELS}" '
        'style="image-rendering: pixelated">'
    )


def _legend(names: Sequence[str]) -> str:
    swatches = ", ".join(
        f'<span><span style="display:inline-block;width:.8em;height:.8em;background:{_COLOURS[i % len(_COLOURS)]}">'
        f"</span> {html.escape(name)}</span>"
        for i, name in enumerate(names)
    )
    return f"<p>{swatches}; grey: no class</p>"


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))
