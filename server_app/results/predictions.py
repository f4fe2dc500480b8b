"""A few test images with what is true of every pixel and what the model says: ``predictions.npz`` of a run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from server_app.backbone.executor import BackboneExecutor
from splitmodel.imagery import ImageSet
from splitmodel.parts import SplitModel
from splitmodel.tasks import Task, TaskKind

FILE = "predictions.npz"
_TILES = 6
_RED_GREEN_BLUE = (("red", "b4", "r"), ("green", "b3", "g"), ("blue", "b2", "b"))  # as bands are called
_DARKEST, _BRIGHTEST = 2.0, 98.0  # percentiles that a picture stretches to black and white


@torch.no_grad()
def save_predictions(
    directory: Path, model: SplitModel, steps: BackboneExecutor, images: ImageSet, task: Task
) -> None:
    """Write pictures, truth and predictions of a few images from all over a test set.

    The file holds ``pictures`` (uint8, N × H × W × 3, the square root of each stretched from its 2nd to its 98th
    percentile), ``truth`` and ``predicted`` (classes as uint8, 255 for none; or numbers as float32, NaN for none;
    N × H × W) and ``names``.
    """
    indices = np.unique(np.linspace(0, len(images) - 1, _TILES).round().astype(int))
    pixels = images.prepared(indices, model.preprocess)
    outputs = model.outputs(steps.infer(model.embedding(pixels)))
    targets = task.targets(images, indices, model.preprocess)
    if task.kind is TaskKind.SEGMENTATION:
        predicted, truth = outputs.argmax(1).to(torch.uint8), targets.to(torch.uint8)
    else:
        scaling = task.scaling
        assert scaling is not None
        predicted, truth = scaling.restore(outputs.movedim(1, -1))[..., 0], targets
    bands = _colour_bands(model.preprocess.bands, pixels.shape[1])
    pictures = np.stack([_stretched(image) for image in pixels[:, bands].movedim(1, -1).numpy()])
    temporary = directory / f".{FILE}.tmp.npz"  # numpy adds the suffix to another name
    names = [Path(images.name(int(index))).name for index in indices]
    np.savez_compressed(
        temporary, pictures=pictures, truth=truth.numpy(), predicted=predicted.numpy(), names=np.array(names)
    )
    os.replace(temporary, directory / FILE)


def _colour_bands(names: tuple[str, ...], channels: int) -> list[int]:
    """Positions of red, green and blue, by the bands' names; else the first three channels, or the first as grey."""
    positions = [
        next((i for i, name in enumerate(names) if name.casefold().replace("b0", "b") in colours), None)
        for colours in _RED_GREEN_BLUE
    ]
    if all(position is not None for position in positions):
        return [position for position in positions if position is not None]
    return [0, 1, 2] if channels >= 3 else [0, 0, 0]


def _stretched(values_HWC: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(values_HWC, [_DARKEST, _BRIGHTEST])
    stretched = np.clip((values_HWC - low) / max(high - low, 1e-6), 0.0, 1.0)
    return (np.sqrt(stretched) * 255).astype(np.uint8)  # beside clouds, land would be black
