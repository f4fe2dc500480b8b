"""`skysplit`, and `python -m skysplit`: say on a terminal that the commands are being loaded, then run them.

Loading takes seconds on a busy machine, so nothing slow is imported before the word is there.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_WORD, _EVERY_S = "loading SkySplit ", 2.0


def main() -> None:
    """Run the command line."""
    # Else the interpreter looks through all that was loaded when it ends: more than a second, after the last line.
    atexit.register(gc.freeze)
    with _loading():
        from skysplit.cli import app
    app()


@contextmanager
def _loading() -> Iterator[None]:
    """Write a word on standard error and a dot every two seconds; erase them at the end. Nothing but on a terminal."""
    is_completion = "_SKYSPLIT_COMPLETE" in os.environ
    if is_completion or not sys.stderr.isatty():
        yield
        return
    loaded, written = threading.Event(), [_WORD]

    def write() -> None:
        print(_WORD, end="", file=sys.stderr, flush=True)
        while not loaded.wait(_EVERY_S):
            written.append(".")
            print(".", end="", file=sys.stderr, flush=True)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        loaded.set()
        writer.join()
        print(f"\r{' ' * len(''.join(written))}\r", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
