"""The mark in the environment of all that a launcher has started, by which every one of those processes is found again.

A process group or a tree of parents does not find them all: Flower starts its apps in sessions of their own, and what
loses its parent belongs to init. The environment of a process stays what it was when it was started.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterable, Iterator

import psutil

VARIABLE = "SKYSPLIT_LAUNCH"
_POLITE_S = 3.0  # from SIGTERM to SIGKILL
_DEAD_S = 15.0  # for killed processes to be gone; one that waits for a disk takes its time
_SAME_START_S = 1.0  # a process identifier is not given to another process so soon


def new_mark() -> str:
    """Return ``PID:START:RANDOM`` for a launch by this process; ``START`` in seconds since the machine's start."""
    return f"{os.getpid()}:{_start_s(psutil.Process()):.2f}:{secrets.token_hex(8)}"


def launcher_lives(mark: str) -> bool:
    """Return whether the process that made a mark is alive; a mark that cannot be read is somebody else's."""
    try:
        pid, start_s, _ = mark.split(":")
        launcher = psutil.Process(int(pid))
        same = abs(_start_s(launcher) - float(start_s)) < _SAME_START_S
        return same and launcher.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, ValueError):
        return True


def marked(wanted: Callable[[str], bool]) -> Iterator[psutil.Process]:
    """Yield this user's processes, other than this one, whose mark is wanted."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # ended meanwhile
            if process.pid != os.getpid() and process.uids().real == os.getuid():
                mark = process.environ().get(VARIABLE, "")
                if mark and wanted(mark):
                    yield process


def end_marked(wanted: Callable[[str], bool], *, polite_s: float = _POLITE_S) -> list[str]:
    """End all processes whose mark is wanted, and what they have started, until none is left.

    Args:
        wanted: Which marks.
        polite_s: From SIGTERM to SIGKILL.

    Returns:
        ``PID NAME`` of each process that was there.
    """
    ended: dict[int, str] = {}
    first = _with_descendants(marked(wanted))
    _send(first, signal.SIGTERM, ended)
    psutil.wait_procs(first, timeout=polite_s)
    deadline_s = time.monotonic() + _DEAD_S
    empty = 0
    while empty < 2 and time.monotonic() < deadline_s:  # a process may be started while one looks
        left = _with_descendants([*first, *marked(wanted)])
        empty = 0 if left else empty + 1
        _send(left, signal.SIGKILL, ended)
        psutil.wait_procs(left, timeout=1.0)
        first = []
    return [f"{pid} {name}" for pid, name in ended.items()]


def _with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those that are alive, with their descendants, whose environment may have been overwritten."""
    by_pid: dict[int, psutil.Process] = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            for member in (process, *process.children(recursive=True)):
                if member.is_running() and member.status() != psutil.STATUS_ZOMBIE:
                    by_pid[member.pid] = member
    return list(by_pid.values())


def _send(processes: Iterable[psutil.Process], which: signal.Signals, ended: dict[int, str]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):  # psutil looks first whether it is still the same process
            ended.setdefault(process.pid, process.name())
            process.send_signal(which)


def _start_s(process: psutil.Process) -> float:
    """Since the machine's start, so that setting its clock changes nothing."""
    return process.create_time() - psutil.boot_time()
