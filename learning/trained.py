"""The model that a run has trained, loaded from its directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learning.imagery import imagery_of
from learning.model import base_of
from learning.task import task_of
from mission.record import read_run, scenario_of
from splitmodel.export.trained import MODEL_FOLDER, TrainedModel, load_trained
from splitmodel.families import ModelInput
from splitmodel.imagery import ImageSet
from splitmodel.imagery.fitting import fitted
from splitmodel.parts import load_split
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
    record = read_run(run)
    if record["state"] != "completed":
        raise ValueError(f"{run}: found a run that is {record['state']}, allowed: a completed one")
    scenario, final = scenario_of(record), run / "final"
    test = imagery_of(scenario.data, scenario.seed).test
    task = task_of(scenario, test)
    whole = final / MODEL_FOLDER
    settings = scenario.model
    model = load_split(
        whole if whole.is_dir() else base_of(settings),
        num_labels=task.outputs,
        pooling=settings.pooling,
        random_init=settings.random_init and not whole.is_dir(),
        seed=scenario.seed,
        wanted=ModelInput(**settings.image_options),
        decoder=task.decoder,
        numbers=task.needs_scaling,
        maker=task.head,
    )
    test = test.for_model(model.preprocess)
    preprocess = fitted(model.preprocess, test, **_statistics(record))
    return load_trained(final, model, preprocess), task, test


def _statistics(record: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Mean and deviation of each band as the run computed them, nothing where it took the model's."""
    bands = record.get("band_statistics")
    return {} if bands is None else {"mean": tuple(bands["mean"]), "deviation": tuple(bands["deviation"])}
