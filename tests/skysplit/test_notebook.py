"""The Python API: what the commands say, as objects."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from typer.testing import CliRunner

import skysplit
from mission.scenario import ScenarioError
from mission.text.quantities import spoken_bytes, spoken_time
from skysplit import notebook
from skysplit.cli import app

pytestmark = pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
ASSUMED = {"profile": "DOFA-base", "samples": 8}


@pytest.fixture(scope="module")
def mission() -> notebook.Mission:
    return skysplit.scenario("walker-12", horizon_h=3.0, planning=ASSUMED)


def test_the_examples_in_the_docstrings_hold() -> None:
    done = doctest.testmod(notebook)
    assert done.attempted >= 5
    assert done.failed == 0


def test_overrides_are_those_of_the_command_line() -> None:
    nested = skysplit.scenario("walker-12", training={"rounds": 3}, seed=5).scenario
    dotted = skysplit.scenario("walker-12", **{"training.rounds": 3, "seed": 5}).scenario
    assert nested == dotted
    assert (nested.training.rounds, nested.seed) == (3, 5)
    with pytest.raises(ScenarioError, match=r"did you mean training.rounds\?"):
        skysplit.scenario("walker-12", training={"round": 3})


def test_stations_are_set_from_python() -> None:
    station = {"name": "Here", "lat_deg": 40.0, "lon_deg": -4.0}
    scenario = skysplit.scenario("walker-12", ground={"stations": [station], "beams": 2}).scenario
    assert [one.name for one in scenario.ground.stations] == ["Here"]
    assert skysplit.scenario(ground={"stations": [station]}).title == "demo"
    assert scenario.ground.beams == 2


def test_what_a_mission_plans_with_is_said_of_it(mission: notebook.Mission) -> None:
    assert "planned as DOFA-base" in repr(mission)
    assert "planned images 8 a satellite" in repr(mission)
    assert "planned" not in repr(skysplit.scenario("walker-12"))


def test_a_planned_round_says_when_it_is_through_which_stations_and_what_crosses_its_links(
    mission: notebook.Mission,
) -> None:
    planned = mission.plan(at_s=600.0)
    rows, says = planned.to_pandas(), repr(planned)
    assert says.startswith("a round of walker-12 from 2026-01-01T00:10:00Z: length ")
    assert f"length {spoken_time(planned.plan.makespan_s)}, " in says
    assert all(station in says for station in rows[rows["kind"] == "session"]["peer"])
    for name, links in (
        ("downlink", ["downlink"]),
        ("uplink", ["uplink"]),
        ("between satellites", ["intra_isl", "inter_isl"]),
    ):
        size = rows[rows["link"].isin(links)]["bytes"].sum()
        assert f"{name} {spoken_bytes(size)}" in says


def test_an_error_names_the_keyword_that_was_given(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"^keyword training\.rounds: found 0, allowed: greater than"):
        skysplit.scenario("walker-12", training={"rounds": 0})
    with pytest.raises(ScenarioError, match=r"^keyword training\.round: unknown key; did you mean"):
        skysplit.scenario("walker-12", **{"training.round": 1})
    with pytest.raises(ScenarioError, match=r"^keyword ground\.stations: found \[\], allowed: at least 1$"):
        skysplit.scenario("walker-12", ground={"stations": []})
    with pytest.raises(ScenarioError, match=r"^case seed = 1: training\.rounds: found 0"):
        skysplit.sweep("walker-12", grid={"seed": [1, 2]}, fixed={"training.rounds": 0}, out=tmp_path)


def test_contacts_are_those_that_the_command_prints(mission: notebook.Mission) -> None:
    done = CliRunner().invoke(app, ["contacts", "walker-12", "--hours", "3", "--format", "json"])
    printed = json.loads(done.stdout)["contacts"]
    frame = mission.contacts().to_pandas()
    assert frame["start_s"].tolist() == [contact["start_s"] for contact in printed]
    assert frame["source"].tolist() == [contact["source"] for contact in printed]


def test_access_is_told_by_station_by_satellite_and_by_pair(mission: notebook.Mission) -> None:
    access = mission.contacts().access()
    stations = access[access["satellite"].isna()]
    pairs = access.dropna(subset=["satellite", "station"])
    assert stations["station"].tolist() == ["Madrid", "Santiago", "Canberra", "Wallops"]
    assert pairs["down_gb_per_day"].sum() == pytest.approx(stations["down_gb_per_day"].sum())
    (heat,) = mission.contacts().plot_access().data
    assert np.nansum(np.array(heat.z, float)) == pytest.approx(pairs["down_gb_per_day"].sum(), rel=1e-3)


def test_a_plan_is_told_activity_by_activity(mission: notebook.Mission) -> None:
    planned = mission.plan(at_s=600.0)
    frame = planned.to_pandas()
    assert len(frame) == len(planned.plan.activities)
    assert frame["start_s"].min() >= 600.0
    assert frame["end_s"].max() <= planned.plan.end_s + 1e-6


def test_a_comparison_holds_every_case_and_its_ratios(headline_cases: None) -> None:
    plane = {"satellites": 6, "planes": 1, "phasing": 0, "altitude_km": 1150.0}
    mission = skysplit.scenario(
        "paper", horizon_h=12.0, planning={"samples": 8}, constellation=plane, training={"rounds": 1}
    )
    comparison = mission.compare(starts=1)
    frame = comparison.to_pandas().set_index("name")
    assert list(frame.index) == [case["name"] for case in comparison.figures["cases"]]
    assert frame.loc["split", "ratio_to_onboard-lora"] == pytest.approx(
        frame.loc["split", "median_s"] / frame.loc["onboard-lora", "median_s"]
    )
    missions = frame.dropna(subset="mission_rounds")
    assert (missions["mission_rounds"] == mission.scenario.training.rounds).all()
    assert (missions["mission_length_s"] > 0.0).all()
    planned = frame.dropna(subset="median_s")
    assert len(planned) >= 3
    assert (planned["bound_s"] <= planned["median_s"] + 1e-9).all()


def test_a_run_is_read_from_its_directory(simulated_run: Path, tmp_path: Path) -> None:
    run = skysplit.load_run(simulated_run)
    assert len(run.to_pandas()) == 24
    assert "test accuracy 80.0 %" in repr(run)
    assert run.report() == simulated_run / "report.html"
    with pytest.raises(FileNotFoundError):
        skysplit.load_run(tmp_path)


def test_a_directory_with_a_run_is_not_run_into(simulated_run: Path, mission: notebook.Mission) -> None:
    with pytest.raises(FileExistsError):
        mission.run(simulated_run)


def test_every_object_shows_itself(mission: notebook.Mission, simulated_run: Path) -> None:
    for shown in (mission, mission.contacts(), mission.plan(), skysplit.load_run(simulated_run)):
        markup = shown._repr_html_()
        assert markup.startswith("<table>")
        assert all(fact in repr(shown) for fact in shown.facts().values())
        assert isinstance(shown.plot(), go.Figure)
        assert len(shown.plot().data) > 0
        assert len(shown.to_pandas()) > 0


def test_neither_torch_nor_flower_is_loaded_before_a_plan_or_run_needs_it() -> None:
    program = (
        "import sys, skysplit; mission = skysplit.scenario('walker-12', horizon_h=1.0); mission.contacts().plot(); "
        "mission.plot(); import skysplit.cli; print([name for name in ('torch', 'flwr') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
