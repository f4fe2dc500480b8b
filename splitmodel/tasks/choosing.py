"""Which task a scenario means: as its key says, or as its images are labelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splitmodel.imagery import TargetKind, Targets
from splitmodel.tasks.classification import Classification, MultiLabel
from splitmodel.tasks.regression import PixelRegression, Regression
from splitmodel.tasks.segmentation import Segmentation
from splitmodel.tasks.task import DENSE_KINDS, Task, TaskKind

_TASKS_OF = {
    TargetKind.CLASS: (TaskKind.CLASSIFICATION,),
    TargetKind.MULTI_LABEL: (TaskKind.MULTI_LABEL,),
    TargetKind.NUMBERS: (TaskKind.REGRESSION,),
    TargetKind.MASK: (TaskKind.SEGMENTATION, TaskKind.PIXEL_REGRESSION),
    TargetKind.RASTER: (TaskKind.PIXEL_REGRESSION, TaskKind.SEGMENTATION),
}
_PLANNED_CLASSES = 10  # of a head that is planned and not trained, where nothing says how many


class TaskError(ValueError):
    """A task does not fit its images or its scenario; the message names the key, what was found and what is allowed."""


def task_for(settings: Mapping[str, Any], targets: Targets, where: str) -> Task:
    """Return the task of images.

    Args:
        settings: The scenario's ``[task]`` table.
        targets: What the images are labelled with.
        where: What to call them in an error.

    Raises:
        TaskError: They are not labelled for such a task, or the names of the classes are missing.
    """
    allowed, kind_set = _TASKS_OF[targets.kind], settings["kind"]
    if kind_set != "auto" and kind_set not in allowed:
        raise TaskError(
            f'task.kind: found "{kind_set}", but {where} has {targets.kind}; allowed: {", ".join(allowed)}'
        )
    kind = TaskKind(kind_set) if kind_set != "auto" else allowed[0]
    if kind_set == "auto" and settings["classes"] and TaskKind.SEGMENTATION in allowed:
        kind = TaskKind.SEGMENTATION  # masks may be written as floating point, too
    if kind is TaskKind.SEGMENTATION:
        if not targets.names and len(settings["classes"]) < 2:
            raise TaskError(
                f"task.classes: found {list(settings['classes'])}, but {where} has {targets.kind}; allowed: the names "
                'of two or more classes, those of the values 0, 1, … of its masks, for example ["clear", "cloud"]'
            )
    elif settings["classes"]:
        raise TaskError(
            f"task.classes: found {list(settings['classes'])}, but {where} has {targets.kind}; allowed with "
            "segmentation, because all other kinds have class names in their data"
        )
    if kind is TaskKind.CLASSIFICATION and len(targets.names) < 2:
        raise TaskError(f"{where}: holds one class, {', '.join(targets.names)}; allowed: two or more")
    numbers = targets.values.shape[1] if kind is TaskKind.REGRESSION else 1
    return _made(kind, settings, targets.names, numbers)


def planned_task(settings: Mapping[str, Any], kind: str) -> Task:
    """Return the task of a kind where no images are opened: with ten classes where nothing says how many."""
    return _made(TaskKind(kind), settings, tuple(str(number) for number in range(_PLANNED_CLASSES)), 1)


def _made(kind: TaskKind, settings: Mapping[str, Any], names: tuple[str, ...], numbers: int) -> Task:
    decoder = settings["decoder"] if kind in DENSE_KINDS else None
    match kind:
        case TaskKind.CLASSIFICATION:
            return Classification(names)
        case TaskKind.MULTI_LABEL:
            return MultiLabel(names)
        case TaskKind.REGRESSION:
            return Regression(tuple(str(number) for number in range(1, numbers + 1)))
        case TaskKind.PIXEL_REGRESSION:
            return PixelRegression(("value",), decoder)
        case TaskKind.SEGMENTATION:
            given = tuple(settings["classes"]) or names
            return Segmentation(given, decoder, ignore_index=settings["ignore_index"])
