"""What crossed every link of an emulation beside what was planned for it: bytes, and when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow.parquet as pq
from plotly.subplots import make_subplots

from mission.record import transfer_records_path
from mission.text.plain_text import label
from report.page import table
from report.still import INK

_NAMES = {
    "downlink": "down to the ground",
    "uplink": "up to the satellites",
    "intra_isl": "within planes",
    "inter_isl": "between planes",
}
_STYLE = {
    "downlink": ("#ee6677", "triangle-down"),
    "uplink": ("#4477aa", "triangle-up"),
    "intra_isl": ("#ccbb44", "diamond"),
    "inter_isl": ("#228833", "square"),
}
# Words of the plan and of the wire for the same; the plan counts a shared head with what it crosses with.
CROSSED = {
    "samples": "features", "images": "features", "labels": "features", "head": "hidden", "grad_hidden": "gradient",
    "grad_head": "gradient", "grad_features": "gradient", "reduce": "weights", "update": "weights",
    "aggregate": "weights",
}  # fmt: skip


@dataclass(frozen=True)
class Use:
    """A link in a round, as planned or as measured.

    Attributes:
        bytes: Over the link, by what they are.
        start_s: Of the first of them, seconds after the start of the round.
        end_s: Of the last of them.
    """

    bytes: Mapping[str, int]
    start_s: float
    _: KW_ONLY
    end_s: float

    @property
    def all_bytes(self) -> int:
        """Bytes of all kinds."""
        return sum(self.bytes.values())

    @property
    def length_s(self) -> float:
        """From the first byte to the last."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class LinkUse:
    """A link in a round, planned and measured.

    Attributes:
        round: Its number.
        link: Class of the link, as in ``plan.jsonl``.
        ends: The satellite on it, or both: from → to.
        planned: ``None`` where the plan had nothing for it.
        measured: ``None`` where nothing passed.
    """

    round: int
    link: str
    _: KW_ONLY
    ends: str
    planned: Use | None
    measured: Use | None

    def kinds(self) -> list[str]:
        """Return the kinds of data that crossed the link, or should have."""
        return [
            what
            for side in (self.planned, self.measured)
            if side
            for what, size in side.bytes.items()
            if size
        ]


def read_transfer_records(directory: Path) -> list[dict[str, Any]]:
    """The rows of ``transfer_records.parquet``; none of a simulation."""
    path = transfer_records_path(directory)
    return pq.read_table(path).to_pylist() if path.exists() else []


def link_uses(
    activities: Iterable[Mapping[str, Any]],
    transfer_records: Iterable[Mapping[str, Any]],
    start_s: Mapping[int, float],
    *,
    together: bool = False,
) -> list[LinkUse]:
    """The links of the classes and rounds that were measured, by round, class and satellite.

    Args:
        activities: Rows of ``plan.jsonl``.
        transfer_records: Rows of ``transfer_records.parquet``.
        start_s: Of each round, mission time.
        together: All links of a class as one, whose ``ends`` are empty.
    """
    measured, planned = defaultdict(list), defaultdict(list)
    for row in transfer_records:
        ends = row["peer"] if row["link"] in ("downlink", "uplink") else f"{row['peer']} → {row['node']}"
        measured[row["round"], row["link"], "" if together else ends].append(row)
    seen = {key[:2] for key in measured}
    for row in activities:
        if (row["round"], row["link"]) in seen and row["bytes"]:
            ends = {"downlink": row["node"], "uplink": row["peer"]}.get(
                row["link"], f"{row['node']} → {row['peer']}"
            )
            planned[row["round"], row["link"], "" if together else ends].append(row)
    return [
        LinkUse(
            number,
            link,
            ends=ends,
            planned=_use(planned.get((number, link, ends)), start_s[number]),
            measured=_use(measured.get((number, link, ends)), start_s[number]),
        )
        for number, link, ends in sorted(planned.keys() | measured.keys())
    ]


