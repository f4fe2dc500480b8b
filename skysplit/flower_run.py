"""One `flwr run`, watched: a private SuperLink, progress from the run directory, an honest exit.

Plain ``flwr run`` returns success for a failed run, adopts whatever SuperLink answers on its port, and leaves it
running. Here each run has its own SuperLink on a free port with its own Flower home; both are gone at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import server_app
from mission.record import read_run

_CONNECTION = "skysplit"
_START_TIMEOUT_S = 60.0
_POLL_S = 0.5
_LIST_S = 20.0  # asking Flower starts a process of several seconds; the run record says sooner how it ends
_APP_FILES = ("pyproject.toml", "README.md", "LICENSE")  # pyproject.toml names the other two
_APP_PACKAGES = (
    "client_app",
    "mission",
    "orbit",
    "relay",
    "scenarios",
    "server_app",
    "skysplit",
    "splitmodel",
    "strategies",
)


class FlowerRunError(RuntimeError):
    """The run failed, or Flower could not run it; the message says why."""


@dataclass(frozen=True)
class Nodes:
    """How Flower simulates the satellites.

    Attributes:
        count: Nodes, one a satellite.
        at_once: Satellites that compute at the same time, a process each.
    """

    count: int
    at_once: int

    def federation_config(self) -> str:
        """What ``flwr run --federation-config`` is told."""
        return f"num-supernodes={self.count} client-resources-num-cpus=1 init-args-num-cpus={self.at_once}"


def run_app(
    run_config: Mapping[str, Any],
    nodes: Nodes,
    directory: Path,
    on_progress: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Run the app to its end.

    Args:
        run_config: Overrides of ``[tool.flwr.app.config]``.
        nodes: Simulated nodes.
        directory: The run directory, which the ServerApp writes.
        on_progress: Called with ``run.json`` whenever it may have changed.

    Returns:
        The final ``run.json``.

    Raises:
        FlowerRunError: The run failed, could not be started, or was lost.
    """
    with tempfile.TemporaryDirectory(prefix="skysplit-flower-") as home:
        with _superlink(Path(home)) as (environment, log):
            app = app_directory(Path(home))
            started = _flwr(
                environment,
                log,
                *("run", str(app), _CONNECTION, "--format", "json"),
                *(
                    "--run-config",
                    " ".join(f"{key}={json.dumps(value)}" for key, value in run_config.items()),
                ),
                *("--federation-config", nodes.federation_config()),
            )
            run_id = str(started["run-id"])
            while True:
                _watch(directory, on_progress)
                listed = _flwr(environment, log, "list", _CONNECTION, "--run-id", run_id, "--format", "json")
                status = str(listed["runs"][0]["status"])
                if status.startswith("finished"):
                    break
        run = _read_run(directory)
        on_progress(run)
        if status != "finished:completed" or run.get("state") != "completed":
            error = run.get("result", {}).get("error")
            raise FlowerRunError(error or f"Flower says {status}; the end of its log:\n{_tail(log)}")
        return run


def app_directory(scratch: Path) -> Path:
    """The Flower app, copied into ``scratch``: Flower reads every file of the folder it bundles, also of a .venv."""
    root = Path(server_app.__file__).resolve().parent.parent
    described = root if (root / "pyproject.toml").is_file() else root / "skysplit" / "app"  # or as installed
    app = scratch / "app"
    app.mkdir()
    for name in _APP_FILES:
        shutil.copy(described / name, app / name)
    for name in _APP_PACKAGES:
        shutil.copytree(
            root / name, app / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
        )
    return app


@contextlib.contextmanager
def _superlink(home: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """A SuperLink of our own; yields the environment for ``flwr`` and the SuperLink's log."""
    port = _free_port()
    log = home / "superlink.log"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "{_CONNECTION}"\n\n'
        f'[superlink.{_CONNECTION}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    environment = os.environ | {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    command = ["flower-superlink", "--insecure", "--simulation", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_listening(process, port, log)
        yield environment, log
    finally:
        _end_group(process)


def _flwr(environment: Mapping[str, str], log: Path, *words: str) -> dict[str, Any]:
    """Run a ``flwr`` command that prints JSON."""
    done = subprocess.run(
        ["flwr", *words], env=dict(environment), capture_output=True, text=True, timeout=120, check=False
    )
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        answer = {}
    if done.returncode or not answer.get("success", False):
        said = answer.get("error-message") or done.stderr.strip() or done.stdout.strip()
        raise FlowerRunError(f"flwr {words[0]} failed: {said}\n{_tail(log)}".rstrip())
    return answer


def _watch(directory: Path, on_progress: Callable[[Mapping[str, Any]], None]) -> None:
    """Show progress for a while, but not longer than until the run record says that the run is over."""
    end = time.monotonic() + _LIST_S
    while time.monotonic() < end:
        run = _read_run(directory)
        on_progress(run)
        if run.get("state", "running") != "running":
            return
        time.sleep(_POLL_S)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise FlowerRunError(f"the SuperLink ended with exit status {process.returncode}:\n{_tail(log)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise FlowerRunError(
        f"the SuperLink did not listen on port {port} within {_START_TIMEOUT_S:.0f} s:\n{_tail(log)}"
    )


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the SuperLink and what it started (it leads their process group)."""
    for how, patience_s in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _read_run(directory: Path) -> dict[str, Any]:
    try:
        return read_run(directory)
    except FileNotFoundError:
        return {}


def _tail(log: Path, lines: int = 15) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
