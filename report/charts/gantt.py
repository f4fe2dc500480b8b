"""Who did what when: contacts and activities of every satellite as bars over mission time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from mission.text import plain_text
from report.charts.gantt_hover import Part, hover_points
from report.still import INK

# Paul Tol's bright palette: told apart by colour-blind readers, on white and on dark ground.
COLOURS = {
    "in sight of a station": "#bbbbbb",
    "antenna held": "#aa3377",
    "set-up": "#66ccee",
    "hand-over": "#ee7733",
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
_POINTING = ("isl_pointing", "laser")  # the second in plans of older runs
_MOST_BARS = 20_000  # a browser draws these at once
_FINEST = 1e-4  # of the time shown: first gap that is closed where there are more
# Below one another; an antenna is set up and held within a window, so that these share the first.
_LANE = {label: max(level - 3, 0) for level, label in enumerate(COLOURS)}
_BAR, _THIN = 0.12, 0.05
_CHARACTER_PX = 7.5  # estimated width of a character of a name
_LONGEST_ESTIMATED = 24  # characters; longer names are measured by the browser

Spans = Sequence[tuple[float, float]]
Parts = dict[tuple[str, str], list[Part]]


def time_unit(length_s: float) -> tuple[str, float]:
    """The unit in which so long a time is read, and its seconds: s up to 10 minutes, min up to 5 hours, else h."""
    if length_s <= 600.0:
        return "s", 1.0
    return ("min", 60.0) if length_s <= 5 * 3600.0 else ("h", 3600.0)


def row_axis(names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of an axis with a name per row, and the figure's margin that has room for the names.

    A browser that measures the names draws the chart twice; so that is left to it only where names are long.
    """
    longest = max(map(len, names), default=0)
    if longest > _LONGEST_ESTIMATED:
        return {}, {}
    return {"automargin": False}, {"l": 14 + round(_CHARACTER_PX * longest)}


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
    bars = {key: union(spans) for key, spans in rows.items()}
    while sum(map(len, bars.values())) > max(most, len(bars)):
        gap = 2 * gap or _FINEST * length
        bars = {key: union(map(tuple, spans), gap) for key, spans in bars.items()}
    return bars


