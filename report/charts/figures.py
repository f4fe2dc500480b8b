"""The report's charts over rounds: learning, bytes, seconds, planned against measured."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc

from mission.text.plain_text import label
from mission.text.spoken_scores import ACCURACY
from report.charts.gantt import row_axis, time_unit
from strategies.problem.plan import SPLIT_COLUMNS

_BLUE, _RED, _GREEN, _YELLOW, _CYAN, _GREY = "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#bbbbbb"
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
_LINK_BYTES = {
    "downlink_bytes": ("planned, down to the ground", _RED),
    "uplink_bytes": ("planned, up to the satellites", _BLUE),
    "isl_bytes": ("planned, between satellites", _YELLOW),
}
_SENT_BYTES = {"split_up_bytes": ("sent over the split, up", _RED), "split_down_bytes": ("… and back", _BLUE)}
_PARTS = {
    "compute_s": ("computing", _GREEN),
    "isl_s": ("inter-satellite links", _YELLOW),
    "sgl_s": ("space-ground links", _RED),
    "waiting_s": ("waiting", _GREY),
    "idle_s": ("idle: done before the others", "rgba(136,136,136,.3)"),
}
assert tuple(_PARTS) == SPLIT_COLUMNS


def learning_figure(
    rounds: pa.Table,
    round_ends_s: Sequence[float],
    *,
    windows: np.ndarray,
    score: str = ACCURACY,
    before: tuple[float | None, float | None] = (None, None),
    beside: Mapping[str, Sequence[float]] | None = None,
) -> go.Figure:
    """Test score and loss at the end of every round, and when space-ground windows were in use.

    Args:
        rounds: As ``report.totals.by_round`` adds them up.
        round_ends_s: When each of them is over, mission time.
        windows: Start and end, seconds of mission time, shape ``(windows, 2)``.
        score: What the score is called; an accuracy is shown in per cent.
        before: Test score and test loss before fine-tuning, where they are known.
        beside: Of other ways to run the mission, by title, the mission time at which each round ends: drawn with the
            scores of the run, as if a round taught as much.
    """
    end_s = np.asarray(round_ends_s, float)
    others = {title: np.asarray(ends_s)[: len(end_s)] for title, ends_s in (beside or {}).items()}
    unit, unit_s = time_unit(max(float(ends_s.max(initial=0.0)) for ends_s in (end_s, *others.values())))
    labels = [f"round {number}" for number in rounds["round"].to_pylist()]
    start, end = windows.T / unit_s
    figure = go.Figure()
    # One outline for all windows on an axis of its own: a shape each would take seconds to draw.
    figure.add_scatter(
        x=np.stack([start, end, end, start, np.full(len(start), np.nan)], axis=1).ravel(),
        y=np.tile([0.0, 0.0, 1.0, 1.0, np.nan], len(start)),
        yaxis="y3", name="space-ground window in use", mode="none", fill="toself", fillcolor="rgba(204,187,68,.3)",
        hoverinfo="skip",
    )  # fmt: skip
    x = end_s / unit_s
    title, factor = (f"test {score}, %", 100.0) if score == ACCURACY else (f"test {score}", 1.0)
    values = factor * rounds["test_score"].to_numpy()
    first = None if before[0] is None else factor * before[0]

    def curve(ends: np.ndarray, values: np.ndarray, first: float | None) -> dict[str, list]:
        start = [] if first is None else [first]
        return {
            "x": [0.0] * len(start) + ends.tolist(),
            "y": start + values[: len(ends)].tolist(),
            "text": ["before fine-tuning"] * len(start) + labels[: len(ends)],
        }

    figure.add_scatter(**curve(x, values, first), name=title, mode="lines+markers", line_color=_BLUE)
    for (other, ends_s), colour in zip(others.items(), itertools.cycle((_GREEN, _CYAN, _GREY))):
        figure.add_scatter(
            **curve(ends_s / unit_s, values, first), name=f"{other}, if a round teaches as much", mode="lines+markers",
            line={"color": colour, "dash": "dash"},
        )  # fmt: skip
    losses = rounds["test_loss"].to_numpy()
    figure.add_scatter(
        **curve(x, losses, before[1]), name="test loss", mode="lines+markers", yaxis="y2",
        line={"color": _RED, "dash": "dot"},
    )  # fmt: skip
    over = {"overlaying": "y", "showgrid": False, "zeroline": False}
    figure.update_layout(
        xaxis={"title": f"mission time, {unit}", "rangemode": "tozero"},
        yaxis={"title": title},
        yaxis2={"title": "test loss", "side": "right", **loss_range([*losses, before[1]]), **over},
        yaxis3={"visible": False, "range": [0, 1], "fixedrange": True, **over},
        legend=_LEGEND,
    )
    return figure


def loss_range(losses: Sequence[float | None]) -> dict[str, Any]:
    """Return how an axis shows these losses: their own range, so that a slow fall is seen, never below zero in vain."""
    known = [loss for loss in losses if loss is not None and math.isfinite(loss)]
    return {"autorangeoptions": {"clipmin": 0.0}} if known and min(known) >= 0.0 else {}


def bytes_figure(rounds: pa.Table) -> go.Figure:
    """MB of the whole constellation by round: planned by link class, and what was sent where that is recorded."""
    bars = [
        _bar(
            rounds[column].to_numpy() / 1e6, name, "MB", colour,
            offsetgroup=str(group), marker_pattern_shape="/" if group else "",
        )
        for group, classes in enumerate((_LINK_BYTES, _SENT_BYTES))
        for column, (name, colour) in classes.items()
        if not pc.all(pc.is_null(rounds[column])).as_py()
    ]  # fmt: skip
    return _over_rounds(rounds, bars, "relative", "MB, whole constellation")


def seconds_figure(rounds: pa.Table) -> go.Figure:
    """Draw the mean seconds that a satellite spends by activity, for every round."""
    bars = [_bar(rounds[column].to_numpy(), name, "s", colour) for column, (name, colour) in _PARTS.items()]
    return _over_rounds(rounds, bars, "stack", "seconds, mean over satellites")


def waits_figure(rows: pa.Table) -> go.Figure:
    """Draw the time by activity over all rounds, a bar per satellite, with the number of rounds it finished last.

    Args:
        rows: As ``report.totals.read_rounds`` reads them, a row per satellite and round.
    """
    names = list(dict.fromkeys(rows["satellite"].to_pylist()))
    last = dict.fromkeys(names, 0)
    ends: dict[int, tuple[float, str]] = {}
    for row in rows.select(["round", "satellite", "end_s"]).to_pylist():
        if row["end_s"] is not None:
            ends[row["round"]] = max(ends.get(row["round"], (-np.inf, "")), (row["end_s"], row["satellite"]))
    for _, name in ends.values():
        last[name] += 1
    totals = rows.group_by("satellite").aggregate([(column, "sum") for column in _PARTS])
    place = {name: number for number, name in enumerate(totals["satellite"].to_pylist())}
    labels = [f"done last in {last[name]} of {len(ends)} rounds" for name in names]
    figure = go.Figure()
    unit, unit_s = time_unit(
        float(
            sum(
                np.nan_to_num(np.asarray(totals[f"{column}_sum"], float)).max(initial=0.0)
                for column in _PARTS
            )
        )
    )
    for column, (part, colour) in _PARTS.items():
        seconds = np.nan_to_num(np.asarray(totals[f"{column}_sum"].to_pylist(), float))
        figure.add_bar(
            x=[seconds[place[name]] / unit_s for name in names], y=[label(name) for name in names], orientation="h",
            name=part, marker_color=colour, text=labels, textposition="none",
            hovertemplate=f"%{{y}}: {part} %{{x:.4~g}} {unit}; %{{text}}<extra></extra>",
        )  # fmt: skip
    bars_px = 22 * max(len(names), 6)
    names_axis, margin = row_axis(names)
    figure.update_layout(
        height=150 + min(bars_px, 2000),
        barmode="stack",
        xaxis={"title": f"{unit}, all rounds", "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "type": "category", **names_axis},
        margin=margin,
        legend=_LEGEND | {"y": 1.0 + 12 / bars_px},
    )
    return figure


def measured_figure(rounds: pa.Table) -> go.Figure:
    """Planned and measured length of every round, until the last satellite is done."""
    planned_s, measured_s = (
        rounds[f"{how}end_s"].to_numpy() - rounds[f"{how}start_s"].to_numpy() for how in ("", "measured_")
    )
    bars = [_bar(planned_s, "planned", "s", _BLUE), _bar(measured_s, "measured", "s", _CYAN)]
    bars[1].update(
        text=[f"{100 * part:+.1f} %" for part in measured_s / planned_s - 1.0], textposition="outside"
    )
    return _over_rounds(rounds, bars, "group", "seconds")


def _bar(values: np.ndarray, name: str, unit: str, colour: str, **style: str) -> go.Bar:
    hover = f"{name}: %{{y:.3~f}} {unit}<extra></extra>"
    return go.Bar(y=values, name=name, marker_color=colour, hovertemplate=hover, **style)


def _over_rounds(rounds: pa.Table, bars: Sequence[go.Bar], mode: str, title: str) -> go.Figure:
    numbers = [str(number) for number in rounds["round"].to_pylist()]
    figure = go.Figure([bar.update(x=numbers) for bar in bars])
    figure.update_layout(
        barmode=mode, xaxis={"title": "round", "type": "category"}, yaxis={"title": title}, legend=_LEGEND
    )
    return figure
