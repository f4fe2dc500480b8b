"""A sweep to look at: the Pareto front, a heat map of two keys, what each key moves, and every combination."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go

from mission.text.quantities import spoken_bytes, spoken_time
from report.page import INK, Section, page, sections_view, table
from skysplit.sweeps.summary import PLANNED, Effect, Point, Row, effects_of, pareto_front, points_of

_BLUE, _RED = "#4477aa", "#ee6677"
_MOST_ROWS = 500  # of the table on the page


def sweep_page(title: str, description: str, rows: Sequence[Row], keys: Sequence[str]) -> str:
    """The page of a sweep with these rows, in which these keys vary."""
    points = points_of(rows, keys)
    front, effects = pareto_front(points), effects_of(rows, keys)
    planned = [point for point in points if point.planned]
    facts = {
        "combinations": str(len(points)),
        "rounds planned": f"{sum(point.planned for point in points)} of {len(rows)}",
    }
    if planned:
        best = min(planned, key=lambda point: point.makespan_s)
        facts["shortest round, median"] = f"{spoken_time(best.makespan_s)}: {_words(best)}"
    sections = []
    if planned:
        sections.append(
            Section(
                "pareto", "Time and bytes",
                says="A point per combination, medians over the starts. On the front no other has both a shorter round "
                "and less over space-ground links; combinations with starts that could not be planned are hollow.",
                content=pareto_figure(points, front),
            )
        )  # fmt: skip
    axes = _two_axes(rows, keys, effects)
    if axes:
        sections.append(
            Section(
                "heat", f"{axes[0]} and {axes[1]}",
                says="Median length of a round over all else that varies, seconds. Empty where none could be planned.",
                content=heat_figure(rows, *axes),
            )
        )  # fmt: skip
    if effects:
        sections.append(
            Section(
                "tornado", "What each key moves",
                says="Median length of a round from the best to the worst value of a key, over all else that varies; "
                "the line is the median of all.",
                content=tornado_figure(rows, effects),
            )
        )  # fmt: skip
    left_out = len(points) - _MOST_ROWS
    says = f"The first {_MOST_ROWS}; {left_out} more are in sweep.parquet." if left_out > 0 else ""
    sections.append(Section("all", "Every combination", says=says, content=_table(points[:_MOST_ROWS], keys)))
    return page(sections_view(title, description, facts, sections, ""))


def pareto_figure(points: Sequence[Point], front: Sequence[Point]) -> go.Figure:
    """Length of a round and bytes over space-ground links of every combination, and the front."""
    figure = go.Figure()
    for name, symbol, chosen in (
        ("all starts planned", "circle", [point for point in points if point.planned == point.starts]),
        ("some starts", "circle-open", [point for point in points if 0 < point.planned < point.starts]),
    ):
        if chosen:
            figure.add_scatter(
                x=[point.makespan_s for point in chosen], y=[point.sgl_bytes / 1e6 for point in chosen],
                mode="markers", name=name, marker={"color": _BLUE, "symbol": symbol, "size": 7},
                text=[_words(point) for point in chosen],
                hovertemplate="%{text}<br>%{x:.1f} s, %{y:.1f} MB<extra></extra>",
            )  # fmt: skip
    figure.add_scatter(
        x=[point.makespan_s for point in front], y=[point.sgl_bytes / 1e6 for point in front],
        mode="lines+markers", name="front", line={"color": _RED, "shape": "hv"}, marker={"color": _RED, "size": 9},
        text=[_words(point) for point in front], hovertemplate="%{text}<br>%{x:.1f} s, %{y:.1f} MB<extra></extra>",
    )  # fmt: skip
    figure.update_layout(
        height=480,
        xaxis={"title": "seconds per round", "type": "log"},
        yaxis={"title": "MB over space-ground links"},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"},
    )
    return figure


def heat_figure(rows: Sequence[Row], first: str, second: str) -> go.Figure:
    """Median length of a round by the values of two keys."""
    across, down = (list(dict.fromkeys(str(row.get(key)) for row in rows)) for key in (first, second))
    lengths_s: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["state"] == PLANNED:
            lengths_s.setdefault((str(row.get(first)), str(row.get(second))), []).append(row["makespan_s"])
    grid = [[_median(lengths_s.get((x, y), [])) for x in across] for y in down]
    figure = go.Figure(
        go.Heatmap(
            x=across, y=down, z=[[None if value is None else math.log10(value) for value in line] for line in grid],
            text=[["" if value is None else spoken_time(value) for value in line] for line in grid],
            texttemplate="%{text}", colorscale="Viridis", reversescale=True, showscale=False,
            hovertemplate=f"{first} %{{x}}<br>{second} %{{y}}<br>%{{text}}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        height=180 + 36 * len(down),
        xaxis={"title": first, "type": "category"},
        yaxis={"title": second, "type": "category"},
    )
    return figure


def tornado_figure(rows: Sequence[Row], effects: Sequence[Effect]) -> go.Figure:
    """The span of medians of every key, the largest on top."""
    middle_s = _median([row["makespan_s"] for row in rows if row["state"] == PLANNED])
    figure = go.Figure()
    for effect in effects:
        low, high = (pick(effect.medians_s, key=effect.medians_s.__getitem__) for pick in (min, max))
        figure.add_bar(
            y=[effect.key], x=[effect.span_s], base=[effect.medians_s[low]], orientation="h", marker_color=_BLUE,
            text=f"{low}: {spoken_time(effect.medians_s[low])} – {high}: {spoken_time(effect.medians_s[high])}",
            textposition="auto", showlegend=False, hovertemplate="%{y}<br>%{text}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=middle_s, line={"color": INK, "dash": "dot"})
    figure.update_layout(
        height=140 + 44 * len(effects),
        xaxis={"title": "seconds per round", "type": "log"},
        yaxis={"autorange": "reversed"},
    )
    return figure


def _two_axes(rows: Sequence[Row], keys: Sequence[str], effects: Sequence[Effect]) -> tuple[str, str] | None:
    """The two keys that move most; where fewer move anything, those with most values."""
    ranked = [effect.key for effect in effects]
    several = [key for key in keys if len({str(row.get(key)) for row in rows}) > 1]
    ranked += sorted(
        (key for key in several if key not in ranked),
        key=lambda key: -len({str(row.get(key)) for row in rows}),
    )
    return (ranked[0], ranked[1]) if len(ranked) > 1 else None


def _table(points: Sequence[Point], keys: Sequence[str]) -> str:
    head = [*keys, "starts", "median", "p95", "above bound", "space-ground", "between satellites"]
    if is_flown := any(point.is_flown for point in points):
        head += ["through draws", "p5 of draws", "p95 of draws"]
    lines = [
        [
            *(str(point.values[key]) for key in keys),
            f"{point.planned} of {point.starts}",
            *(_said(value, spoken_time) for value in (point.makespan_s, point.p95_s)),
            _said(point.gap, lambda gap: f"{100 * gap:.0f} %"),
            *(_said(value, spoken_bytes) for value in (point.sgl_bytes, point.isl_bytes)),
            *(_said(value, spoken_time) for value in point.flown_s if is_flown),
        ]
        for point in points
    ]
    return table(head, lines, "Every combination in figures")


def _said(value: float, words: Callable[[float], str]) -> str:
    return "–" if math.isnan(value) else words(value)


def _words(point: Point) -> str:
    return ", ".join(f"{key} {value}" for key, value in point.values.items())


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
