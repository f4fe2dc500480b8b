"""One run owns its directory, and a dead one owns nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mission.record import RunRecord, make_run_directory, read_run, record_end
from mission.run_lock import LAUNCH, RECORD, RunBusyError, RunLock, left_by_the_dead, owner_of
from mission.scenario import load_scenario

RECORDS = """
import sys
from pathlib import Path
from mission.record import RunRecord
from mission.scenario import load_scenario
record = RunRecord(Path(sys.argv[1]), load_scenario("demo"), command="")
print("recording", flush=True)
sys.stdin.read()
"""
OWNS = """
import sys
from pathlib import Path
from mission.run_lock import LAUNCH, RunLock
RunLock(Path(sys.argv[1]), LAUNCH).take()
print("owns", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(code: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None
        assert started.stdout.readline()
        yield started
    finally:
        started.kill()
        started.communicate()


def test_the_run_of_another_process_is_neither_begun_again_nor_resumed_and_the_error_names_it(
    tmp_path: Path,
) -> None:
    with another_process(RECORDS, tmp_path) as other:
        assert read_run(tmp_path)["state"] == "running"
        named = f"process {other.pid} on {socket.gethostname()}"
        with pytest.raises(RunBusyError, match=named):
            RunRecord.reopen(tmp_path)
        (tmp_path / "run.json").unlink()
        with pytest.raises(RunBusyError, match=named):
            RunRecord(tmp_path, load_scenario("demo"), command="")


def test_a_run_whose_process_was_killed_is_interrupted_and_can_be_resumed(tmp_path: Path) -> None:
    with another_process(RECORDS, tmp_path) as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert left_by_the_dead(tmp_path)
        assert read_run(tmp_path)["state"] == "interrupted"
    record = RunRecord.reopen(tmp_path)
    assert read_run(tmp_path)["state"] == "running"
    record.finish()
    assert read_run(tmp_path)["state"] == "completed"


@pytest.mark.parametrize(("error", "state"), [("", "interrupted"), ("the disk is full", "failed")])
def test_what_a_killed_process_could_not_record_is_recorded_for_it(
    tmp_path: Path, error: str, state: str
) -> None:
    with another_process(RECORDS, tmp_path) as other:
        record_end(tmp_path, error)
        assert read_run(tmp_path)["state"] == "running"  # it lives
        other.kill()
        other.wait()
        record_end(tmp_path, error)
    run = read_run(tmp_path)
    assert run["state"] == state
    assert run["ended"] >= run["started"]
    assert run.get("result", {}).get("error", "") == error
    assert not (tmp_path / RECORD).exists()
    record_end(tmp_path / "nowhere")


def test_what_has_ended_says_so_whatever_happens_afterwards(tmp_path: Path) -> None:
    record = RunRecord(tmp_path, load_scenario("demo"), command="")
    record.interrupt()
    record_end(tmp_path, "later")
    assert read_run(tmp_path)["state"] == "interrupted"
    assert owner_of(tmp_path) is None


def test_a_directory_is_owned_once_and_free_again_at_the_end_and_after_a_kill(tmp_path: Path) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with another_process(OWNS, tmp_path) as other:
            assert str(other.pid) in str(owner_of(tmp_path))
            with pytest.raises(RunBusyError, match=str(other.pid)):
                RunLock(tmp_path, LAUNCH).take()
            os.kill(other.pid, how)
            other.wait()
            with RunLock(tmp_path, LAUNCH):
                assert f"process {os.getpid()} " in str(owner_of(tmp_path))
            assert owner_of(tmp_path) is None


def test_runs_of_the_same_second_get_directories_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as together:
        made = list(together.map(lambda _: make_run_directory("", "demo"), range(16)))
    assert len(set(made)) == 16
    assert all(directory.is_dir() for directory in made)