def gantt_figure(
    satellites: Sequence[str],
    contacts: Iterable[Mapping[str, Any]],
    activities: Iterable[Mapping[str, Any]],
    end_s: float,
    *,
    start_s: float = 0.0,
    setup_s: float = 0.0,
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
        setup_s: Of an antenna, at the start of each of its sessions.
        transfer_records: Rows of ``transfer_records.parquet``.
        done_s: Satellites, and when they were done with a round as measured.
    """
    unit, unit_s = time_unit(end_s - start_s)
    parts = _parts(contacts, activities, start_s, end_s, setup_s)
    rows = thinned(_spans(parts), end_s - start_s, _MOST_BARS)
    place = {name: number for number, name in enumerate(satellites)}
    figure = go.Figure()
    for label, colour in COLOURS.items():
        bars = {name: spans for (kind, name), spans in rows.items() if kind == label and name in place}
        tops = {name: place[name] + _top(label) for name in bars}
        # One filled outline per label: a browser draws it as one path, however many bars it has.
        x = np.concatenate([np.zeros(0), *(_outlines_x(spans / unit_s) for spans in bars.values())])
        y = np.concatenate(
            [np.zeros(0), *(_outlines_y(len(spans), tops[name]) for name, spans in bars.items())]
        )
        figure.add_scatter(
            x=x.round(6), y=y.round(3), name=label, mode="none", fill="toself", fillcolor=colour, hoverinfo="skip",
            legendgroup=label,
        )  # fmt: skip
        if bars:
            made_of = {name: parts[label, name] for name in bars}
            middles = {name: top + _BAR / 2 for name, top in tops.items()}
            _say(figure, label, bars, made_of, middles, end_s - start_s)
    _lay_over(figure, transfer_records, done_s, place, start_s, end_s)
    bars_px = min(26 * max(len(satellites), 8), 2400)
    names_axis, margin = row_axis(satellites)
    figure.update_layout(
        height=140 + bars_px,
        xaxis={
            "ticksuffix": f" {unit}",
            "side": "top",
            "zeroline": False,
            "range": [start_s / unit_s, end_s / unit_s],
        },
        yaxis={
            **names_axis,
            "tickmode": "array",
            "tickvals": list(range(len(satellites))),
            "ticktext": [plain_text.label(name) for name in satellites],
            "range": [len(satellites) - 0.4, -0.6],
            "zeroline": False,
        },
        margin=margin,
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


def _say(
    figure: go.Figure,
    label: str,
    bars: Mapping[str, np.ndarray],
    parts: Mapping[str, Sequence[Part]],
    place: Mapping[str, float],
    shown_s: float,
) -> None:
    """Let the bars of a label say under the pointer what they are: points that are not drawn."""
    unit = time_unit(shown_s)
    verb = "could carry" if label == "in sight of a station" else ""
    points = hover_points(bars, parts, place, shown_s, unit, verb=verb)
    figure.add_scatter(
        x=(points.time_s / unit[1]).round(6), y=points.row.round(3), text=points.words, name="", mode="none",
        hoveron="points", hovertemplate=f"<b>{label}</b><br>%{{text}}<extra></extra>", legendgroup=label,
        showlegend=False,
    )  # fmt: skip


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
    parts: Parts = {}
    for row in transfer_records:
        if row["satellite"] in place:
            key = _LINK[row["link"]], row["satellite"]
            peer = row["peer"] if row["node"] in ("ground", row["satellite"]) else row["node"]
            parts.setdefault(key, []).append(
                Part(row["start_s"], row["end_s"], peer=peer, size_bytes=row["bytes"])
            )
    kept = thinned(_spans(parts), end_s - start_s, _MOST_BARS)
    labels = [each for each in COLOURS if each in {label for label, _ in kept}]
    bars = {label: {name: spans for (kind, name), spans in kept.items() if kind == label} for label in labels}
    tops = {
        label: {name: place[name] + _top(label) + (_BAR - _THIN) / 2 for name in bars[label]}
        for label in labels
    }
    for label in labels:
        made_of = {name: parts[label, name] for name in bars[label]}
        middles = {name: top + _THIN / 2 for name, top in tops[label].items()}
        _say(figure, f"{label}, measured", bars[label], made_of, middles, end_s - start_s)
    for label in labels:
        figure.add_scatter(
            x=np.concatenate([_outlines_x(each / unit_s) for each in bars[label].values()]).round(6),
            y=np.concatenate(
                [_outlines_y(len(each), tops[label][name], _THIN) for name, each in bars[label].items()]
            ).round(3),
            name=f"{label}, measured", mode="lines", line={"color": INK, "width": 1}, fill="toself",
            fillcolor=INK, hoverinfo="skip", legendgroup=f"{label}, measured",
        )  # fmt: skip
    done = [(time_s, place[name]) for name, time_s in done_s if name in place]
    if done:
        time_s, number = np.array(done).T
        figure.add_scatter(
            x=(time_s / unit_s).round(6), y=number, name="done, measured", mode="markers",
            hovertemplate=f"done, measured: %{{x:.6~g}} {unit}<extra></extra>",
            marker={"symbol": "line-ns", "size": 10, "line": {"color": INK, "width": 1.5}},
        )  # fmt: skip


def _top(label: str) -> float:
    """Upper edge of a label's bars, from the middle of a satellite's row."""
    return (_LANE[label] + 0.5) / (max(_LANE.values()) + 1) * 0.9 - 0.45


def _spans(parts: Parts) -> dict[tuple[str, str], list[tuple[float, float]]]:
    return {key: [(part.start_s, part.end_s) for part in each] for key, each in parts.items()}


def _parts(
    contacts: Iterable[Mapping[str, Any]],
    activities: Iterable[Mapping[str, Any]],
    start_s: float,
    end_s: float,
    setup_s: float,
) -> Parts:
    """Return the intervals behind the bars, by label and satellite, clipped to the time shown."""
    parts: Parts = {}

    def add(label: str, satellite: str, span_s: tuple[float, float], peer: str, size_bytes: float) -> None:
        first, last = max(span_s[0], start_s), min(span_s[1], end_s)
        if last > first:
            part = Part(first, last, peer=peer, size_bytes=size_bytes)
            parts.setdefault((label, satellite), []).append(part)

    for row in contacts:
        if row["kind"] == "downlink":
            size_bytes = row.get("volume_bytes", 0.0)
            add(
                "in sight of a station",
                row["source"],
                (row["start_s"], row["end_s"]),
                row["target"],
                size_bytes,
            )
    sessions = []
    for row in activities:
        label = _ACTIVITY.get(row["kind"]) or _LINK.get(row["link"])
        if label and row["kind"] not in _POINTING:  # whether data flow or not
            satellite = row["satellite"] or row["node"]
            ends = [
                node for node in (row["node"], row.get("peer", "")) if node not in (satellite, "ground", "")
            ]
            add(label, satellite, (row["start_s"], row["end_s"]), " → ".join(ends), row.get("bytes", 0.0))
        if row["kind"] == "session":
            sessions.append(row)
    if setup_s:
        for row, label in _set_up(sessions, setup_s):
            span_s = row["start_s"], min(row["start_s"] + setup_s, row["end_s"])
            add(label, row["satellite"] or row["node"], span_s, row.get("peer", ""), 0.0)
    return parts


def _set_up(sessions: Sequence[Mapping[str, Any]], setup_s: float) -> Iterable[tuple[Mapping[str, Any], str]]:
    """Each session with what its set-up is: handed over where the station served another within a set-up's time."""
    last: dict[str, tuple[str, float]] = {}
    for row in sorted(sessions, key=lambda row: row["start_s"]):
        satellite = row["satellite"] or row["node"]
        before, ended_s = last.get(row.get("peer", ""), (satellite, -np.inf))
        follows = before != satellite and row["start_s"] - ended_s <= setup_s
        yield row, "hand-over" if follows else "set-up"
        last[row.get("peer", "")] = satellite, max(row["end_s"], ended_s)


def _outlines_x(spans: np.ndarray) -> np.ndarray:
    start, end = spans.T
    return np.stack([start, end, end, start, np.full(len(spans), np.nan)], axis=1).ravel()


def _outlines_y(count: int, top: float, height: float = _BAR) -> np.ndarray:
    return np.tile([top, top, top + height, top + height, np.nan], count)
