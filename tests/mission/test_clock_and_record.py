"""Mission time runs forward only; a run directory is complete at every moment."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mission.clock import VirtualClock
from mission.record import ROUNDS, TRANSFER_RECORDS, RunRecord, new_run_directory, read_run
from mission.scenario import load_scenario

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def test_mission_time_runs_forward_only() -> None:
    clock = VirtualClock(EPOCH)
    clock.advance_to(90.0)
    assert clock.utc() == EPOCH + timedelta(seconds=90)
    with pytest.raises(ValueError, match="cannot run back"):
        clock.advance_to(89.0)


def a_row(number: int) -> dict[str, object]:
    defaults = {"string": "", "int32": 0, "int64": 0, "double": 0.0}
    return {field.name: defaults[str(field.type)] for field in ROUNDS} | {"round": number}


def test_a_run_directory_tells_state_scenario_seeds_and_versions(tmp_path: Path) -> None:
    scenario = load_scenario("demo")
    record = RunRecord(tmp_path / "run", scenario, command="skysplit run demo")
    assert read_run(tmp_path / "run")["state"] == "running"
    record.add_round([a_row(1)])
    record.add_round([a_row(2)])
    record.add_activities([{"kind": "embed"}, {"kind": "features"}])
    record.finish(test_accuracy=0.5)
    run = read_run(tmp_path / "run")
    assert run["state"] == "completed"
    assert run["scenario"]["training"]["rounds"] == scenario.training.rounds
    assert run["seeds"] == {"run": scenario.seed}
    assert run["versions"]["torch"].startswith("2.")
    assert run["result"]["test_accuracy"] == 0.5
    assert run["result"]["peak_memory_bytes"] > 10e6
    assert pq.read_table(tmp_path / "run" / "rounds.parquet")["round"].to_pylist() == [1, 2]
    lines = (tmp_path / "run" / "plan.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["embed", "features"]
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    record = RunRecord(tmp_path, load_scenario("demo"), command="")
    record.fail("NoRouteError: sat-0-00 never sees a station")
    run = read_run(tmp_path)
    assert run["state"] == "failed"
    assert run["result"]["error"].startswith("NoRouteError")


def test_a_run_directory_is_never_overwritten(tmp_path: Path) -> None:
    RunRecord(tmp_path, load_scenario("demo"), command="")
    with pytest.raises(FileExistsError, match="holds a run already"):
        RunRecord(tmp_path, load_scenario("demo"), command="")


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    record = RunRecord(tmp_path, load_scenario("demo"), command="")
    for number in range(1, 5):
        (tmp_path / "checkpoints" / f"round-{number:05d}").mkdir()
    record.prune_checkpoints(2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "round-00003",
        "round-00004",
    ]


def test_a_new_run_directory_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = new_run_directory("", "demo")
    first.mkdir(parents=True)
    assert new_run_directory("", "demo") != first
    assert new_run_directory("here", "demo") == tmp_path / "here"


def test_what_an_older_version_measured_is_kept_beside_what_is_measured_now(tmp_path: Path) -> None:
    record = RunRecord(tmp_path, load_scenario("demo"), command="")
    path = tmp_path / "passages.parquet"  # what it was called
    row = {"round": 1, "link": "downlink", "node": "ground", "peer": "a", "satellite": "a", "bytes": 7}
    pq.write_table(
        pa.Table.from_pylist([row], schema=pa.schema([TRANSFER_RECORDS.field(name) for name in row])), path
    )
    record.add_transfer_records(
        [row | {"round": 2, "kind": "features", "step": 1, "micro_batch": 0, "start_s": 0.0, "end_s": 1.0}]
    )
    rows = pq.read_table(path).to_pylist()
    assert [(found["round"], found["kind"], found["bytes"]) for found in rows] == [
        (1, None, 7),
        (2, "features", 7),
    ]
    pq.write_table(pa.table({"round": ["one"]}), path)
    with pytest.raises(ValueError, match=r"passages\.parquet: was written by another version"):
        record.add_transfer_records([row])
