"""The task of a scenario."""

from __future__ import annotations

from mission.schema import Scenario
from mission.task_rules import require_task_fits
from splitmodel.imagery import ImageSet
from splitmodel.tasks import Task, planned_task, task_for


def task_of(scenario: Scenario, images: ImageSet | None) -> Task:
    """Return what the scenario's model is trained for.

    Args:
        scenario: The resolved scenario.
        images: Whose labels decide; without images the task is as the scenario plans it.

    Raises:
        ValueError: The images are labelled for something else, or the scenario asks for what the task has not.
    """
    settings = scenario.task.model_dump()
    task = (
        planned_task(settings) if images is None else task_for(settings, images.targets, images.source.where)
    )
    require_task_fits(scenario, task.kind)
    return task
