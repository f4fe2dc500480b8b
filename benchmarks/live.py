"""What the live page costs a run that it follows.

    python -m benchmarks.live

The demo's first rounds are run twice: without a page, and with ``--live`` and a reader that does what a browser does:
asks for the page, follows the events, fetches every change. What the page adds is processor time of the command's own
process, which makes and serves it; the run's is that of all that the command started. Bar: at most 3 % more. Wall times
of both runs are printed beside it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.measure import Bars

ROUNDS = 3
SLOWER = 0.03
_POLL_S = 0.2


@dataclass(frozen=True)
class Cost:
    """Of a run: processor seconds of the command itself and of all that it started, and wall seconds."""

    command_s: float
    started_s: float
    wall_s: float


class Reader(threading.Thread):
    """What a browser with the page open does; ``views`` counts what it was shown."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.views = 0

    def run(self) -> None:
        """Follow the run to its end."""
        urllib.request.urlopen(self.address).read()
        known = b""
        for line in urllib.request.urlopen(self.address + "events"):
            if line.startswith(b"data: ") and line != known:
                known = line
                json.loads(urllib.request.urlopen(self.address + "view").read())
                self.views += 1
            if line.startswith(b"event: over"):
                return


def run(out: Path, *options: str) -> tuple[Cost, int]:
    """Run the demo and return what it cost and how many views a reader was shown."""
    words = ["run", "demo", "--set", f"training.rounds={ROUNDS}", "--out", str(out), *options]
    before = time.monotonic()
    command = subprocess.Popen(
        [sys.executable, "-c", "from skysplit.cli import app; app()", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    readers: list[Reader] = []

    def listen() -> None:
        assert command.stderr
        for line in command.stderr:
            if found := re.search(r"http://\S+", line):
                readers.append(Reader(found[0]))
                readers[0].start()

    threading.Thread(target=listen, daemon=True).start()
    own_s, started_s = 0.0, {}
    process = psutil.Process(command.pid)
    while command.poll() is None:
        try:
            own = process.cpu_times()
            own_s = own.user + own.system
            for child in process.children(recursive=True):
                times = child.cpu_times()
                started_s[child.pid] = times.user + times.system
        except psutil.NoSuchProcess:
            continue
        time.sleep(_POLL_S)
    if command.returncode:
        sys.exit(f"the run ended with exit status {command.returncode}")
    cost = Cost(own_s, sum(started_s.values()), time.monotonic() - before)
    return cost, readers[0].views if readers else 0


def main() -> None:
    """Print the table, and the figures as a line of JSON."""
    bars = Bars(f"live page of the demo, {ROUNDS} rounds")
    with tempfile.TemporaryDirectory(prefix="skysplit-live-") as name:
        alone, _ = run(Path(name) / "alone")
        followed, views = run(Path(name) / "followed", "--live")
    added_s = followed.command_s - alone.command_s
    bars.at_least("views that the reader was shown", views, ROUNDS)
    bars.note("processor time of the run [s]", alone.started_s)
    bars.note("added by the page [s]", added_s, f"{added_s / views:.2f} s a view")
    bars.at_most("added ÷ run", added_s / alone.started_s, SLOWER)
    bars.note("wall time, followed ÷ alone", followed.wall_s / alone.wall_s, f"{alone.wall_s:.0f} s alone")
    bars.finish()


if __name__ == "__main__":
    main()
