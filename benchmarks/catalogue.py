"""Reading a catalogue of 11,000 objects: how long, how much memory, and beside the readers of sgp4 and skyfield.

    python -m benchmarks.catalogue

The sets are made here: 11,000 random low orbits, drawn with one seed, written by sgp4's exporter.  Each reader works in
a process of its own; times are CPU seconds (each is one thread), wall time is beside them.  Ours also tells objects
apart, checks columns, ranges and checksums, and finds planes and slots; sgp4 and skyfield take a line as it is.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sgp4.api import WGS72, Satrec
from sgp4.exporter import export_tle

from benchmarks.measure import Bars

OBJECTS = 11_000
LIMIT_S, LIMIT_MB = 3.0, 400.0
RUNS = 3
# Prints the CPU and wall seconds of the job, and the peak of memory beyond what a Python with numpy takes.
SCRIPT = """
import resource, sys, time
import numpy
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before_mb = peak()
{imports}
before_s, before_wall_s = time.process_time(), time.perf_counter()
found = {job}
print(time.process_time() - before_s, time.perf_counter() - before_wall_s, peak() - before_mb, len(found))
"""
JOBS = {
    "ours": ("from orbit.constellation import from_file", "from_file(sys.argv[1])"),
    "sgp4": (
        "from sgp4.api import Satrec",
        "[Satrec.twoline2rv(*lines) for lines in zip(*[iter(open(sys.argv[1]).read().splitlines())] * 3)"
        " for lines in [lines[1:]]]",
    ),
    "skyfield": (
        "from skyfield.api import load\nfrom skyfield.iokit import parse_tle_file\n"
        "scale = load.timescale(builtin=True)",
        "list(parse_tle_file(open(sys.argv[1], 'rb'), scale))",
    ),
}
# Column of a CSV of OMMs: its value for every object, or "" where each has its own
COLUMNS = {
    "OBJECT_NAME": "", "OBJECT_ID": "2026-001A", "EPOCH": "2026-04-01T12:00:00.000000", "MEAN_MOTION": "",
    "ECCENTRICITY": "", "INCLINATION": "", "RA_OF_ASC_NODE": "", "ARG_OF_PERICENTER": "", "MEAN_ANOMALY": "",
    "EPHEMERIS_TYPE": 0, "CLASSIFICATION_TYPE": "U", "NORAD_CAT_ID": "", "ELEMENT_SET_NO": 999, "REV_AT_EPOCH": 1,
    "BSTAR": "", "MEAN_MOTION_DOT": 0, "MEAN_MOTION_DDOT": 0,
}  # fmt: skip
OWN = [column for column, value in COLUMNS.items() if value == ""]


def write_catalogue(folder: Path) -> tuple[Path, Path]:
    """The same objects as three-line element sets and as a CSV of OMMs."""
    random = np.random.default_rng(17)
    days = 27_850.5  # after 1949-12-31: in April 2026
    tle, omm = folder / "catalogue.txt", folder / "catalogue.csv"
    with tle.open("w") as lines, omm.open("w", newline="") as table:
        rows = csv.DictWriter(table, COLUMNS)
        rows.writeheader()
        for k in range(OBJECTS):
            inclination, raan, argp, anomaly = random.uniform([0.1, 0, 0, 0], [110.0, 360, 360, 360])
            ecc, motion, drag = random.uniform([0.0001, 13.0, 1e-5], [0.01, 15.3, 1e-3])
            turn = np.radians([argp, inclination, anomaly])
            model = Satrec()
            model.sgp4init(
                WGS72, "i", 10_000 + k, days, drag, 0, 0, ecc, *turn, motion * np.pi / 720, np.radians(raan)
            )
            model.classification, model.intldesg = "U", "26001A"
            print(f"OBJECT {k}", *export_tle(model), sep="\n", file=lines)
            own = dict(
                zip(
                    OWN,
                    (f"OBJECT {k}", motion, ecc, inclination, raan, argp, anomaly, 10_000 + k, drag),
                    strict=True,
                )
            )
            rows.writerow({**COLUMNS, **own})
    return tle, omm


def measured(job: str, path: Path) -> tuple[float, float, float]:
    """Median CPU seconds, wall seconds, and megabytes beyond numpy, of ``RUNS`` processes."""
    imports, call = JOBS[job]
    script = SCRIPT.format(imports=imports, job=call)
    rows = []
    for _ in range(RUNS):
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
        )
        *figures, found = (float(word) for word in done.stdout.split())
        assert found == OBJECTS
        rows.append(figures)
    return tuple(np.median(rows, axis=0).tolist())


def main() -> None:
    bars = Bars("catalogue")
    with tempfile.TemporaryDirectory() as folder:
        tle, omm = write_catalogue(Path(folder))
        took_s, wall_s, memory_mb = measured("ours", tle)
        bars.at_most(
            f"{OBJECTS} TLEs read, of {LIMIT_S:g} s",
            took_s / LIMIT_S,
            1.0,
            f"{took_s:.3g} s, wall {wall_s:.3g} s",
        )
        detail = f"{memory_mb:.0f} MB"
        bars.at_most(f"memory beyond numpy, of {LIMIT_MB:g} MB", memory_mb / LIMIT_MB, 1.0, detail)
        csv_s, wall_s, csv_mb = measured("ours", omm)
        bars.at_most(
            f"{OBJECTS} rows of CSV read, of {LIMIT_S:g} s",
            csv_s / LIMIT_S,
            1.0,
            f"{csv_s:.3g} s, wall {wall_s:.3g} s",
        )
        bars.at_most(f"memory for them, of {LIMIT_MB:g} MB", csv_mb / LIMIT_MB, 1.0, f"{csv_mb:.0f} MB")
        for peer in ("sgp4", "skyfield"):
            peer_s, _, peer_mb = measured(peer, tle)
            bars.note(f"{peer} ÷ ours", peer_s / took_s, f"{peer_s:.3g} s, {peer_mb:.0f} MB")
    bars.finish()


if __name__ == "__main__":
    main()
