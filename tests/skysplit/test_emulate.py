"""`skysplit emulate` with processes: what it does when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.flower

SETTINGS = (
    "constellation.satellites=2",
    "constellation.planes=1",
    "constellation.phasing=0",
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


def test_a_satellite_that_dies_ends_the_emulation_with_one_error_and_nothing_left(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [f"{sysconfig.get_path('scripts')}/skysplit", "emulate", "demo", "--out", str(out)]
    started = subprocess.Popen(
        [*command, *(f"--set={setting}" for setting in SETTINGS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        supernodes: list[int] = []
        while not supernodes:
            assert time.monotonic() < deadline
            assert started.poll() is None, started.communicate()
            time.sleep(0.2)
            if (out / "nodes").is_symlink():
                nodes = (out / "nodes").resolve()
                running = processes_of(nodes)
                supernodes = [pid for pid, line in running.items() if "flower-supernode" in line]
        relays = [pid for pid, line in running.items() if "-m relay" in line]
        assert len(relays) == 3
        os.kill(supernodes[0], signal.SIGKILL)
        _, said = started.communicate(timeout=120)
    finally:
        if started.poll() is None:
            started.terminate()
            started.wait(60)
    assert started.returncode == 1
    assert "supernode-sat-0-00 ended with exit status -9" in said
    assert "Traceback" not in said
    assert not processes_of(nodes)
    assert not nodes.exists()  # and with it all keys
    assert (out / "logs" / "relay-ground.log").exists()
