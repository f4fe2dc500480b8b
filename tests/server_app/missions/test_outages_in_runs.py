"""Runs through outages that their plans do not know: planned anew, the same by seed, and resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_missions import SMALL, Mission, interrupted, resumed, rows_as_planned, same, trained

from mission.record import RunRecord, read_run
from mission.scenario import ScenarioError, load_scenario
from server_app.run import ServerRun

STORMY = {"uncertainty.station_outage": 0.3, "uncertainty.station_outage_h": 0.1}


def end_s(directory: Path) -> float:
    return max(row["end_s"] for row in pq.read_table(directory / "rounds.parquet").to_pylist())


def test_outages_delay_rounds_and_change_no_number_of_steps(shared_run: Mission) -> None:
    clear, stormy = shared_run({}), shared_run(STORMY)
    assert end_s(stormy) > end_s(clear)
    assert read_run(clear)["progress"]["interruptions"] == 0
    rows = pq.read_table(stormy / "rounds.parquet").to_pylist()
    steps = {(row["satellite"], row["round"]): row["steps"] for row in rows}
    planned = pq.read_table(clear / "rounds.parquet").to_pylist()
    assert steps == {(row["satellite"], row["round"]): row["steps"] for row in planned}


def test_an_interrupted_run_resumes_through_the_same_outages_bit_for_bit(
    shared_run: Mission, grid_of: Callable[[int, int], Any], bare_run: None, tmp_path: Path
) -> None:
    whole = shared_run(STORMY)
    killed = interrupted(whole, tmp_path / "killed", 2)
    resumed(grid_of(4, 4), killed)
    assert same(trained(whole), trained(killed))
    assert rows_as_planned(whole) == rows_as_planned(killed)


def test_whoever_computes_at_once_a_seed_gives_one_result(fly: Mission, shared_run: Mission) -> None:
    alone, together = fly(STORMY, max_concurrency=1), shared_run(STORMY)
    assert same(trained(alone), trained(together))
    assert rows_as_planned(alone) == rows_as_planned(together)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"training.mode": "onboard-lora"},
            r"training\.mode: found onboard-lora with outages .*allowed: head, lora",
        ),
        ({"training.labels": "ground"}, r"training\.labels: found ground with outages"),
        (
            {"training.mode": "head", "strategy.planes_per_round": 1},
            r"planes_per_round: found 1 with outages",
        ),
    ],
)
def test_rounds_that_do_not_resume_half_way_are_one_error(
    keys: dict[str, Any], message: str, tmp_path: Path
) -> None:
    record = RunRecord(tmp_path / "run", load_scenario("walker-12", SMALL | STORMY | keys), command="")
    with pytest.raises(ScenarioError, match=message):
        ServerRun(record, "run-1")
