"""A trained model as one ONNX file, which runtimes compute without Python, and without knowing the model's family."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitmodel.export.trained import TrainedModel

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
PIXELS, OUTPUTS = "pixels", "outputs"


class OnnxError(ValueError):
    """The model cannot be written as ONNX here."""


def require_onnx() -> None:
    """Raise OnnxError where a package of the extra ``onnx`` is missing."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise OnnxError(f"{', '.join(missing)}: not installed; pip install 'skysplit[onnx]'")


def write_onnx(model: TrainedModel, path: Path, *, names: Sequence[str], kind: str) -> None:
    """Write a model as an ONNX file for batches of any size.

    Its input ``pixels`` are values as the images' files have them, float32 of the model's size, shape (batch, channels,
    height, width), NaN where nothing was measured; its output is ``outputs``. Bands, size, classes and what the model
    was trained for stand in the file's metadata. Weights of more than 2 GB stand in a second file beside it,
    ``NAME.data``.

    Args:
        model: In evaluation mode, on the CPU.
        path: The file.
        names: Classes or numbers, in the order of the outputs.
        kind: What the model was trained for, as :class:`splitmodel.tasks.TaskKind` names it.

    Raises:
        OnnxError: A package is missing, or the model computes something that ONNX has no word for.
    """
    require_onnx()
    preprocess = model.preprocess
    example = torch.zeros(2, len(preprocess.mean), preprocess.height, preprocess.width)
    batch = torch.export.Dim("batch", min=1)
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[PIXELS],
                output_names=[OUTPUTS],
                dynamic_shapes=({0: batch},),
            )
    except Exception as error:  # whatever stands in the way of the exporter, which calls it by many names
        cause = error.__cause__ or error
        line = str(cause).strip().partition("\n")[0]
        name = model.backbone.family.name
        raise OnnxError(f"{name}: cannot be written as ONNX: {type(cause).__name__}: {line}") from error
    assert program is not None
    shape = program.model.graph.inputs[0].shape
    if shape is None or isinstance(shape[0], int):
        raise OnnxError(f"{model.backbone.family.name}: its code computes batches of one size alone as ONNX")
    program.model.metadata_props.update(
        {
            "task": kind,
            "outputs": json.dumps(list(names)),
            "bands": json.dumps(list(preprocess.bands)),
            "no_data": "NaN" if preprocess.no_data is None else f"NaN, in place of {preprocess.no_data:g}",
            "resize": preprocess.interpolation if preprocess.resize else "none",
        }
    )
    program.save(path)


class OnnxModel:
    """An ONNX file of ours, computed by ONNX Runtime on the CPU.

    Args:
        path: The file.

    Raises:
        OnnxError: ONNX Runtime is missing, or does not read the file.
    """

    def __init__(self, path: Path) -> None:
        require_onnx()
        import onnxruntime

        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # its own kinds, which it does not export
            raise OnnxError(f"{path}: {str(error).strip().partition(chr(10))[0]}") from error

    def __call__(self, pixels_BCHW: Tensor) -> Tensor:
        """Return the outputs of pixels, as :class:`~splitmodel.export.trained.TrainedModel` does."""
        (outputs,) = self._session.run([OUTPUTS], {PIXELS: pixels_BCHW.numpy()})
        return torch.from_numpy(outputs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter has to say of packages that it does without."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
