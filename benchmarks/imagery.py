"""Measure the memory that a satellite needs for its share of a 1 GB data set that 100 satellites divide.

    python -m benchmarks.imagery [--gigabytes 1] [--satellites 100]

Writes a Parquet file of noise (PNG, 128×128 pixels) as pyarrow does by default (few row groups) and as Hugging Face
``datasets`` does (100 rows each), opens it in a process of its own as one satellite and as the ground, and prints the
peak of resident memory over what torch and our imports take. Bar: 300 MB for a satellite.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.measure import Bars

SIDE, DISTINCT, CLASSES = 128, 128, 10
BAR_MB = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--satellites", type=int, default=100)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--who", default="satellite", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measured(Path(given.measure), given.satellites, given.who)))
        return
    bars = Bars("imagery")
    with tempfile.TemporaryDirectory() as folder:
        for layout, group in (("row groups of 100 rows", 100), ("one row group a file", 1 << 20)):
            path = Path(folder, "noise.parquet")
            write(path, given.gigabytes, group)
            for who in ("satellite", "ground"):
                command = [sys.executable, "-m", "benchmarks.imagery", "--measure", str(path), "--who", who]
                command += ["--satellites", str(given.satellites)]
                found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                detail = (
                    f"{found['images']} images, opened in {found['open_s']:.2f} s, held in {found['hold_s']:.2f} s, "
                    f"all decoded in {found['decode_s']:.2f} s"
                )
                name = f"{who}, {path.stat().st_size / 1e9:.2f} GB in {layout}: MB over torch's {found['torch_mb']:.0f}"
                if who == "satellite":
                    bars.at_most(name, found["over_torch_mb"], BAR_MB, detail)
                else:
                    bars.note(name, found["over_torch_mb"], detail)
    bars.finish()


def write(path: Path, gigabytes: float, group: int) -> None:
    """A file of so many gigabytes of noise, a few distinct images again and again, which Parquet must not notice."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(DISTINCT):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(buffer, "PNG", compress_level=1)
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    rows = int(gigabytes * 1e9 / np.mean([len(one["bytes"]) for one in encoded]))
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema({"image": kind, "label": pa.int64()})
    group = min(group, rows)
    with pq.ParquetWriter(path, schema, compression="NONE", use_dictionary=False) as writer:
        for start in range(0, rows, group):
            numbers = range(start, min(start + group, rows))
            images = pa.chunked_array(
                pa.array([encoded[n % DISTINCT] for n in numbers[part : part + 2000]], kind)
                for part in range(0, len(numbers), 2000)
            )
            table = pa.table({"image": images, "label": [n % CLASSES for n in numbers]}, schema=schema)
            writer.write_table(table, row_group_size=group)


def measured(path: Path, satellites: int, who: str) -> dict[str, float]:
    """Open the file as one satellite or as the ground does, in this process."""
    import torch

    from client_app.partitions import partition
    from splitmodel.imagery import open_imagery

    torch.zeros(1)
    torch_mb = peak_mb()
    started = time.perf_counter()
    train, test = open_imagery("parquet", path, seed=0)
    if who == "satellite":
        shares = partition(
            "dirichlet", train.labels, [0] * satellites, alpha=0.5, classes_per_satellite=2, seed=0
        )
        images = train.take(shares[len(shares) // 2])
    else:
        images = test
    opened = time.perf_counter()
    if who == "satellite":
        images.hold()
    held = time.perf_counter()
    for index in range(len(images)):
        images.image(index)
    decoded = time.perf_counter()
    return {
        "images": len(images),
        "torch_mb": torch_mb,
        "over_torch_mb": peak_mb() - torch_mb,
        "open_s": opened - started,
        "hold_s": held - opened,
        "decode_s": decoded - held,
    }


def peak_mb() -> float:
    """Peak of this process's resident memory; getrusage would tell the parent's as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
