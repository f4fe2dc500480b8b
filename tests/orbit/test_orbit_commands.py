"""`skysplit contacts` and `skysplit constellation` from element files, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orbit.contact_plan_files import from_csv
from skysplit.cli import app

RUNNER = CliRunner()
TLE = """\
1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927
2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537
"""
OMM = {
    "OBJECT_NAME": "100001",
    "NORAD_CAT_ID": "100001",
    "EPOCH": "2008-09-20T12:25:40.104192",
    "MEAN_MOTION": "15.72125391",
    "ECCENTRICITY": "0.0006703",
    "INCLINATION": "51.6416",
    "RA_OF_ASC_NODE": "247.4627",
    "ARG_OF_PERICENTER": "130.5360",
    "MEAN_ANOMALY": "325.0288",
    "BSTAR": "-0.000011606",
}
FORMS = {
    "json": json.dumps([OMM]),
    "kvn": "".join(f"{key} = {value}\n" for key, value in OMM.items()),
    "xml": "<omm><body><segment>"
    + "".join(f"<{key}>{value}</{key}>" for key, value in OMM.items())
    + "</segment></body></omm>",
}


def scenario_of(folder: Path, kind: str, text: str) -> str:
    """A scenario file that flies the elements in ``text``."""
    (folder / "elements").write_text(text)
    path = folder / f"{kind}.toml"
    path.write_text(
        f"""
epoch = "2008-09-21T00:00:00Z"
horizon_h = 12.0
constellation = {{ kind = "{kind}", path = "{folder / "elements"}" }}
ground.stations = [{{ name = "Matera", lat_deg = 40.65, lon_deg = 16.70 }}]
"""
    )
    return str(path)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No plan of another run is met."""
    (tmp_path / "astropy").mkdir()  # or astropy warns that it will not use the folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def printed(*words: str) -> str:
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("form", FORMS)
def test_an_omm_has_the_contacts_of_its_tle(form: str, tmp_path: Path) -> None:
    omm = from_csv(printed("contacts", scenario_of(tmp_path, "omm", FORMS[form]), "--format", "csv"))
    tle = from_csv(printed("contacts", scenario_of(tmp_path, "tle", TLE), "--format", "csv"))
    assert len(omm.contacts) == len(tle.contacts) >= 2
    assert [node.name for node in omm.nodes] == ["100001", "Matera"]
    for field in ("start_s", "end_s", "max_elevation_deg"):
        assert omm.contacts[field] == pytest.approx(tle.contacts[field], abs=1e-3)


def test_a_constellation_of_elements_is_shown_in_every_format(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, "omm", FORMS["json"])
    said = json.loads(printed("constellation", scenario, "--format", "json"))
    assert [one["inc_deg"] for one in said["satellites"]] == [pytest.approx(51.6416)]
    packets = json.loads(printed("constellation", scenario, "--format", "czml"))
    assert packets[0]["id"] == "document"
    assert {"100001", "Matera"} <= {packet.get("name") for packet in packets}
    page = tmp_path / "map.html"
    assert printed("constellation", scenario, "--out", str(page)).strip() == str(page)
    assert "100001" in page.read_text()


def test_a_wrong_line_of_elements_is_one_error_with_its_number(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["contacts", scenario_of(tmp_path, "tle", TLE.replace("2927\n", "2926\n"))])
    assert done.exit_code == 1
    assert "elements, line 1: checksum: found '6', the line adds up to 7" in done.stderr.replace("\n", " ")
    assert len(done.stderr.strip().splitlines()) == 1
