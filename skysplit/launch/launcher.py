"""All that one command starts: marked, ended together, and ended by a watchdog should the command be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from skysplit.launch.mark import VARIABLE, end_marked, marked, new_mark


class Launch:
    """A mark for what is started, and the watchdog that ends all that bears it if this process is killed."""

    def __init__(self) -> None:
        self._mark = new_mark()
        unmarked = {name: value for name, value in os.environ.items() if name != VARIABLE}
        self._watchdog = subprocess.Popen(
            [sys.executable, "-m", "skysplit.launch.watchdog", self._mark],
            env=unmarked,  # it has to survive, also when this launch is part of another one
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of every process of the launch."""
        return {VARIABLE: self._mark}

    def commands(self) -> list[list[str]]:
        """Return the command lines of all that runs."""
        running = []
        for process in marked(self._mark.__eq__):
            with contextlib.suppress(psutil.Error):
                running.append(process.cmdline())
        return running

    def remove_if_killed(self, folder: Path) -> None:
        """Name a folder that must not outlast the launch."""
        self._tell(remove=str(folder))

    def record_end_if_killed(self, directory: Path) -> None:
        """Name a run directory whose record must not say that the run goes on."""
        self._tell(record_end=str(directory))

    def run_if_killed(self, command: Sequence[str]) -> None:
        """Name a command that ends what bears no mark."""
        self._tell(run=list(command))

    def end(self) -> None:
        """End all that is left of the launch, and then the watchdog."""
        end_marked(self._mark.__eq__)
        self._tell(done=True)
        with contextlib.suppress(OSError):
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.close()
        self._watchdog.wait()

    def _tell(self, **line: Any) -> None:
        assert self._watchdog.stdin is not None
        with contextlib.suppress(
            OSError, ValueError
        ):  # somebody has killed it, or it has gone with the launch
            self._watchdog.stdin.write(json.dumps(line).encode() + b"\n")
            self._watchdog.stdin.flush()


def unwind_on_signals() -> None:
    """Let SIGTERM and SIGHUP end what was started, as Ctrl-C does, and then this process with their status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda number, _: sys.exit(128 + number))
