"""What a model is trained for: a class of each image, several, numbers, a class or a number at every pixel.

A :class:`Task` knows its targets, its loss and its score; :func:`task_for` chooses it by what images are labelled with.
"""

from splitmodel.tasks.choosing import TaskError, planned_task, task_for
from splitmodel.tasks.scores import Score
from splitmodel.tasks.task import Task, TaskKind

__all__ = ["Score", "Task", "TaskError", "TaskKind", "planned_task", "task_for"]
