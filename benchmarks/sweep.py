"""Measure how fast `skysplit sweep` plans a 72-satellite shell, and check that a killed sweep repeats no case.

    python -m benchmarks.sweep              # a sample of 60 cases
    python -m benchmarks.sweep --cases 1000

The bar: 1,000 planned and checked cases within ten minutes on two cores, contact plans included. A sample is scaled to
1,000 cases; its start-up, which a longer sweep pays once, is not scaled. CPU time is given beside it, since others may
use the machine.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Bars
from skysplit.sweeps.results import LINES, SweepResults
from skysplit.sweeps.run import run_sweep
from skysplit.sweeps.study import Study, study_of

_BAR_CASES, _BAR_S, _CORES = 1000, 600.0, 2
_FIXED = {"planning.samples": 32, "planning.profile": "DOFA-base", "horizon_h": 12.0}


def study_with(cases: int) -> Study:
    """About so many rounds of the shell: stations, beams, set-up, strategies, altitudes, and start times."""
    grid = {
        "constellation.altitude_km": [550.0, 600.0],
        "ground.stations": [4, 7, 10],
        "strategy.inter_orbit": ["none", "min-latency"],
        "strategy.space_ground": ["topology-aware", "first-contact"],
    }
    per_start = len(list(itertools.product(*grid.values())))
    starts = max(1, round(cases / per_start))
    return study_of("walker-72", fixed=_FIXED, grid=grid, starts=starts)


def timed(study: Study, directory: Path) -> tuple[int, int, float, float, float]:
    """Cases, those that were planned, seconds in all, seconds from the first case on, and CPU seconds of planning."""
    begun_s = time.perf_counter()
    first_s: list[float] = []

    def note(what: str, done: int, total: int) -> None:
        if what == "cases" and not first_s:
            first_s.append(time.perf_counter())

    rows = run_sweep(study, directory, processes=_CORES, on_progress=note)
    end_s = time.perf_counter()
    planned = [row for row in rows if row["state"] == "planned"]
    cpu_s = sum(row["planning_cpu_s"] for row in planned)
    return len(rows), len(planned), end_s - begun_s, end_s - first_s[0], cpu_s


def killed_and_resumed(study: Study, directory: Path) -> tuple[int, int]:
    """Kill a sweep, this module in another process, in its middle; the cases before that, and those planned twice."""
    command = [sys.executable, "-m", "benchmarks.sweep", "--child", str(directory)]
    child = subprocess.Popen(command)
    lines = directory / LINES
    while child.poll() is None and (not lines.exists() or len(lines.read_bytes().splitlines()) < 5):
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    SweepResults(directory)  # without a line that was torn
    known = lines.read_bytes().splitlines()
    run_sweep(study, directory, processes=_CORES)
    after = [line for line in lines.read_bytes().splitlines() if line not in known]
    every = [line.split(b'"identity": "')[1].split(b'"')[0] for line in (*known, *after)]
    return len(known), len(every) - len(set(every))


def main() -> None:
    """Print cases per second against the bar, and whether a killed sweep repeats a case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_sweep(study_with(24), arguments.child, processes=_CORES)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"  # contact plans are computed, not found
        cases, planned, all_s, planning_s, cpu_s = timed(study_with(arguments.cases), Path(folder) / "timed")
        scaled_s = all_s - planning_s + planning_s * _BAR_CASES / cases
        bars = Bars("skysplit sweep, walker-72")
        bars.note("cases", cases, f"{planned} with a plan, {_CORES} processes")
        bars.note("cases a second", round(cases / planning_s, 2))
        bars.note("start-up and contact plans, s", round(all_s - planning_s, 1))
        bars.note("CPU time of a planned case, s", round(cpu_s / max(planned, 1), 2), "plan, bound and check")
        bars.at_most(f"{_BAR_CASES} cases, s", round(scaled_s), _BAR_S, "scaled, start-up not")
        idle_s = cpu_s / cases * _BAR_CASES / _CORES
        bars.note(
            f"{_BAR_CASES} cases by CPU time, s", round(idle_s), f"on {_CORES} cores without other work"
        )
        before, twice = killed_and_resumed(study_with(24), Path(folder) / "killed")
        bars.at_most("cases planned twice", twice, 0, f"after a kill when {before} were done")
        bars.finish()


if __name__ == "__main__":
    main()
