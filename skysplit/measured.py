"""What an emulation has measured, beside what was planned."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table


def print_measured(directory: Path) -> None:
    """Print a line per round of ``rounds.parquet``: planned and measured length, until the last satellite is done."""
    rounds = pq.read_table(directory / "rounds.parquet")
    shown = Table("round", "satellites", "planned, s", "measured, s", "difference")
    for number in sorted(set(rounds["round"].to_pylist())):
        rows = rounds.filter(pc.equal(rounds["round"], number))
        start_s = pc.min(rows["start_s"]).as_py()
        planned_s = pc.max(rows["end_s"]).as_py() - start_s
        measured_s = pc.max(rows["measured_end_s"]).as_py() - start_s
        difference = f"{100 * (measured_s / planned_s - 1):+.1f} %"
        shown.add_row(str(number), str(len(rows)), f"{planned_s:.1f}", f"{measured_s:.1f}", difference)
    Console().print(shown)
