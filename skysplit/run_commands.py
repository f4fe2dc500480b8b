"""`skysplit run`, `skysplit emulate` and `skysplit report`."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mission.record import new_run_directory
from mission.scenario import scenario_path
from skysplit.arguments import ScenarioArgument, SetOption, fail, overrides_of, read_scenario

OutOption = Annotated[Path | None, typer.Option(help="Run directory; the default is runs/TIME-SCENARIO.")]


def run(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    out: OutOption = None,
    at_once: Annotated[
        int | None,
        typer.Option(min=1, help="Satellites that compute at the same time, a process of about 0.5 GB each."),
    ] = None,
) -> None:
    """Fine-tune the scenario's model, simulated by Flower on this machine.

    Example: `skysplit run demo --set training.rounds=3 --out runs/first`
    """
    from skysplit.simulate import simulate

    _fly(scenario, settings, out, functools.partial(simulate, at_once=at_once))


def emulate(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    out: OutOption = None,
) -> None:
    """Fly the scenario in real time: every satellite is a SuperNode and a relay, processes on this machine.

    Tensors hop from relay to relay as the plan of each round has it; gaps in which nothing happens are skipped. Compute
    rates are measured before the first round, so that the plan predicts what is measured.

    Example: `skysplit emulate demo --set training.rounds=2 --set constellation.satellites=6 --out runs/emulated`
    """
    from skysplit.emulate import emulate_in_processes
    from skysplit.measured import print_measured

    directory = _fly(scenario, settings, out, emulate_in_processes)
    print_measured(directory)


def _fly(
    scenario: str, settings: list[str] | None, out: Path | None, how: Callable[..., dict[str, Any]]
) -> Path:
    """Run a scenario, show how it goes and what came out, and return its run directory."""
    from skysplit.progress import RunProgress

    resolved = read_scenario(scenario, settings)
    directory = new_run_directory(str(out or ""), resolved.name)
    if (directory / "run.json").exists():
        fail(f"--out: found {directory}, which holds a run already")
    path = str(scenario_path(scenario).resolve())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, which ends what was started
    try:
        with RunProgress(resolved.training.rounds) as progress:
            result = how(resolved, path, overrides_of(settings), directory, on_progress=progress.show)
    except (RuntimeError, ValueError) as error:
        fail(f"{error}\nrun directory: {directory}")
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"test accuracy {100 * result['test_accuracy']:.1f} %"
        f" (before fine-tuning {100 * result['initial_test_accuracy']:.1f} %),"
        f" mission time {result['mission_time_s'] / 3600:.2f} h,"
        f" wall time {result['wall_time_s']:.0f} s"
    )
    console.print(f"run directory: {directory}")
    return directory


def report(run_directory: Annotated[Path, typer.Argument(help="A run directory.")]) -> None:
    """Write a run's `report.html` again, also of a run under way or a failed one.

    Example: `skysplit report runs/first`
    """
    from server_app.report import write_report

    try:
        print(write_report(run_directory))
    except FileNotFoundError as error:
        fail(f"{run_directory}: holds no run ({error.filename} is missing)")
