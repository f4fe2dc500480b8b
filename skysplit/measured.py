"""What an emulation has measured, beside what was planned."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from server_app.run_totals import by_round, read_rounds


def print_measured(directory: Path) -> None:
    """Print a line per measured round: planned and measured length, until the last satellite is done."""
    shown = Table("round", "satellites", "planned, s", "measured, s", "difference")
    rounds = by_round(read_rounds(directory))
    for row in rounds.filter(pc.is_valid(rounds["measured_end_s"])).to_pylist():
        planned_s = row["end_s"] - row["start_s"]
        measured_s = row["measured_end_s"] - row["start_s"]
        difference = f"{100 * (measured_s / planned_s - 1):+.1f} %"
        shown.add_row(
            str(row["round"]), str(row["satellites"]), f"{planned_s:.1f}", f"{measured_s:.1f}", difference
        )
    if shown.rows:
        Console().print(shown)
