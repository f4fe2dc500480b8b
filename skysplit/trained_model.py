"""The model of a scenario, loaded before a run starts: to count what it costs, and to refuse what cannot be trained.

What pulls in torch is imported where it is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from learning.model import base_of, with_cut
from mission.schema import Model, Scenario
from splitmodel.shipped import SHIPPED

if TYPE_CHECKING:
    from splitmodel.lora.adapters import LoraSettings
    from splitmodel.parts import SplitModel
    from splitmodel.tasks import Task


def model_of(scenario: Scenario, task: Task | None = None) -> tuple[SplitModel, LoraSettings]:
    """The scenario's model and the adapters that it gets, as a run would load them.

    Of a model on the hub the architecture alone: its weights need not be downloaded to plan.

    Args:
        scenario: The resolved scenario.
        task: What it is trained for; by default as it is planned without images.

    Raises:
        ValueError: It cannot be trained as the scenario says; the message says what was found and what is allowed.
    """
    from learning.split_model import split_model
    from learning.task import task_of
    from splitmodel.lora.adapters import LoraSettings, adapted_layers
    from splitmodel.token_views import require_token_views

    task = task or task_of(scenario, None)
    base = base_of(scenario.model)
    cut = scenario.split if task.is_dense else scenario.split.model_copy(update={"bottleneck": 0})
    random_init = scenario.model.random_init or not isinstance(base, Path)
    split = split_model(scenario, task, base, split=cut, random_init=random_init)
    lora = LoraSettings(**scenario.lora.model_dump())
    adapted_layers(split.backbone, lora, scenario.training.adapted_blocks)
    if scenario.training.augment == "token-dihedral":
        family = split.backbone.family
        allowed = family.has_token_views(split.config)
        require_token_views(family.name, allowed, scenario.split.blocks_on_board)
    return split, lora


def check_model(scenario: Scenario) -> None:
    """Raise `ValueError` where :func:`model_of` does; a shipped model that is taken as it is needs no look.

    Where the cut is still open, the model is looked at as cut behind its embedding, so that a fault of the model is
    reported before a cut is chosen.
    """
    if scenario.split.onboard_blocks == "auto":
        scenario = with_cut(scenario, 0)
    if scenario.planning.profile:
        require_views_of_profile(scenario)
    plain = Model(name=scenario.model.name, random_init=scenario.model.random_init)
    cut = scenario.split.blocks_on_board or scenario.split.head_blocks or scenario.training.adapted_blocks
    parts = (scenario.lora.targets, scenario.task.head)
    as_it_is = scenario.model == plain and parts == ("auto", "linear") and not cut
    if not (as_it_is and scenario.model.name in SHIPPED):
        model_of(scenario)


def require_views_of_profile(scenario: Scenario) -> None:
    """Raise `NoTokenViewsError` for token views of a published model that has none."""
    from splitmodel.costs.published import published

    costs, blocks = published(scenario.planning.profile), scenario.split.blocks_on_board
    if scenario.training.augment != "token-dihedral" or (costs.token_views and not blocks):
        return
    from splitmodel.token_views import require_token_views  # and torch with it

    require_token_views(costs.family, costs.token_views, blocks)
