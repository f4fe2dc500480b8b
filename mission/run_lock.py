"""Lock a run directory with a file that names process and host; the operating system unlocks it when the process dies.

``.launch.lock`` belongs to the command that runs a mission, ``.run.lock`` to the process that records it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

LAUNCH, RECORD = ".launch.lock", ".run.lock"
_AGAIN_S = 0.05
_LOOKED_AT_S = 0.5  # whoever looks whether a file is locked keeps it for a moment
_held: dict[Path, int] = {}  # by this process


class RunBusyError(RuntimeError):
    """Another process owns the run directory; the message names it."""


class RunLock:
    """The ownership of a run directory, as a context manager or from :meth:`take` to :meth:`release`.

    A process may take what it has already; it is free when released once.

    Args:
        directory: The run directory; made if needed.
        name: :data:`LAUNCH` or :data:`RECORD`.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._path = directory.resolve() / name

    def take(self) -> None:
        """Own the directory. Raises RunBusyError if another process does."""
        if self._path in _held:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        deadline_s = time.monotonic() + _LOOKED_AT_S
        while (file := _locked(self._path)) is None:
            if time.monotonic() > deadline_s:
                owner = _owner(self._path) or "another process"
                raise RunBusyError(
                    f"{self._path.parent}: a run is in progress here, owned by {owner}; wait for it or end it"
                )
            time.sleep(_AGAIN_S)
        content = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(content).encode(), 0)
        _held[self._path] = file

    def release(self) -> None:
        """Give it up, and remove the file."""
        file = _held.pop(self._path, None)
        if file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(file)

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def owner_of(directory: Path) -> str | None:
    """Return who runs or records the run in a directory, in words; ``None``: nobody does any more."""
    return _owner(directory / LAUNCH) or _owner(directory / RECORD)


def left_by_the_dead(directory: Path) -> bool:
    """Return whether a run was recorded here by a process that has died since."""
    return (directory / RECORD).exists() and _owner(directory / RECORD) is None


def _locked(path: Path) -> int | None:
    """Return the open and locked file; None where another process has it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.fstat(file).st_ino == os.stat(path).st_ino  # else its owner removed it as we opened it
        except BlockingIOError:
            os.close(file)
            return None
        except FileNotFoundError:
            same = False
        except OSError:  # a file system without locks: what the file says must do
            os.close(file)
            return None if _said(path, alive_only=True) else os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if same:
            return file
        os.close(file)


def _owner(path: Path) -> str | None:
    if path.resolve() in _held:
        return _said(path)
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _said(path) or "another process"
    except OSError:
        return _said(path, alive_only=True)
    finally:
        os.close(file)
    return None


def _said(path: Path, *, alive_only: bool = False) -> str | None:
    """Return what a lock file says of its owner; of one on this host, if wanted, only while it is alive."""
    try:
        owner = json.loads(path.read_text())
        pid, host = int(owner["pid"]), str(owner["host"])
        if alive_only and host == socket.gethostname():
            os.kill(pid, 0)
    except PermissionError:  # it is alive, and another user's
        pass
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return f"process {pid} on {host}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
