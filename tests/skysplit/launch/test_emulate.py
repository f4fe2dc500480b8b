"""`skysplit emulate` with processes: what it does when some of them die."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from mission.record import RunRecord
from mission.scenario import load_scenario
from server_app.run import ServerRun
from server_app.server_app import fine_tune

pytestmark = pytest.mark.flower

SETTINGS = (
    "constellation.satellites=2",
    "constellation.planes=1",
    "constellation.phasing=0",
    "constellation.train_spacing_deg=20",  # they see each other
    "data.train_samples=24",
    "data.test_samples=20",
    "data.alpha=5",
    "training.rounds=1",
)


def processes_of(folder: Path) -> dict[int, str]:
    """Processes whose command line names a file below `folder`."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found[int(process.name)] = line
    return found


def until(found: Callable[[], Any], started: subprocess.Popen[str], timeout_s: float = 600.0) -> Any:
    """What `found` returns as soon as that is something."""
    deadline = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < deadline
        assert started.poll() is None, started.communicate()
        time.sleep(0.2)
    return value


@contextlib.contextmanager
def emulation(out: Path, *settings: str) -> Iterator[subprocess.Popen[str]]:
    command = [f"{sysconfig.get_path('scripts')}/skysplit", "emulate", "walker-12", "--out", str(out)]
    started = subprocess.Popen(
        [*command, *(f"--set={setting}" for setting in settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.terminate()
            started.wait(300)


def test_a_ground_that_dies_ends_the_emulation_with_one_error_and_nothing_left(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with emulation(out, *SETTINGS, "constellation.satellites=1") as started:

        def supernodes() -> list[int]:
            lines = processes_of((out / "nodes").resolve()) if (out / "nodes").is_symlink() else {}
            return [pid for pid, line in lines.items() if "flower-supernode" in line]

        until(supernodes, started)
        nodes = (out / "nodes").resolve()
        relays = {pid: line for pid, line in processes_of(nodes).items() if "-m relay" in line}
        assert len(relays) == 2
        [ground] = [pid for pid, line in relays.items() if "/ground/" in line]
        os.kill(ground, signal.SIGKILL)
        _, said = started.communicate(timeout=600)
    assert started.returncode == 1
    assert "relay-ground ended with exit status -9" in said
    assert "Traceback" not in said
    assert not processes_of(nodes)
    assert not nodes.exists()  # and with it all keys
    assert (out / "logs" / "relay-ground.log").exists()


@pytest.mark.slow
def test_a_satellite_whose_supernode_and_relay_are_killed_in_mid_round_goes_on_with_the_same_result(
    tmp_path: Path, grid_of: Callable[[int, int], Any]
) -> None:
    out = tmp_path / "run"
    exact = tuple(f"crossings.{name}=fp32" for name in ("features", "hidden", "gradients"))
    with emulation(out, *SETTINGS, *exact) as started:
        local_checkpoint = "nodes/sat-0-00/spool/application"
        until(lambda: list(out.glob(f"{local_checkpoint}/*.safetensors")), started, timeout_s=900.0)
        lines = processes_of((out / "nodes" / "sat-0-00").resolve())
        victims = [pid for pid, line in lines.items() if "flower-supernode" in line or "-m relay" in line]
        assert len(victims) == 2
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        _, said = started.communicate(timeout=1200)
    assert started.returncode == 0, said
    transfer_records = pq.read_table(out / "transfer_records.parquet").to_pylist()
    between = [(row["node"], row["peer"]) for row in transfer_records if row["kind"] == "aggregate"]
    assert ("sat-0-01", "sat-0-00") in between  # the plane has summed by itself

    settings = dict(setting.split("=") for setting in (*SETTINGS, *exact))
    scenario = load_scenario("walker-12", settings)
    record = RunRecord(tmp_path / "simulated", scenario, command="")
    fine_tune(grid_of(2, 2), ServerRun(record, "run-1"))
    for name in ("head.safetensors", "adapter/adapter_model.safetensors"):
        one, other = (load_file(path / "final" / name) for path in (out, record.directory))
        assert one.keys() == other.keys()
        for key, tensor in one.items():
            torch.testing.assert_close(tensor, other[key], rtol=1e-4, atol=1e-5)
