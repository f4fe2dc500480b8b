"""Contacts to look at: who sees which station how often, how much fits down, and when, as a page that opens offline."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from orbit.access_summary import Access, access_of_pairs, access_of_satellites, access_of_stations
from orbit.contact_plan import ContactPlan
from orbit.files.contact_plan_files import to_rows
from report.charts.gantt import gantt_figure
from report.page import Section, page, sections_view


def access_page(title: str, description: str, plan: ContactPlan) -> str:
    """The page of a contact plan: access of every satellite to every station, and its contacts over time."""
    satellites, stations = access_of_satellites(plan), access_of_stations(plan)
    worst = max(satellites, key=lambda access: access.longest_gap_s)
    facts = {
        "satellites": str(len(satellites)),
        "stations": str(len(stations)),
        "passes a day": f"{sum(access.passes_per_day for access in stations):.1f}",
        "down a day": f"{sum(access.down_gb_per_day for access in stations):.3g} GB",
        "longest gap of a satellite": f"{worst.longest_gap_s / 60:.0f} min ({worst.satellite})",
    }
    names = [plan.nodes[index].name for index in plan.satellites]
    sections = [
        Section(
            "access", "Who sees which station",
            says="Gigabytes down a day, of contacts at their own rates; passes and gaps are told where the pointer is.",
            content=access_figure(plan),
        ),
        Section(
            "gantt", "When",
            says="Drag to zoom, double-click to see all; by keyboard: Tab to the chart, then arrows, + and -, 0.",
            content=gantt_figure(names, to_rows(plan), [], plan.horizon_s),
        ),
    ]  # fmt: skip
    return page(sections_view(title, description, facts, sections, ""))


def access_figure(plan: ContactPlan) -> go.Figure:
    """Gigabytes down a day by satellite and station, with all that ``Access`` says at the pointer."""
    satellites = [plan.nodes[index].name for index in plan.satellites]
    stations = [plan.nodes[index].name for index in plan.stations]
    row = {name: number for number, name in enumerate(satellites)}
    column = {name: number for number, name in enumerate(stations)}
    volume = np.full((len(satellites), len(stations)), np.nan)
    labels = np.full(volume.shape, "never in sight", object)
    for access in access_of_pairs(plan):
        place = row[str(access.satellite)], column[str(access.station)]
        volume[place], labels[place] = access.down_gb_per_day, _said(access)
    figure = go.Figure(
        go.Heatmap(
            x=stations, y=satellites, z=volume.round(4).tolist(), text=labels.tolist(), colorscale="Viridis", zmin=0,
            hovertemplate="%{y} → %{x}<br>%{text}<extra></extra>", colorbar={"title": {"text": "GB a day"}},
        )
    )  # fmt: skip
    figure.update_layout(
        height=160 + min(22 * max(len(satellites), 8), 2400),
        xaxis={"side": "top", "type": "category"},
        yaxis={"autorange": "reversed", "type": "category"},
    )
    return figure


def _said(access: Access) -> str:
    return (
        f"{access.down_gb_per_day:.3g} GB down, {access.up_gb_per_day:.3g} GB up a day<br>"
        f"{access.passes_per_day:.1f} passes a day of {access.mean_pass_s:.0f} s<br>"
        f"gaps: {access.mean_gap_s / 60:.0f} min, at most {access.longest_gap_s / 60:.0f} min"
    )
