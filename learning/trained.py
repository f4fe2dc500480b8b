"""The model that a run has trained, loaded from its directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learning.imagery import imagery_of
from learning.model import base_of
from learning.split_model import split_model
from learning.task import task_of
from mission.record import completed_run, scenario_of
from mission.schema import Split
from splitmodel.export.final import MODEL_FOLDER
from splitmodel.export.trained import TrainedModel, load_trained
from splitmodel.imagery import ImageSet
from splitmodel.imagery.fitting import fitted
from splitmodel.tasks import Task


def trained_model(run: Path) -> tuple[TrainedModel, Task, ImageSet]:
    """Load what a run has trained, and the images that score it.

    Args:
        run: Directory of a completed run.

    Returns:
        The whole model with its adapter merged, on values as the files have them; its task; and the test images in the
        model's bands.

    Raises:
        FileNotFoundError: The directory holds no run.
        ValueError: The run is not completed, or its images or its base model are not where they were.
    """
    record = completed_run(run)
    scenario, final = scenario_of(record), run / "final"
    test = imagery_of(scenario.data, scenario.seed).test
    task = task_of(scenario, test)
    whole = final / MODEL_FOLDER
    base = whole if whole.is_dir() else base_of(scenario.model)
    random_init = scenario.model.random_init and not whole.is_dir()
    model = split_model(scenario, task, base, split=Split(), random_init=random_init)
    test = test.for_model(model.preprocess)
    preprocess = fitted(model.preprocess, test, **_statistics(record))
    return load_trained(final, model, preprocess), task, test


def _statistics(record: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Mean and deviation of each band as the run computed them, nothing where it took the model's."""
    bands = record.get("band_statistics")
    return {} if bands is None else {"mean": tuple(bands["mean"]), "deviation": tuple(bands["deviation"])}
