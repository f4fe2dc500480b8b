# ruff: noqa: E501 – a table of situations
"""Whatever goes wrong with a run: the last line names it, the exit status is not 0, and nothing of ours stays alive.

Flower is played by scripts that do what it does when something of it dies: listen, start an app in a session of its
own, answer `flwr run` and `flwr list`. What is proved is the launcher; test_flower_run.py has runs of the real Flower.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mission.record import RunRecord, read_run
from mission.scenario import load_scenario
from skysplit.cli import app
from skysplit.launch import flower_run
from skysplit.launch.mark import marked

SMALL = [
    "--set=constellation.satellites=2", "--set=constellation.planes=1", "--set=constellation.phasing=0",
    "--set=horizon_h=24", "--set=training.rounds=1",
]  # fmt: skip
RUN = ["run", "walker-12", *SMALL, "--out", "{tmp}/run"]
EMULATE = ["emulate", "walker-12", *SMALL, "--out", "{tmp}/run"]
RESUME = ["run", "--resume", "{tmp}/run"]

# Listens, and starts what Flower and Ray start; {superlink} is what it does when all of them run.
SUPERLINK = """
import os, pathlib, signal, socket, subprocess, sys, time
here = pathlib.Path(__file__).parent
server = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
parts = {}
def start(name):
    parts[name] = subprocess.Popen([here / name], start_new_session=True)
def until(name):
    while not (here / name).exists():
        time.sleep(0.02)
until("asked-to-run")
%s
time.sleep(600)
"""
# Records a run as the ServerApp does, {app} is how it goes on.
APP = """
import json, os, pathlib, sys, time
from mission.run_lock import RECORD, RunLock
here = pathlib.Path(__file__).parent
directory = pathlib.Path((here / "out").read_text())
lock = RunLock(directory, RECORD)
def until(name):
    while not (here / name).exists():
        time.sleep(0.02)
def record(**facts):
    (directory / "run.tmp").write_text(json.dumps({"state": "running", "started": "2026-01-01T00:00:00+00:00", **facts}))
    (directory / "run.tmp").replace(directory / "run.json")
def over(state, **facts):
    record(state=state, **facts)
    lock.release()
    (here / "over").touch()
lock.take()
record(start_up_s=20.0)
(here / "records").touch()
%s
time.sleep(600)
"""
FLWR = """
import json, pathlib, sys, time
here = pathlib.Path(__file__).parent
if sys.argv[1] == "run":
    %s
    (here / "asked-to-run").touch()
    print(json.dumps({"success": True, "run-id": 7}))
else:
    status = (here / "status").read_text() if (here / "status").exists() else "running"
    print(json.dumps({"success": True, "runs": [{"status": status}]}))
"""
_BOTH = 'start("gcs_server"); start("raylet"); start("flwr-simulation"); until("records"); until("seen-gcs_server"); until("seen-raylet")\n'


@dataclass(frozen=True)
class Flower:
    """What the scripts do, in Python."""

    superlink: str = 'start("flwr-simulation")'
    app: str = ""
    run: str = "pass"
    status: str = "running"
    starts: bool = True


@dataclass(frozen=True)
class Fault:
    """A situation, and what the user is to read last."""

    name: str
    words: list[str]
    last: str
    status: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], None] = lambda tmp: None
    flower: Flower | None = None
    owned: bool = False  # by another process
    state: str = ""  # of run.json


def a_file(name: str, text: str = "") -> Callable[[Path], None]:
    return lambda tmp: (tmp / name).write_text(text) and None


def a_run(how: Callable[[RunRecord], None]) -> Callable[[Path], None]:
    return lambda tmp: how(RunRecord(tmp / "run", load_scenario("walker-12"), command=""))


def torn(tmp: Path) -> None:
    RunRecord(tmp / "run", load_scenario("walker-12"), command="").fail("x")
    (tmp / "run" / "run.json").write_text('{"state": "fai')


def dead(tmp: Path) -> None:
    """A run whose process was killed: the lock's file is left, and nobody has it."""
    RunRecord(tmp / "run", load_scenario("walker-12"), command="").fail("x")
    run = tmp / "run" / "run.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"state": "running"}))
    (tmp / "run" / ".run.lock").touch()


