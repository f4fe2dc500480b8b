"""The report's charts of scores: by class, by sensor, and which class is taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import sample_colorscale, unlabel_rgb

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
    are_numbered = len(names) <= _MOST_NUMBERS
    cells = go.Heatmap(
        z=shares_KK, x=list(names), y=list(names), customdata=counts_KK, zmin=0.0, zmax=1.0, colorscale="Blues",
        showscale=not are_numbered, colorbar={"title": {"text": "share"}, "tickformat": ".0%"},
        hovertemplate=f"%{{y}} taken for %{{x}}: %{{z:.1%}}, %{{customdata:,}} {what}<extra></extra>",
    )  # fmt: skip
    figure = go.Figure(cells)
    if are_numbered:
        figure.add_trace(_percentages(shares_KK, names))
    figure.update_layout(
        xaxis={"title": {"text": "predicted", "standoff": 8}, "type": "category", "constrain": "domain"},
        yaxis={"title": {"text": "true", "standoff": 8}, "type": "category", "autorange": "reversed"},
        height=max(360, 110 + 34 * len(names)),
    )
    return figure


def _percentages(shares_KK: NDArray[np.float64], names: Sequence[str]) -> go.Scatter:
    """Return the whole per cent of each cell that is not empty, black or white, whichever contrasts more with it."""
    rows, columns = (places.tolist() for places in np.nonzero(shares_KK))
    shares = shares_KK[rows, columns]
    return go.Scatter(
        x=[names[column] for column in columns],
        y=[names[row] for row in rows],
        mode="text",
        text=["<1" if share < 0.005 else f"{100 * share:.0f}" for share in shares],
        textfont={
            "size": 11,
            "color": [_readable_on(colour) for colour in sample_colorscale("Blues", shares)],
        },
        hoverinfo="skip",
        showlegend=False,
    )


def _readable_on(colour: str) -> str:
    """Return black or white: with any colour, one of them has a contrast of 4.5 or more (WCAG 2.2)."""
    channels = np.array(unlabel_rgb(colour)) / 255.0
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "#000000" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "#ffffff"
