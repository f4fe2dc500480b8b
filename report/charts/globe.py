"""The globe: satellites, stations and the links that are open between them, at instants to choose from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from astropy.time import Time

from mission.text.plain_text import label
from orbit.constellation import Constellation
from orbit.contact_plan import ContactPlan, LinkKind
from orbit.ground_track import coastlines, positions_itrs_km
from orbit.motion.frames import EQUATORIAL_RADIUS_KM
from orbit.stations import GroundStation
from report.charts.gantt import COLOURS, time_unit
from report.charts.ground_map import STATION, plane_colour

INSTANTS = 48
_GROUND_KM = 0.995 * EQUATORIAL_RADIUS_KM  # below the coasts, which would else shine through in places
_OCEAN, _COAST = "#93a1b5", "#3d4653"  # on white and on black alike
_LINKS = {
    LinkKind.INTRA_ISL: ("link within a plane", COLOURS["inter-satellite link"]),
    LinkKind.INTER_ISL: ("link between planes", COLOURS["antenna held"]),
    LinkKind.DOWNLINK: ("space-ground link", COLOURS["space-ground link"]),
}


def globe_figure(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    epoch: Time,
    contacts: ContactPlan,
    span_s: float,
) -> go.Figure:
    """Satellites and open links around the Earth, which stands still; a frame for each of 48 instants of ``span_s``.

    Args:
        constellation: The satellites.
        stations: All that ``contacts`` names.
        epoch: Start of mission time.
        contacts: Which links are open when.
        span_s: From the epoch on.
    """
    seconds = np.linspace(0.0, span_s, INSTANTS)
    satellites_km = positions_itrs_km(constellation, epoch, seconds)
    places_km = dict(zip(constellation.names, satellites_km, strict=True))
    places_km |= {station.name: np.broadcast_to(station.position_km, (INSTANTS, 3)) for station in stations}
    nodes_km = np.stack([places_km[node.name] for node in contacts.nodes])
    unit, unit_s = time_unit(span_s)
    figure = go.Figure([_earth(), _coasts(), _stations(stations)])
    moving = [len(figure.data) + number for number in range(1 + len(_LINKS))]
    figure.add_scatter3d(
        mode="markers", name="satellite", showlegend=False, hoverinfo="text",
        hovertext=[label(name) for name in constellation.names],
        marker={"size": 4, "color": [plane_colour(plane) for plane in constellation.plane.tolist()]},
    )  # fmt: skip
    for name, colour in _LINKS.values():
        figure.add_scatter3d(mode="lines", name=name, line={"color": colour, "width": 3}, hoverinfo="skip")
    figure.frames = [
        go.Frame(
            name=f"{time_s / unit_s:.1f} {unit}",
            traces=moving,
            data=[
                _points(satellites_km[:, instant]),
                *(_points(_open_links_km(contacts, kind, time_s, nodes_km[:, instant])) for kind in _LINKS),
            ],
        )
        for instant, time_s in enumerate(seconds.tolist())
    ]
    hidden = {"visible": False}
    figure.update_layout(
        scene={
            "xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data",
            "camera": {"eye": {"x": 1.4, "y": 0.6, "z": 0.7}},
        },
        legend={"orientation": "h", "y": 1.0, "yanchor": "top"},
    )  # fmt: skip
    return figure


def _open_links_km(contacts: ContactPlan, kind: LinkKind, time_s: float, nodes_km: np.ndarray) -> np.ndarray:
    """Both ends of every open link of a kind, each followed by a gap, shape (3 × links, 3)."""
    rows = contacts.of_kind(kind)
    rows = rows[(rows["start_s"] <= time_s) & (time_s < rows["end_s"])]
    if kind is not LinkKind.DOWNLINK:
        rows = rows[rows["source"] < rows["target"]]  # once, of both directions
    ends = nodes_km[np.stack([rows["source"], rows["target"]], axis=1)]
    return np.concatenate([ends, np.full((len(rows), 1, 3), np.nan)], axis=1).reshape(-1, 3)


def _points(places_km: np.ndarray) -> go.Scatter3d:
    x, y, z = places_km.astype(np.float32).T  # half a kilometre is finer than a pixel
    return go.Scatter3d(x=x, y=y, z=z)


def _earth() -> go.Surface:
    lat, lon = np.meshgrid(np.linspace(-90, 90, 37), np.linspace(-180, 180, 73), indexing="ij")
    x, y, z = np.moveaxis(_on_sphere(lat, lon, _GROUND_KM), -1, 0)
    return go.Surface(
        x=x, y=y, z=z, surfacecolor=np.zeros_like(x), colorscale=[[0, _OCEAN], [1, _OCEAN]], showscale=False,
        hoverinfo="skip", lighting={"ambient": 0.8, "diffuse": 0.3, "specular": 0.0},
    )  # fmt: skip


def _coasts() -> go.Scatter3d:
    coasts = _points(_on_sphere(*coastlines(), EQUATORIAL_RADIUS_KM))
    return coasts.update(
        mode="lines", line={"color": _COAST, "width": 1.5}, hoverinfo="skip", showlegend=False
    )


def _stations(stations: Sequence[GroundStation]) -> go.Scatter3d:
    points = _points(np.array([station.position_km for station in stations]).reshape(-1, 3))
    return points.update(
        mode="markers", hovertext=[label(station.name) for station in stations], hoverinfo="text", showlegend=False,
        marker={"size": 5, "symbol": "diamond", "color": STATION},
    )  # fmt: skip


def _on_sphere(lat_deg: np.ndarray, lon_deg: np.ndarray, radius_km: float) -> np.ndarray:
    """Cartesian [km], shape (…, 3)."""
    lat, lon = np.radians(lat_deg), np.radians(lon_deg)
    return radius_km * np.stack(
        [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1
    ).astype(np.float32)
