"""Runs whose labels come up from the ground: the mission begins when they are there, and trains the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_missions import Mission, interrupted, resumed, rows_as_planned, same, trained

ROUNDS = {"training.mode": "onboard-head", "training.rounds": 2}
BUFFERED = ROUNDS | {
    "strategy.averaging": "buffered-satellites", "strategy.buffer_updates": 2, "constellation.planes": 4,
}  # fmt: skip


@pytest.mark.parametrize("keys", [ROUNDS, BUFFERED], ids=["rounds", "buffered"])
def test_rounds_begin_when_labels_are_there_and_train_the_same(
    fly: Mission, grid_of: Callable[[int, int], Any], tmp_path: Path, keys: dict
) -> None:
    whole = fly(keys | {"training.labels": "uplinked"}, out="uplinked")
    run = json.loads((whole / "run.json").read_text())
    labels, images = run["labels"], sum(run["samples"].values())
    assert labels["start_s"] == run["enrolment"]["end_s"]
    assert labels["end_s"] > labels["start_s"]
    assert 8 * images < labels["uplink_bytes"] < 8 * images + 400 * len(run["samples"])
    rows = [json.loads(line) for line in (whole / "plan.jsonl").read_text().splitlines()]
    assert min(row["start_s"] for row in rows if row["round"] == 1) >= labels["end_s"]
    killed = interrupted(whole, tmp_path / "killed", 2)
    resumed(grid_of(4, 4), killed)
    assert same(trained(whole), trained(killed))
    assert rows_as_planned(whole) == rows_as_planned(killed)
    if keys is ROUNDS:
        assert same(trained(whole), trained(fly(keys, out="on-board")))
