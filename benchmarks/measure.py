"""Timing, bars and the table that every orbit benchmark prints."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def seconds(job: Callable[[], Any], runs: int = 1) -> tuple[float, Any]:
    """The median wall time of ``runs`` runs, and what the last one returned."""
    taken, result = [], None
    for _ in range(runs):
        before = time.perf_counter()
        result = job()
        taken.append(time.perf_counter() - before)
    return statistics.median(taken), result


def side_by_side(jobs: dict[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    """The median wall time of each job, run by turns, so that whatever else the machine does falls on all alike."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(runs):
        for name, job in jobs.items():
            taken[name].append(seconds(job)[0])
    return {name: statistics.median(times) for name, times in taken.items()}


@dataclass
class Bars:
    """What was measured, what was asked, and whether it was met."""

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def at_least(self, name: str, measured: float, bar: float, detail: str = "") -> None:
        self._add(name, measured, f"≥ {bar:g}", measured >= bar, detail)

    def at_most(self, name: str, measured: float, bar: float, detail: str = "") -> None:
        self._add(name, measured, f"≤ {bar:g}", measured <= bar, detail)

    def note(self, name: str, measured: Any, detail: str = "") -> None:
        """A figure without a bar."""
        self._add(name, measured, "", None, detail)

    def _add(self, name: str, measured: Any, bar: str, met: bool | None, detail: str) -> None:
        self.rows.append({"name": name, "measured": measured, "bar": bar, "met": met, "detail": detail})
        print(f"{name}: {_text(measured)}", file=sys.stderr, flush=True)  # long runs show how far they are

    def finish(self) -> None:
        """Print the table and the JSON, and leave with status 1 when a bar was missed."""
        table = Table("", "measured", "bar", "met", "", title=self.title)
        for row in self.rows:
            met = {True: "yes", False: "NO", None: ""}[row["met"]]
            table.add_row(escape(row["name"]), _text(row["measured"]), row["bar"], met, row["detail"])
        Console(width=130).print(table)
        missed = [row["name"] for row in self.rows if row["met"] is False]
        print(json.dumps({"benchmark": self.title, "rows": self.rows, "missed": missed}))
        sys.exit(1 if missed else 0)


def _text(measured: Any) -> str:
    return f"{measured:.4g}" if isinstance(measured, float) else str(measured)
