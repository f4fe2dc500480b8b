"""The task of a run on the ground: as its images are labelled, in units that the satellites' labels give."""

from __future__ import annotations

import functools
import operator
from typing import Any

import torch
from torch import Tensor

from splitmodel.crossing.scaling import Moments, Scaling, SplitScaling
from splitmodel.tasks import Task
from strategies.enrolment import EnrolledClients


def task_facts(task: Task) -> dict[str, Any]:
    """Return what ``run.json`` says of a task."""
    return {"kind": str(task.kind), "score": task.score_name, "outputs": list(task.names)}


def in_units(task: Task, enrolled_clients: EnrolledClients) -> Task:
    """Return a task of numbers with mean and deviation of all satellites' targets, another as it is."""
    if not task.needs_scaling:
        return task
    parts = [_moments(rows) for rows in enrolled_clients.target_moments.values()]
    return task.scaled(Scaling.of(functools.reduce(operator.add, parts)))


def constants_of(scaling: SplitScaling, task: Task) -> dict[str, Tensor]:
    """Return the constants that all satellites are sent, by name."""
    of_targets = {}
    if task.scaling is not None:
        of_targets = {"target.mean": task.scaling.mean_D, "target.deviation": task.scaling.deviation_D}
    return scaling.to_state() | of_targets


def _moments(rows: Any) -> Moments:
    """Read what ``client_app.labels_on_board.label_facts`` wrote."""
    count, *sums = rows
    of_numbers, of_squares = torch.tensor(sums, dtype=torch.float64).chunk(2)
    return Moments(int(count), of_numbers, squares_D=of_squares)
