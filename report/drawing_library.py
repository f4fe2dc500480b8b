"""Plotly.js as pages carry it: its own partial bundles, which a browser starts several times as fast as the whole.

`report/javascript/` holds them as npm has them. To renew: `npm pack plotly.js-cartesian-dist-min@VERSION` and
`npm pack plotly.js-gl3d-dist-min@VERSION`, VERSION as `plotly.offline.get_plotlyjs_version()` says.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

CARTESIAN = "plotly-cartesian.min.js"  # bars, lines, heat maps
SPACE = "plotly-gl3d.min.js"  # charts in three dimensions


@cache
def library(name: str) -> str:
    """Return the text of a bundle, `CARTESIAN` or `SPACE`.

    Flower runs an app from a bundle of its own that may hold no scripts and comes first on `sys.path`, so every entry
    is tried.

    Raises:
        FileNotFoundError: No installed `report` has it.
    """
    for entry in sys.path:
        path = Path(entry) / "report" / "javascript" / name
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(
        f"{name} is not in the installed package; run `pip install .` in the project's directory with {sys.executable}"
    )
