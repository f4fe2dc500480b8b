"""The task of a satellite: the labels of its images, the label facts that the ground needs, and the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor

from client_app.onboard import OnBoard
from splitmodel.crossing.scaling import Moments, Scaling, SplitScaling
from splitmodel.dense_heads import TrainedHead, standardised
from splitmodel.parts import head_for

_CHUNK = 64  # images whose targets are decoded together

LabelFacts = dict[str, list[int] | list[float] | list[str]]


def label_facts(on_board: OnBoard, sensor_column: str) -> LabelFacts:
    """Return what the ground is told of the labels at enrolment, after a look at each of them.

    Images by class (where each is of one class, else all as one), images by sensor, and of numbers their sums, from
    which mean and deviation over all satellites follow.

    Raises:
        splitmodel.imagery.ImageryError: A label is none that is allowed; its image is named.
    """
    task, images = on_board.task, on_board.images
    moments: Moments | None = None
    for start in range(0, len(images), _CHUNK):
        indices = np.arange(start, min(start + _CHUNK, len(images)))
        of_chunk = task.moments(on_board.plain_targets(indices))
        moments = of_chunk if moments is None or of_chunk is None else moments + of_chunk
    counts = (
        np.bincount(images.labels, minlength=task.outputs).tolist() if task.has_classes else [len(images)]
    )
    facts: LabelFacts = {"labels": counts, "sensors": [], "sensor-images": []}
    sensors = images.column(sensor_column) if sensor_column else None
    if sensors is not None:
        names, numbers = np.unique(sensors, return_counts=True)
        facts |= {"sensors": names.tolist(), "sensor-images": numbers.tolist()}
    if moments is not None:
        facts["target-moments"] = [float(moments.rows), *moments.sum_D.tolist(), *moments.squares_D.tolist()]
    return facts


def in_units(on_board: OnBoard, constants: Mapping[str, Tensor]) -> OnBoard:
    """Return the satellite with targets that are scaled as the ground says, where they are numbers."""
    if not on_board.task.needs_scaling:
        return on_board
    scaling = Scaling(constants["target.mean"], constants["target.deviation"])
    return replace(on_board, task=on_board.task.scaled(scaling))


def head_on_board(on_board: OnBoard, scaling: SplitScaling) -> TrainedHead:
    """Return the head that a satellite trains, with weights that are set before they are used."""
    task, states = on_board.task, (len(scaling.pooled.mean_D),)
    head = head_for(
        on_board.embedding.grid,
        states,
        task.outputs,
        task.decoder,
        numbers=task.needs_scaling,
        maker=task.head,
    )
    return standardised(head, scaling.pooled)


def state_shape(on_board: OnBoard, scaling: SplitScaling) -> tuple[int, ...]:
    """Return the shape of what the head reads of an image: one state, or one of every patch."""
    values, grid = len(scaling.pooled.mean_D), on_board.embedding.grid
    return (grid.rows * grid.columns, values) if on_board.task.is_dense else (values,)