def _use(rows: Sequence[Mapping[str, Any]] | None, start_s: float) -> Use | None:
    if not rows:
        return None
    sizes: dict[str, int] = defaultdict(int)
    for row in rows:
        sizes[CROSSED.get(row["kind"], row["kind"])] += row["bytes"]
    first_s, last_s = min(row["start_s"] for row in rows), max(row["end_s"] for row in rows)
    return Use(sizes, max(0.0, first_s - start_s), end_s=last_s - start_s)


def links_figure(uses: Sequence[LinkUse]) -> go.Figure:
    """Seconds and MB of every link in every round, measured over planned; as planned is on the line."""
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.2)
    both = [use for use in uses if use.planned and use.measured]
    for column, (unit, amount) in enumerate(
        {"s": lambda use: use.length_s, "MB": lambda use: use.all_bytes / 1e6}.items(), 1
    ):
        largest = 0.0
        for link in dict.fromkeys(use.link for use in both):
            own = [use for use in both if use.link == link]
            planned, measured = (
                np.array([amount(side) for side in sides])
                for sides in zip(*((use.planned, use.measured) for use in own), strict=True)
            )
            largest = max(largest, planned.max(), measured.max())
            colour, symbol = _STYLE[link]
            figure.add_scatter(
                row=1, col=column, x=planned.round(6), y=measured.round(6), mode="markers", legendgroup=link,
                name=_NAMES[link], showlegend=column == 1,
                marker={"color": colour, "symbol": symbol, "size": 9, "opacity": 0.8},
                text=[f"{label(use.ends)}, round {use.round}" for use in own],
                hovertemplate=f"%{{text}}<br>planned %{{x:.4~g}} {unit}, measured %{{y:.4~g}} {unit}",
            )  # fmt: skip
        figure.add_scatter(
            row=1, col=column, x=[0.0, largest], y=[0.0, largest], mode="lines", name="as planned",
            line={"color": INK, "width": 1, "dash": "dot"}, showlegend=column == 1, legendgroup="as planned",
            hoverinfo="skip",
        )  # fmt: skip
        figure.update_xaxes(title=f"planned, {unit}", rangemode="tozero", row=1, col=column)
        figure.update_yaxes(title=f"measured, {unit}", rangemode="tozero", row=1, col=column)
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    return figure


def links_table(uses: Sequence[LinkUse]) -> str:
    """Markup: every class of links over all rounds, what crossed it, and every link of it."""
    figures = ("planned, MB", "measured, MB", "planned, s", "measured, s", "latest against plan, s")
    rows, links = [], []
    for link in dict.fromkeys(use.link for use in uses):
        name, own = _NAMES[link], [use for use in uses if use.link == link]
        rows.append((name, "all", *_figures(own)))
        for what in dict.fromkeys(what for use in own for what in use.kinds()):
            rows.append(("", what, *(_megabytes(side, what) for side in _sides(own)), *3 * [""]))
        for ends in dict.fromkeys(use.ends for use in own):
            links.append((name, ends, *_figures([use for use in own if use.ends == ends])))
    classes = table(("link", "of it", *figures), rows, "Planned and measured by class of links")
    every = table(("link", "of", *figures), links, "Planned and measured by link")
    return f"{classes}<details><summary>Every link</summary>{every}</details>"


def _sides(uses: Sequence[LinkUse]) -> tuple[list[Use], list[Use]]:
    """All that was planned, and all that was measured."""
    return [use.planned for use in uses if use.planned], [use.measured for use in uses if use.measured]


def _figures(uses: Sequence[LinkUse]) -> tuple[str, ...]:
    """MB and seconds over all rounds, and the worst delay, as text."""
    seconds = (f"{sum(use.length_s for use in side):.1f}" if side else "–" for side in _sides(uses))
    late_s = [use.measured.end_s - use.planned.end_s for use in uses if use.planned and use.measured]
    return (
        *(_megabytes(side) for side in _sides(uses)),
        *seconds,
        f"{max(late_s):+.1f}" if late_s else "–",
    )


def _megabytes(uses: Sequence[Use], what: str = "") -> str:
    """Of one kind, or of all."""
    sizes = [use.bytes.get(what, 0) if what else use.all_bytes for use in uses]
    return f"{sum(sizes) / 1e6:.3f}" if any(sizes) else "–"
