"""`skysplit run`, `skysplit emulate` and `skysplit report`."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mission.record import new_run_directory, scenario_of, unfinished_run
from mission.scenario import ScenarioError, given_path, scenario_path
from mission.schema import Scenario
from skysplit.arguments import ScenarioArgument, SetOption, fail, overrides_of, read_scenario

OutOption = Annotated[Path | None, typer.Option(help="Run directory; the default is runs/TIME-SCENARIO.")]


ResumeOption = Annotated[
    Path | None,
    typer.Option(help="Go on with the run in this directory, which was ended before its time."),
]


class Backend(StrEnum):
    """What the nodes of an emulation are."""

    PROCESS = "process"
    COMPOSE = "compose"


def run(
    scenario: ScenarioArgument = "demo",
    settings: SetOption = None,
    out: OutOption = None,
    resume: ResumeOption = None,
    at_once: Annotated[
        int | None,
        typer.Option(min=1, help="Satellites that compute at the same time, a process of about 0.5 GB each."),
    ] = None,
) -> None:
    """Fine-tune the scenario's model, simulated by Flower on this machine.

    Example: `skysplit run demo --set training.rounds=3 --out runs/first`

    A run that was ended goes on after its last finished round, to the same result: `skysplit run --resume runs/first`
    """
    from skysplit.simulate import simulate

    how = functools.partial(simulate, at_once=at_once)
    if resume is None:
        _fly(scenario, settings, out, how)
    else:
        _go_on(resume, how)


def emulate(
    scenario: ScenarioArgument = "demo",
    settings: SetOption = None,
    out: OutOption = None,
    resume: ResumeOption = None,
    backend: Annotated[
        Backend,
        typer.Option(help="Processes on this machine, or a container for every node (Docker Compose)."),
    ] = Backend.PROCESS,
) -> None:
    """Fly the scenario in real time: every satellite is a SuperNode and a relay of its own.

    Tensors hop from relay to relay as the plan of each round has it; gaps in which nothing happens are skipped. Compute
    rates are measured before the first round, so that the plan predicts what is measured.

    Example: `skysplit emulate demo --set training.rounds=2 --set constellation.satellites=6 --out runs/emulated`
    """
    from skysplit.emulate import emulate_in_containers, emulate_in_processes
    from skysplit.measured import print_measured

    how = emulate_in_processes if backend is Backend.PROCESS else emulate_in_containers
    if resume is None:
        directory = _fly(scenario, settings, out, how)
    else:
        directory = resume
        _go_on(resume, how)
    print_measured(directory)


def _fly(
    scenario: str, settings: list[str] | None, out: Path | None, how: Callable[..., dict[str, Any]]
) -> Path:
    """Run a scenario and return its run directory."""
    resolved = read_scenario(scenario, settings)
    directory = new_run_directory(str(out or ""), resolved.name)
    if (directory / "run.json").exists():
        fail(f"--out: found {directory}, which holds a run already")
    for key, path in (("data.path", resolved.data.path), ("model.path", resolved.model.path)):
        try:
            given_path(path, key)
        except ScenarioError as error:
            fail(str(error))
    told = {
        **overrides_of(settings),
        "scenario": str(scenario_path(scenario).resolve()),
        "out": str(directory),
    }
    _watch(how, resolved, told, directory)
    return directory


def _go_on(directory: Path, how: Callable[..., dict[str, Any]]) -> None:
    """Resume the run of a directory."""
    from server_app.checkpoint import newest

    directory = directory.resolve()
    try:
        run = unfinished_run(directory)
        newest(directory / "checkpoints")
        resolved = scenario_of(run)
    except FileNotFoundError:
        fail(f"--resume: {directory} holds no run")
    except (ValueError, FileExistsError) as error:
        fail(f"--resume: {error}")
    _watch(how, resolved, {"resume": str(directory)}, directory)


def _watch(
    how: Callable[..., dict[str, Any]], resolved: Scenario, told: Mapping[str, Any], directory: Path
) -> None:
    """Run, show how it goes and what came out."""
    from skysplit.progress import RunProgress

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, which ends what was started
    try:
        with RunProgress(resolved.training.rounds) as progress:
            result = how(resolved, told, directory, on_progress=progress.show)
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


def report(run_directory: Annotated[Path, typer.Argument(help="A run directory.")]) -> None:
    """Write a run's `report.html` again, also of a run under way or a failed one.

    Example: `skysplit report runs/first`
    """
    from server_app.report import write_report

    try:
        print(write_report(run_directory))
    except FileNotFoundError as error:
        fail(f"{run_directory}: holds no run ({error.filename} is missing)")
