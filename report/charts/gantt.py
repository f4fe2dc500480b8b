"""Who did what when: contacts and activities of every satellite as bars over mission time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from mission.text import plain_text
from report.page import INK

# Paul Tol's bright palette: told apart by colour-blind readers, on white and on dark ground.
COLOURS = {
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
_MOST_BARS = 20_000  # a browser draws these at once
_FINEST = 1e-4  # of the time shown: first gap that is closed where there are more
_LANES = 4  # below one another; an antenna is held within a window, so that these two share the first
_BAR, _THIN = 0.12, 0.05

Spans = Sequence[tuple[float, float]]


def time_unit(length_s: float) -> tuple[str, float]:
    """The unit in which so long a time is read, and its seconds: s up to 10 minutes, min up to 5 hours, else h."""
    if length_s <= 600.0:
        return "s", 1.0
    return ("min", 60.0) if length_s <= 5 * 3600.0 else ("h", 3600.0)


def union(spans: Iterable[tuple[float, float]], gap: float = 0.0) -> np.ndarray:
    """Intervals that overlap, touch or are at most ``gap`` apart as one, by start; shape ``(intervals, 2)``."""
    ordered = np.array(sorted(spans), float).reshape(-1, 2)
    if not len(ordered):
        return ordered
    reach = np.maximum.accumulate(ordered[:, 1])
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:, 0] > reach[:-1] + gap]))
    ends = np.concatenate([starts[1:] - 1, [len(ordered) - 1]])
    return np.stack([ordered[starts, 0], reach[ends]], axis=1)


def thinned(rows: Mapping[Any, Spans], length: float, most: int) -> dict[Any, np.ndarray]:
    """The union of each row's intervals; gaps are closed, the shortest first, until at most ``most`` are left.

    Args:
        rows: Intervals by row.
        length: Of the time shown.
        most: Intervals of all rows together, but at least one of each.
    """
    gap = 0.0
    found = {key: union(spans) for key, spans in rows.items()}
    while sum(map(len, found.values())) > max(most, len(found)):
        gap = 2 * gap or _FINEST * length
        found = {key: union(map(tuple, spans), gap) for key, spans in found.items()}
    return found


def gantt_figure(
    satellites: Sequence[str],
    contacts: Iterable[Mapping[str, Any]],
    activities: Iterable[Mapping[str, Any]],
    end_s: float,
    *,
    start_s: float = 0.0,
    transfer_records: Iterable[Mapping[str, Any]] = (),
    done_s: Iterable[tuple[str, float]] = (),
) -> go.Figure:
    """Contacts and activities of each satellite from ``start_s`` to ``end_s``, and over them what was measured.

    Args:
        satellites: Names, from top to bottom.
        contacts: Rows of ``orbit.files.contact_plan_files.to_rows``.
        activities: Rows of ``strategies.problem.plan.Plan.to_rows``.
        end_s: Mission time, as all times here.
        start_s: Mission time.
        transfer_records: Rows of ``transfer_records.parquet``.
        done_s: Satellites, and when they were done with a round as measured.
    """
    unit, unit_s = time_unit(end_s - start_s)
    rows = thinned(_spans(contacts, activities, start_s, end_s), end_s - start_s, _MOST_BARS)
    place = {name: number for number, name in enumerate(satellites)}
    figure = go.Figure()
    for level, (label, colour) in enumerate(COLOURS.items()):
        bars = [
            (spans / unit_s, place[name] + _top(level))
            for (kind, name), spans in rows.items()
            if kind == label and name in place
        ]
        # One filled outline per label: a browser draws it as one path, however many bars it has.
        x = np.concatenate([np.zeros(0), *(_outlines_x(spans) for spans, _ in bars)])
        y = np.concatenate([np.zeros(0), *(_outlines_y(len(spans), top) for spans, top in bars)])
        figure.add_scatter(
            x=x.round(6), y=y.round(3), name=label, mode="none", fill="toself", fillcolor=colour,
            hoveron="points+fills", hovertemplate=f"{label}: %{{x:.6~g}} {unit}<extra></extra>",
        )  # fmt: skip
    _lay_over(figure, transfer_records, done_s, place, start_s, end_s)
    bars_px = min(26 * max(len(satellites), 8), 2400)
    figure.update_layout(
        height=140 + bars_px,
        xaxis={
            "ticksuffix": f" {unit}",
            "side": "top",
            "zeroline": False,
            "range": [start_s / unit_s, end_s / unit_s],
        },
        yaxis={
            "tickmode": "array",
            "tickvals": list(range(len(satellites))),
            "ticktext": [plain_text.label(name) for name in satellites],
            "range": [len(satellites) - 0.4, -0.6],
            "zeroline": False,
        },
        legend={"orientation": "h", "y": 1.0 + 28 / bars_px, "yanchor": "bottom"},  # clear of the axis
    )
    return figure


def windows_in_use(
    activities: Iterable[Mapping[str, Any]], end_s: float, most: int
) -> dict[str, tuple[float, float]]:
    """Parts of the first axis in which an antenna is held, and before them all of it, by what they are called.

    Args:
        activities: As of :func:`gantt_figure`.
        end_s: Mission time.
        most: So many at most; those nearest to each other are one then.
    """
    unit, unit_s = time_unit(end_s)
    held = [(row["start_s"], row["end_s"]) for row in activities if row["kind"] == "session"]
    parts = {"all of it": (0.0, round(end_s / unit_s, 6))}
    for start, end in thinned({"": held}, end_s, most)[""] / unit_s:
        margin = 0.03 * (end - start)
        parts[f"{start:.1f} to {end:.1f} {unit}"] = round(max(0.0, start - margin), 6), round(end + margin, 6)
    return parts


def _lay_over(
    figure: go.Figure,
    transfer_records: Iterable[Mapping[str, Any]],
    done_s: Iterable[tuple[str, float]],
    place: Mapping[str, int],
    start_s: float,
    end_s: float,
) -> None:
    """What was measured: in the middle of the bars of its kind of link, of the colour of the text."""
    unit, unit_s = time_unit(end_s - start_s)
    spans: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in transfer_records:
        if row["satellite"] in place:
            key = _LINK[row["link"]], row["satellite"]
            spans.setdefault(key, []).append((row["start_s"], row["end_s"]))
    found = thinned(spans, end_s - start_s, _MOST_BARS)
    for label in [each for each in COLOURS if each in {label for label, _ in found}]:
        top = _top(list(COLOURS).index(label)) + (_BAR - _THIN) / 2
        bars = [(each / unit_s, place[name] + top) for (kind, name), each in found.items() if kind == label]
        figure.add_scatter(
            x=np.concatenate([_outlines_x(each) for each, _ in bars]).round(6),
            y=np.concatenate([_outlines_y(len(each), top, _THIN) for each, top in bars]).round(3),
            name=f"{label}, measured", mode="lines", line={"color": INK, "width": 1}, fill="toself",
            fillcolor=INK, hoveron="points+fills",
            hovertemplate=f"{label}, measured: %{{x:.6~g}} {unit}<extra></extra>",
        )  # fmt: skip
    done = [(time_s, place[name]) for name, time_s in done_s if name in place]
    if done:
        time_s, number = np.array(done).T
        figure.add_scatter(
            x=(time_s / unit_s).round(6), y=number, name="done, measured", mode="markers",
            hovertemplate=f"done, measured: %{{x:.6~g}} {unit}<extra></extra>",
            marker={"symbol": "line-ns", "size": 10, "line": {"color": INK, "width": 1.5}},
        )  # fmt: skip


def _top(level: int) -> float:
    """Upper edge of a label's bars, from the middle of a satellite's row."""
    return (max(level - 1, 0) + 0.5) / (_LANES + 1) * 0.9 - 0.45


def _spans(
    contacts: Iterable[Mapping[str, Any]],
    activities: Iterable[Mapping[str, Any]],
    start_s: float,
    end_s: float,
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Intervals by label and satellite, cut to the time shown."""
    spans: dict[tuple[str, str], list[tuple[float, float]]] = {}

    def add(label: str, satellite: str, row: Mapping[str, Any]) -> None:
        first, last = max(row["start_s"], start_s), min(row["end_s"], end_s)
        if last > first:
            spans.setdefault((label, satellite), []).append((first, last))

    for row in contacts:
        if row["kind"] == "downlink":
            add("in sight of a station", row["source"], row)
    for row in activities:
        label = _ACTIVITY.get(row["kind"]) or _LINK.get(row["link"])
        if label and row["kind"] != "laser":  # pointed, whether data flow or not
            add(label, row["satellite"] or row["node"], row)
    return spans


def _outlines_x(spans: np.ndarray) -> np.ndarray:
    start, end = spans.T
    return np.stack([start, end, end, start, np.full(len(spans), np.nan)], axis=1).ravel()


def _outlines_y(count: int, top: float, height: float = _BAR) -> np.ndarray:
    return np.tile([top, top, top + height, top + height, np.nan], count)
