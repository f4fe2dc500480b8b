"""Containers that a command starts by Docker Compose: watched, and all gone when the command ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from skysplit.deployment.compose import IMAGE
from skysplit.launch.launcher import Launch
from skysplit.launch.processes import with_log

_CHECK_S = 5.0  # between two looks at the containers, each of which starts a process
_POLL_S = 1.0
_START_S = 600.0
_HEALTHY_S = 600.0  # seconds on an idle machine; on a busy one a node takes minutes to import what it needs


class ContainerError(RuntimeError):
    """There is no Docker here, or a container has ended; the message has the end of its log."""


def compose_tool() -> list[str]:
    """The words that run Docker Compose here: version 2, or docker-compose 1.29. Raises ContainerError."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and not _run([*words, "version"]).returncode:
            break
    else:
        raise ContainerError(
            "found neither `docker compose` nor `docker-compose`; install Docker with Compose"
        )
    answer = _run(
        ["docker", "version", "--format", "{{.Server.Version}}"]
    )  # `info` fails on its own template
    if answer.returncode:
        raise ContainerError(f"no Docker engine answers: {answer.stderr.strip()}")
    return words


def build_image(source: Path) -> None:
    """Build the image from a source tree, which takes minutes the first time and seconds later.

    The build uses this machine's network and package index (``PIP_INDEX_URL``, ``PIP_EXTRA_INDEX_URL``). Raises
    ContainerError.
    """
    if not (source / "docker" / "Dockerfile").is_file():
        raise ContainerError(f"{source}: no docker/Dockerfile; the image is built from SkySplit's sources")
    arguments = [
        f"--build-arg={name}" for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if name in os.environ
    ]
    command = [
        "docker",
        "build",
        "--network=host",
        "-q",
        *arguments,
        "-t",
        IMAGE,
        "-f",
        "docker/Dockerfile",
        ".",
    ]
    done = _run(command, cwd=source)
    if done.returncode:
        raise ContainerError(f"the image could not be built:\n{_last(done.stderr or done.stdout)}")


class Containers:
    """The containers of a Compose file, which is written to `folder`; gone when the block ends, with logs in `logs`.

    Raises ContainerError where they do not become healthy.
    """

    def __init__(self, folder: Path, services: dict[str, Any], *, logs: Path) -> None:
        self._file = folder / "compose.yaml"
        self._file.write_text(yaml.safe_dump(services, sort_keys=False))
        self._logs = logs
        self._compose = [*compose_tool(), "-p", folder.name.lower(), "-f", str(self._file)]
        self.launch = Launch()
        self.launch.run_if_killed([*self._compose, "down", "--volumes", "--timeout", "5"])
        self.launch.remove_if_killed(folder)  # after the file that `down` reads
        self._checked_s = 0.0
        self._ids: list[
            str
        ] = []  # of what has been started; asking Compose for them takes a second of computing

    def start(self, *services: str) -> None:
        """Start these services, or all that do not run yet, and wait until they are healthy."""
        done = _run([*self._compose, "up", "-d", *services], timeout_s=_START_S)
        if done.returncode:
            raise ContainerError(f"the containers did not start:\n{_last(done.stderr)}")
        self._ids = _run([*self._compose, "ps", "-q"]).stdout.split()
        deadline = time.monotonic() + _HEALTHY_S
        while ailing := self._ailing():
            self.check()
            if time.monotonic() > deadline:
                sentence = f"not healthy after {_HEALTHY_S:.0f} s: {', '.join(ailing)}"
                raise ContainerError(with_log(self.tail(ailing[0]), sentence))
            time.sleep(_POLL_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def check(self) -> None:
        """Raise ContainerError if one has ended."""
        if time.monotonic() - self._checked_s < _CHECK_S:
            return
        self._checked_s = time.monotonic()
        for line in self._inspect("{{.Name}} {{.State.Status}} {{.State.ExitCode}}"):
            name, state, status = line.split()
            if state not in ("running", "created", "restarting"):
                name = name.lstrip("/")
                raise ContainerError(with_log(self.tail(name), f"{name} is {state}, exit status {status}"))

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a service's or container's log."""
        output = _run([*self._compose, "logs", "--no-color", "--tail", str(lines), name])
        if output.returncode:
            output = _run(["docker", "logs", "--tail", str(lines), name])
        return output.stdout + output.stderr

    def _ailing(self) -> list[str]:
        """Containers that are not healthy, or not yet."""
        states = map(str.split, self._inspect("{{.Name}} {{.State.Health.Status}}"))
        return [name.lstrip("/") for name, state in states if state != "healthy"]

    def _inspect(self, wanted: str) -> list[str]:
        return _run(["docker", "inspect", "--format", wanted, *self._ids]).stdout.splitlines()

    def _end(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        (self._logs / "containers.log").write_text(_run([*self._compose, "logs", "--no-color"]).stdout)
        _run([*self._compose, "down", "--volumes", "--timeout", "10"], timeout_s=_START_S)
        self.launch.end()


def _run(
    command: list[str], *, cwd: Path | None = None, timeout_s: float | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)


def _last(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
