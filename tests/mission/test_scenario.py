"""A scenario file is read whole, or refused with one error that names file, key, found and allowed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mission.scenario import (
    ScenarioError,
    given_path,
    load_scenario,
    scalar_keys,
    scenario_from_json,
    scenario_to_json,
    shipped_scenarios,
)
from mission.text.scenario_toml import toml_value

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = """
epoch = "2026-01-01T00:00:00Z"
[ground]
stations = [{ name = "Kiruna", lat_deg = 67.9, lon_deg = 21.0 }]
"""


def scenario_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_every_shipped_scenario_is_valid(name: str) -> None:
    assert load_scenario(name).name == name


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_a_resolved_scenario_survives_json(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario_from_json(scenario_to_json(scenario)) == scenario


@pytest.mark.parametrize(
    "settings",
    [
        {"lora.targets": '["q_proj", "mlp.fc1"]'},
        {"lora.targets": "all-linear"},
        {"links.inter_orbit.topology": "grid", "links.inter_orbit.pairs": '[["P0S0", "P1S0"]]'},
    ],
)
def test_text_or_a_list_survives_json_as_either(settings: dict[str, str]) -> None:
    """A run sends its scenario to the satellites as JSON."""
    scenario = load_scenario("demo", settings)
    assert scenario_from_json(scenario_to_json(scenario)) == scenario


def test_the_name_defaults_to_the_file_name(tmp_path: Path) -> None:
    assert load_scenario(scenario_file(tmp_path, MINIMAL)).name == "mine"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ({"training.round": "3"}, ["training.round", "unknown key", "did you mean training.rounds?"]),
        ({"constellation.altitude_m": "550000"}, ["constellation.altitude_m", "altitude_km"]),
        ({"training.rounds": "0"}, ["training.rounds", "found 0", "greater than or equal to 1"]),
        ({"training.rounds": "three"}, ["training.rounds", "found 'three'", "integer"]),
        ({"training.learning_rate": "inf"}, ["training.learning_rate", "finite"]),
        ({"training.mode": "heads"}, ["training.mode", "found 'heads'", "'head', 'lora'"]),
        ({"constellation.planes": "5"}, ["constellation.planes", "12 satellites", "5 equal planes"]),
        ({"constellation.kind": "tle"}, ["constellation.path", 'found ""']),
        ({"epoch": "yesterday"}, ["epoch", "found 'yesterday'", "2026-01-01T00:00:00Z"]),
        ({"name": "a/b"}, ["name", "found 'a/b'"]),
    ],
)
def test_an_impossible_override_names_key_found_and_allowed(
    override: dict[str, str], says: list[str]
) -> None:
    with pytest.raises(ScenarioError) as refused:
        load_scenario("demo", override)
    for words in says:
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINIMAL.replace("67.9", "123.0"), ["mine.toml", "lat_deg", "123.0", "90"]),
        (
            MINIMAL + "[training]\nrouds = 3\n",
            ["mine.toml", "training.rouds", "did you mean training.rounds?"],
        ),
        (MINIMAL.replace("stations", "station"), ["mine.toml", "ground.stations", "missing"]),
        (MINIMAL.replace('epoch = "2026-01-01T00:00:00Z"', ""), ["mine.toml", "epoch", "missing"]),
        (MINIMAL + "training = [", ["mine.toml", "TOML"]),
        (MINIMAL.replace("}]", '}, { name = "Kiruna", lat_deg = 1.0, lon_deg = 1.0 }]'), ["Kiruna"]),
    ],
)
def test_a_broken_file_is_one_error_that_names_the_file(tmp_path: Path, text: str, says: list[str]) -> None:
    with pytest.raises(ScenarioError) as refused:
        load_scenario(scenario_file(tmp_path, text))
    for words in says:
        assert words in str(refused.value)


def test_what_is_wrong_with_one_station_is_not_said_of_all_of_them_too(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as refused:
        load_scenario(scenario_file(tmp_path, MINIMAL.replace("67.9", "123.0")))
    assert str(refused.value).endswith(
        "mine.toml: ground.stations.0.lat_deg: found 123.0, allowed: less than or equal to 90"
    )
    assert "\n" not in str(refused.value)


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    text = MINIMAL + "[training]\nrounds = 0\nbatch_size = -1\n"
    with pytest.raises(ScenarioError) as refused:
        load_scenario(scenario_file(tmp_path, text))
    assert len(str(refused.value).splitlines()) == 2


def test_an_unknown_scenario_lists_the_shipped_ones() -> None:
    with pytest.raises(ScenarioError, match=r"no such file.*demo, dove-3u, eurosat,.*walker-72"):
        load_scenario("nowhere")


def test_flower_knows_every_key_that_a_scenario_has() -> None:
    """``flwr run --run-config`` refuses a key that pyproject.toml does not list."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    listed = {
        f"{table}.{key}" if isinstance(values, dict) else table
        for table, values in _flat(tables)
        for key in (values if isinstance(values, dict) else [""])
    }
    assert {key for key, _ in scalar_keys()} | {
        "scenario",
        "out",
        "resume",
        "backbone-address",
        "relay",
        "max-concurrency",
        "cut",
    } == listed


