"""A comparison of strategies to look at: one page with tables, figures and the break-even answers."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from mission.text.quantities import spoken_bytes, spoken_time
from report.charts.gantt import time_unit
from report.page import View, figure_markup, marked, page, table
from report.still import INK
from strategies.analysis.cases import SPLIT
from strategies.analysis.compare import headings_of, interpolation_note, mission_rows, round_rows
from strategies.analysis.summary import summary_lines
from strategies.problem.plan import SPLIT_COLUMNS

# Paul Tol's bright palette, as in the report.
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
_LABEL = 24  # characters a line
_LINE = 17  # pixels
_PARTS = dict(
    zip(
        SPLIT_COLUMNS,
        (
            ("computing", "#4477aa"),
            ("inter-satellite links", "#ccbb44"),
            ("space-ground links", "#ee6677"),
            ("waiting", "#bbbbbb"),
            ("idle: done before the others", "rgba(136,136,136,.3)"),
        ),
        strict=True,
    )
)


def comparison_page(title: str, description: str, comparisons: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of comparisons by model name, each as ``strategies.analysis.compare.compare`` returns it."""
    body = [f"<header><h1>{html.escape(title)}</h1><p>{html.escape(description)}</p></header><main>"]
    figures = {"rounds": rounds_figure(comparisons)}
    for model, comparison in comparisons.items():
        answer, *rest = summary_lines(comparison) or ["No answer."]
        body.append(f'<h2>{html.escape(model)}</h2><p class="answer">{marked(answer)}</p>')
        body.append(f"<p>{marked(' '.join(rest))}</p>")
    body.append(
        "<h2>How long a round takes</h2><p>Median over the starts, up to the 95th percentile; the mark is the "
        "median lower bound. Logarithmic.</p>"
        + figure_markup("rounds", figures["rounds"], "Seconds per round of every case")
    )
    for number, (model, comparison) in enumerate(comparisons.items()):
        figures[f"time{number}"] = _time_figure(comparison)
        body.append(f"<h2>Every case with {html.escape(model)}</h2>")
        body.append(f"<p>The whole mission, {comparison['rounds']} rounds.</p>")
        body.append(missions_table(comparison))
        body.append("<p>One round; ÷ is the ratio of medians to another case.</p>")
        body.append(cases_table(comparison))
        body.append(
            "<p>Where the time of a satellite goes, part of the round (mean over satellites and starts).</p>"
        )
        name = f"time{number}"
        body.append(figure_markup(name, figures[name], f"Parts of the round of every case, {model}"))
    return page(View(title, "\n".join(body) + "</main>", figures=figures))


def cases_table(comparison: Mapping[str, Any]) -> str:
    """Markup of a table with a row per case: one round, its gap to the bound, ratios to other cases, bytes."""
    return _table(round_rows(comparison), "One round of every case in figures")


def missions_table(comparison: Mapping[str, Any]) -> str:
    """Markup of a table with a row per case: the whole mission, in time, bytes and computing."""
    rows = mission_rows(comparison)
    table, note = _table(rows, "The whole mission of every case in figures"), interpolation_note(rows)
    return f"{table}<p>{note}</p>" if note else table


def _table(rows: list[dict[str, str]], caption: str) -> str:
    figures = headings_of(rows)
    lines = [[f"{row['case']}: {row['what']}", *(row.get(key, "–") for key in figures)] for row in rows]
    return table(["case", *figures], lines, caption)


