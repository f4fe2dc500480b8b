"""What an emulation has measured, beside what was planned."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from server_app.run_totals import by_round, read_rounds


def print_measured(directory: Path) -> None:
    """Print what was planned and measured.

    A line per round, its length until the last satellite is done; then one per round and class of link.
    """
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
    if (directory / "passages.parquet").exists():
        Console().print(_links(directory))


def _links(directory: Path) -> Table:
    """What crosses, and from when to when in the round, by round and class of link."""
    activities = map(json.loads, (directory / "plan.jsonl").read_text(encoding="utf-8").splitlines())
    planned = [row for row in activities if row["link"] and row["bytes"]]
    measured = pq.read_table(directory / "passages.parquet").to_pylist()
    start_s = {row["round"]: row["start_s"] for row in read_rounds(directory).to_pylist()}
    shown = Table("round", "link", "planned, MB", "measured, MB", "planned, s", "measured, s")
    for number, link in sorted({(row["round"], row["link"]) for row in measured}):
        cells = []
        for rows in (planned, measured):
            of_link = [row for row in rows if (row["round"], row["link"]) == (number, link)]
            if not of_link:
                cells.append(("–", "–"))
                continue
            size_bytes = sum(row["bytes"] for row in of_link)
            first_s, last_s = min(row["start_s"] for row in of_link), max(row["end_s"] for row in of_link)
            span = f"{max(0.0, first_s - start_s[number]):.1f} – {last_s - start_s[number]:.1f}"
            cells.append((f"{size_bytes / 1e6:.3f}", span))
        shown.add_row(str(number), link, *(cell for pair in zip(*cells, strict=True) for cell in pair))
    return shown
