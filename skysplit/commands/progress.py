"""What a run shows while it runs: a bar with round, accuracy, mission time and the windows in use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mission.text.plain_text import plain
from mission.text.quantities import spoken_time
from mission.text.spoken_scores import score_in, score_name, spoken_score
from skysplit.terminal import Terminal

_QUIET_S = 60.0  # without a terminal: after so long a silence it is said who is awaited


class RunProgress:
    """A progress bar on a terminal, a line per change elsewhere. Use it as a context manager.

    Args:
        rounds: Rounds to come.
    """

    def __init__(self, rounds: int) -> None:
        self._console = Terminal(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("starting Flower", total=rounds, detail="")
        self._shown = ""
        self._changed_s = time.monotonic()
        self._warned = False

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, run: Mapping[str, Any]) -> None:
        """Show what ``run.json`` says."""
        if not self._warned and (warnings := run.get("warnings")):
            for line in warnings:
                self._console.print(f"WARNING: {plain(line)}", highlight=False, soft_wrap=True)
            self._warned = True
        phase = plain(run.get("phase", "starting Flower"))
        latest: Mapping[str, Any] = run.get("progress", {})
        called = score_name(run)
        detail = plain(
            f"{called} {spoken_score(called, score_in(latest))}, mission time {spoken_time(latest['mission_time_s'])}, "
            f"{latest['window']}"
            if latest
            else ""
        )
        awaited = run.get("awaited", ())
        waits = ""
        if awaited:
            some = ", ".join(awaited[:3]) + (" …" if len(awaited) > 3 else "")
            waits = plain(f"{', ' if detail else ''}awaiting {len(awaited)}: {some}")
        self._progress.update(
            self._task, description=phase, completed=latest.get("round", 0), detail=detail + waits
        )
        line = f"{phase} {latest['round']}: {detail}" if latest else phase
        now_s = time.monotonic()
        if line != self._shown:
            self._changed_s = now_s
        elif waits and now_s - self._changed_s >= _QUIET_S:  # why nothing is said
            self._changed_s = now_s
            self._say(f"{line}{'' if latest else ': '}{waits}")
        if line != self._shown:
            self._say(line)
        self._shown = line

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, highlight=False, soft_wrap=True)
