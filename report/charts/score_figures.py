"""The report's charts of scores: by class, by sensor, and which class is taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

_BLUE = "#4477aa"
_MOST_NUMBERS = 12  # classes, beyond which the cells of a confusion matrix are too small for their numbers


def score_bars(scores: Mapping[str, float | None], called: str) -> go.Figure:
    """Return a bar a class, or a sensor; those that were not scored are left out.

    Args:
        scores: By name.
        called: What the score is called, for the axis.
    """
    known = {name: value for name, value in scores.items() if value is not None}
    bar = go.Bar(
        x=list(known), y=list(known.values()), marker_color=_BLUE,
        text=[f"{value:.3f}" for value in known.values()], textposition="auto",
        hovertemplate="%{x}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    figure = go.Figure(bar)
    lowest = min([0.0, *known.values()])
    figure.update_layout(xaxis={"type": "category"}, yaxis={"title": called, "range": [lowest, 1.0]})
    return figure


def confusion_figure(confusion: Sequence[Sequence[int]], names: Sequence[str], what: str) -> go.Figure:
    """Return the share of each true class (row) that was taken for each class (column).

    Args:
        confusion: Images or pixels by true and predicted class.
        names: Of the classes.
        what: What is counted: images or pixels.
    """
    counts_KK = np.array(confusion, np.int64)
    shares_KK = counts_KK / np.maximum(1, counts_KK.sum(axis=1, keepdims=True))
    cells = go.Heatmap(
        z=shares_KK, x=list(names), y=list(names), customdata=counts_KK, zmin=0.0, zmax=1.0, colorscale="Blues",
        colorbar={"title": {"text": "share"}},
        texttemplate="%{z:.1%}" if len(names) <= _MOST_NUMBERS else None,
        hovertemplate=f"%{{y}} taken for %{{x}}: %{{z:.1%}}, %{{customdata:,}} {what}<extra></extra>",
    )  # fmt: skip
    figure = go.Figure(cells)
    figure.update_layout(
        xaxis={"title": "predicted", "type": "category", "constrain": "domain"},
        yaxis={"title": "true", "type": "category", "autorange": "reversed"},
        height=max(360, 110 + 34 * len(names)),
    )
    return figure