_WRAPPED = (
    "FederationError: sat-0-00 failed: <class 'ray.exceptions.RayTaskError(ClientAppException)'>:<'\\x1b[36m"
    'ray::ClientAppActor.run()\\x1b[39m (pid=1)\\n  File \\"a.py\\", line 1, in run\\nValueError: no room\\n\\n'
    "The above exception was the direct cause\\nflwr.clientapp.client_app.ClientAppException: \\n"
    "Exception ValueError occurred. Message: no room'>"
)
_ENDED = 'until("over"); (here / "status").write_text("finished:%s"); parts["flwr-simulation"].kill()'
_FAILS = 'start("flwr-simulation"); ' + _ENDED % "failed"

FAULTS = [
    # What is asked for is wrong.
    Fault("a scenario that is not there", ["run", "nowhere.toml"], r"nowhere\.toml.*"),
    Fault("a scenario that is no TOML", ["run", "{tmp}/a.toml"], r"a\.toml", prepare=a_file("a.toml", "a = [")),
    Fault("an unknown key", ["run", "walker-12", "--set=training.round=1"], r"training\.round"),
    Fault("a key without value", ["run", "walker-12", "--set=training.rounds"], r"--set: found 'training\.rounds', allowed"),
    Fault("a value out of range", ["run", "walker-12", "--set=training.rounds=0"], r"training\.rounds.*found 0"),
    Fault("an option that is none", ["run", "walker-12", "--rounds=3"], r"--rounds", status=2),
    Fault("more at once than Flower serves", [*RUN, "--max-concurrency=999"], r"found 999, allowed is 1 to"),
    Fault("images that are not there", [*RUN, "--set=data.source=folder", "--set=data.path={tmp}/no"], r"data\.path.*/no"),
    Fault("a model that is not there", [*RUN, "--set=model.path={tmp}/no"], r"model\.path.*/no"),
    Fault("no contact in the horizon", [*RUN, "--set=horizon_h=0.01"], r"no contact between"),
    # Where the run is to be.
    Fault("a directory with a run", RUN, r"--out: .*/run: holds a run already", prepare=a_run(lambda r: r.fail("x"))),
    Fault("a directory below a file", ["run", "walker-12", *SMALL, "--out={tmp}/file/run"], r"/file/run: Not a directory",
          prepare=a_file("file", "x")),
    Fault("a directory where none can be made", ["run", "walker-12", *SMALL, "--out=/proc/nowhere/run"], r"/proc/nowhere"),
    Fault("a file called runs", ["run", "walker-12", *SMALL], r"--out: .*runs", prepare=a_file("runs", "x")),
    Fault("a run of another command", RUN, r"a run is in progress here, owned by process \d+ on", owned=True),
    # What has no effect.
    Fault("to resume with a key", [*RESUME, "--set=training.rounds=2"], r"--resume: found beside --set; allowed alone"),
    Fault("to resume with a directory", [*RESUME, "--out={tmp}/x"], r"--resume: found beside --out"),
    Fault("to resume with a scenario", ["emulate", "walker-12", "--resume={tmp}/run"], r"--resume: found beside a scenario"),
    Fault("a shared head of separate adapters", [*RUN, "--set=training.adapter=per-satellite", "--set=training.head=shared"], r'training\.head: found "shared"'),
    Fault("a path of a Walker", [*RUN, "--set=constellation.path=a.tle"], r"constellation\.path: found 'a\.tle' with kind"),
    Fault("a path of scenes that are made", [*RUN, "--set=data.path={tmp}"], r"data\.path: found .* with source = .synthetic"),
    # What is to be resumed.
    Fault("to resume nothing", RESUME, r"--resume: .*/run holds no run"),
    Fault("to resume what is complete", RESUME, r"the run is complete", prepare=a_run(lambda run: run.finish())),
    Fault("to resume what has no checkpoint", RESUME, r"--resume: .*/run", prepare=a_run(lambda run: run.fail("x"))),
    Fault("to resume a torn record", RESUME, r"--resume: .*/run/run\.json", prepare=torn),
    Fault("to resume what goes on", RESUME, r"--resume: .*/run: the run is in progress, owned by process \d+ on", owned=True),
    # The machine.
    Fault("a Ray cluster that is dead", RUN, r"RAY_ADDRESS: found 127\.0\.0\.1:1, where nothing answers",
          environment={"RAY_ADDRESS": "127.0.0.1:1"}),
    Fault("a Ray client's cluster that is dead", RUN, r"RAY_ADDRESS: found ray://127\.0\.0\.1:1",
          environment={"RAY_ADDRESS": "ray://127.0.0.1:1"}),
    Fault("a folder too long for Ray's sockets", RUN, r"RAY_TMPDIR: found /a+, too long", environment={"RAY_TMPDIR": "/" + 90 * "a"}),
    Fault("a folder too long for a relay's socket", EMULATE, r"TMPDIR: found .*, too long for the path of a relay's socket",
          environment={"TMPDIR": "{tmp}/" + 80 * "b"}, prepare=lambda tmp: (tmp / (80 * "b")).mkdir()),
    Fault("a home that cannot be written", RUN, r"/dev/null/\.cache/skysplit/contacts: .*XDG_CACHE_HOME",
          environment={"HOME": "/dev/null", "XDG_CACHE_HOME": ""}),
    # Reading what is left.
    Fault("a report of nothing", ["report", "{tmp}"], r"holds no run"),
    Fault("a report of a torn record", ["report", "{tmp}/run"], r"/run/run\.json", prepare=torn),
    Fault("the events of nothing", ["track", "{tmp}"], r"holds no run"),
    Fault("the status of nothing", ["status", "{tmp}"], r"holds no relay\.json"),
    Fault("the status of a dead run", ["status", "{tmp}/run"], r"no relays here; the run is interrupted", prepare=dead),
    # Flower.
    Fault("a SuperLink that does not start", RUN, r"superlink ended with exit status 3", flower=Flower(starts=False)),
    Fault("a SuperLink that dies", RUN, r"superlink ended with exit status 5: OSError: \[Errno 28\] No space left on device",
          flower=Flower('start("flwr-simulation"); until("records"); sys.stderr.write("OSError: [Errno 28] No space left on device\\n"); sys.exit(5)'),
          state="failed"),
    Fault("a SuperLink that dies before the run is asked for", RUN, r"superlink ended with exit status -9",
          flower=Flower(run='os = __import__("os"); os.kill(int((here / "superlink.pid").read_text()), 9); sys.exit("refused")')),
    Fault("a run that Flower refuses", RUN, r"flwr run failed: no such app",
          flower=Flower(run='print(json.dumps({"success": False, "error-message": "no such app"})); sys.exit(1)')),
    Fault("a flwr that prints no JSON", RUN, r"flwr run failed: ImportError: broken",
          flower=Flower(run='sys.exit("Traceback (most recent call last):\\n  File\\nImportError: broken")')),
    Fault("a simulation that is killed", RUN, r"Flower's simulation, and the ServerApp in it, ended before the run did",
          flower=Flower('start("flwr-simulation"); until("records"); until("seen-flwr-simulation"); parts["flwr-simulation"].kill(); parts["flwr-simulation"].wait()'),
          state="failed"),
    Fault("a simulation that ends before it records", RUN, r"ended before the run did: ImportError: broken",
          flower=Flower('start("flwr-simulation"); parts["flwr-simulation"].wait()',
                        app='until("seen-flwr-simulation"); sys.exit("ImportError: broken")')),
    Fault("a disk that is full", RUN, r"ended before the run did: OSError: \[Errno 28\] No space left on device",
          flower=Flower('start("flwr-simulation"); parts["flwr-simulation"].wait()',
                        app='until("seen-flwr-simulation"); sys.exit("OSError: [Errno 28] No space left on device")'), state="failed"),
    Fault("a raylet that is killed", RUN, r"Ray's raylet ended before the run did",
          flower=Flower(_BOTH + 'parts["raylet"].kill(); parts["raylet"].wait()'), state="failed"),
    Fault("a raylet that does not start, three times", RUN, r"Ray's raylet ended before the run did",
          flower=Flower('(here / "seen-raylet").unlink(missing_ok=True); start("raylet"); until("seen-raylet"); '
                        'parts["raylet"].kill(); parts["raylet"].wait()')),
    Fault("a head of Ray that is killed", RUN, r"Ray's head \(gcs_server\) ended before the run did",
          flower=Flower(_BOTH + 'parts["gcs_server"].kill(); parts["gcs_server"].wait()'), state="failed"),
    Fault("a satellite that fails inside Ray", RUN, r"error: FederationError: sat-0-00 failed: ValueError: no room",
          flower=Flower(_FAILS, app=f'over("failed", result={{"error": "{_WRAPPED}"}})'), state="failed"),
    Fault("a back end that dies under load", RUN, r"Flower's simulation back end ended before the run did",
          flower=Flower(_FAILS, app='over("failed", result={"error": "Flower\'s simulation back end ended before the run did"})'),
          state="failed"),
    Fault("a run that Flower ends and nobody records", RUN, r"the run did not complete, Flower says finished:completed",
          flower=Flower('start("flwr-simulation"); ' + _ENDED % "completed", app='over("failed")'), state="failed"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Commands that are called in this process leave their handlers."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def play(flower: Flower, folder: Path, out: Path) -> None:
    """Write the scripts into a folder."""
    folder.mkdir()
    (folder / "out").write_text(str(out))
    waits = "import time\ntime.sleep(600)\n"
    # The SuperLink says who it is, for those who end it.
    listens = SUPERLINK % textwrap.dedent(flower.superlink)
    listens = listens.replace(
        "parts = {}", '(here / "superlink.pid").write_text(str(os.getpid()))\nparts = {}', 1
    )
    scripts = {
        "flower-superlink": listens if flower.starts else "import sys\nsys.exit(3)\n",
        "flwr": FLWR % flower.run,
        "flwr-simulation": APP % flower.app,
        "raylet": waits,
        "gcs_server": waits,
    }
    for name, code in scripts.items():
        (folder / name).write_text(f"#!{sys.executable}\n{code}")
        (folder / name).chmod(stat.S_IRWXU)


def started_by(pid: int) -> list[str]:
    """Command lines of what launches of a process have left."""
    return [" ".join(process.cmdline()) for process in marked(lambda mark: mark.startswith(f"{pid}:"))]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_the_last_line_names_the_fault_and_nothing_is_left(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    fault.prepare(tmp_path)
    if fault.flower:
        play(fault.flower, tmp_path / "bin", tmp_path / "run")
        environment = flower_run.flower_environment
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        monkeypatch.setattr(flower_run, "flower_environment", lambda home: environment(home) | {"PATH": path})
        monkeypatch.setattr(flower_run, "_LOOK_S", 0.2)
        look = flower_run._Alive.check

        def look_and_say(self: flower_run._Alive, *, begun: bool) -> None:
            look(self, begun=begun)
            for name in self._missed:
                (tmp_path / "bin" / f"seen-{name}").touch()

        monkeypatch.setattr(flower_run._Alive, "check", look_and_say)
    monkeypatch.setattr(tempfile, "tempdir", None)  # what TMPDIR names, not what it named before
    for name, value in fault.environment.items():
        monkeypatch.setenv(name, value.replace("{tmp}", str(tmp_path)))
    words = [word.replace("{tmp}", str(tmp_path)) for word in fault.words]
    owner = owning(tmp_path / "run") if fault.owned else None
    try:
        shown = CliRunner().invoke(app, words)
    finally:
        if owner:
            owner.kill()
            owner.communicate()
    last = shown.output.strip().splitlines()[-1] if fault.status == 1 else shown.output  # in a box
    assert re.search(fault.last, last), shown.output
    assert shown.exit_code == fault.status
    assert "Traceback" not in shown.output
    assert not started_by(os.getpid())
    if fault.state:
        run = read_run(tmp_path / "run")
        assert run["state"] == fault.state
        assert "Traceback" not in run.get("result", {}).get("error", "")


_OWNS = """
import sys
from pathlib import Path
from mission.run_lock import LAUNCH, RunLock
RunLock(Path(sys.argv[1]), LAUNCH).take()
print(flush=True)
sys.stdin.read()
"""


def owning(directory: Path) -> subprocess.Popen[str]:
    """Another process that runs a mission in a directory."""
    words = [sys.executable, "-c", _OWNS, str(directory)]
    started = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline()
    return started
