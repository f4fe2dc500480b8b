"""`skysplit sweep`: one round planned for every combination of keys."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from mission.run_lock import RunBusyError
from mission.text.quantities import spoken_bytes, spoken_time
from skysplit.commands.arguments import SetOption, TextFormat, fail, overrides_of, refused
from skysplit.sweeps.study import Study, StudyError, is_study, parse_grid, read_study, study_of
from skysplit.terminal import Terminal, busy

_EVERY_S = 30.0  # between lines of progress where there is no terminal
_ROWS, _TABLE_WIDTH = 20, 180  # of the table
DrawsOption = Annotated[
    int, typer.Option(min=0, help="With --grid: fly each round through this many draws of its outages.")
]


def sweep(
    study: Annotated[
        str,
        typer.Argument(help="A TOML file that defines a sweep, or with --grid a scenario.", metavar="SWEEP"),
    ],
    settings: SetOption = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B,…", help="Values of a key. All combinations are planned. Repeatable."),
    ] = None,
    starts: Annotated[
        int,
        typer.Option(min=1, help="With --grid: number of start times, over the first 40 % of the horizon."),
    ] = 1,
    missions: Annotated[
        bool,
        typer.Option("--missions", help="With --grid: plan all training.rounds rounds, not only the first."),
    ] = False,
    draws: DrawsOption = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output directory; the default is sweeps/NAME. Points already in it are not planned again."
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Number of planning processes; the default is one per core.")
    ] = None,
    output: Annotated[TextFormat, typer.Option("--format", help="Format of the output.")] = TextFormat.TABLE,
) -> None:
    """Plan a round for every combination of keys, as a table and a page. An interrupted sweep resumes.

    Example: `skysplit sweep walker-72 --grid ground.stations=4,7,10 --grid strategy.inter_orbit=none,min-latency`

    `ground.stations` also takes how many of the scenario's stations, or lists of their names. Keys that vary together:
    `--grid 'constellation.satellites,constellation.planes=[24,4],[72,6]'`
    """
    from skysplit.sweeps.page import sweep_page
    from skysplit.sweeps.results import TABLE
    from skysplit.sweeps.run import run_sweep

    try:
        with busy("resolving every combination"):
            asked = _study(study, settings, grid, starts, missions, draws)
        name = Path(study).stem
        directory = out or Path("sweeps") / name
        with _Shown() as shown:
            rows = run_sweep(
                asked, directory, processes=processes or os.cpu_count() or 1, on_progress=shown.show
            )
    except OSError as error:
        fail(refused(error))
    except (ValueError, RunBusyError, RuntimeError) as error:
        if isinstance(error, typer.Exit):
            raise
        fail(str(error))
    page = directory / "sweep.html"
    planned = "missions" if asked.missions else "rounds"
    described = f"{len(rows)} {planned} of {asked.scenario}; what varies: {', '.join(asked.keys)}."
    page.write_text(sweep_page(f"{name}: a sweep", described, rows, asked.keys), encoding="utf-8")
    if output is TextFormat.JSON:
        print(json.dumps({"table": str(directory / TABLE), "page": str(page), "rows": rows}))
        return
    _print(asked, rows)
    Terminal(soft_wrap=True).print(f"{directory / TABLE}\n{page}", highlight=False, markup=False)


def _study(
    name: str,
    settings: list[str] | None,
    grid: list[str] | None,
    starts: int,
    missions: bool,
    draws: int,
) -> Study:
    path = Path(name)
    if path.is_file() and is_study(path):
        if grid or settings or missions or draws or starts != 1:
            raise StudyError(
                f"{name}: found with --grid, --set, --starts, --missions or --draws; allowed alone: "
                "the file sets all of these"
            )
        return read_study(path)
    if not grid:
        raise StudyError(
            f"{name}: found without --grid, allowed: a TOML file with grid or cases, or --grid KEY=A,B"
        )
    return study_of(
        name,
        fixed=overrides_of(settings),
        grid=parse_grid(grid),
        starts=starts,
        missions=missions,
        draws=draws,
        where="--grid",
    )


def _print(study: Study, rows: list[dict]) -> None:
    from skysplit.sweeps.summary import pareto_front, points_of

    points = points_of(rows, study.keys)
    front = pareto_front(points)
    shown = sorted((point for point in points if point.planned), key=lambda point: point.makespan_s)[:_ROWS]
    title = f"{len(points)} combinations, {len(rows)} rounds; the {len(shown)} with the shortest median; * on the front"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for key in study.keys:
        table.add_column(key, no_wrap=True)
    flown = ("through draws", "p5", "p95") if study.draws else ()
    for heading in ("starts", "median", "p95", "above bound", "space-ground", *flown):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for point in shown:
        gap = "–" if point.gap != point.gap else f"{100 * point.gap:.0f} %"
        table.add_row(
            *(str(point.values[key]) for key in study.keys), f"{point.planned} of {point.starts}",
            spoken_time(point.makespan_s), spoken_time(point.p95_s), gap, spoken_bytes(point.sgl_bytes),
            *("–" if time_s != time_s else spoken_time(time_s) for time_s in point.flown_s if flown),
            "*" if point in front else "",
        )  # fmt: skip
    console = Terminal()
    wide = Terminal(width=max(console.width, _TABLE_WIDTH))  # no figure is cut, whatever the terminal wraps
    wide.print_table(title, table)
    unplanned = sum(row["state"] != "planned" for row in rows)
    if unplanned:
        console.print(f"{unplanned} rounds could not be planned; see column reason of the table")


class _Shown:
    """Progress with the time that is left: a bar, or a line now and then where there is no terminal."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Terminal(stderr=True)
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )  # fmt: skip
        self._bars = Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        )
        self._tasks: dict[str, TaskID] = {}
        self._clock, self._begun_s, self._said_s, self._first = clock, clock(), clock(), 0

    def __enter__(self) -> _Shown:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Say how much is done."""
        now_s = self._clock()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
            self._begun_s, self._first = now_s, done
        self._bars.update(self._tasks[what], completed=done)
        if not self._console.is_terminal and now_s - self._said_s >= _EVERY_S:
            self._said_s = now_s
            rate = (done - self._first) / max(now_s - self._begun_s, 1e-9)
            left = f", {spoken_time((total - done) / rate)} left" if rate > 0 else ""
            self._console.print(f"{what}: {done} of {total}{left}", highlight=False)
