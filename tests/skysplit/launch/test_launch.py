"""What a command starts ends with it, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from skysplit.cli import app
from skysplit.commands import doctor
from skysplit.launch.launcher import Launch
from skysplit.launch.mark import VARIABLE, launcher_lives, marked, new_mark
from skysplit.launch.processes import Processes

LONG_S = 600
_ESCAPE = "import os, signal, time\nos.fork() and os._exit(0)\nos.setsid(); os.fork() and os._exit(0)\n"
_DEAF = (
    "[signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]\n"
)
_STAYS = f"time.sleep({LONG_S})"
# A child in a session of its own whose parent has ended; the second one ignores what is polite.
ESCAPES = (sys.executable, "-c", _ESCAPE + _STAYS)
STUBBORN = (sys.executable, "-c", _ESCAPE + _DEAF + _STAYS)
AGAIN = """
signal.signal(signal.SIGTERM, lambda *_: os.fork() and os._exit(0))
signal.pause()
"""
LAUNCHER = """
import signal, sys, time
from pathlib import Path
for number in (signal.SIGHUP, signal.SIGTERM):  # whoever started these tests may have had them ignored
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from skysplit.launch.launcher import unwind_on_signals
from skysplit.launch.processes import Processes
unwind_on_signals()
folder = Path(sys.argv[1])
with Processes(folder / "logs") as processes:
    processes.launch.remove_if_killed(folder / "keys")
    processes.start("escapes", sys.argv[2:], {"PATH": "/usr/bin:/bin"})
    print(processes.launch.environment["SKYSPLIT_LAUNCH"], flush=True)
    time.sleep(600)
"""


def eventually(wanted: Callable[[], object], timeout_s: float = 300.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not wanted():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def bearers(mark: str) -> list[int]:
    return [process.pid for process in marked(mark.__eq__)]


def watchdogs(pid: int) -> list[psutil.Process]:
    """Of the launches of a process."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            found += [child] if "skysplit.launch.watchdog" in child.cmdline() else []
    return found


@contextlib.contextmanager
def launcher(folder: Path, *command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that owns one that has escaped from its parent, group and session; and their mark."""
    (folder / "keys").mkdir()
    started = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder), *command], stdout=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None
        mark = started.stdout.readline().strip()
        eventually(lambda: any(psutil.Process(pid).ppid() != started.pid for pid in bearers(mark)))
        yield started, mark
    finally:
        started.kill()
        started.wait()


def test_what_has_left_its_session_and_lost_its_parent_ends_with_the_block(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("escapes", ESCAPES, {})
        mark = processes.launch.environment[VARIABLE]
        eventually(lambda: bearers(mark))
    assert not bearers(mark)


def test_a_folder_that_processes_write_to_is_removed_when_the_last_of_them_has_ended(tmp_path: Path) -> None:
    """However late: an error of its removal would stand in the place of the run's own."""
    writes = "import itertools, pathlib, sys\nfor n in itertools.count(): pathlib.Path(sys.argv[1], str(n)).mkdir()"
    with contextlib.suppress(KeyError), Processes(tmp_path) as processes:
        folder = processes.new_folder("skysplit-written-")
        processes.start("writes", [sys.executable, "-c", writes, str(folder)], {})
        eventually(lambda: any(folder.iterdir()))
        raise KeyError("of the run")
    assert not folder.exists()


def test_what_starts_another_one_whenever_it_is_ended_ends_with_the_block(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("again", [sys.executable, "-c", "import os, signal" + 2 * AGAIN], {})
        mark = processes.launch.environment[VARIABLE]
        eventually(lambda: bearers(mark))
    assert not bearers(mark)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_soon_after_a_launcher_was_ended_by_a_signal_nothing_of_it_is_left(
    tmp_path: Path, number: signal.Signals
) -> None:
    with launcher(tmp_path, *(STUBBORN if number is signal.SIGKILL else ESCAPES)) as (started, mark):
        os.kill(started.pid, number)
        eventually(lambda: not bearers(mark))
        started.wait(60)
        if number is signal.SIGKILL:
            eventually(lambda: not (tmp_path / "keys").exists())
        elif number is not signal.SIGINT:
            assert started.returncode == 128 + number


def test_doctor_ends_what_is_left_of_dead_launchers_and_of_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (doctor.carry_over,))
    with launcher(tmp_path, *STUBBORN) as (started, mark), Processes(tmp_path / "living") as living:
        living.start("ours", ESCAPES, {})
        [watchdog] = watchdogs(started.pid)
        watchdog.kill()
        eventually(lambda: not watchdog.is_running() or watchdog.status() == psutil.STATUS_ZOMBIE)
        victims = bearers(mark)
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
        assert not launcher_lives(mark)
        assert doctor.carry_over().state is doctor.State.NOTE
        shown = CliRunner().invoke(app, ["doctor", "--clean"])
        assert not bearers(mark)
        assert bearers(living.launch.environment[VARIABLE])
    assert all(f"ended {pid} " in shown.output for pid in victims)


def test_a_watchdog_that_was_dismissed_is_gone_and_has_removed_nothing(tmp_path: Path) -> None:
    launch = Launch()
    launch.remove_if_killed(tmp_path)
    launch.end()
    assert tmp_path.exists()
    assert not watchdogs(os.getpid())


def test_a_mark_names_its_launcher_also_when_the_identifier_is_given_away_again() -> None:
    mark = new_mark()
    assert launcher_lives(mark)
    pid, start_s, token = mark.split(":")
    assert not launcher_lives(f"{pid}:{float(start_s) - 100:.2f}:{token}")
    assert launcher_lives("somebody else's")  # and is left alone


RECORDS = """
import sys, time
from pathlib import Path
from mission.record import RunRecord
from mission.scenario import load_scenario
RunRecord(Path(sys.argv[1]), load_scenario("demo"), command="")
time.sleep(600)
"""
LAUNCHES = """
import os, sys, time
from pathlib import Path
from skysplit.launch.processes import Processes
with Processes(Path(sys.argv[1]) / "logs") as processes:
    processes.launch.record_end_if_killed(Path(sys.argv[1]))
    processes.start("records", [sys.executable, *sys.argv[2:]], os.environ)
    time.sleep(600)
"""


def test_the_record_of_a_run_whose_launcher_was_killed_says_that_it_was_interrupted(tmp_path: Path) -> None:
    words = [sys.executable, "-c", LAUNCHES, str(tmp_path), "-c", RECORDS, str(tmp_path)]
    started = subprocess.Popen(words)
    try:
        eventually(lambda: (tmp_path / "run.json").exists(), timeout_s=120)
    finally:
        started.kill()
        started.wait()
    eventually(
        lambda: json.loads((tmp_path / "run.json").read_text())["state"] == "interrupted", timeout_s=120
    )
