"""What ends a launch whose launcher was killed: a process that waits until the launcher's end of a pipe closes.

Started by :class:`skysplit.launch.launcher.Launch`; standard input carries a JSON object a line:

``{"remove": FOLDER}``
    A folder to remove when all processes have ended, such as one with keys.
``{"record_end": FOLDER}``
    A run directory whose ``run.json`` is to say that the run was interrupted.
``{"run": WORDS}``
    A command that ends what has no mark, such as containers.
``{"done": true}``
    The launcher has ended everything itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from skysplit.launch.mark import end_marked, launcher_lives

_LOOK_S = 2.0  # should a process that the launcher has forked keep the pipe open
_COMMAND_S = 120.0


def watch(mark: str, pipe: int) -> None:
    """Wait for the end of the launcher that made the mark, then end its launch."""
    folders: list[str] = []
    runs: list[str] = []
    commands: list[list[str]] = []
    text = b""
    while True:  # what the launcher has said is heard also where it died before this process ran
        if not select.select([pipe], [], [], _LOOK_S)[0]:
            if launcher_lives(mark):
                continue
            break
        if not (read := os.read(pipe, 65536)):
            break
        *lines, text = (text + read).split(b"\n")
        for line in map(json.loads, lines):
            if "done" in line:
                return
            folders += [line["remove"]] if "remove" in line else []
            runs += [line["record_end"]] if "record_end" in line else []
            commands += [line["run"]] if "run" in line else []
    end_marked(mark.__eq__)
    for command in commands:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=_COMMAND_S, check=False)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    for run in runs:
        from mission.record import (
            record_end,  # not before it is needed: it takes as much memory as all else here
        )

        with contextlib.suppress(OSError, ValueError):
            record_end(Path(run))


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    watch(sys.argv[1], sys.stdin.fileno())
