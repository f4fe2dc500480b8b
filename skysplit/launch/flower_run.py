"""One `flwr run`, watched: a private SuperLink, progress from the run directory, an honest exit.

Plain ``flwr run`` returns success for a failed run, adopts whatever SuperLink answers on its port, and leaves it
running. Here each run has its own SuperLink on a free port with its own Flower home; both are gone at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Protocol

import server_app
from mission.record import read_run
from mission.text.first_cause import BACK_END_GONE, cause_of
from mission.text.scenario_toml import toml_value
from skysplit.launch.launcher import Launch
from skysplit.launch.processes import Processes, free_ports, past_proxies, with_log
from skysplit.launch.ray_workers import worker_environment

_CONNECTION = "skysplit"
SUPERLINK = "superlink"
_POLL_S = 0.5
_REGISTER_AT_ONCE = 4  # each is a process of Flower's
_TIMEOUT_S = 300.0  # with a command of Flower's, which takes seconds on an idle machine
_LIST_S = 60.0  # asking Flower starts a process of several seconds; the run record says sooner how it ends
_LOOK_S = 1.0
_LOOKS = 2  # in vain: what has just recorded the end of the run ends too
_LOG_LINES = 60  # in which a cause is looked for
_PARTS = {
    "flwr-serverapp": "the ServerApp",
    "flwr-simulation": "Flower's simulation, and the ServerApp in it,",
    "gcs_server": "Ray's head (gcs_server)",
    "raylet": "Ray's raylet",
}
_RAY = ("gcs_server", "raylet")
_EARLY_S = 5.0  # the same, as long as nothing is seen of the run
_APP_FILES = ("pyproject.toml", "README.md", "LICENSE")  # pyproject.toml names the other two


class FlowerRunError(RuntimeError):
    """The run failed, or Flower could not run it; the message says why."""


class RayNotStarted(FlowerRunError):
    """Ray has ended before the first round."""


class Nodes(Protocol):
    """Processes or containers that a run needs."""

    @property
    def launch(self) -> Launch:
        """Return the launch that Flower's processes and commands belong to."""

    def check(self) -> None:
        """Raise RuntimeError if one has ended."""

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of one's log."""


@dataclass(frozen=True)
class SuperLink:
    """A SuperLink of our own.

    Attributes:
        home: Its Flower home.
        address: ``host:port`` that nodes dial.
        environment: For Flower's commands.
        nodes: What runs beside the ``flwr`` command; none of it may end before the run does.
    """

    home: Path
    address: str
    _: KW_ONLY
    environment: Mapping[str, str]
    nodes: Nodes

    @classmethod
    def at(cls, port: int, home: Path, nodes: Nodes, authority: Path | None = None) -> SuperLink:
        """The SuperLink on a port of this machine, with TLS under an authority's certificate if one is given.

        ``home`` is written to.
        """
        trust = f"root-certificates = {json.dumps(str(authority))}" if authority else "insecure = true"
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "{_CONNECTION}"\n\n'
            f'[superlink.{_CONNECTION}]\naddress = "127.0.0.1:{port}"\n{trust}\n'
        )
        environment = flower_environment(home) | nodes.launch.environment
        return cls(home, f"127.0.0.1:{port}", environment=environment, nodes=nodes)


def start_superlink(processes: Processes, *options: str, authority: Path | None = None) -> SuperLink:
    """Start a SuperLink on a free port, with a Flower home that lasts as long as its processes.

    Args:
        processes: Owns it.
        options: Of ``flower-superlink``.
        authority: Certificate of the authority that its TLS is under; ``None``: no TLS.

    Raises:
        skysplit.launch.processes.ProcessError: It does not start.
    """
    [port] = free_ports(1)
    link = SuperLink.at(port, processes.new_folder("skysplit-flower-"), processes, authority)
    plain = [] if authority else ["--insecure"]
    command = ["flower-superlink", *plain, *options, "--host", "127.0.0.1", "--port", str(port)]
    processes.start(SUPERLINK, command, link.environment)
    processes.wait_until_listening(SUPERLINK, port)
    return link


def flower_environment(home: Path) -> dict[str, str]:
    """The environment in which Flower's commands keep to a home of their own and install nothing."""
    return past_proxies(os.environ) | {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_worker_niceness": "0",  # else satellites get what anything else on the machine leaves
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', '')}",
        **worker_environment(),
    }


def _run_value(value: Any) -> str:
    """A value of the run config as TOML; Flower has no lists, so that they are text, in TOML themselves."""
    if isinstance(value, bool | int | float):
        return toml_value(value)
    text = toml_value(value) if isinstance(value, list | tuple) else str(value)
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def run_app(
    link: SuperLink,
    run_config: Mapping[str, Any],
    directory: Path,
    on_progress: Callable[[Mapping[str, Any]], None],
    *options: str,
) -> dict[str, Any]:
    """Run the app to its end.

    Args:
        link: Where.
        run_config: Overrides of ``[tool.flwr.app.config]``.
        directory: The run directory, which the ServerApp writes.
        on_progress: Called with ``run.json`` whenever it may have changed.
        options: Of ``flwr run``.

    Returns:
        The final ``run.json``.

    Raises:
        FlowerRunError: The run failed, could not be started, or was lost.
        RuntimeError: A node that it needs has ended.
    """
    link.nodes.launch.record_end_if_killed(directory)
    app = app_directory(link.home)
    config = (
        link.home / "run-config.toml"
    )  # on the command line, Flower cuts a value at its first quotation mark
    config.write_text("\n".join(f"{key} = {_run_value(value)}" for key, value in run_config.items()))
    words = (str(app), _CONNECTION, "--format", "json", "--run-config", str(config), *options)
    before = run_so_far(directory)  # of a run that goes on
    run_id = str(_flwr(link, "run", *words)["run-id"])
    alive = _Alive(link)
    status = ""
    while not status.startswith("finished"):
        _watch(link, directory, on_progress, before, alive)
        listed = _flwr(link, "list", _CONNECTION, "--run-id", run_id, "--format", "json")
        status = str(listed["runs"][0]["status"])
    run = run_so_far(directory)
    on_progress(run)
    if status != "finished:completed" or run.get("state") != "completed":
        error = run.get("result", {}).get("error", "") if run != before else ""
        log = link.nodes.tail(SUPERLINK, _LOG_LINES)
        if not error or BACK_END_GONE in error:
            raise FlowerRunError(with_log(log, error or f"the run did not complete, Flower says {status}"))
        raise FlowerRunError(cause_of(error))
    return run


