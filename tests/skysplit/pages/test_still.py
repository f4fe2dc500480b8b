"""Still pictures of charts: read by their own ticks, they say what the figure says."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest

from report.charts.figures import learning_figure, waits_figure
from report.charts.gantt import COLOURS, gantt_figure
from report.still import still_markup
from strategies.problem.plan import SPLIT_COLUMNS

SIDE = 10_000


def scale(markup: str, where: str) -> np.ndarray:
    """The value at the place of each tick of an axis: a line through them, by its factor and its offset."""
    part = re.search(rf'class="{where}">(.*?)</div></div>', markup, re.DOTALL)
    assert part
    ticks = re.findall(r'<b style="(?:left|top):([\d.]+)%">([^<]*)</b>', part[1])
    places, values = zip(*((float(place), number(word)) for place, word in ticks), strict=True)
    return np.polyfit(places, values, 1)


def number(word: str) -> float:
    return float(re.sub(r"[^\d.e-]", "", html.unescape(word).replace("−", "-")))


def values_on(ticks: np.ndarray, units: Sequence[str]) -> np.ndarray:
    return np.polyval(ticks, 100.0 * np.array(units, float) / SIDE)


def test_dots_of_the_curve_are_where_scores_and_losses_are_by_the_ticks_of_their_axes() -> None:
    scores, losses, ends_s = [0.41, 0.63, 0.87], [1.9, 1.2, 0.4], [100.0, 250.0, 590.0]
    rounds = pa.table({"round": [1, 2, 3], "test_score": scores, "test_loss": losses})
    figure = learning_figure(rounds, ends_s, windows=np.array([[90.0, 95.0]]), before=(0.1, 2.3))
    markup = still_markup(figure)
    x_ticks = scale(markup, "ticks")
    for trace, side, expected in (
        ("test accuracy, %", "left", [10.0, 41.0, 63.0, 87.0]),
        ("test loss", "right", [2.3, *losses]),
    ):
        colour = next(one.line.color for one in figure.data if one.name == trace)
        [dots] = re.findall(rf'<path stroke="{colour}" stroke-linecap="round"[^>]* d="([^"]*)"', markup)
        x, y = zip(*re.findall(r"M(-?\d+) (-?\d+)h0", dots), strict=True)
        assert values_on(x_ticks, x) == pytest.approx([0.0, *ends_s], abs=0.2)
        assert values_on(scale(markup, side), y) == pytest.approx(expected, abs=0.02)
        assert f">{trace}</span>" in html.unescape(markup)


def test_bars_of_a_gantt_begin_and_end_when_the_activities_do() -> None:
    spans = {"a": (10.0, 60.0), "b": (200.0, 320.0)}
    activities = [
        {"kind": "head", "satellite": name, "node": name, "link": "", "start_s": start, "end_s": end}
        for name, (start, end) in spans.items()
    ]
    figure = gantt_figure(list(spans), [], activities, 400.0)
    markup = still_markup(figure)
    [bars] = re.findall(rf'<path fill="{COLOURS["computing on board"]}" d="([^"]*)"', markup)
    corners = re.findall(r"M(\d+) (\d+)H(\d+)V(\d+)H(\d+)z", bars)
    assert len(corners) == 2
    ticks = scale(markup, "ticks")
    for (start, top, end, *_), (name, span) in zip(corners, spans.items(), strict=True):
        assert values_on(ticks, [start, end]) == pytest.approx(span, abs=0.1)
        [middle] = re.findall(rf'top:([\d.]+)%">{name}<', markup)
        assert float(middle) == pytest.approx(int(top) / 100, abs=100 / len(spans) / 2)


def test_stacked_bars_end_at_the_sum_of_their_parts() -> None:
    rows = {"round": [1, 1], "satellite": ["a", "b"], "end_s": [40.0, 30.0]}
    parts = {column: [10.0 * (k + 1), 5.0] for k, column in enumerate(SPLIT_COLUMNS)}
    markup = still_markup(waits_figure(pa.table(rows | parts)))
    ends = [
        re.findall(r"M\d+ \d+H(\d+)V", path) for path in re.findall(r'<path fill="[^"]*" d="([^"]*)"', markup)
    ]
    lengths = np.array([values_on(scale(markup, "ticks"), each) for each in ends]).T
    assert lengths == pytest.approx(np.cumsum(list(parts.values()), axis=0).T, abs=0.05)


@pytest.mark.parametrize(
    "figure",
    [
        go.Figure(),
        go.Figure(go.Scatter3d(x=[1], y=[1], z=[1])),
        go.Figure(go.Heatmap(z=[[1.0]])),
        go.Figure(go.Bar(x=[1, 2], y=[3, 4], marker_color="#123456"), layout={"yaxis": {"type": "log"}}),
        go.Figure(go.Bar(x=[1], y=[3], marker_color="#123456", error_y={"array": [1.0]})),
        go.Figure(go.Bar(x=[1], y=[3])),
    ],
    ids=["empty", "in space", "heat map", "logarithmic", "with errors", "without a colour of its own"],
)
def test_a_figure_that_only_the_library_can_draw_has_no_picture(figure: go.Figure) -> None:
    assert still_markup(figure) == ""


def test_names_from_outside_are_text() -> None:
    bar = go.Bar(x=["<img src=x>", "b"], y=[1, 2], name="<script>", marker_color="#123456")
    markup = still_markup(go.Figure(bar, layout={"showlegend": True}))
    assert "&lt;img src=x&gt;" in markup
    assert "&lt;script&gt;" in markup
    assert "<img" not in markup
    assert "<script>" not in markup
