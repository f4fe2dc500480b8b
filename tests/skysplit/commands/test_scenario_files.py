"""`skysplit init` and `skysplit scenarios`: what is written reads back, what is wrong writes nothing."""

from __future__ import annotations

import json
import tempfile
import tomllib
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from mission.presets import read_presets, scenario_figures, source_line, sourced_parts
from mission.scenario import load_scenario, scalar_keys, shipped_scenarios
from mission.text.scenario_toml import toml_value
from skysplit.cli import app
from skysplit.new_mission.new_scenario import scenario_text, walker_values
from skysplit.reference.scenario_keys import scenario_keys, table_descriptions

RUNNER = CliRunner()
STATION = {"name": "Kiruna", "lat_deg": 67.86, "lon_deg": 20.96}
# The ISS, from the examples of the SGP4 reference.
TLE = """ISS (ZARYA)
1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927
2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537
"""


def test_a_walker_scenario_is_written_and_read_back(tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    shell = ["--satellites", "6", "--planes", "3", "--phasing", "2", "--altitude-km", "800"]
    done = RUNNER.invoke(
        app, ["init", str(file), *shell, "--station", "Kiruna,67.86,20.96,400,5", "--mode", "head"]
    )
    assert done.exit_code == 0, done.stderr
    assert "6 satellites, 1 station," in done.stdout
    scenario = load_scenario(str(file))
    assert scenario.name == "ours"
    assert (scenario.constellation.planes, scenario.constellation.altitude_km) == (3, 800.0)
    [station] = scenario.ground.stations
    assert (station.lat_deg, station.height_m, station.mask_deg) == (67.86, 400.0, 5.0)
    # Keys that are not told are there as comments, so that the mode's own defaults hold.
    assert scenario.training.local_epochs == 5
    assert "# local_epochs = 1" in file.read_text()


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Two tiles of three bands with masks of two classes."""
    for folder in ("images", "masks"):
        for subset in ("train", "test"):
            (tmp_path / "tiles" / folder / subset).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for subset, count in (("train", 12), ("test", 2)):
        for i in range(count):
            for folder, shape, most in (("images", (32, 32, 3), 255), ("masks", (32, 32), 2)):
                pixels = rng.integers(0, most, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "tiles" / folder / subset / f"{i}.png")
    return tmp_path / "tiles"


def test_classes_of_masks_are_given_to_init_or_asked_for_where_somebody_is_there(
    masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ours.toml"
    words = ["init", str(file), "--satellites", "2", "--planes", "1", "--data", str(masks)]
    nobody = RUNNER.invoke(app, words)
    assert nobody.exit_code == 1
    assert "--classes: missing" in nobody.stderr
    assert "segmentation masks" in nobody.stderr
    assert not file.exists()
    one = RUNNER.invoke(app, [*words, "--classes", "clear"])
    assert one.exit_code == 1
    assert "--classes: found 'clear', allowed: two or more names" in one.stderr
    given = RUNNER.invoke(app, [*words, "--classes", "clear, cloud"])
    assert given.exit_code == 0, given.stderr
    assert load_scenario(str(file)).task.classes == ("clear", "cloud")
    monkeypatch.setattr("skysplit.commands.scenarios.is_interactive", lambda: True)
    words[1] = str(tmp_path / "asked.toml")
    asked = RUNNER.invoke(app, words, input="land,water\n")
    assert asked.exit_code == 0, asked.stderr
    scenario = load_scenario(words[1])
    assert scenario.task.classes == ("land", "water")
    assert scenario.data.partition == "iid"  # masks are of no one class, by which images could be spread


def test_real_orbits_start_at_the_epoch_of_their_elements(tmp_path: Path) -> None:
    elements, file = tmp_path / "iss.txt", tmp_path / "iss.toml"
    elements.write_text(TLE)
    done = RUNNER.invoke(app, ["init", str(file), "--elements", str(elements), "--station", "Kiruna,50,20"])
    assert done.exit_code == 0, done.stderr
    scenario = load_scenario(str(file))
    assert scenario.epoch.isoformat() == "2008-09-20T12:00:00+00:00"  # day 264.5178
    assert scenario.constellation.path == str(elements)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--planes", "5"], "do not divide into 5 equal planes"),
        (["--station", "Kiruna,67"], "allowed: NAME,LAT,LON"),
        (["--station", "Kiruna,167,20"], "lat_deg"),
        (["--mode", "everything"], "--mode: found 'everything', allowed: 'head', 'lora'"),
        (["--data", "nowhere"], "no such file or directory"),
        (["--elements", "nowhere.txt"], "nowhere.txt"),
        (["--satellite", "dove"], "satellite preset: found 'dove', allowed: dove-3u, "),
        (["--satellite", "12"], "a number of satellites is --satellites"),
        (["--ground", "dove-3u"], "ground preset: found 'dove-3u', allowed: kiruna, "),
        (["--satellite", "three-body", "--planes", "5"], "12 satellites do not divide into 5 equal planes"),
    ],
)
def test_what_cannot_be_is_one_error_and_no_file(words: list[str], says: str, tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    done = RUNNER.invoke(app, ["init", str(file), *words])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert str(tempfile.gettempdir()) not in done.stderr.replace(str(file), "")
    assert not file.exists()


@pytest.mark.parametrize("ground", sorted(read_presets().grounds))
def test_presets_are_written_with_their_sources_and_read_back(ground: str, tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    done = RUNNER.invoke(app, ["init", str(file), "--satellite", "dove-3u", "--ground", ground])
    assert done.exit_code == 0, done.stderr
    assert "plans assume DOFA-base and 200 images a satellite of 401 kB" in done.stdout
    assert "the default" not in done.stdout
    presets = read_presets()
    ends = presets.satellite("dove-3u"), presets.ground(ground)
    tables, lines = tomllib.loads(file.read_text()), file.read_text().splitlines()
    for key, figure in scenario_figures(*ends).items():
        value = tables
        for part in key.split("."):
            value = value[part]
        assert value == figure.value, key
        assert f"# {figure.comment}" in lines, key
    assert [station["name"] for station in tables["ground"]["stations"]] == [
        station.name for station in ends[1].stations
    ]
    for end in ends:
        for what, part in sourced_parts(end).items():
            assert part.source == "assumed" or any(
                line.startswith(f"#   {part.source}: {presets.sources[part.source].title}") for line in lines
            ), what


def test_options_win_over_presets_and_leave_no_comment_of_theirs(tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    shell = ["--satellites", "6", "--planes", "2", "--altitude-km", "600", "--station", "Here,60,20"]
    words = ["--satellite", "optical-relay", "--ground", "kiruna", "--model", "synthetic-vit"]
    done = RUNNER.invoke(app, ["init", str(file), *words, *shell])
    assert done.exit_code == 0, done.stderr
    scenario = load_scenario(str(file))
    assert (scenario.constellation.satellites, scenario.constellation.planes) == (6, 2)
    assert (scenario.constellation.altitude_km, scenario.constellation.inclination_deg) == (600.0, 87.0)
    assert [station.name for station in scenario.ground.stations] == ["Here"]
    assert (scenario.planning.profile, scenario.planning.samples) == ("", 0)  # the model's own, counted
    text = file.read_text()
    assert "near-polar planes" in text
    assert "within the 750 to 1200 km" not in text
    assert "# Kiruna: kiruna" not in text


def test_a_satellite_preset_flies_on_orbits_of_a_file(tmp_path: Path) -> None:
    elements, file = tmp_path / "iss.txt", tmp_path / "iss.toml"
    elements.write_text(TLE)
    words = ["--elements", str(elements), "--satellite", "three-body", "--station", "Kiruna,50,20"]
    done = RUNNER.invoke(app, ["init", str(file), *words])
    assert done.exit_code == 0, done.stderr
    scenario = load_scenario(str(file))
    assert (scenario.constellation.kind, scenario.constellation.satellites) == (
        "tle",
        12,
    )  # the schema's default
    assert scenario.compute.satellite_tflops == 37.2


def test_init_says_that_the_default_uplink_is_not_a_small_satellites(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["init", str(tmp_path / "ours.toml"), "--satellites", "2", "--planes", "1"])
    assert done.exit_code == 0, done.stderr
    assert "links.sgl.up_mbps is 50 Mbit/s, the default; small satellites have 0.25 to 2" in done.stdout


# Each satellite and each ground segment once; all pairs are slow.
PAIRS = list(product(sorted(read_presets().satellites), sorted(read_presets().grounds)))
FEW = {*zip(sorted(read_presets().satellites), cycle(sorted(read_presets().grounds)), strict=False)}


@pytest.mark.parametrize(
    ("satellite", "ground"),
    [pair if pair in FEW else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS],
)
def test_what_init_writes_of_any_two_presets_is_planned(satellite: str, ground: str, tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    shell = ["--satellites", "12", "--planes", "1"]
    done = RUNNER.invoke(app, ["init", str(file), "--satellite", satellite, "--ground", ground, *shell])
    assert done.exit_code == 0, done.stderr
    done = RUNNER.invoke(app, ["plan", str(file), "--set", "planning.samples=64", "--format", "json"])
    assert done.exit_code == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["lower_bound_s"] <= plan["makespan_s"]
    assert plan["downlink_bytes"] > 0


@pytest.mark.parametrize("name", ["dove-3u", "kiruna"])
def test_presets_shows_every_figure_of_one_with_its_source(name: str) -> None:
    table = RUNNER.invoke(app, ["presets", name], env={"COLUMNS": "300"}).stdout
    said = json.loads(RUNNER.invoke(app, ["presets", name, "--format", "json"]).stdout)
    [shown] = [*said["satellites"].values(), *said["grounds"].values()]
    preset = read_presets().by_name[name]
    for key, figure in preset.figures.items():
        assert key in table
        assert shown["figures"][key]["value"] == figure.amount
        assert source_line(figure) in table
        assert figure.derivation in table
    assert [
        step["divide_by"] for step in shown["figures"].get("compute.ground_tflops", {}).get("derating", [])
    ] == ([2.0, 4.0] if name == "kiruna" else [])
    assert all(source["title"] in table for source in said["sources"].values())


def test_presets_lists_all() -> None:
    table = RUNNER.invoke(app, ["presets"], env={"COLUMNS": "200"}).stdout
    said = json.loads(RUNNER.invoke(app, ["presets", "--format", "json"]).stdout)
    assert [*said["satellites"], *said["grounds"]] == [*read_presets().satellites, *read_presets().grounds]
    assert all(name in table for name in (*said["satellites"], *said["grounds"]))
    done = RUNNER.invoke(app, ["presets", "nowhere"])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: preset: found 'nowhere', allowed: satellites dove-3u")


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    file.write_text("mine")
    done = RUNNER.invoke(app, ["init", str(file)])
    assert done.exit_code == 1
    assert "exists already" in done.stderr
    assert file.read_text() == "mine"


def test_uncommented_the_defaults_of_a_written_file_are_the_schemas(tmp_path: Path) -> None:
    values: dict[str, Any] = {**walker_values(12, 2, 1, 53.0, 550.0), "ground.stations": [STATION]}
    lines = scenario_text(values, "all.toml").splitlines()
    keys = {key.name for key in scenario_keys()}
    spelled = [line[2:] if line[2:].split(" = ")[0] in keys else line for line in lines]
    assert spelled != lines
    (tmp_path / "all.toml").write_text("\n".join(spelled))
    (tmp_path / "few.toml").write_text("\n".join(lines))
    full, few = (load_scenario(str(tmp_path / name), {"name": "same"}) for name in ("all.toml", "few.toml"))
    assert full == few


def test_one_plane_needs_no_word_about_phasing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "astropy").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = CliRunner().invoke(app, ["init", str(tmp_path / "one.toml"), "--planes", "1"])
    assert done.exit_code == 0, done.stderr
    shell = load_scenario(str(tmp_path / "one.toml")).constellation
    assert (shell.planes, shell.phasing) == (1, 0)
    done = CliRunner().invoke(app, ["init", str(tmp_path / "two.toml"), "--planes", "1", "--phasing", "1"])
    assert done.exit_code == 1
    assert not (tmp_path / "two.toml").exists()


def test_every_key_of_the_schema_is_told() -> None:
    config = {key.dotted for key in scenario_keys() if key.table != "ground.stations"}
    assert config == {key for key, _ in scalar_keys()}
    assert {key.table for key in scenario_keys()} <= table_descriptions().keys()


@given(
    st.text(st.characters(blacklist_categories=["Cc", "Cs"])) | st.booleans() | st.integers(-(2**53), 2**53)
)
def test_values_read_back_from_toml(value: object) -> None:
    assert tomllib.loads(f"key = {toml_value(value)}")["key"] == value


def test_scenarios_lists_all_that_ship() -> None:
    said = json.loads(RUNNER.invoke(app, ["scenarios", "--format", "json"]).stdout)
    assert [one["name"] for one in said] == list(shipped_scenarios())
    assert all(one["description"] for one in said)
    table = RUNNER.invoke(app, ["scenarios"]).stdout
    assert all(name in table for name in shipped_scenarios())
