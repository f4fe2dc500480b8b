"""What an emulation has measured, beside what was planned."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from server_app.run_totals import by_round, read_rounds


def print_measured(directory: Path) -> None:
    """Print what was planned and measured.

    A line per round, its length until the last satellite is done; then one per round and direction of space-ground links.
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
    """A line per round and direction: what crosses between satellites and ground, and how long links carry it."""
    activities = map(json.loads, (directory / "plan.jsonl").read_text(encoding="utf-8").splitlines())
    planned = [row for row in activities if row["link"] in ("downlink", "uplink")]
    measured = pq.read_table(directory / "passages.parquet").to_pylist()
    shown = Table("round", "link", "planned, MB", "measured, MB", "planned, s", "measured, s")
    for number, link in sorted({(row["round"], row["link"]) for row in measured}):
        cells = []
        for rows, ends in ((planned, ("node", "peer")), (measured, ("peer",))):
            of_link = [row for row in rows if (row["round"], row["link"]) == (number, link)]
            spans: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
            for row in of_link:
                spans[tuple(row[end] for end in ends)].append((row["start_s"], row["end_s"]))
            busy_s = sum(_union_s(of_pair) for of_pair in spans.values())
            cells.append((sum(row["bytes"] for row in of_link) / 1e6, busy_s))
        (planned_mb, planned_s), (measured_mb, measured_s) = cells
        told = (f"{planned_mb:.3f}", f"{measured_mb:.3f}", f"{planned_s:.1f}", f"{measured_s:.1f}")
        shown.add_row(str(number), link, *told)
    return shown


def _union_s(spans: list[tuple[float, float]]) -> float:
    """How long at least one of these spans lasts."""
    total_s, until_s = 0.0, -math.inf
    for start_s, end_s in sorted(spans):
        total_s += max(0.0, end_s - max(start_s, until_s))
        until_s = max(until_s, end_s)
    return total_s
