"""Overrides reach the ServerApp as they were given, through the file that Flower reads."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from flwr.common.config import flatten_dict, parse_config_args
from hypothesis import given
from hypothesis import strategies as st

from mission.scenario import load_scenario
from skysplit.launch.flower_run import _run_value

STATIONS = [{"name": 'Ki "r" una', "lat_deg": 67.86, "lon_deg": 20.96}]


def run_config_of(run_config: dict[str, Any], path: Any) -> dict[str, Any]:
    """What Flower makes of a run config that is written as ``run_app`` does."""
    path.write_text("\n".join(f"{key} = {_run_value(value)}" for key, value in run_config.items()))
    return parse_config_args([str(path)])


@pytest.mark.parametrize(
    "overrides",
    [
        {"ground.stations": STATIONS},
        {"ground.stations": "[{name = 'Ki \"r\" una', lat_deg = 67.86, lon_deg = 20.96}]"},
        {"links.inter_orbit.topology": "grid", "links.inter_orbit.pairs": [["sat-0-00", "sat-1-00"]]},
        {"contacts.links": ["sgl"], "constellation.planes": 2, "power.downlink": "sunlight"},
        {"constellation.plane_phase_deg": [0, 12.5], "training.rounds": "3", "model.random_init": True},
        {"description": 'a "quoted" \\ text\nof two lines, 名 \U0001f6f0'},
    ],
)
def test_a_run_has_the_scenario_that_was_asked_for(overrides: dict[str, Any], tmp_path) -> None:
    config = run_config_of(overrides, tmp_path / "run-config.toml")
    assert all(isinstance(value, str | bool | int | float) for value in config.values())
    assert load_scenario("demo", config) == load_scenario("demo", overrides)


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers(-(2**53), 2**53))
def test_every_value_is_read_back(value: object) -> None:
    assert flatten_dict(tomllib.loads(f"a.b = {_run_value(value)}"))["a.b"] == value
