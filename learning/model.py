"""The model of a scenario: where it comes from, and where it is cut."""

from __future__ import annotations

from pathlib import Path

from mission.scenario import given_path
from mission.schema import Model, Scenario, Split
from splitmodel.shipped import locate

_LIMITS = ("leak_limit", "round_limit_s")  # by which an open cut is chosen


def base_of(model: Model) -> str | Path:
    """Return the folder of the model that a ``[model]`` table names, or its name on the hub.

    Raises:
        mission.scenario.ScenarioError: ``model.path`` does not exist.
    """
    return locate(model.name, given_path(model.path, "model.path"))


def with_cut(scenario: Scenario, onboard_blocks: int, head_blocks: int | None = None) -> Scenario:
    """Return the scenario with this cut and no limit to choose one by; ``head_blocks`` stays as it is by default.

    Tokens cannot be turned behind blocks: with some on board, pixels are.
    """
    split, training = scenario.split, scenario.training
    if head_blocks is None:
        head_blocks = split.head_blocks
    update = {"onboard_blocks": onboard_blocks, "head_blocks": head_blocks}
    if onboard_blocks and training.augment == "token-dihedral":
        training = training.model_copy(update={"augment": "dihedral"})
    return scenario.model_copy(
        update={"split": split.model_copy(update=update | no_limits()), "training": training}
    )


def no_limits() -> dict[str, float]:
    """Return the keys of ``[split]`` that limit an open cut, as they are where nothing is limited."""
    return {key: Split.model_fields[key].default for key in _LIMITS}
