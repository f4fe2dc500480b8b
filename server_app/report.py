"""``report.html``: what a run did, as one page that opens offline.

Everything is read from the run directory, so that a page can be made again at any time, also of a run under way.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow.parquet as pq
from plotly.offline import get_plotlyjs

from mission.record import read_run, write_text
from orbit.contact_plan_files import load, to_rows
from server_app.report_page import PAGE

_HOUR_S = 3600.0
# Paul Tol's bright palette: told apart by colour-blind readers, on white and on dark ground.
_COLOURS = {
    "in sight of a station": "#bbbbbb",
    "antenna held": "#aa3377",
    "computing on board": "#228833",
    "backbone on the ground": "#4477aa",
    "inter-satellite link": "#ccbb44",
    "space-ground link": "#ee6677",
}
_ACTIVITY = {
    "embed": "computing on board",
    "head": "computing on board",
    "train": "computing on board",
    "backbone": "backbone on the ground",
    "session": "antenna held",
}
_LINK = {
    "intra_isl": "inter-satellite link",
    "inter_isl": "inter-satellite link",
    "downlink": "space-ground link",
    "uplink": "space-ground link",
}


def write_report(directory: Path) -> Path:
    """Write the page of a run and return its path.

    Raises:
        FileNotFoundError: The directory holds no run.
    """
    run = read_run(directory)
    rounds = _read(directory / "rounds.parquet")
    contacts = (
        to_rows(load(directory / "contacts.parquet")) if (directory / "contacts.parquet").exists() else []
    )
    activities = _activities(directory / "plan.jsonl")
    end_s = max([row["end_s"] for row in rounds], default=_HOUR_S)
    figures = [
        ("curve", _learning_curve(rounds, activities)),
        ("gantt", gantt_figure(run.get("satellites", []), contacts, activities, end_s)),
        ("bytes", _bytes(rounds)),
    ]
    page = PAGE.substitute(
        title=html.escape(f"SkySplit: {run['scenario']['name']}"),
        description=html.escape(run["scenario"]["description"]),
        facts=_facts(run),
        command=html.escape(run["command"]),
        scenario=html.escape(json.dumps(run["scenario"], indent=2)),
        figures=",\n".join(f"{json.dumps(name)}: {figure.to_json()}" for name, figure in figures),
        plotly=get_plotlyjs(),
    )
    write_text(directory / "report.html", page)
    return directory / "report.html"


def _learning_curve(rounds: list[dict[str, Any]], activities: list[dict[str, Any]]) -> go.Figure:
    ends: dict[int, float] = {}
    for row in rounds:
        ends[row["round"]] = max(ends.get(row["round"], 0.0), row["end_s"])
    first = {row["round"]: row for row in rounds}
    hours = [ends[number] / _HOUR_S for number in sorted(ends)]
    accuracy = [100 * first[number]["test_accuracy"] for number in sorted(ends)]
    loss = [first[number]["test_loss"] for number in sorted(ends)]
    labels = [f"round {number}" for number in sorted(ends)]
    figure = go.Figure()
    figure.add_scatter(
        x=hours, y=accuracy, text=labels, name="test accuracy, %", mode="lines+markers", line_color="#4477aa"
    )
    figure.add_scatter(
        x=hours, y=loss, text=labels, name="test loss", mode="lines+markers", yaxis="y2", line_color="#ee6677"
    )
    for start, end in _union(
        (row["start_s"], row["end_s"]) for row in activities if row["link"] == "downlink"
    ):
        figure.add_vrect(
            x0=start / _HOUR_S, x1=end / _HOUR_S, fillcolor="#ccbb44", opacity=0.25, line_width=0
        )
    figure.update_layout(
        xaxis_title="mission time, h (space-ground windows in use are shaded)",
        yaxis={"title": "test accuracy, %"},
        yaxis2={
            "title": "test loss",
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "rangemode": "tozero",
        },
        legend={"orientation": "h", "y": 1.12},
    )
    return figure


def gantt_figure(
    satellites: list[str],
    contacts: list[dict[str, Any]],
    activities: list[dict[str, Any]],
    end_s: float,
    *,
    start_s: float = 0.0,
) -> go.Figure:
    """Contacts and activities of each satellite from ``start_s`` to ``end_s``; in seconds where that is short."""
    unit, unit_s = ("h", _HOUR_S) if end_s - start_s > 2 * _HOUR_S else ("s", 1.0)
    spans: dict[str, dict[str, list[tuple[float, float]]]] = {label: {} for label in _COLOURS}
    for row in contacts:
        if row["kind"] == "downlink" and row["start_s"] < end_s and row["end_s"] > start_s:
            spans["in sight of a station"].setdefault(row["source"], []).append(
                (max(row["start_s"], start_s), min(row["end_s"], end_s))
            )
    for row in activities:
        if row["kind"] == "laser":  # pointed, whether data flow or not
            continue
        label = _ACTIVITY.get(row["kind"]) or _LINK.get(row["link"])
        if label and row["end_s"] > row["start_s"]:
            spans[label].setdefault(row["satellite"] or row["node"], []).append(
                (row["start_s"], row["end_s"])
            )
    figure = go.Figure()
    for level, (label, colour) in enumerate(_COLOURS.items()):
        x: list[float | None] = []
        y: list[float | None] = []
        for number, name in enumerate(satellites):
            height = number + 0.32 - 0.16 * max(level - 1, 0)  # an antenna is held within a window
            for start, end in _union(spans[label].get(name, [])):
                x += [start / unit_s, end / unit_s, None]
                y += [height, height, None]
        figure.add_scattergl(
            x=x, y=y, name=label, mode="lines", line={"color": colour, "width": 5}, hoverinfo="x+name"
        )
    figure.update_layout(
        height=max(320, 120 + 26 * len(satellites)),
        xaxis={"title": f"mission time, {unit}", "side": "top", "automargin": True},
        yaxis={
            "tickmode": "array",
            "tickvals": list(range(len(satellites))),
            "ticktext": satellites,
            "range": [len(satellites) - 0.4, -0.6],
        },
        legend={"orientation": "h", "yref": "container", "y": 1.0, "yanchor": "top"},
    )
    return figure


def _bytes(rounds: list[dict[str, Any]]) -> go.Figure:
    figure = go.Figure()
    numbers = sorted({row["round"] for row in rounds})
    for key, name, colour in (
        ("downlink_bytes", "down to the ground", "#ee6677"),
        ("uplink_bytes", "up to the satellites", "#4477aa"),
        ("isl_bytes", "between satellites", "#ccbb44"),
    ):
        total = [sum(row[key] for row in rounds if row["round"] == number) / 1e6 for number in numbers]
        figure.add_bar(x=numbers, y=total, name=name, marker_color=colour)
    figure.update_layout(
        xaxis_title="round", yaxis_title="MB, whole constellation", legend={"orientation": "h", "y": 1.12}
    )
    return figure


def _facts(run: Mapping[str, Any]) -> str:
    result = run.get("result", {})
    facts = [("state", run["state"]), ("mode", run["scenario"]["training"]["mode"])]
    if "error" in result:
        facts.append(("error", result["error"]))
    if "test_accuracy" in result:
        facts += [
            ("test accuracy", f"{100 * result['test_accuracy']:.1f} %"),
            ("before fine-tuning", f"{100 * result['initial_test_accuracy']:.1f} %"),
            ("rounds", result["rounds"]),
            ("mission time", f"{result['mission_time_s'] / _HOUR_S:.2f} h"),
            ("wall time", f"{result['wall_time_s']:.0f} s"),
        ]
    facts += [("satellites", len(run.get("satellites", []))), ("seed", run["scenario"]["seed"])]
    if run["scenario"]["data"]["source"] == "synthetic":
        facts.append(("imagery", "synthetic scenes"))
    return "".join(
        f"<div><dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd></div>" for k, v in facts
    )


def _union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Overlapping or touching intervals as one."""
    ordered = np.array(sorted(spans), float).reshape(-1, 2)
    if not len(ordered):
        return []
    reach = np.maximum.accumulate(ordered[:, 1])
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:, 0] > reach[:-1]]))
    ends = np.concatenate([starts[1:] - 1, [len(ordered) - 1]])
    return list(zip(ordered[starts, 0].tolist(), reach[ends].tolist(), strict=True))


def _read(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist() if path.exists() else []


def _activities(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
