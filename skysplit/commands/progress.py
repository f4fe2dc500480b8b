"""What a run shows while it runs: its phase, what the newest round reached and cost, who is awaited, how long yet."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from mission.text.plain_text import plain
from mission.text.quantities import spoken_bytes, spoken_time
from mission.text.spoken_scores import score_in, score_name, spoken_score
from skysplit.terminal import Terminal

_QUIET_S = 60.0  # without a terminal: after so long a silence it is said who is awaited


class ProgressForm(StrEnum):
    """Forms in which a run shows its progress."""

    TEXT = "text"  # a bar on a terminal, a line per change elsewhere
    JSON_LINES = "json-lines"  # on standard output, an object per change
    NONE = "none"


class _BarWithLines(Progress):
    """A bar with lines of text below it, which end between words.

    Attributes:
        lines: What they say.
    """

    lines: tuple[str, ...] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar and the lines."""
        yield from super().get_renderables()
        yield from map(Text, self.lines)


class RunProgress:
    """Shows how a run goes on. Use it as a context manager.

    Args:
        rounds: Rounds of the run.
        form: How it is shown.
    """

    def __init__(self, rounds: int, form: ProgressForm = ProgressForm.TEXT) -> None:
        self._console = Terminal(stderr=True)
        self._rounds, self._form = rounds, form
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        is_shown = self._console.is_terminal and form is ProgressForm.TEXT
        self._progress = _BarWithLines(*columns, console=self._console, disable=not is_shown)
        self._task = self._progress.add_task("starting Flower", total=rounds)
        self._shown = ""
        self._changed_s = time.monotonic()
        self._warned = False
        self._first: tuple[int, float] | None = None  # round, and when it was known to be over

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, run: Mapping[str, Any]) -> None:
        """Show what ``run.json`` says."""
        if self._form is ProgressForm.NONE:
            return
        if not self._warned and (warnings := run.get("warnings")):
            for line in warnings:
                self._console.say(f"WARNING: {plain(line)}")
            self._warned = True
        phase = plain(run.get("phase", "starting Flower"))
        latest: Mapping[str, Any] = run.get("progress", {})
        now_s = time.monotonic()
        over = int(latest.get("round", 0))
        if over and self._first is None:
            self._first = (over, now_s)
        if self._form is ProgressForm.JSON_LINES:
            self._show_json(phase, latest)
            return
        detail = plain(_detail(score_name(run), latest)) if latest else ""
        awaited = run.get("awaited", ())
        waits = _waits(awaited)
        described = f"round {over} of {self._rounds}" if latest else phase
        # Inside a round the bar moves with the satellites that have answered.
        satellites = len(run.get("satellites", ()))
        answered = 1.0 - len(awaited) / satellites if awaited and satellites else 0.0
        self._progress.lines = tuple(part for part in (detail, self._left(over, now_s), waits) if part)
        self._progress.update(self._task, description=described, completed=min(over + answered, self._rounds))
        line = f"{described}: {detail}" if latest else phase
        if line != self._shown:
            self._changed_s = now_s
            self._say(", ".join(part for part in (line, self._left(over, now_s)) if part))
        elif waits and now_s - self._changed_s >= _QUIET_S:  # why nothing is said
            self._changed_s = now_s
            self._say(f"{line}{', ' if latest else ': '}{waits}")
        self._shown = line

    def _left(self, over: int, now_s: float) -> str:
        """How long the rounds to come take, if they take as long as those since the first that was seen to end."""
        if self._first is None or over <= self._first[0] or over >= self._rounds:
            return ""
        since, since_s = self._first
        return f"about {_roughly((self._rounds - over) * (now_s - since_s) / (over - since))} left"

    def _show_json(self, phase: str, latest: Mapping[str, Any]) -> None:
        line = json.dumps({"event": "round", **latest} if latest else {"event": "phase", "phase": phase})
        if line != self._shown:
            print(line, flush=True)
        self._shown = line

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, highlight=False, soft_wrap=True)


def _roughly(seconds: float) -> str:
    """Return a time that is guessed: in whole seconds or minutes, or in tenths of an hour."""
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.1f} h"


def _detail(called: str, latest: Mapping[str, Any]) -> str:
    """What a round reached and what crossed in it."""
    parts = [f"{called} {spoken_score(called, score_in(latest))}"]
    if "test_loss" in latest:
        parts.append(f"loss {latest['test_loss']:.3f}")
    for column, way in (("downlink_bytes", "down"), ("uplink_bytes", "up")):
        if latest.get(column):
            parts.append(f"{spoken_bytes(latest[column])} {way}")
    parts.append(f"mission time {spoken_time(latest['mission_time_s'])}")
    return f"{', '.join(parts)}, most by {latest['window']}"


def _waits(awaited: list[str] | tuple[str, ...]) -> str:
    if not awaited:
        return ""
    some = ", ".join(awaited[:3]) + (" …" if len(awaited) > 3 else "")
    return plain(f"awaiting {len(awaited)}: {some}")
