"""Write a run's trained model as ONNX, and hold the file against the model on the run's test images."""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
import torch

from learning.trained import trained_model
from mission.record import read_run
from splitmodel.export.onnx_file import OnnxModel, require_onnx, write_onnx
from splitmodel.export.trained import TrainedModel
from splitmodel.imagery import ImageSet
from splitmodel.tasks import Task

_TOLERANCE = 1e-3  # of the largest output: two runtimes add up the same products in another order
_SCORE_TOLERANCE = 0.01  # of a score of at most 1: heads are folded, and adapters merged
_BATCH = 16


@dataclass(frozen=True)
class ExportedModel:
    """An ONNX file, and how it stands beside the model that was trained.

    Attributes:
        path: The file.
        size_bytes: Of the file, and of the one with its weights where these stand beside it.
        images: Test images that both computed.
        difference: The largest difference of an output, as a part of the largest output.
        score_name: Of the task.
        score: Of the file on the test images.
        run_score: Of the run in the end.
    """

    path: Path
    size_bytes: int
    _: KW_ONLY
    images: int
    difference: float
    score_name: str
    score: float
    run_score: float


def export_onnx(run: Path, out: Path) -> ExportedModel:
    """Write ``out``, unless the file computes something else than the run's trained model.

    Args:
        run: Directory of a completed run, whose images and base model are where they were.
        out: The file; what was there is replaced once the new one is found equal.

    Raises:
        FileNotFoundError: The directory holds no run.
        ValueError: The run is not completed, its parts are not there, or the file would not be the model.
    """
    require_onnx()
    model, task, test = trained_model(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        write_onnx(model, scratch / out.name, names=task.names, kind=str(task.kind))
        difference, score = _checked(model, OnnxModel(scratch / out.name), task, test)
        run_score = float(read_run(run)["result"]["test_score"])
        if not math.isclose(score, run_score, abs_tol=_SCORE_TOLERANCE):
            raise ValueError(
                f"{run}: found a {task.score_name} of {score:.4f} on the test images, the run ended with "
                f"{run_score:.4f}; its images or its base model are not those of the run any more"
            )
        files = sorted(scratch.iterdir())
        size_bytes = sum(file.stat().st_size for file in files)
        for file in files:
            file.replace(out.parent / file.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ExportedModel(
        out,
        size_bytes,
        images=len(test),
        difference=difference,
        score_name=task.score_name,
        score=score,
        run_score=run_score,
    )


@torch.no_grad()
def _checked(model: TrainedModel, written: OnnxModel, task: Task, test: ImageSet) -> tuple[float, float]:
    """The largest difference of an output as a part of the largest output, and the file's score.

    Raises:
        ValueError: The difference is larger than rounding makes it.
    """
    apart, largest, scorer = 0.0, 0.0, task.scorer()
    for start in range(0, len(test), _BATCH):
        indices = np.arange(start, min(start + _BATCH, len(test)))
        pixels = test.prepared(indices, model.preprocess.unnormalised)
        ours, theirs = model(pixels), written(pixels)
        apart = max(apart, float((ours - theirs).abs().max()))
        largest = max(largest, float(ours.abs().max()))
        scorer.add(theirs, task.targets(test, indices, model.preprocess))
    difference = apart / largest if largest else apart
    if not difference <= _TOLERANCE:
        raise ValueError(
            f"the ONNX file is not kept: its outputs differ from the trained model's by {difference:.2g} of the "
            f"largest, allowed: {_TOLERANCE:g}"
        )
    return difference, scorer.score().value
