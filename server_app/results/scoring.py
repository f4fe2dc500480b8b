"""How good a model is on images that only score it."""

from __future__ import annotations

import numpy as np
import torch

from server_app.backbone.executor import BackboneExecutor
from splitmodel.imagery import ImageSet
from splitmodel.parts import SplitModel
from splitmodel.tasks import Score, Task

_BATCH, _DENSE_BATCH = 128, 16


@torch.no_grad()
def score(
    model: SplitModel, steps: BackboneExecutor, images: ImageSet, task: Task, sensor_column: str = ""
) -> Score:
    """Score the whole model, its backbone where ``steps`` has it.

    Args:
        model: Embedding and head.
        steps: The backbone with its trained adapter.
        images: In the model's bands.
        task: What they are labelled for.
        sensor_column: Names each image's sensor, for a score of each; empty where none does.
    """
    scorer, sensors = task.scorer(), images.column(sensor_column) if sensor_column else None
    size = _DENSE_BATCH if task.is_dense else _BATCH
    for start in range(0, len(images), size):
        indices = np.arange(start, min(start + size, len(images)))
        features = model.embedding(images.prepared(indices, model.preprocess))
        outputs = model.outputs(steps.infer(features))
        targets = task.targets(images, indices, model.preprocess)
        scorer.add(outputs, targets, None if sensors is None else sensors[indices].tolist())
    return scorer.score()
