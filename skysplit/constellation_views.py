"""A constellation for other programs: JSON, and CZML for Cesium."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from astropy.time import Time, TimeDelta

from orbit.constellation import Constellation
from orbit.contact_plan import ContactPlan, LinkKind
from orbit.ground_track import positions_itrs_km
from orbit.search.eclipse import find_eclipses
from orbit.stations import GroundStation
from report.charts.ground_map import plane_colour

CZML_STEP_S = 120.0


def constellation_json(
    constellation: Constellation, stations: Sequence[GroundStation], epoch: Time, horizon_s: float
) -> str:
    """Epoch, horizon, satellites (name, catalogue number and designator where there are any, plane, slot, mean
    elements with their epoch, eclipses within the horizon) and stations as one JSON object."""
    e = constellation.elements
    eclipses = find_eclipses(constellation, epoch=epoch, horizon_s=horizon_s)
    element_epochs = Time(constellation.element_epoch, precision=6).isot
    angles = np.degrees([e.inc_rad, e.raan_rad, e.argp_rad, e.mean_anomaly_rad])
    satellites = [
        {
            "name": name,
            "catalogue_number": constellation.catalogue_number[k] or None,
            "designator": constellation.designator[k] or None,
            "plane": int(constellation.plane[k]),
            "slot": int(constellation.slot[k]),
            "element_epoch": f"{element_epochs[k]}Z",
            "mean_motion_rev_day": float(e.mean_motion_rad_min[k] * 720 / np.pi),
            "ecc": float(e.ecc[k]),
            "inc_deg": float(angles[0, k]),
            "raan_deg": float(angles[1, k]),
            "argp_deg": float(angles[2, k]),
            "mean_anomaly_deg": float(angles[3, k]),
            "bstar": float(e.bstar[k]),
            "eclipses_s": eclipses[eclipses["satellite"] == k][["start_s", "end_s"]].tolist(),
        }
        for k, name in enumerate(constellation.names)
    ]
    places = [
        {
            "name": s.name,
            "lat_deg": s.lat_deg,
            "lon_deg": s.lon_deg,
            "height_m": s.height_m,
            "mask_deg": s.mask_deg,
            "max_range_km": s.max_range_km,
        }
        for s in stations
    ]
    values = {"epoch": _utc(epoch, 0.0), "horizon_s": horizon_s, "propagator": constellation.propagator}
    return json.dumps({**values, "satellites": satellites, "stations": places}, indent=1)


def constellation_czml(
    constellation: Constellation, stations: Sequence[GroundStation], plan: ContactPlan, epoch: Time
) -> str:
    """A CZML document: satellites on their way, stations, and a line for every downlink while it is open."""
    span = f"{_utc(epoch, 0.0)}/{_utc(epoch, plan.horizon_s)}"
    clock = {"interval": span, "currentTime": _utc(epoch, 0.0), "multiplier": 60}
    document = {"id": "document", "name": "SkySplit", "version": "1.0", "clock": clock}
    packets = [
        document,
        *_satellite_packets(constellation, plan.horizon_s, epoch, span),
        *map(_station_packet, stations),
        *_downlink_packets(plan, epoch, span),
    ]
    return json.dumps(packets)


def _satellite_packets(
    constellation: Constellation, horizon_s: float, epoch: Time, span: str
) -> Iterator[dict[str, Any]]:
    seconds = np.linspace(0, horizon_s, 1 + int(np.ceil(horizon_s / CZML_STEP_S)))
    track_m = positions_itrs_km(constellation, epoch, seconds) * 1000.0
    for k, name in enumerate(constellation.names):
        yield {
            "id": name,
            "name": name,
            "availability": span,
            "position": {
                "epoch": _utc(epoch, 0.0),
                "referenceFrame": "FIXED",
                "interpolationAlgorithm": "LAGRANGE",
                "interpolationDegree": 7,
                "cartesian": np.column_stack([seconds, track_m[k]]).round(3).ravel().tolist(),
            },
            "point": {"pixelSize": 6, "color": {"rgba": _rgba(int(constellation.plane[k]))}},
            "path": {"leadTime": 0, "trailTime": 2700, "width": 1},
        }


def _station_packet(station: GroundStation) -> dict[str, Any]:
    return {
        "id": station.name,
        "name": station.name,
        "position": {"cartographicDegrees": [station.lon_deg, station.lat_deg, station.height_m]},
        "point": {"pixelSize": 8, "color": {"rgba": [255, 255, 255, 255]}},
        "label": {
            "text": station.name,
            "font": "12pt sans-serif",
            "pixelOffset": {"cartesian2": [0, -16]},
        },
    }


def _downlink_packets(plan: ContactPlan, epoch: Time, span: str) -> Iterator[dict[str, Any]]:
    downlinks = plan.of_kind(LinkKind.DOWNLINK)
    pairs = np.unique(np.stack([downlinks["source"], downlinks["target"]], axis=1), axis=0)
    for source, target in pairs.tolist():
        names = plan.nodes[source].name, plan.nodes[target].name
        opened = [
            {
                "interval": f"{_utc(epoch, contact['start_s'])}/{_utc(epoch, contact['end_s'])}",
                "boolean": True,
            }
            for contact in plan.between(source, target)
        ]
        yield {
            "id": f"{names[0]} → {names[1]}",
            "polyline": {
                "positions": {"references": [f"{_escaped(name)}#position" for name in names]},
                "show": [{"interval": span, "boolean": False}, *opened],
                "width": 2,
                "arcType": "NONE",
                "material": {"solidColor": {"color": {"rgba": [0, 220, 160, 200]}}},
            },
        }


def _escaped(name: str) -> str:
    """A packet's id as a CZML reference wants it: '#' ends it unless told otherwise."""
    return name.replace("\\", "\\\\").replace("#", "\\#")


def _rgba(plane: int) -> list[int]:
    colour = plane_colour(plane)
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)] + [255]


def _utc(epoch: Time, seconds: float) -> str:
    return f"{Time(epoch.utc + TimeDelta(float(seconds), format='sec'), precision=3).isot}Z"
