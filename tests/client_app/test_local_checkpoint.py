"""What a satellite keeps on disk between two steps."""

from __future__ import annotations

from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from client_app.local_checkpoint import LocalCheckpoint


def state(step: int, cached: float) -> RecordDict:
    return RecordDict(
        {
            "cache": ArrayRecord({"states": torch.full((4, 3), cached)}),
            "tensors": ArrayRecord(
                {"head": torch.full((2,), float(step)), "sum": torch.ones(2, dtype=torch.float64)}
            ),
            "counters": MetricRecord({"step": step, "loss": 0.1}),
            "round": ConfigRecord({"run": "run", "round": 3}),
        }
    )


def recalled(folder: Path, run: str = "run") -> RecordDict:
    found = RecordDict({"left": MetricRecord({"behind": 1})})
    LocalCheckpoint(folder, run, caches=["cache"]).recall(found)
    return found


def test_a_new_process_finds_all_records_as_they_were_written_last(tmp_path: Path) -> None:
    local_checkpoint = LocalCheckpoint(tmp_path, "run", caches=["cache"])
    for step, cached in ((1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0)):
        local_checkpoint.write(state(step, cached))
        assert recalled(tmp_path) == state(step, cached)


def test_caches_are_written_only_when_they_have_changed_also_by_a_new_process(tmp_path: Path) -> None:
    local_checkpoint = LocalCheckpoint(tmp_path, "run", caches=["cache"])
    local_checkpoint.write(state(1, 0.0))
    [caches] = tmp_path.glob("*caches*")
    [progress] = tmp_path.glob("*progress*")
    caches.touch()
    written = caches.stat().st_ino, progress.stat().st_ino
    local_checkpoint.write(state(2, 0.0))
    assert caches.stat().st_ino == written[0]
    assert progress.stat().st_ino != written[1]
    local_checkpoint = LocalCheckpoint(tmp_path, "run", caches=["cache"])
    local_checkpoint.recall(RecordDict())
    local_checkpoint.write(state(3, 0.0))
    assert caches.stat().st_ino == written[0]
    local_checkpoint.write(state(3, 1.0))
    assert caches.stat().st_ino != written[0]


def test_another_run_finds_nothing_and_removes_what_an_earlier_one_left(tmp_path: Path) -> None:
    LocalCheckpoint(tmp_path, "run-1", caches=["cache"]).write(state(1, 0.0))
    found = recalled(tmp_path, "run-11")
    assert list(found) == ["left"]
    assert not list(tmp_path.iterdir())
