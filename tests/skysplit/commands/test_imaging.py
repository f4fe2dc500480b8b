"""Images that arrive, in ``skysplit plan``, ``contacts --summary`` and ``sweep``; the other commands refuse them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import skysplit
from skysplit.cli import app
from skysplit.sweeps.run import run_sweep
from skysplit.sweeps.study import study_of

SMALL = {
    "planning.samples": 16,
    "planning.profile": "DOFA-base",
    "planning.image_bytes": 1e6,
    "horizon_h": 3.0,
}
CAMERA = {"imaging.images_per_min": 2.0, "imaging.lowest_sun_deg": -90.0, "imaging.storage_gb": 0.02}


def words(settings: dict[str, object]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def test_a_plan_tells_what_each_satellite_has_and_drops() -> None:
    command = ["plan", "walker-12", "--at", "1200", "--format", "json", *words({**SMALL, **CAMERA})]
    found = json.loads(CliRunner().invoke(app, command).stdout)["imaging"]
    assert len(found["satellites"]) == 12
    row = found["satellites"][3]
    # 2 a minute for 20 minutes: 40 have come, there is room for 20, and 16 are trained on.
    assert (row["on_board"], row["dropped_before"], row["trained"]) == (20, 20, 16)
    assert row["oldest_age_s"] == pytest.approx(15 * 30.0)
    assert row["peak_bytes"] == pytest.approx(2e7)
    assert found["images_trained"] == 12 * 16
    assert found["images_dropped"] == found["images_arrived"] > 0
    table = CliRunner().invoke(app, ["plan", "walker-12", "--at", "1200", *words({**SMALL, **CAMERA})]).stdout
    assert "images that arrive" in table
    assert "sat-1-05" in table


def test_contacts_say_what_cameras_take_in_a_day() -> None:
    command = ["contacts", "walker-12", "--summary", *words({**SMALL, **CAMERA})]
    rows = json.loads(CliRunner().invoke(app, [*command, "--format", "json"]).stdout)["images"]
    assert rows[0]["images_per_day"] == pytest.approx(2880.0)
    assert rows[0]["full_s"] == pytest.approx(600.0)
    assert rows[0]["dropped"] == 2 * 180 - 20
    assert "images/day" in CliRunner().invoke(app, command).stdout


def test_a_sweep_plans_rounds_with_the_images_that_are_there(tmp_path: Path) -> None:
    study = study_of(
        "walker-12",
        fixed={key: value for key, value in {**SMALL, **CAMERA}.items() if key != "imaging.images_per_min"},
        grid={"imaging.images_per_min": [2.0, 4.0]},
        starts_s=[0.0, 240.0],
    )
    rows = run_sweep(study, tmp_path / "sweep")
    states = {(row["imaging.images_per_min"], row["start_s"]): row for row in rows}
    assert states[2.0, 0.0]["state"] == "no plan"
    assert "no satellite has an image at 0 s; the first is at 30 s" in states[2.0, 0.0]["reason"]
    slow, fast = states[2.0, 240.0], states[4.0, 240.0]
    assert (slow["images_trained"], fast["images_trained"]) == (12 * 8, 12 * 16)
    scenario = skysplit.scenario("walker-12", **SMALL, **CAMERA)
    plan = scenario.plan(240.0).plan
    assert slow["makespan_s"] == pytest.approx(plan.makespan_s, rel=1e-9)
    assert slow["makespan_s"] < fast["makespan_s"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "walker-12", "--starts", "1"],
        ["cuts", "walker-12"],
        ["sweep", "walker-12", "--missions", "--grid", "seed=0,1"],
    ],
)
def test_what_trains_on_the_same_images_in_every_round_refuses_them(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*arguments, *words({**SMALL, **CAMERA})])
    assert done.exit_code == 1
    assert done.stderr.count("error:") == 1
    assert "imaging.images_per_min: found 2 with" in done.stderr.replace("\n", " ")
