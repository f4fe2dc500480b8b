"""A run directory while a command runs a mission: nobody else's, and with a true record of how the run ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mission.record import record_end
from mission.run_lock import LAUNCH, RunLock


@contextlib.contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Own the run directory, which is made if needed, and removed if nothing is written.

    Raises:
        mission.run_lock.RunBusyError: Another command does.
        OSError: It cannot be written.
    """
    lock = RunLock(directory, LAUNCH)
    lock.take()
    reason = ""
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [""])[-1]
        raise
    finally:
        with contextlib.suppress(OSError, ValueError):  # a full disk; readers see by the lock that it is dead
            record_end(directory, reason)
        lock.release()
        with contextlib.suppress(OSError):
            directory.rmdir()
