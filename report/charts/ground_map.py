"""The map: coasts, ground tracks, stations and what they see, as a page that opens offline."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from astropy.time import Time

from mission.text.plain_text import label
from orbit.constellation import Constellation
from orbit.ground_track import coastlines, seen_circle, subpoints
from orbit.stations import GroundStation
from report.charts.gantt import time_unit
from report.page import View, figure_markup, page, slider_markup

STEP_S = 30.0
SPAN_S = 5700.0  # about a revolution
NAMED_PLANES = 12  # a longer legend names nothing
# All read on white and on black: Paul Tol's bright palette, as in the report.
PLANES = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
LABELLED = 24  # satellites; more names would lie over one another
INSTANTS = 96  # at which the satellites are shown, at the most
_MOST_PLACES = 40_000  # of all satellites at all instants
COAST, STATION = "#8a9099", "#ee7733"


def plane_colour(plane: int) -> str:
    """The colour of a plane, #rrggbb."""
    return PLANES[plane % len(PLANES)]


def map_page(title: str, constellation: Constellation, stations: Sequence[GroundStation], epoch: Time) -> str:
    """The page of one map, with all that it needs inside."""
    caption = (
        f"{len(constellation)} satellites from {Time(epoch.utc, precision=0).isot} UTC over {SPAN_S / 60:.0f} minutes. "
        "Dots: where they are at the time of the slider. Dotted: within the mask and the range of a station."
    )
    figure = map_figure(constellation, stations, epoch)
    chart = figure_markup("map", figure, "Ground tracks and stations on a map of the world", wide=True)
    body = (
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(caption)}</p></header><main>"
        f"{chart}{slider_markup('map')}</main>"
    )
    return page(View(title, body, figures={"map": figure}))


def map_figure(
    constellation: Constellation, stations: Sequence[GroundStation], epoch: Time, *, span_s: float = SPAN_S
) -> go.Figure:
    """Ground tracks over ``span_s``, one colour a plane, and what each station sees, over the coasts.

    Its frames have the satellites at instants of the span, named if there are few.
    """
    seconds = np.arange(0, span_s, STEP_S)
    lat, lon, height_km = subpoints(constellation, epoch, seconds)
    figure = go.Figure()
    _line(figure, *coastlines(), color=COAST, width=1.2)
    for plane in np.unique(constellation.plane).tolist():
        here = np.flatnonzero(constellation.plane == plane)
        tracks = [_open_at_date_line(lat[k], lon[k]) for k in here]
        track_lat, track_lon = (np.concatenate(part) for part in zip(*tracks, strict=True))
        _line(figure, track_lat, track_lon, name=f"plane {plane}", color=plane_colour(plane), width=1)
    for station in stations:
        circle = _open_at_date_line(*seen_circle(station, float(np.median(height_km))))
        _line(figure, *circle, color=STATION, width=1.2, dash="dot")
    if stations:
        places = [(station.lat_deg, (station.lon_deg + 180) % 360 - 180) for station in stations]
        _points(
            figure,
            *zip(*places, strict=True),
            mode="markers+text",
            marker={"symbol": "triangle-up", "size": 10, "color": STATION},
            text=[label(station.name) for station in stations],
            textposition=[_inward(*place) for place in places],
        )
    names = [label(name) for name in constellation.names]
    few = len(names) <= LABELLED
    _points(
        figure, lat[:, 0], lon[:, 0], mode="markers+text" if few else "markers", hovertext=names, hoverinfo="text",
        text=names if few else None, textposition="bottom center", textfont={"size": 10}, cliponaxis=False,
        marker={"size": 7, "color": [plane_colour(plane) for plane in constellation.plane.tolist()]},
        meta="named if wide",  # on a telephone the names would lie over those of stations; a touch tells them
    )  # fmt: skip
    figure.frames = _frames(lat, lon, seconds, len(figure.data) - 1)
    figure.update_xaxes(range=[-180, 180], dtick=60, ticksuffix="°", constrain="domain")
    latitudes = [-60, -30, 0, 30, 60]  # not −90, which would meet −180
    figure.update_yaxes(
        range=[-90, 90], tickvals=latitudes, ticktext=[f"{lat}°".replace("-", "−") for lat in latitudes]
    )
    several = 1 < len(np.unique(constellation.plane)) <= NAMED_PLANES
    figure.update_layout(showlegend=several, legend={"orientation": "h", "y": -0.12})
    return figure


def _inward(lat_deg: float, lon_deg: float) -> str:
    """Return where a label stands beside its place, so that the edge of the map does not cut it off."""
    sideways = "left" if lon_deg > 135 else "right" if lon_deg < -135 else "center"
    return f"{'bottom' if lat_deg > 65 else 'top'} {sideways}"


def _frames(lat: np.ndarray, lon: np.ndarray, seconds: np.ndarray, trace: int) -> list[go.Frame]:
    """The satellites at instants of the span, shape of places (satellites, seconds); ``trace`` has their dots."""
    count = max(2, min(INSTANTS, len(seconds), _MOST_PLACES // max(len(lat), 1)))
    unit, unit_s = time_unit(float(seconds[-1]))
    return [
        go.Frame(
            name=f"{seconds[instant] / unit_s:.1f} {unit}",
            traces=[trace],
            data=[go.Scatter(x=lon[:, instant].round(2), y=lat[:, instant].round(2))],
        )
        for instant in np.linspace(0, len(seconds) - 1, count).astype(int).tolist()
    ]


def _line(
    figure: go.Figure, lat: np.ndarray, lon: np.ndarray, *, name: str | None = None, **line: object
) -> None:
    shown = {"name": name} if name else {"showlegend": False, "hoverinfo": "skip"}
    figure.add_trace(
        go.Scatter(opacity=0.8, x=lon.round(2), y=lat.round(2), mode="lines", line=line, **shown)
    )


def _points(
    figure: go.Figure, lat: Sequence[float] | np.ndarray, lon: Sequence[float] | np.ndarray, **style: object
) -> None:
    figure.add_trace(go.Scatter(x=lon, y=lat, showlegend=False, **style))


def _open_at_date_line(lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The line with gaps (NaN) where it steps over the date line, and one at its end."""
    jumps = np.flatnonzero(np.abs(np.diff(lon)) > 180) + 1
    return np.append(np.insert(lat, jumps, np.nan), np.nan), np.append(np.insert(lon, jumps, np.nan), np.nan)