def _flat(tables: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for key, value in tables.items():
        if isinstance(value, dict):
            flat += _flat(value, f"{prefix}{key}.")
        else:
            flat.append((prefix + key, value))
    return flat


@given(st.sampled_from(sorted(key for key, _ in scalar_keys())), st.text(max_size=20))
def test_no_override_ends_in_anything_but_a_scenario_or_a_scenario_error(key: str, value: str) -> None:
    try:
        scenario = load_scenario("demo", {key: value})
    except ScenarioError as error:
        assert key.split(".")[0] in str(error)
    else:
        assert scenario_from_json(scenario_to_json(scenario)) == scenario


STATIONS = [
    {"name": 'Ki "r" una', "lat_deg": 67.86, "lon_deg": 20.96},
    {"name": "Valley", "lat_deg": 47.3, "lon_deg": 11.4, "mask_profile_deg": [[0, 30], [90, 5]]},
]
STATIONS_TOML = """[{name = 'Ki "r" una', lat_deg = 67.86, lon_deg = 20.96},
  {name = "Valley", lat_deg = 47.3, lon_deg = 11.4, mask_profile_deg = [[0, 30], [90, 5]]}]"""


def test_stations_are_overridden_all_together_as_toml_and_from_python() -> None:
    written = load_scenario("demo", {"ground.stations": STATIONS_TOML})
    assert [station.name for station in written.ground.stations] == ['Ki "r" una', "Valley"]
    assert written.ground.stations[1].mask_profile_deg == ((0, 30), (90, 5))
    assert load_scenario("demo", {"ground.stations": STATIONS}) == written
    assert load_scenario("demo", {"ground.stations": toml_value(STATIONS)}) == written


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("[]", "--set ground.stations: found [], allowed:"),
        ("Kiruna", "--set ground.stations: found 'Kiruna', allowed: a list"),
        ("[1]", "--set ground.stations.0: found 1"),
        ('[{name = "A", lat_deg = 95, lon_deg = 0}]', "--set ground.stations.0.lat_deg: found 95"),
        ('[{name = "A", lat_deg = 5}]', "--set ground.stations.0.lon_deg: missing"),
    ],
)
def test_wrong_stations_are_one_error_that_names_the_override(value: str, says: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        load_scenario("demo", {"ground.stations": value})
    assert says in str(refusal.value)


def test_a_path_may_name_an_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENE_FOLDER", str(tmp_path))
    assert given_path("$SCENE_FOLDER", "data.path") == tmp_path
    assert given_path("", "data.path") is None
    with pytest.raises(ScenarioError, match=r"data\.path.*SCENE_FOLDER_2.*not set"):
        given_path("$SCENE_FOLDER_2/x", "data.path")
    with pytest.raises(ScenarioError, match=r"data\.path.*no such file"):
        given_path(str(tmp_path / "x"), "data.path")


@pytest.mark.parametrize(
    ("key", "value"), [("proximal", 0.1), ("head_rows", "by-class"), ("server_optimizer", "fedadam")]
)
def test_what_acts_on_averages_is_refused_for_a_shared_head(key: str, value: object) -> None:
    training = {"training.head": "shared", f"training.{key}": value}
    with pytest.raises(ScenarioError, match=rf"training.{key}: found {value} with head = .shared.; allowed"):
        load_scenario("demo", training)
    assert load_scenario("demo", {f"training.{key}": value})  # heads are averaged
    with pytest.raises(
        ScenarioError, match=r"training.head: found .shared. in mode lora with adapter = .per-satellite"
    ):
        load_scenario("demo", {"training.head": "shared", "training.adapter": "per-satellite"})
    assert load_scenario("demo", {"training.head": "shared"}).training.head_learning_rate == 0.003
    assert load_scenario("demo", {}).training.head_learning_rate == 0.03


@pytest.mark.parametrize(
    ("settings", "augment", "clip_update"),
    [
        ({}, "token-dihedral", 1.0),
        ({"training.augment": "dihedral", "training.clip_update": 0.5}, "dihedral", 0.5),
        ({"split.head_blocks": 1}, "token-dihedral", 1.0),
        ({"split.onboard_blocks": 1}, "dihedral", 1.0),
        ({"split.onboard_blocks": "auto", "split.leak_limit": 0.9}, "dihedral", 1.0),
        ({"training.adapter": "per-satellite"}, "token-dihedral", 0.0),
        ({"training.mode": "head"}, "dihedral", 0.0),
        ({"training.mode": "head", "training.labels": "ground"}, "token-dihedral", 0.0),
        ({"training.mode": "downlink"}, "dihedral", 0.0),
        ({"training.mode": "onboard-lora"}, "dihedral", 0.0),
    ],
    ids=str,
)
def test_tokens_are_turned_by_default_where_the_ground_takes_each_step_behind_the_embedding(
    settings: dict[str, object], augment: str, clip_update: float
) -> None:
    training = load_scenario("demo", settings).training
    assert (training.augment, training.clip_update) == (augment, clip_update)


def test_a_scenario_without_a_table_for_training_has_the_defaults_of_one(tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text(MINIMAL)
    (tmp_path / "cut.toml").write_text(MINIMAL + "[split]\nonboard_blocks = 1\n")
    found = [load_scenario(str(tmp_path / name)).training.augment for name in ("few.toml", "cut.toml")]
    assert found == ["token-dihedral", "dihedral"]
