"""Real `flwr run`s: through `skysplit run`, which tells the truth about failure, and plain."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from installed_example import install
from PIL import Image
from safetensors.torch import load_file

from mission.record import RunRecord, read_run
from mission.scenario import load_scenario
from server_app.run import ServerRun
from server_app.server_app import fine_tune
from skysplit.launch.mark import marked

pytestmark = pytest.mark.flower

ROOT = Path(__file__).resolve().parents[3]
SMALL = {
    "constellation.satellites": 2,
    "constellation.planes": 1,
    "constellation.phasing": 0,
    "data.train_samples": 24,
    "data.test_samples": 20,
    "data.alpha": 5.0,
    "training.rounds": 1,
    "training.batch_size": 8,
}


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of the environment's console scripts."""
    scripts = sysconfig.get_path("scripts")
    return subprocess.run(
        [f"{scripts}/{words[0]}", *words[1:]],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"} | environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


def skysplit_run(
    out: Path, overrides: dict[str, Any], **environment: str
) -> subprocess.CompletedProcess[str]:
    """One satellite at a time: each process of Ray's takes longer to start than it computes."""
    return command(*_words(out, overrides, max_concurrency=1), **environment)


def _words(out: Path, overrides: dict[str, Any], max_concurrency: int = 2) -> list[str]:
    settings = [word for key, value in overrides.items() for word in ("--set", f"{key}={value}")]
    run = ["skysplit", "run", "walker-12", *settings, "--out", str(out)]
    return [*run, "--max-concurrency", str(max_concurrency)]


def test_a_run_planned_by_an_installed_strategy_ends_with_the_weights_of_the_same_run_in_one_process(
    tmp_path: Path, grid_of: Callable[[int, int], Any], monkeypatch: pytest.MonkeyPatch, bare_run: None
) -> None:
    site = str(install(tmp_path / "site"))
    path = os.pathsep.join([site, *filter(None, [os.environ.get("PYTHONPATH")])])
    overrides = SMALL | {"strategy.space_ground": "most-need"}
    done = skysplit_run(tmp_path / "flower", overrides, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "flower") in done.stdout
    assert "Reached: accuracy" in done.stdout
    assert "asking the satellites for their data" in done.stderr  # progress, without a terminal
    run = read_run(tmp_path / "flower")
    assert run["state"] == "completed"
    assert run["scenario"]["strategy"]["space_ground"] == "most-need"
    monkeypatch.syspath_prepend(site)
    try:
        _require_the_weights_of_one_process(tmp_path / "flower", overrides, grid_of)
    finally:
        sys.modules.pop("most_need", None)


@pytest.mark.slow
def test_a_run_that_was_killed_is_resumed_to_the_weights_of_one_that_was_not(
    tmp_path: Path, grid_of: Callable[[int, int], Any]
) -> None:
    overrides = SMALL | {"training.rounds": 3}
    mark = f"SKYSPLIT_TEST={uuid4()}"
    with (tmp_path / "log").open("wb") as log:
        killed = subprocess.Popen(
            [f"{sysconfig.get_path('scripts')}/skysplit", *_words(tmp_path / "run", overrides)[1:]],
            cwd=ROOT,
            env=os.environ | dict([mark.split("=")]),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 900
            while not _rounds(tmp_path / "run") and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            _kill(mark, signal.SIGKILL)
            killed.wait()
    assert 1 <= _rounds(tmp_path / "run") < 3, (tmp_path / "log").read_text()
    done = command("skysplit", "run", "--resume", str(tmp_path / "run"), "--max-concurrency", "2")
    assert done.returncode == 0, done.stderr
    _require_the_weights_of_one_process(tmp_path / "run", overrides, grid_of)


def _require_the_weights_of_one_process(
    directory: Path, overrides: dict[str, Any], grid_of: Callable[[int, int], Any]
) -> None:
    scenario = load_scenario("walker-12", overrides)
    record = RunRecord(directory.with_name("process"), scenario, command="")
    fine_tune(grid_of(2, 2), ServerRun(record, "run-1"))
    first, second = (read_run(path)["result"]["test_loss"] for path in (directory, record.directory))
    assert first == second
    for name in ("head.safetensors", "adapter/adapter_model.safetensors"):
        first, second = (load_file(path / "final" / name) for path in (directory, record.directory))
        assert all((first[key] == second[key]).all() for key in first.keys() | second.keys())


def _rounds(directory: Path) -> int:
    """Finished rounds of a run under way."""
    if not (directory / "run.json").exists():
        return 0
    return int(read_run(directory).get("progress", {}).get("round", 0))


# The launcher's half is in test_fault_matrix.py, the ground's in test_fine_tuning.py (an unreadable image).
@pytest.mark.slow
def test_a_failed_run_exits_with_one_error_and_records_it(tmp_path: Path) -> None:
    for number in range(12):
        folder = tmp_path / "images" / f"class-{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        if number % 2:
            (folder / f"{number}.png").write_bytes(b"not an image")
        else:
            Image.new("RGB", (32, 32)).save(folder / f"{number}.png")
    overrides = SMALL | {"data.source": "folder", "data.path": tmp_path / "images"}
    overrides["constellation.satellites"] = 1
    done = skysplit_run(tmp_path / "run", overrides)
    assert done.returncode == 1
    assert "not readable as an image" in done.stderr
    assert "Traceback" not in done.stderr
    run = read_run(tmp_path / "run")
    assert run["state"] == "failed"
    assert "not readable as an image" in run["result"]["error"]


# The bundle is the one above's (test_bundle.py). Flower gives the SuperLink that it starts here 15 s, too little for a
# machine that runs other tests.
@pytest.mark.slow
def test_plain_flwr_run_works_as_flower_users_know_it(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {
        "FLWR_HOME": str(tmp_path / "home"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": port,
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    overrides = SMALL | {"out": str(tmp_path / "run")}
    started = command(
        *("flwr", "run", ".", "--format", "json"),
        *("--run-config", " ".join(f"{key}={json.dumps(value)}" for key, value in overrides.items())),
        *("--federation-config", f"num-supernodes=2 client-resources-num-cpus={os.cpu_count()}"),
        **environment,
    )
    try:
        assert json.loads(started.stdout)["success"], started.stdout + started.stderr
        deadline = time.monotonic() + 900
        run: dict[str, Any] = {}
        while run.get("state", "running") == "running" and time.monotonic() < deadline:
            time.sleep(0.5)
            if (tmp_path / "run" / "run.json").exists():
                run = read_run(tmp_path / "run")
        assert run["state"] == "completed", run.get("result")
    finally:
        _kill(
            f"FLWR_HOME={tmp_path / 'home'}", signal.SIGTERM
        )  # the SuperLink that `flwr run` left, and its own


def _kill(variable: str, how: signal.Signals) -> None:
    """Send a signal to all processes with this variable in their environment."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), how)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "last"),
    [
        ("raylet", "Ray's raylet ended before the run did"),
        ("flwr-simulation", "Flower's simulation, and the ServerApp in it, ended before the run did"),
        ("flower-superlink", "superlink ended with exit status -9"),
    ],
)
def test_what_dies_under_a_real_run_is_named_last_and_nothing_is_left(
    tmp_path: Path, victim: str, last: str
) -> None:
    words = _words(tmp_path / "run", SMALL | {"training.rounds": 100})
    started = subprocess.Popen(
        [f"{sysconfig.get_path('scripts')}/skysplit", *words[1:]], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )

    def ours() -> list[psutil.Process]:
        return list(marked(lambda mark: mark.startswith(f"{started.pid}:")))

    try:
        deadline = time.monotonic() + 900
        while not _rounds(tmp_path / "run") and time.monotonic() < deadline:
            time.sleep(0.1)
        [found] = [one for one in ours() if any(Path(word).name == victim for word in one.cmdline()[:2])]
        found.kill()
        _, said = started.communicate(timeout=600)
    finally:
        started.kill()
        started.wait()
    assert started.returncode == 1
    assert last in said.strip().splitlines()[-1]
    assert not ours()
    run = read_run(tmp_path / "run")
    assert run["state"] == "failed"
    assert last in run["result"]["error"]
