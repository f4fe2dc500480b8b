"""`skysplit run`, `skysplit emulate` and `skysplit report`."""

from __future__ import annotations

import functools
import json
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mission.record import new_run_directory, read_run, scenario_of, unfinished_run, write_text
from mission.scenario import ScenarioError, given_path, scenario_path
from mission.schema import Scenario
from skysplit.arguments import ScenarioArgument, SetOption, TextFormat, fail, overrides_of, read_scenario
from skysplit.shared_machine import others_with_accounts, warning
from skysplit.terminal import Terminal
from skysplit.trained_model import check_model

OutOption = Annotated[Path | None, typer.Option(help="Run directory; the default is runs/TIME-SCENARIO.")]


ResumeOption = Annotated[
    Path | None,
    typer.Option(help="Go on with the run in this directory, which was ended before its time."),
]


LiveOption = Annotated[
    bool,
    typer.Option("--live", help="Serve the report while the run goes on; on a terminal until Ctrl-C."),
]
FormatOption = Annotated[TextFormat, typer.Option("--format", help="How the result is printed.")]


_STARTS = 4  # of a comparison, over the contacts of the run
Flight = tuple[Scenario, dict[str, Any], Path]  # as resolved, what Flower is told, the run directory


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
    live: LiveOption = False,
    output: FormatOption = TextFormat.TABLE,
) -> None:
    """Fine-tune the scenario's model, simulated by Flower on this machine.

    Example: `skysplit run demo --set training.rounds=3 --out runs/first --live`

    A run that was ended goes on after its last finished round, to the same result: `skysplit run --resume runs/first`
    """
    from skysplit.simulate import simulate

    flight = _flight(scenario, settings, out) if resume is None else _rest_of(resume)
    _watch(functools.partial(simulate, at_once=at_once), *flight, live, output)


def emulate(
    scenario: ScenarioArgument = "demo",
    settings: SetOption = None,
    out: OutOption = None,
    resume: ResumeOption = None,
    backend: Annotated[
        Backend,
        typer.Option(help="Processes on this machine, or a container for every node (Docker Compose)."),
    ] = Backend.PROCESS,
    live: LiveOption = False,
    output: FormatOption = TextFormat.TABLE,
) -> None:
    """Fly the scenario in real time: every satellite is a SuperNode and a relay of its own.

    Tensors hop from relay to relay as the plan of each round has it; gaps in which nothing happens are skipped. Compute
    rates are measured before the first round, so that the plan predicts what is measured.

    Example: `skysplit emulate demo --set training.rounds=2 --set constellation.satellites=6 --out runs/emulated`
    """
    from skysplit.emulate import emulate_in_containers, emulate_in_processes

    how = emulate_in_processes if backend is Backend.PROCESS else emulate_in_containers
    flight = _flight(scenario, settings, out) if resume is None else _rest_of(resume)
    _watch(how, *flight, live, output)


def _flight(scenario: str, settings: list[str] | None, out: Path | None) -> Flight:
    """A run that begins."""
    resolved = read_scenario(scenario, settings)
    for key, path in (("data.path", resolved.data.path), ("model.path", resolved.model.path)):
        try:
            given_path(path, key)
        except ScenarioError as error:
            fail(str(error))
    try:
        check_model(resolved)
    except ValueError as error:
        fail(str(error))
    try:
        directory = new_run_directory(str(out or ""), resolved.name)
    except FileExistsError as error:
        fail(f"--out: {error}")
    told = {
        **overrides_of(settings),
        "scenario": str(scenario_path(scenario).resolve()),
        "out": str(directory),
    }
    return resolved, told, directory


def _rest_of(directory: Path) -> Flight:
    """The run of a directory, to be resumed."""
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
    return resolved, {"resume": str(directory)}, directory


def _watch(
    how: Callable[..., dict[str, Any]],
    resolved: Scenario,
    told: Mapping[str, Any],
    directory: Path,
    live: bool,
    output: TextFormat,
) -> None:
    """Run, show how it goes and what came out."""
    from skysplit.live_page import LivePage
    from skysplit.progress import RunProgress

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, which ends what was started
    console = Terminal(stderr=True, soft_wrap=True)
    others = others_with_accounts()
    if others:
        console.print(warning(others), style="bold red")
    with LivePage(directory, f"SkySplit: {resolved.name}") if live else nullcontext() as page:
        if page:
            console.print(f"live page: {page.address}")
        try:
            with RunProgress(resolved.training.rounds) as progress:
                result = how(resolved, told, directory, on_progress=progress.show)
        except (RuntimeError, ValueError) as error:
            fail(f"{error}\nrun directory: {directory}" if directory.exists() else str(error))
        if output is TextFormat.JSON:
            print(json.dumps({"directory": str(directory), **result}), flush=True)
        else:
            _print_result(directory, result)
        if page and console.is_terminal:
            console.print(f"the run is over; Ctrl-C ends {page.address}")
            page.stay()


def _print_result(directory: Path, result: Mapping[str, Any]) -> None:
    from skysplit.measured import print_measured

    console = Terminal(soft_wrap=True)
    console.print(
        f"test accuracy {100 * result['test_accuracy']:.1f} %"
        f" (before fine-tuning {100 * result['initial_test_accuracy']:.1f} %),"
        f" mission time {result['mission_time_s'] / 3600:.2f} h,"
        f" wall time {result['wall_time_s']:.0f} s"
    )
    console.print(f"run directory: {directory}")
    print_measured(directory)


def report(
    run_directory: Annotated[Path, typer.Argument(help="A run directory.")],
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Also plan the strategies, their baselines and the bound on the run's contacts."
        ),
    ] = False,
) -> None:
    """Write a run's `report.html` again, also of a run under way or a failed one.

    Example: `skysplit report runs/first --compare`
    """
    from server_app.report import write_report

    try:
        if compare:
            _write_comparison(run_directory)
        print(write_report(run_directory))
    except FileNotFoundError as error:
        fail(f"{run_directory}: holds no run ({error.filename} is missing)")
    except ValueError as error:
        fail(str(error))


def _write_comparison(run_directory: Path) -> None:
    """Write ``comparison.json``: what `skysplit compare` finds for the run's scenario, contacts and images."""
    from orbit.contact_plan_files import load
    from skysplit.plan_commands import watched
    from skysplit.planning_inputs import costs_of

    run = read_run(run_directory)
    if "samples" not in run:
        fail(
            f"--compare: found {run_directory}, where the satellites have not yet told how many images they have"
        )
    scenario, contacts = scenario_of(run), load(run_directory / "contacts.parquet")
    costs = costs_of(scenario)
    found = watched(scenario, contacts, costs, list(run["samples"].values()), _STARTS)
    write_text(run_directory / "comparison.json", json.dumps({costs.name: found}))


def tensorboard(run_directory: Annotated[Path, typer.Argument(help="A run directory.")]) -> None:
    """Write a run's rounds as TensorBoard event files, also of a run under way; needs the extra `tensorboard`.

    Example: `skysplit tensorboard runs/first`, then `tensorboard --logdir runs`
    """
    from server_app.event_files import write_events

    try:
        print(write_events(run_directory))
    except FileNotFoundError as error:
        fail(f"{run_directory}: holds no run ({error.filename} is missing)")
    except ScenarioError as error:
        fail(str(error))
    except ModuleNotFoundError:
        fail("tensorboard is not installed: pip install 'skysplit[tensorboard]'")
