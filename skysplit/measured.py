"""What an emulation has measured, beside what was planned."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc
from rich.table import Table

from mission.record import transfer_records_path
from report.charts.link_use import link_uses, read_transfer_records
from report.totals import by_round, read_rounds
from skysplit.terminal import Terminal


def print_measured(directory: Path) -> None:
    """Print what was planned and measured.

    A line per round, its length until the last satellite is done; then one per round and direction to the ground.
    """
    shown = Table("round", "satellites", "planned, s", "measured, s", "difference")
    rounds = by_round(read_rounds(directory))
    for row in rounds.filter(pc.is_valid(rounds["measured_end_s"])).to_pylist():
        planned_s = row["end_s"] - row["start_s"]
        measured_s = row["measured_end_s"] - row["measured_start_s"]
        difference = f"{100 * (measured_s / planned_s - 1):+.1f} %"
        shown.add_row(
            str(row["round"]), str(row["satellites"]), f"{planned_s:.1f}", f"{measured_s:.1f}", difference
        )
    if shown.rows:
        Terminal().print(shown)
    if transfer_records_path(directory).exists():
        Terminal().print(_links(directory))


def _links(directory: Path) -> Table:
    """What crosses between satellites and ground, and from when to when in the round, by round and direction."""
    activities = map(json.loads, (directory / "plan.jsonl").read_text(encoding="utf-8").splitlines())
    start_s = {row["round"]: row["start_s"] for row in read_rounds(directory).to_pylist()}
    shown = Table("round", "link", "planned, MB", "measured, MB", "planned, s", "measured, s")
    for use in link_uses(activities, read_transfer_records(directory), start_s, together=True):
        sides = (use.planned, use.measured)
        sizes = (f"{side.all_bytes / 1e6:.3f}" if side else "–" for side in sides)
        spans = (f"{side.start_s:.1f} – {side.end_s:.1f}" if side else "–" for side in sides)
        shown.add_row(str(use.round), use.link, *sizes, *spans)
    return shown