def _cases(comparison: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [case for case in comparison["cases"] if case["median_s"]]


def _labels(comparison: Mapping[str, Any]) -> list[str]:
    return _wrapped(_cases(comparison))


def _label_height(labels: Sequence[str]) -> int:
    """Pixels of the tallest label, with room to the next."""
    return 10 + _LINE * max((label.count("<br>") + 1 for label in labels), default=1)


def _wrapped(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Titles in lines short enough for a narrow screen."""
    return ["<br>".join(textwrap.wrap(case["title"], _LABEL)) for case in cases]


def rounds_figure(comparisons: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """The median round of every case up to the 95th percentile, with its lower bound, by model name."""
    figure = go.Figure()
    for number, (model, comparison) in enumerate(comparisons.items()):
        cases, labels = _cases(comparison), _labels(comparison)
        median_s = [case["median_s"] for case in cases]
        figure.add_bar(
            x=median_s, y=labels, orientation="h", name=model, marker_color=_COLOURS[number % len(_COLOURS)],
            offsetgroup=str(number), text=[f" {spoken_time(value)}" for value in median_s], textposition="inside",
            insidetextanchor="start", textangle=0,
            error_x={
                "array": [case["p95_s"] - case["median_s"] for case in cases],
                "arrayminus": [0.0] * len(cases), "color": "#888", "thickness": 1.5,
            },
            hovertemplate="%{x:.0f} s<extra></extra>",
        )  # fmt: skip
        figure.add_bar(
            x=[case["bound_s"] for case in cases], y=labels, orientation="h", offsetgroup=str(number),
            marker={"color": "rgba(0,0,0,0)", "line": {"color": "rgba(0,0,0,0)", "width": 0}}, showlegend=False,
            error_x={"array": [0.0] * len(cases), "color": INK, "thickness": 2.5, "width": 8},
            hovertemplate="bound %{x:.0f} s<extra></extra>",
        )  # fmt: skip
    labels = _labels(next(iter(comparisons.values())))
    figure.update_layout(
        height=140 + len(labels) * max(38 * len(comparisons), _label_height(labels)),
        barmode="group",
        xaxis={"title": "seconds per round", "type": "log", "dtick": 1, **_log_range(comparisons)},
        yaxis={"autorange": "reversed"},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"},
        showlegend=len(comparisons) > 1,
    )
    return figure


def _log_range(comparisons: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the range of a logarithmic axis that leaves the shortest bar room for its label."""
    cases = [case for comparison in comparisons.values() for case in _cases(comparison)]
    if not cases:
        return {}
    shortest_s, longest_s = min(case["median_s"] for case in cases), max(case["p95_s"] for case in cases)
    return {"range": [math.log10(shortest_s / 4.0), math.log10(1.2 * longest_s)]}


def missions_figure(comparison: Mapping[str, Any]) -> go.Figure:
    """The whole mission of every case between which the answer lies: how long, and bytes each way."""
    cases = [
        case for case in comparison["cases"] if case["name"] in comparison["headline"] and case["mission"]
    ]
    cases.sort(key=lambda case: case["mission"]["length_s"])
    lengths_s = [case["mission"]["length_s"] for case in cases]
    unit, unit_s = time_unit(max(lengths_s, default=0.0))
    labels = [  # in lines, so that on a narrow screen they fit into their bars or beside them
        f" {spoken_time(case['mission']['length_s'])}<br> {spoken_bytes(case['mission']['down_bytes'])} down<br> "
        f"{spoken_bytes(case['mission']['up_bytes'])} up"
        for case in cases
    ]
    figure = go.Figure(
        go.Bar(
            x=[length_s / unit_s for length_s in lengths_s], y=_wrapped(cases), orientation="h", text=labels,
            textposition="auto", insidetextanchor="start", textangle=0, cliponaxis=False,
            marker_color=[_COLOURS[0] if case["name"] == SPLIT else "#bbbbbb" for case in cases],
            hoverinfo="text",
            hovertext=[f"{case['title']}:<br>{text}" for case, text in zip(cases, labels, strict=True)],
        )
    )  # fmt: skip
    figure.update_layout(
        height=120 + 66 * len(cases),
        xaxis={"title": f"mission time, {unit}", "rangemode": "tozero"},
        yaxis={"autorange": "reversed"},
        showlegend=False,
    )
    return figure


def _time_figure(comparison: Mapping[str, Any]) -> go.Figure:
    cases, labels = _cases(comparison), _labels(comparison)
    total_s = [sum(case[column] for column in SPLIT_COLUMNS) for case in cases]
    figure = go.Figure()
    for column, (name, colour) in _PARTS.items():
        seconds = [case[column] for case in cases]
        figure.add_bar(
            x=[100.0 * part / total for part, total in zip(seconds, total_s, strict=True)], y=labels,
            orientation="h", name=name, marker_color=colour, customdata=seconds,
            hovertemplate=name + ": %{customdata:.0f} s, %{x:.0f} %<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        height=160 + len(cases) * max(34, _label_height(labels)),
        barmode="stack",
        xaxis={"title": "per cent of the round", "range": [0, 100]},
        yaxis={"autorange": "reversed"},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
    )
    return figure
