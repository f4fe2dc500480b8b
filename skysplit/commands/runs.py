"""`skysplit run`, `skysplit emulate` and `skysplit report`."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from click.core import ParameterSource

from mission.record import make_run_directory, read_run, record_end, scenario_of, unfinished_run, write_text
from mission.run_lock import RunBusyError, owner_of
from mission.scenario import ScenarioError, absolute_paths, given_path, load_scenario, scenario_path
from mission.schema import Scenario
from mission.text.plain_text import plain
from skysplit.commands.arguments import (
    ScenarioArgument,
    SetOption,
    TextFormat,
    fail,
    overrides_of,
    read_scenario,
    refused,
)
from skysplit.commands.progress import ProgressForm, RunProgress
from skysplit.cuts.model_cuts import settled, spoken_choice
from skysplit.launch.launcher import unwind_on_signals
from skysplit.launch.run_ownership import owned
from skysplit.shared_machine import others_with_accounts, warning
from skysplit.terminal import Terminal, busy
from skysplit.trained_model import check_model

OutOption = Annotated[Path | None, typer.Option(help="Run directory; the default is runs/TIME-SCENARIO.")]


ResumeOption = Annotated[
    Path | None,
    typer.Option(help="Resume the interrupted run in this directory."),
]


LiveOption = Annotated[
    bool,
    typer.Option("--live", help="Serve the report during the run, and in a terminal until Ctrl-C."),
]
ProgressOption = Annotated[
    ProgressForm,
    typer.Option(
        "--progress",
        help="text: a bar or lines on standard error; json-lines: one object per line on standard output; none.",
    ),
]
FormatOption = Annotated[TextFormat, typer.Option("--format", help="Format of the output.")]


_STARTS = 4  # of a comparison, over the contacts of the run
Launch = tuple[Scenario, dict[str, Any], Path]  # as resolved, what Flower is told, the run directory


class Backend(StrEnum):
    """The kinds of nodes that an emulation may have."""

    PROCESS = "process"
    COMPOSE = "compose"


def run(
    ctx: typer.Context,
    scenario: ScenarioArgument = "demo",
    settings: SetOption = None,
    out: OutOption = None,
    resume: ResumeOption = None,
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            "--max-concurrency",
            "--at-once",
            min=1,
            help="Number of satellites that compute at the same time, each in a process of about 0.5 GB.",
        ),
    ] = None,
    live: LiveOption = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="At the end, plan the same mission on board and with images down, and add both to the report.",
        ),
    ] = False,
    progress: ProgressOption = ProgressForm.TEXT,
    output: FormatOption = TextFormat.TABLE,
) -> None:
    """Fine-tune the scenario's model, simulated by Flower on this machine.

    Example: `skysplit run demo --set training.rounds=3 --out runs/first --live`

    An interrupted run resumes after its last round, with an identical result: `skysplit run --resume runs/first`
    """
    with busy("loading Flower and Ray"):
        from skysplit.launch.simulate import require_ray, simulate

        try:
            require_ray()
        except ValueError as error:
            fail(str(error))
    launch = _new_launch(scenario, settings, out) if resume is None else _resumed_launch(resume, ctx)
    simulated = functools.partial(simulate, max_concurrency=max_concurrency)
    _watch(simulated, *launch, live, progress, output, compare)


def emulate(
    ctx: typer.Context,
    scenario: ScenarioArgument = "demo",
    settings: SetOption = None,
    out: OutOption = None,
    resume: ResumeOption = None,
    backend: Annotated[
        Backend,
        typer.Option(
            help="process: processes on this machine; compose: one container per node (Docker Compose)."
        ),
    ] = Backend.PROCESS,
    live: LiveOption = False,
    progress: ProgressOption = ProgressForm.TEXT,
    output: FormatOption = TextFormat.TABLE,
) -> None:
    """Fly the scenario over real relays: every satellite has its own SuperNode and relay.

    Tensors hop from relay to relay as the plan of each round allows, and gaps in which nothing happens are skipped.
    Computing takes what the scenario's rates say: mission time stands while a node is at work.

    Example: `skysplit emulate walker-12 --set training.rounds=2 --set constellation.satellites=6 --out runs/emulated`
    """
    with busy("loading Flower and the relays"):
        from skysplit.launch.emulate import emulate_in_containers, emulate_in_processes

    how = emulate_in_processes if backend is Backend.PROCESS else emulate_in_containers
    launch = _new_launch(scenario, settings, out) if resume is None else _resumed_launch(resume, ctx)
    _watch(how, *launch, live, progress, output)


def _new_launch(scenario: str, settings: list[str] | None, out: Path | None) -> Launch:
    """A run that begins."""
    with busy("loading the planner"):
        from server_app.planning.imaging import require_trainable
        from server_app.planning.round_planner import strategy_config_of
        from server_app.planning.uncertainty import require_flyable
        from skysplit.imagery_check import check_imagery
        from splitmodel.crossing.codec_sizes import require_usable as require_usable_codec
        from strategies.aggregation.rule import require_usable_rule

    resolved = read_scenario(scenario, settings)
    for key, path in (("data.path", resolved.data.path), ("model.path", resolved.model.path)):
        try:
            given_path(path, key)
        except ScenarioError as error:
            fail(str(error))
    # What runs the mission, or goes on with it another day, may have another working directory.
    absolute = absolute_paths(resolved)
    resolved = load_scenario(scenario, overrides_of(settings) | absolute)
    try:
        with busy("checking the scenario, its model and its images"):
            require_trainable(resolved)
            require_flyable(resolved)
            strategy_config_of(resolved)
            require_usable_rule(resolved.training.server_optimizer)
            for codec in (
                resolved.crossings.features,
                resolved.crossings.hidden,
                resolved.crossings.gradients,
            ):
                require_usable_codec(codec)
            check_model(resolved)
            check_imagery(resolved)
            cut = settled(resolved)
    except (ValueError, OSError) as error:
        fail(str(error))
    try:
        directory = make_run_directory(str(out or ""), resolved.name)
    except FileExistsError as error:
        fail(f"--out: {error}")
    except OSError as error:
        fail(f"--out: {refused(error)}")
    run_config = {
        **overrides_of(settings),
        **absolute,
        "scenario": str(scenario_path(scenario).resolve()),
        "out": str(directory),
        **cut.as_run_config,
    }
    if cut.reason is not None:
        Terminal(stderr=True).say(spoken_choice(cut.reason))
    return cut.scenario, run_config, directory


def _resumed_launch(directory: Path, ctx: typer.Context) -> Launch:
    """The run of a directory, to be resumed."""
    from server_app.checkpoint import newest

    for parameter, word in {"scenario": "a scenario", "settings": "--set", "out": "--out"}.items():
        if ctx.get_parameter_source(parameter) is ParameterSource.COMMANDLINE:
            fail(
                f"--resume: found beside {word}; allowed alone: a resumed run keeps its scenario and its directory"
            )
    directory = directory.resolve()
    try:
        if owner := owner_of(directory):
            raise RunBusyError(
                f"{directory}: the run is in progress, owned by {owner}; wait for it or end it"
            )
        run = unfinished_run(directory)
        newest(directory / "checkpoints")
        resolved = scenario_of(run)
    except FileNotFoundError:
        fail(f"--resume: {directory} holds no run")
    except (ValueError, FileExistsError, RunBusyError) as error:
        fail(f"--resume: {error}")
    return resolved, {"resume": str(directory)}, directory


def _watch(
    how: Callable[..., dict[str, Any]],
    resolved: Scenario,
    run_config: Mapping[str, Any],
    directory: Path,
    live: bool,
    form: ProgressForm,
    output: TextFormat,
    compare: bool = False,
) -> None:
    """Run, show how it goes and what came out; with ``compare``, beside what else would have come out."""
    from skysplit.live.live_page import LivePage

    unwind_on_signals()
    console = Terminal(stderr=True, soft_wrap=True)
    others = others_with_accounts()
    if others:
        console.say(warning(others), style="bold red")
    with LivePage(directory, f"SkySplit: {resolved.name}") if live else nullcontext() as page:
        if page:
            console.print(f"live page: {page.address}")
        try:
            with owned(directory), RunProgress(resolved.training.rounds, form) as progress:
                result = how(resolved, run_config, directory, on_progress=progress.show)
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, typer.Exit):
                raise
            *details, cause = (refused(error) if isinstance(error, OSError) else str(error)).splitlines() or [
                ""
            ]
            for line in details:
                console.print(plain(line), markup=False, highlight=False)
            if (directory / "run.json").exists():
                console.print(f"Run directory: {directory}", markup=False, highlight=False)
            fail(cause)
        if compare:
            from report.run_report import write_report

            _write_comparison(directory, starts=1, headline=True)
            # Where there is no room for it the run is over all the same.
            with contextlib.suppress(OSError), busy("writing the report"):
                write_report(directory)
        if output is TextFormat.JSON:
            print(json.dumps({"directory": str(directory), **result}), flush=True)
        else:
            _print_result(directory, result)
        if page and console.is_terminal:
            console.print(f"the run is over; Ctrl-C ends {page.address}")
            page.stay()


def _print_result(directory: Path, result: Mapping[str, Any]) -> None:
    """Say what came out, and where it can be looked at; where it cannot be read, the figures of ``result``."""
    from report.run_report import run_story
    from skysplit.measured import print_measured

    console = Terminal(soft_wrap=True)
    for sentence in run_story(directory):
        Terminal().say(sentence)
    page = directory / "report.html"
    if not page.exists():
        console.say(
            f"the report could not be written; free some disk space, then: skysplit report {directory}",
            style="yellow",
        )
    elif (directory / "comparison.json").exists():
        console.print(f"Report: {page}")
    else:
        console.print(f"Report: {page}")
        console.print(f"What it would have cost otherwise: skysplit report {directory} --compare")
    console.print(f"Run directory: {directory}")
    print_measured(directory)


def report(
    run_directories: Annotated[
        list[Path], typer.Argument(help="Run directories. Several are compared on one page.")
    ],
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Also plan the strategies, their baselines and the bound with the contacts of the run.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="With several runs: the page to write; the default is runs.html.")
    ] = None,
) -> None:
    """Rewrite a run's `report.html`, also during the run or after a failure, or compare several runs on one page.

    Example: `skysplit report runs/first --compare`, `skysplit report runs/first runs/second --out both.html`
    """
    from report.pages.runs_page import runs_page
    from report.run_report import write_report

    if len(run_directories) == 1 and out is not None:
        fail(f"--out: found {str(out)!r}, allowed with several runs; the page of one is its report.html")
    try:
        for directory in run_directories:
            with contextlib.suppress(OSError):  # of one who may only read it
                record_end(directory)
            if compare:
                _write_comparison(directory, _STARTS)
        with busy("writing the page"):
            if len(run_directories) == 1:
                page = write_report(run_directories[0])
            else:
                page = out or Path("runs.html")
                write_text(page, runs_page(run_directories))
        print(page)
    except FileNotFoundError as error:
        if error.filename is None or Path(error.filename).parent not in run_directories:
            raise
        fail(f"{Path(error.filename).parent}: holds no run ({error.filename} is missing)")
    except ValueError as error:
        fail(str(error))


def _write_comparison(run_directory: Path, starts: int, *, headline: bool = False) -> None:
    """Write ``comparison.json``: what `skysplit compare` finds for the run's scenario, contacts and images.

    With ``headline``, of the cases alone between which the answer lies.
    """
    from orbit.files.contact_plan_files import load
    from skysplit.commands.comparisons import watched
    from skysplit.planning_inputs import costs_of

    run = read_run(run_directory)
    if "samples" not in run:
        fail(
            f"--compare: found {run_directory}, where the satellites have not yet reported how many images they have"
        )
    scenario, contacts = scenario_of(run), load(run_directory / "contacts.parquet")
    with busy("reading the model"):
        costs = costs_of(scenario)
    comparison = watched(scenario, contacts, costs, list(run["samples"].values()), starts, headline=headline)
    write_text(run_directory / "comparison.json", json.dumps({costs.name: comparison}))


def track(
    run_directory: Annotated[Path, typer.Argument(help="A run directory.")],
    tracker: Annotated[
        str,
        typer.Option(
            "--tracker", help="tensorboard, or one that a package registers under skysplit.trackers."
        ),
    ] = "tensorboard",
) -> None:
    """Export a run's rounds to TensorBoard or another experiment tracker, even while it is running.

    Example: `skysplit track runs/first`, then `tensorboard --logdir runs`
    """
    with busy("loading trackers"):
        from report.event_files import TensorBoard
        from report.trackers import TrackerError, track, tracker_called

    try:
        kind = tracker_called(tracker, {"tensorboard": TensorBoard})
    except TrackerError as error:
        fail(f"--tracker: {error}")
    try:
        with busy("exporting the rounds"):
            exported = track(run_directory, kind)
        print(exported)
    except FileNotFoundError as error:
        fail(f"{run_directory}: holds no run ({error.filename} is missing)")
    except TrackerError as error:
        fail(f"--tracker {tracker}: {error}")
    except ScenarioError as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        hint = ": pip install 'skysplit[tensorboard]'" if tracker == "tensorboard" else ", which it needs"
        fail(f"--tracker {tracker}: {error.name} is not installed{hint}")
