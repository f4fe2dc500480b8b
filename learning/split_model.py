"""The model of a scenario, loaded in parts."""

from __future__ import annotations

from pathlib import Path

from mission.schema import Scenario, Split
from splitmodel.families import ModelInput
from splitmodel.parts import SplitModel, load_split
from splitmodel.tasks import Task


def split_model(
    scenario: Scenario, task: Task, base: str | Path, *, split: Split, random_init: bool
) -> SplitModel:
    """Load the model that a scenario is about, with a new head for a task.

    Args:
        scenario: The resolved scenario.
        task: What the head is for.
        base: Folder or hub name of the weights, see :func:`learning.model.base_of`.
        split: Where the model is cut, as in the scenario or otherwise.
        random_init: Take the architecture only, with weights drawn from the scenario's seed.

    Raises:
        splitmodel.families.errors.ModelLoadError: See :func:`splitmodel.parts.load_split`.
    """
    model = scenario.model
    return load_split(
        base,
        num_labels=task.outputs,
        pooling=model.pooling,
        random_init=random_init,
        seed=scenario.seed,
        wanted=ModelInput(**model.image_options),
        onboard_blocks=split.blocks_on_board,
        head_blocks=split.head_blocks,
        decoder=task.decoder,
        bottleneck=split.bottleneck,
        numbers=task.needs_scaling,
        maker=task.head,
    )
