"""`skysplit cuts`: the same round, planned with more and more of the model on board."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from skysplit.cli import app

RUNNER = CliRunner()
SMALL = [
    word
    for setting in (
        "constellation.satellites=2",
        "planning.samples=32",
        "planning.profile=Galileo-Nano (S2-RGB, 64px p8)",
        "horizon_h=6",
    )
    for word in ("--set", setting)
]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    done = RUNNER.invoke(app, ["cuts", "walker-12", *SMALL, "--format", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_every_cut_has_its_costs_and_a_planned_round(rows: list[dict[str, Any]]) -> None:
    assert [row["onboard_blocks"] for row in rows] == [0, 1, 2, 3]
    assert len({row["feature_bytes"] for row in rows}) == 1  # tokens are of one size behind every block
    for key, grows in (
        ("onboard_flops", 1),
        ("onboard_bytes", 1),
        ("ground_flops", -1),
        ("adapter_bytes", -1),
    ):
        values = [row[key] * grows for row in rows]
        assert values == sorted(values), key
        assert values[0] < values[-1], key
    table = RUNNER.invoke(app, ["cuts", "walker-12", *SMALL]).stdout
    assert "where to cut" in table


def test_the_seconds_of_a_cut_are_those_of_its_plan(rows: list[dict[str, Any]]) -> None:
    words = ["plan", "walker-12", *SMALL, "--set", "split.onboard_blocks=2", "--format", "json"]
    planned = json.loads(RUNNER.invoke(app, words).stdout)
    assert rows[2]["round_s"] == planned["end_s"] - planned["start_s"]


def test_a_cut_that_cannot_be_is_refused() -> None:
    for words, message in (
        (["plan", "walker-12", *SMALL, "--set", "split.onboard_blocks=4"], "split.onboard_blocks: found 4"),
        (["cuts", "walker-12", "--set", "training.mode=downlink"], "found 'downlink', which splits nothing"),
        (
            [
                "plan",
                "walker-12",
                *SMALL,
                "--set",
                "split.onboard_blocks=1",
                "--set",
                "training.augment=token-dihedral",
            ],
            'training.augment: found "token-dihedral" with split.onboard_blocks = 1',
        ),
        (
            ["cuts", "walker-12", *SMALL, "--set", "training.augment=token-dihedral"],
            'training.augment: found "token-dihedral", which has one place to cut',
        ),
        (
            ["plan", "walker-12", "--set", "training.mode=downlink", "--set", "split.onboard_blocks=1"],
            "split.onboard_blocks: found 1 in mode downlink",
        ),
    ):
        done = RUNNER.invoke(app, words)
        assert done.exit_code == 1
        assert message in " ".join((done.output + done.stderr).split())
