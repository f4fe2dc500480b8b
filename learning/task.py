"""The task of a scenario."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint

from mission.entry_points import DECODERS, HEADS, registered_function, registered_object
from mission.schema import DECODER_KINDS, HEAD_KINDS, Scenario
from mission.task_rules import require_task_fits
from splitmodel.heads import HeadMaker
from splitmodel.imagery import ImageSet
from splitmodel.tasks import Task, planned_task, task_for


def task_of(scenario: Scenario, images: ImageSet | None) -> Task:
    """Return what the scenario's model is trained for.

    Args:
        scenario: The resolved scenario.
        images: Whose labels decide; without images the task is as the scenario plans it.

    Raises:
        ValueError: The images are labelled for something else, or the scenario asks for what the task has not, or for a
            head that cannot be used.
    """
    settings = scenario.task.model_dump()
    task = (
        planned_task(settings, scenario.task.planned_kind)
        if images is None
        else task_for(settings, images.targets, images.source.where)
    )
    require_task_fits(scenario, task.kind)
    maker = decoder_maker(scenario.task.decoder) if task.is_dense else head_maker(scenario.task.head)
    return replace(task, head=maker)


def head_maker(name: str) -> HeadMaker | None:
    """Return what makes the head of this name, ``None`` for ours.

    Raises:
        mission.entry_points.EntryPointError: It cannot be imported, or is no function.
    """
    return _maker("task.head", HEADS, name, HEAD_KINDS)


def decoder_maker(name: str) -> HeadMaker | None:
    """Return what makes the decoder of this name, as :func:`head_maker`."""
    return _maker("task.decoder", DECODERS, name, DECODER_KINDS)


def _maker(key: str, group: str, name: str, ours: tuple[str, ...]) -> HeadMaker | None:
    if name in ours:
        return None
    where, _ = registered_object(group, name, ours)
    entry = EntryPoint(name, where, group)
    return HeadMaker(
        f"{key} {name!r} ({where})",
        registered_function(group, name, ours),
        module=entry.module,
        attribute=entry.attr,
    )
