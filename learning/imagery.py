"""The imagery of a scenario."""

from __future__ import annotations

from mission.scenario import given_path
from mission.schema import Data
from splitmodel.imagery import Imagery, Reading, open_imagery


def imagery_of(data: Data, seed: int) -> Imagery:
    """Open the imagery that a ``[data]`` table names.

    Args:
        data: The table.
        seed: Of the scenario; images are drawn with it where the table leaves a choice.

    Raises:
        splitmodel.imagery.ImageryError: It cannot be read.
        mission.scenario.ScenarioError: ``data.path`` does not exist.
    """
    return open_imagery(
        data.source,
        given_path(data.path, "data.path"),
        seed=seed,
        train_samples=data.train_samples,
        test_samples=data.test_samples,
        reading=Reading(**data.reading),
        own=data.own_source,
    )
