"""The places to cut a model to look at: what each hides against what it costs, as a page that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from mission.text.quantities import spoken_time
from report.page import Section, page, sections_view, table

_BLUE, _RED, _GREEN, _YELLOW = "#4477aa", "#ee6677", "#228833", "#ccbb44"
Row = Mapping[str, Any]


def cuts_page(
    title: str, description: str, rows: Sequence[Row], head: Sequence[str], lines: Sequence[Sequence[str]]
) -> str:
    """The page of a model's cuts.

    Args:
        title, description: Of the page.
        rows: Each cut as ``skysplit cuts --format json`` has it.
        head, lines: The same as a table.
    """
    planned = [row for row in rows if row["round_s"] is not None]
    shortest = min(planned, key=lambda row: row["round_s"])
    facts = {
        "cuts": str(len(rows)),
        "shortest round": f"{spoken_time(shortest['round_s'])}: {words(shortest)}",
    }
    measured = [row for row in planned if row["pixels_recovered"] is not None]
    if measured:
        best = min(measured, key=lambda row: row["pixels_recovered"])
        facts["least of the pixels"] = f"{100 * best['pixels_recovered']:.1f} %: {words(best)}"
    sections = [
        Section(
            "pareto", "What a cut hides, and what it costs" if measured else "What a cut costs",
            says=(
                "A point per cut: what a linear map recovers of the pixels, against a planned round. "
                if measured
                else "A point per cut: what is computed on board, against a planned round. "
            )
            + "On the front no other cut has less of both. Larger points compute more on board.",
            content=pareto_figure(planned, bool(measured)),
        ),
        Section(
            "bytes", "What crosses", says="Kilobytes of an image in the round, with headers.",
            content=bytes_figure(rows)
        ),
        Section("all", "Every cut", says="", content=table(head, lines, "Every cut in figures")),
    ]  # fmt: skip
    return page(sections_view(title, description, facts, sections, ""))


def words(row: Row) -> str:
    """Describe a cut in words."""
    return f"{row['onboard_blocks']} behind the embedding, {row['head_blocks']} before the head"


def pareto_front(rows: Sequence[Row], key: str) -> list[Row]:
    """The cuts than which no other has both a shorter round and less of ``key``, by length of the round."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row["round_s"], row[key])):
        if not front or row[key] < front[-1][key]:
            front.append(row)
    return front


def pareto_figure(rows: Sequence[Row], measured: bool) -> go.Figure:
    """A planned round of every cut against its leak, or where that is not known, against what is computed on board."""
    key, unit, scale = ("pixels_recovered", "% of the pixels recovered", 100.0) if measured else (
        "onboard_flops", "GFLOP on board, an image", 1e-9
    )  # fmt: skip
    most = max(row["onboard_flops"] for row in rows)
    figure = go.Figure()
    for name, colour, chosen in (
        ("blocks behind the embedding", _BLUE, [row for row in rows if not row["head_blocks"]]),
        ("blocks before the head, too", _YELLOW, [row for row in rows if row["head_blocks"]]),
    ):
        if chosen:
            figure.add_scatter(
                x=[row["round_s"] for row in chosen], y=[scale * row[key] for row in chosen], mode="markers+text",
                name=name, text=[f"{row['onboard_blocks']}+{row['head_blocks']}" for row in chosen],
                textposition="top center", hovertext=[words(row) for row in chosen],
                marker={"color": colour, "size": [8 + 12 * (row["onboard_flops"] / most) ** 0.5 for row in chosen]},
                hovertemplate="%{hovertext}<br>%{x:.1f} s, %{y:.2f}<extra></extra>",
            )  # fmt: skip
    front = pareto_front(rows, key)
    figure.add_scatter(
        x=[row["round_s"] for row in front], y=[scale * row[key] for row in front], mode="lines", name="front",
        line={"color": _RED, "shape": "hv"}, hoverinfo="skip",
    )  # fmt: skip
    figure.update_layout(
        height=480,
        xaxis={"title": "seconds per round"},
        yaxis={"title": unit},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"},
    )
    return figure


def bytes_figure(rows: Sequence[Row]) -> go.Figure:
    """Bytes of an image down and up, by cut."""
    figure = go.Figure()
    places = [f"{row['onboard_blocks']}+{row['head_blocks']}" for row in rows]
    for name, colour, key in (("down", _BLUE, "down_bytes"), ("up", _GREEN, "up_bytes")):
        figure.add_bar(x=places, y=[row[key] / 1e3 for row in rows], name=name, marker_color=colour)
    figure.update_layout(
        height=360,
        xaxis={"title": "blocks behind the embedding + before the head", "type": "category"},
        yaxis={"title": "kB an image"},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"},
    )
    return figure
