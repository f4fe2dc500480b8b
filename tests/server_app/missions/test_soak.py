"""Two hundred rounds need no more memory, descriptors, threads or checkpoints than fifty."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_missions import Mission

from mission.record import RunRecord, read_run

ROUNDS = 200
SETTINGS = {
    "constellation.satellites": 2, "constellation.planes": 1, "constellation.phasing": 0,
    "constellation.train_spacing_deg": 20, "data.train_samples": 16, "data.test_samples": 20,
    "training.rounds": ROUNDS, "horizon_h": 1440.0,
}  # fmt: skip


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_two_hundred_rounds_leave_memory_disk_descriptors_and_threads_flat(
    fly: Mission, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = psutil.Process()
    seen: list[dict[str, int]] = []
    add_round = RunRecord.add_round

    def measured(self: RunRecord, rows: Any) -> None:
        add_round(self, rows)
        seen.append(
            {
                "memory": process.memory_info().rss,
                "descriptors": process.num_fds(),
                "threads": process.num_threads(),
                "checkpoints": bytes_below(self.directory / "checkpoints"),
                "records": bytes_below(self.directory) - bytes_below(self.directory / "checkpoints"),
            }
        )

    monkeypatch.setattr(RunRecord, "add_round", measured)
    directory = fly(SETTINGS)
    assert read_run(directory)["result"]["rounds"] == ROUNDS == len(seen)

    def median(key: str, first: int, last: int) -> float:
        return statistics.median(one[key] for one in seen[first:last])

    early = {key: median(key, 30, 50) for key in seen[0]}
    late = {key: median(key, ROUNDS - 20, ROUNDS) for key in seen[0]}
    with capsys.disabled():
        print("\n" + "".join(f"{key}: {early[key]:,.0f} → {late[key]:,.0f}\n" for key in early))
    assert late["memory"] - early["memory"] < 40e6
    assert late["descriptors"] - early["descriptors"] <= 4
    assert late["threads"] - early["threads"] <= 4
    assert late["checkpoints"] <= 1.2 * early["checkpoints"]  # they hold the scores of all rounds before
    # What is recorded of a round takes as much room late as early.
    on_data = [median("records", at, at + 20) for at in (40, 110, 180)]
    assert on_data[2] - on_data[1] <= 1.3 * (on_data[1] - on_data[0])
