"""A hundred satellites in one `flwr run`: `python -m benchmarks.scale` (some minutes).

One round of walker-12, on 100 satellites in ten planes. Bars: wall time below 600 s, and never more than 12 GiB of
memory in all processes together (proportional set sizes, sampled every second). Ends with a line of JSON; the exit
status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from mission.record import read_run

WALL_S, MEMORY_GIB = 600.0, 12.0
SAMPLE_S = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--satellites", type=int, default=100)
    count = parser.parse_args().satellites
    settings = {
        "constellation.satellites": count,
        "constellation.planes": 10,
        "data.alpha": 5.0,
        "data.train_samples": 24 * count,
        "training.rounds": 1,
    }
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "run"
        words = [f"{sysconfig.get_path('scripts')}/skysplit", "run", "walker-12", "--out", str(directory)]
        words += [f"--set={key}={value}" for key, value in settings.items()]
        started = time.monotonic()
        run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        peak_gib = 0.0
        while run.poll() is None:
            peak_gib = max(peak_gib, memory_gib(run.pid))
            time.sleep(SAMPLE_S)
        wall_s = time.monotonic() - started
        if run.returncode:
            assert run.stderr is not None
            raise SystemExit(f"{' '.join(words)}\n{run.stderr.read()}")
        result = read_run(directory)["result"]
    met = wall_s <= WALL_S and peak_gib <= MEMORY_GIB
    print(
        f"{count} satellites, one round: {wall_s:.0f} s (≤ {WALL_S:.0f}), {peak_gib:.1f} GiB (≤ {MEMORY_GIB:.0f})"
    )
    print(
        json.dumps(
            {"benchmark": "scale", "wall_s": wall_s, "peak_gib": peak_gib, "result": result, "met": met}
        )
    )
    return 0 if met else 1


def memory_gib(root: int) -> float:
    """Proportional set sizes of a process and all that descend from it; Linux."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # it has ended
        children.setdefault(parent, []).append(int(entry.name))
    kib, ahead = 0, [root]
    while ahead:
        pid = ahead.pop()
        ahead += children.get(pid, [])
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 2**20


if __name__ == "__main__":
    sys.exit(main())
