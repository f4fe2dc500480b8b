"""One set of elements, of the ISS, as a TLE and in every form of an OMM."""

from __future__ import annotations

import csv
import io
import json

NAME = "ISS (ZARYA)"
LINE_1 = "1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927"
LINE_2 = "2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537"
TLE = f"{NAME}\n{LINE_1}\n{LINE_2}\n"
OMM = {
    "OBJECT_NAME": "FIRST BEYOND",
    "NORAD_CAT_ID": "100001",
    "CENTER_NAME": "EARTH",
    "REF_FRAME": "TEME",
    "TIME_SYSTEM": "UTC",
    "MEAN_ELEMENT_THEORY": "SGP4",
    "EPOCH": "2008-09-20T12:25:40.104192",
    "MEAN_MOTION": "15.72125391",
    "ECCENTRICITY": "0.0006703",
    "INCLINATION": "51.6416",
    "RA_OF_ASC_NODE": "247.4627",
    "ARG_OF_PERICENTER": "130.5360",
    "MEAN_ANOMALY": "325.0288",
    "BSTAR": "-0.000011606",
}


def as_kvn(fields: dict[str, str]) -> str:
    return "CCSDS_OMM_VERS = 2.0\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())


def as_xml(fields: dict[str, str]) -> str:
    body = "".join(f"<{key}>{value}</{key}>" for key, value in fields.items())
    return f'<?xml version="1.0"?><ndm><omm><body><segment><data>{body}</data></segment></body></omm></ndm>'


def as_json(fields: dict[str, str]) -> str:
    return json.dumps([fields])


def as_csv(fields: dict[str, str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([fields.keys(), fields.values()])
    return text.getvalue()


OMM_FORMS = (as_json, as_kvn, as_xml, as_csv)
