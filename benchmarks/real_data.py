"""Where the data and weights of shipped scenarios lie: under SKYSPLIT_DATA, which others may fill as they like."""

from __future__ import annotations

import os
from pathlib import Path

_OF_SCENARIO = {
    "eurosat": ("eurosat-dev", "galileo-nano-rgb-p8"),
    "clouds": ("clouds-3sensors", "galileo-nano-multispectral"),
}


def paths_of(scenario: str) -> dict[str, str]:
    """Return the keys of a shipped scenario that name what is not shipped; none where SKYSPLIT_DATA is not set."""
    root = os.environ.get("SKYSPLIT_DATA")
    if not root or scenario not in _OF_SCENARIO:
        return {}
    images, model = _OF_SCENARIO[scenario]
    return {"data.path": str(Path(root) / images), "model.path": str(Path(root) / model)}
