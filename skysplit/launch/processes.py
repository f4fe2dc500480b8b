"""Processes that a command starts: each with a log of its own, all ended when the command ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mission.text.first_cause import cause_in_log
from skysplit.launch.launcher import Launch

_TIMEOUT_S = 15.0  # for all to end when told to
_AFTER_ERROR_S = 3.0  # the same where the run is lost, and somebody waits for the error
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_LISTEN_S = 60.0
_AGAIN_S = 5.0  # between the death of a process and the next one


class ProcessError(RuntimeError):
    """A process has ended, or does not listen; the message has the end of its log, then what happened."""


@dataclass
class _Process:
    """What runs, and what it takes to run it again."""

    command: Sequence[str]
    environment: Mapping[str, str]
    _: KW_ONLY
    restarts: int
    running: subprocess.Popen[bytes]
    ended_s: float | None = None  # on the clock of this machine; none: it runs


class Processes:
    """A context manager that owns processes: when it ends, so do they and whatever they have started.

    Args:
        logs: Folder of their logs, ``NAME.log``; made if needed.

    Attributes:
        launch: What finds them all, also after this process has been killed.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._processes: dict[str, _Process] = {}
        self._folders: list[Path] = []
        logs.mkdir(parents=True, exist_ok=True)
        self.launch = Launch()

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, restarts: int = 0
    ) -> None:
        """Start a process, its output going to its log; should it end, it is started again so many times."""
        running = self._run(name, command, environment)
        self._processes[name] = _Process(command, environment, restarts=restarts, running=running)

    def new_folder(self, prefix: str) -> Path:
        """Make a temporary folder for processes to write to; it is removed when the last of them has ended."""
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._folders.append(folder)
        self.launch.remove_if_killed(folder)
        return folder

    def check(self) -> None:
        """Start again what has ended and may be; raise ProcessError if another one has."""
        for name, process in self._processes.items():
            status = process.running.poll()
            if status is None:
                continue
            if not process.restarts:
                raise ProcessError(with_log(self.tail(name), f"{name} ended with exit status {status}"))
            now_s = time.monotonic()
            process.ended_s = process.ended_s or now_s
            if now_s - process.ended_s >= _AGAIN_S:
                _signal(process.running, signal.SIGKILL)  # whoever of the group is left
                process.running = self._run(name, process.command, process.environment)
                process.restarts, process.ended_s = process.restarts - 1, None

    def _run(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=past_proxies({**environment, **self.launch.environment}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a process's log."""
        try:
            return "\n".join((self._logs / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def wait_until_listening(self, name: str, port: int) -> None:
        """Wait until a process answers on a port of this machine. Raises ProcessError."""
        deadline = time.monotonic() + _LISTEN_S
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.1)
        sentence = f"{name} did not listen on port {port} within {_LISTEN_S:.0f} s"
        raise ProcessError(with_log(self.tail(name), sentence))

    def end(self, timeout_s: float = _TIMEOUT_S) -> None:
        """End all of them, politely first, and whatever they have started, also in sessions of its own."""
        running = [process.running for process in self._processes.values()]
        for process in running:
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _signal(process, signal.SIGKILL)  # whoever of the group is left
            process.wait()
        self.launch.end()
        self._processes.clear()
        while self._folders:
            shutil.rmtree(
                self._folders.pop(), ignore_errors=True
            )  # the error of a run says more than one of these

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(_TIMEOUT_S if error is None else _AFTER_ERROR_S)


def with_log(log: str, sentence: str) -> str:
    """Return the end of a log and, as the last line, what has happened, with the cause if the log names one."""
    cause = cause_in_log(log)
    return f"{log}\n{sentence}{': ' if cause else ''}{cause}".lstrip()


def past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which whatever honours a proxy still dials this machine itself."""
    proxies = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
    if not any(environment.get(name) or environment.get(name.upper()) for name in proxies):
        return dict(environment)
    set_already = [environment.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    names = [name for text in set_already for name in text.split(",") if name]
    exceptions = ",".join(dict.fromkeys([*names, *_THIS_MACHINE]))
    changed = {**environment, "no_proxy": exceptions, "NO_PROXY": exceptions}
    if "no_grpc_proxy" in environment:  # which gRPC reads instead
        changed["no_grpc_proxy"] = ",".join([environment["no_grpc_proxy"], *_THIS_MACHINE])
    return changed


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that are free now.

    Raises ProcessError where the loopback has no IPv4 address, without which neither Flower nor Ray starts.
    """
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        try:
            for probe in probes:
                probe.bind(("127.0.0.1", 0))
        except OSError as error:
            raise ProcessError(
                f"cannot listen on 127.0.0.1 ({error}), which Flower and Ray need; where the loopback has IPv6 only: "
                "ip addr add 127.0.0.1/8 dev lo"
            ) from None
        return [int(probe.getsockname()[1]) for probe in probes]


def _signal(process: subprocess.Popen[bytes], which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, which)
