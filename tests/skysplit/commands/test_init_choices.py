"""`skysplit init`: what a person chooses, by option or by answer, is in the file or is one error before it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mission.scenario import load_scenario
from mission.sites.ground_sites import read_sites
from skysplit.cli import app
from skysplit.new_mission.mission_choices import planned_profile, station_words

RUNNER = CliRunner()
SMALL = ["--satellites", "4", "--planes", "2"]
ISS = """ISS (ZARYA)
1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927
2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537
"""


def written(tmp_path: Path, *words: str) -> tuple[Path, str]:
    file = tmp_path / "ours.toml"
    done = RUNNER.invoke(app, ["init", str(file), *words])
    assert done.exit_code == 0, done.stderr
    return file, done.stdout


def test_stations_by_name_have_their_coordinates_and_say_whose_they_are(tmp_path: Path) -> None:
    file, printed = written(
        tmp_path, *SMALL, "--station", "svalbard", "--station", "TROLL", "--station", "Here,60,20"
    )
    stations = load_scenario(str(file)).ground.stations
    sites = read_sites().sites
    assert [station.name for station in stations] == ["Svalbard", "Troll", "Here"]
    for station in stations[:2]:
        site = sites[station.name]
        assert (station.lat_deg, station.lon_deg, station.height_m) == (
            site.lat_deg,
            site.lon_deg,
            site.height_m,
        )
    text = file.read_text()
    assert f"# Svalbard: {sites['Svalbard'].operator}; {sites['Svalbard'].source}" in text
    assert f"#   {sites['Troll'].source}: {read_sites().sources[sites['Troll'].source].title}" in text
    assert "4 satellites, 3 stations" in printed


def test_the_next_three_commands_are_printed(tmp_path: Path) -> None:
    file, printed = written(tmp_path, *SMALL)
    lines = printed.splitlines()
    after = [line.split("#")[0].strip() for line in lines[lines.index("next:") + 1 :]]
    assert after == [f"skysplit {command} {file}" for command in ("plan", "compare", "run")]


def test_rates_links_and_compute_are_what_was_asked_for(tmp_path: Path) -> None:
    rates = ["--down-mbps", "120", "--up-mbps", "0.5", "--isl", "in-plane", "--isl-mbps", "800"]
    file, printed = written(tmp_path, *SMALL, *rates, "--tflops", "0.25", "--ground-tflops", "40")
    scenario = load_scenario(str(file))
    assert (scenario.links.sgl.down_mbps, scenario.links.sgl.up_mbps) == (120.0, 0.5)
    assert (scenario.links.intra_orbit.enabled, scenario.links.intra_orbit.mbps) == (True, 800.0)
    assert scenario.links.inter_orbit.topology == "none"
    assert (scenario.compute.satellite_tflops, scenario.compute.ground_tflops) == (0.25, 40.0)
    assert "the default" not in printed


def test_a_star_has_planes_over_half_a_turn_and_a_train_has_its_spacing(tmp_path: Path) -> None:
    file, _ = written(tmp_path, *SMALL, "--pattern", "star")
    assert load_scenario(str(file)).constellation.pattern == "star"
    file.unlink()
    file, _ = written(tmp_path, *SMALL, "--pattern", "train", "--spacing-deg", "5")
    assert load_scenario(str(file)).constellation.train_spacing_deg == 5.0


def test_described_images_are_counted_and_their_count_stands_above(tmp_path: Path) -> None:
    images = ["--bands", "B02,B03,B04,B08", "--bits", "16", "--tile-size", "128", "--images", "70"]
    file, printed = written(tmp_path, *SMALL, "--model", "clay", *images)
    planning = tomllib.loads(file.read_text())["planning"]
    assert planning["profile"] == "Clay v1.5 large (256px p8, 10b)"
    assert planning["image_bytes"] == 4 * 2 * 128 * 128
    assert planning["samples"] == 70
    assert "# 4 (bands) × 2 (bytes of a value) × 128 (rows) × 128 (columns)" in file.read_text()
    assert "planned only" in printed


def test_a_published_model_that_a_family_trains_is_said_to_be_trainable(tmp_path: Path) -> None:
    _, printed = written(tmp_path, *SMALL, "--model", "prithvi-eo-2.0-300m (t1)")
    assert "trainable as prithvi" in printed


def test_names_of_classes_make_it_a_mission_of_masks(tmp_path: Path) -> None:
    file, _ = written(tmp_path, *SMALL, "--model", "synthetic-vit", "--classes", "clear, cloud")
    task = load_scenario(str(file)).task
    assert (task.kind, task.classes) == ("segmentation", ("clear", "cloud"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--station", "Svalbrad"], "--station: found 'Svalbrad'"),
        (
            ["--station", "Here,167,20"],
            "--station Here,167,20: lat_deg: found 167.0, allowed: less than",
        ),
        (["--station", "Troll", "--station", "troll"], "two stations are called Troll"),
        (["--up-mbps", "-1"], "--up-mbps: found -1.0, allowed: greater than 0"),
        (["--tflops", "0"], "--tflops: found 0.0, allowed: greater than 0"),
        (["--tflops", "nan"], "--tflops: found nan"),
        (["--isl", "none", "--isl-mbps", "5"], "--isl-mbps: found 5 with --isl none"),
        (["--satellites", "13"], "--planes: 13 satellites do not divide into 2 equal planes"),
        (
            ["--pattern", "train", "--planes", "1", "--spacing-deg", "60"],
            "--spacing-deg: 12 satellites 60.0° apart",
        ),
        (["--spacing-deg", "5"], "--spacing-deg: found 5, allowed with --pattern train"),
        (["--pattern", "train", "--spacing-deg", "-5"], "--spacing-deg: found -5, allowed: above 0"),
        (["--limit", "3"], "--limit: found 3 without --elements"),
        (["--skip", "ISS"], "--skip: found 'ISS' without --elements"),
        (["--elements", "iss.txt", "--satellites", "4"], "--satellites: found 4 with --elements"),
        (["--elements", "iss.txt", "--pattern", "star"], "--pattern: found 'star' with --elements"),
        (["--model", "foo"], "--model: found 'foo', allowed: a directory, synthetic-vit"),
        (["--model", "Prithvi-EO-2.0-300M"], "allowed: Prithvi-EO-2.0-300M (T1), Prithvi-EO-2.0-300M (T4)"),
        (["--bands", "4", "--bits", "7"], "--bits: found 7, allowed: 8, 16, 32"),
        (["--bands", "0"], "--bands: found 0, allowed: at least 1"),
        (["--bands", "red,,blue"], "--bands: found 'red,,blue', allowed: names that differ"),
        (["--classes", "a,a"], "--classes: found 'a,a', allowed: two or more names that differ"),
        (["--data", ".", "--bits", "8"], "--bits: found 8 with --data, whose files say it"),
    ],
)
def test_what_cannot_be_names_the_option_and_writes_nothing(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iss.txt").write_text(ISS)
    done = RUNNER.invoke(app, ["init", "ours.toml", *words])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert not (tmp_path / "ours.toml").exists()


def test_without_options_a_person_is_asked_and_wrong_answers_are_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skysplit.commands.scenarios.is_interactive", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    file = tmp_path / "ours.toml"
    answers = [
        "dove", "none",  # no such preset
        "star", "8", "3", "4",  # 3 planes do not divide 8 satellites
        "600", "97.8",
        "Svalbrad", "Svalbard, Troll",
        "100", "0", "1", "none", "0.3",  # no uplink is none
        "Clay", "none",
        "10", "16", "256", "50",
    ]  # fmt: skip
    done = RUNNER.invoke(app, ["init", str(file)], input="\n".join(answers) + "\n")
    assert done.exit_code == 0, done.output
    assert done.output.count("Error: ") == 4
    assert (
        "Ground stations: names (skysplit presets sites), or" in done.output.splitlines()
    )  # no word is broken
    scenario = load_scenario(str(file))
    shell = scenario.constellation
    assert (shell.pattern, shell.satellites, shell.planes, shell.altitude_km) == ("star", 8, 4, 600.0)
    assert [station.name for station in scenario.ground.stations] == ["Svalbard", "Troll"]
    assert (scenario.links.sgl.down_mbps, scenario.links.sgl.up_mbps) == (100.0, 1.0)
    assert not scenario.links.intra_orbit.enabled
    assert scenario.planning.image_bytes == 10 * 2 * 256 * 256


def test_a_script_is_not_asked(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["init", str(tmp_path / "ours.toml")], input="")
    assert done.exit_code == 0, done.stderr
    assert "?" not in done.stdout


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("Svalbard, Troll", ["Svalbard", "Troll"]),
        ("Here,60.5,-20", ["Here,60.5,-20"]),
        ("Svalbard; Here,60,20,100 ;Troll", ["Svalbard", "Here,60,20,100", "Troll"]),
    ],
)
def test_stations_in_one_line_are_told_apart(typed: str, words: list[str]) -> None:
    assert list(station_words(typed)) == words


@pytest.mark.parametrize("model", ["", "synthetic-vit", "facebook/dinov2-small"])
def test_what_a_run_loads_is_no_published_size(model: str) -> None:
    assert planned_profile(model) is None


def test_presets_lists_the_sites_with_their_operators() -> None:
    table = RUNNER.invoke(app, ["presets", "sites"], env={"COLUMNS": "160"}).stdout
    for name, site in read_sites().sites.items():
        assert name in table
        assert site.source in table
    said = RUNNER.invoke(app, ["presets", "sites", "--format", "json"]).stdout
    assert '"Svalbard"' in said
