"""`skysplit contacts` and `skysplit constellation` from element files, as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from astropy.time import Time
from iss_elements import OMM, OMM_FORMS, TLE, as_json
from typer.testing import CliRunner

from orbit.files.contact_plan_files import from_csv, load
from skysplit.cli import app

RUNNER = CliRunner()


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


@pytest.mark.parametrize("form", OMM_FORMS)
def test_an_omm_has_the_contacts_of_its_tle(form: Callable, tmp_path: Path) -> None:
    omm = from_csv(printed("contacts", scenario_of(tmp_path, "omm", form(OMM)), "--format", "csv"))
    tle = from_csv(printed("contacts", scenario_of(tmp_path, "tle", TLE), "--format", "csv"))
    assert len(omm.contacts) == len(tle.contacts) >= 2
    assert [node.name for node in omm.nodes] == ["FIRST BEYOND", "Matera"]
    for field in ("start_s", "end_s", "max_elevation_deg"):
        assert omm.contacts[field] == pytest.approx(tle.contacts[field], abs=1e-3)


def test_a_csv_written_to_a_file_comes_with_its_metadata(tmp_path: Path) -> None:
    path, scenario = tmp_path / "contacts.csv", scenario_of(tmp_path, "tle", TLE)
    assert printed("contacts", scenario, "--format", "csv", "--out", str(path)).strip() == str(path)
    plan = load(path)
    assert plan.horizon_s == 12 * 3600
    assert path.read_text() == printed("contacts", scenario, "--format", "csv")
    again = printed("contacts", scenario, "--set", f"contacts.path={path}", "--format", "csv")
    assert [line.split(",")[:8] for line in again.splitlines()] == [
        line.split(",")[:8] for line in path.read_text().splitlines()
    ]


def test_a_constellation_goes_out_as_omm_and_comes_back(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, "tle", TLE)
    said = json.loads(printed("constellation", scenario, "--format", "json"))["satellites"]
    out = tmp_path / "fleet.json"
    printed("constellation", scenario, "--format", "omm", "--out", str(out))
    (tmp_path / "again").mkdir()
    back = scenario_of(tmp_path / "again", "omm", out.read_text())
    for one, other in zip(
        said, json.loads(printed("constellation", back, "--format", "json"))["satellites"], strict=True
    ):
        for key in ("name", "bstar", "mean_motion_rev_day", "inc_deg", "raan_deg", "mean_anomaly_deg", "ecc"):
            assert other[key] == pytest.approx(one[key], rel=1e-12) if key != "name" else one[key]
        apart = Time(one["element_epoch"].removesuffix("Z")) - Time(other["element_epoch"].removesuffix("Z"))
        assert abs(apart.to_value("s")) < 2e-6


def test_a_constellation_of_elements_is_shown_in_every_format(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, "omm", as_json(OMM))
    said = json.loads(printed("constellation", scenario, "--format", "json"))
    assert [one["inc_deg"] for one in said["satellites"]] == [pytest.approx(51.6416)]
    packets = json.loads(printed("constellation", scenario, "--format", "czml"))
    assert packets[0]["id"] == "document"
    assert {"FIRST BEYOND", "Matera"} <= {packet.get("name") for packet in packets}
    page = tmp_path / "map.html"
    assert printed("constellation", scenario, "--out", str(page)).strip() == str(page)
    assert "FIRST BEYOND" in page.read_text()


def test_a_wrong_line_of_elements_is_one_error_with_its_number(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["contacts", scenario_of(tmp_path, "tle", TLE.replace("2927\n", "2926\n"))])
    assert done.exit_code == 1
    assert "elements, line 2: checksum: found '6', the line adds up to 7" in done.stderr.replace("\n", " ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_in_place_of_elements_is_one_error(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, "tle", TLE)
    done = RUNNER.invoke(app, ["constellation", scenario, "--set", f"constellation.path={tmp_path}"])
    assert done.exit_code == 1
    assert "constellation.path: found" in done.stderr
    assert "Is a directory" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("output", ["json", "czml", "map"])
def test_elements_far_from_the_mission_are_warned_of_once(output: str, tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, "tle", TLE)
    late = ["--set", "epoch=2008-11-21T00:00:00Z", "--set", "horizon_h=24", "--out", str(tmp_path / "out")]
    done = RUNNER.invoke(app, ["constellation", scenario, "--format", output, *late])
    assert done.exit_code == 0
    assert done.stderr.replace("\n", " ").count("are used more than 30 days from their epoch") == 1


def test_a_satellite_that_decays_is_one_error_in_every_view(tmp_path: Path) -> None:
    falling = as_json({**OMM, "BSTAR": "0.9", "MEAN_MOTION": "16.4"})
    for view in ("json", "czml", "map"):
        command = ["constellation", scenario_of(tmp_path, "omm", falling), "--format", view]
        done = RUNNER.invoke(app, [*command, "--out", str(tmp_path / "out")])
        assert done.exit_code == 1
        assert "satellite 'FIRST BEYOND': SGP4 fails" in done.stderr.replace("\n", " ")
        assert not (tmp_path / "out").exists()