def register_supernodes(link: SuperLink, public_keys: Iterable[Path]) -> None:
    """Tell the SuperLink whose SuperNodes it may admit. Raises FlowerRunError."""

    def register(key: Path) -> None:
        _flwr(link, "supernode", "register", str(key), _CONNECTION, "--format", "json")

    with ThreadPoolExecutor(_REGISTER_AT_ONCE) as together:
        list(together.map(register, public_keys))


def app_directory(scratch: Path) -> Path:
    """The Flower app, copied into ``scratch``: Flower reads every file of the folder it bundles, also of a .venv."""
    root = Path(server_app.__file__).resolve().parent.parent
    described = root if (root / "pyproject.toml").is_file() else root / "skysplit" / "app"  # or as installed
    app = scratch / "app"
    app.mkdir()
    for name in _APP_FILES:
        shutil.copy(described / name, app / name)
    project = tomllib.loads((described / "pyproject.toml").read_text(encoding="utf-8"))
    for name in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(
            root / name, app / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
        )
    return app


def _flwr(link: SuperLink, *words: str) -> dict[str, Any]:
    """Run a ``flwr`` command that prints JSON; an error comes after the end of the SuperLink's log."""
    try:
        return flwr_json(link.environment, *words)
    except FlowerRunError as error:
        link.nodes.check()  # what it talks to has ended: then that is the cause
        raise FlowerRunError(f"{link.nodes.tail(SUPERLINK)}\n{error}".lstrip()) from None


def flwr_json(environment: Mapping[str, str], *words: str) -> dict[str, Any]:
    """Run a ``flwr`` command that prints JSON, and return that. Raises FlowerRunError."""
    try:
        done = subprocess.run(
            ["flwr", *words], env=dict(environment), capture_output=True, text=True,
            timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise FlowerRunError(
            f"flwr {words[0]} has not ended in {_TIMEOUT_S:.0f} s: is this machine busy with something else?"
        ) from None
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        answer = {}
    if done.returncode or not answer.get("success", False):
        message = answer.get("error-message") or done.stderr.strip() or done.stdout.strip()
        raise FlowerRunError(f"flwr {words[0]} failed: {cause_of(str(message))}")
    return answer


def _watch(
    link: SuperLink,
    directory: Path,
    on_progress: Callable[[Mapping[str, Any]], None],
    before: Mapping[str, Any],
    alive: _Alive,
) -> None:
    """Show progress for a while, but not longer than until the run record says that the run is over."""
    began_s = time.monotonic()
    until_s = _EARLY_S
    while time.monotonic() - began_s < until_s:
        run = run_so_far(directory)
        on_progress(run)
        if run != before and run.get("state", "running") not in ("running", "interrupted"):
            return
        link.nodes.check()
        alive.check(begun=has_begun(run, before))
        if run != before or alive.seen:
            until_s = _LIST_S
        time.sleep(_POLL_S)


class _Alive:
    """Whether what Flower and Ray have started for the run is still there; Flower takes minutes to miss it.

    Nothing is known of what runs in containers.
    """

    def __init__(self, link: SuperLink) -> None:
        self._link = link
        self._missed: dict[str, int] = {}  # by what has been there: how often it was looked for in vain
        self._next_s = 0.0

    @property
    def seen(self) -> bool:
        """Whether any of it was ever there."""
        return bool(self._missed)

    def check(self, *, begun: bool) -> None:
        """Raise FlowerRunError where one of them has ended, which it does not before the run is recorded as over.

        Raise RayNotStarted where that is Ray and rounds have not begun.
        """
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _LOOK_S
        programs = {Path(word).name for words in self._link.nodes.launch.commands() for word in words[:2]}
        for name, what in _PARTS.items():
            if name in programs:
                self._missed[name] = 0
            elif name in self._missed:
                self._missed[name] += 1
                if self._missed[name] >= _LOOKS:
                    log = self._link.nodes.tail(SUPERLINK, _LOG_LINES)
                    kind = RayNotStarted if name in _RAY and not begun else FlowerRunError
                    raise kind(with_log(log, f"{what} ended before the run did"))


def has_begun(run: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether rounds have begun since ``run.json`` was as it was ``before``; those of a resumed run have."""
    return run != before and (bool(before) or "start_up_s" in run)


def run_so_far(directory: Path) -> dict[str, Any]:
    """Return the ``run.json`` of a run directory; nothing where none has been written yet."""
    try:
        return read_run(directory)
    except FileNotFoundError:
        return {}
