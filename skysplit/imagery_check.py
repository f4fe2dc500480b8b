"""Whether a scenario's imagery fits its model and its satellites, before anything starts."""

from __future__ import annotations

from typing import NamedTuple

from learning.model import base_of
from mission.orbits import constellation_of
from mission.schema import Data, Scenario


class Labels(NamedTuple):
    """The kind of labels that images have.

    Attributes:
        one_class_each: Whether an image is of one class, by which a partition may spread them.
        unnamed_masks: Whether they have masks whose classes nothing names.
    """

    one_class_each: bool
    unnamed_masks: bool


def labels_of(scenario: Scenario) -> Labels:
    """Look at how the scenario's images are labelled; raise `ImageryError` where they cannot be read."""
    from learning.imagery import imagery_of
    from splitmodel.imagery.targets import TargetKind

    targets = imagery_of(scenario.data, scenario.seed).train.targets
    return Labels(
        targets.kind is TargetKind.CLASS,
        unnamed_masks=targets.kind is TargetKind.MASK and not (targets.names or scenario.task.classes),
    )


def check_imagery(scenario: Scenario) -> None:
    """Open the imagery as a run does, decode one image of each sensor and share all out.

    Nothing is done for synthetic scenes as they are, which fit every model of RGB pictures.

    Raises:
        ValueError: It cannot be read, cannot be trained on yet, or does not fit; one sentence says what is allowed.
    """
    data = scenario.data
    if data.source == "synthetic" and all(getattr(data, key) == getattr(Data(), key) for key in data.reading):
        return
    from client_app.partitions import shares_of
    from learning.imagery import imagery_of
    from learning.task import task_of
    from splitmodel.families import ModelInput
    from splitmodel.imagery.fitting import fitted
    from splitmodel.parts import load_embedding

    imagery = imagery_of(scenario.data, scenario.seed)
    task = task_of(scenario, imagery.train)
    constellation = constellation_of(scenario)
    shares_of(data, imagery.train, constellation.plane.tolist(), constellation.names, scenario.seed)
    wanted = ModelInput(**scenario.model.image_options)
    preprocess = load_embedding(
        base_of(scenario.model), random_init=True, seed=scenario.seed, wanted=wanted
    ).preprocess
    images = imagery.for_model(preprocess).train
    if data.statistics == "model":
        fitted(preprocess, images)
    images.prepared([0], preprocess)
    task.targets(images, [0], preprocess)
