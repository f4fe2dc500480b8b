"""`skysplit`: the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mission.record import new_run_directory
from mission.scenario import ScenarioError, load_scenario, scenario_path
from mission.schema import Scenario

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Fine-tune a remote-sensing foundation model over a LEO constellation without bringing the imagery down.",
)
_stderr = Console(stderr=True)

ScenarioArgument = Annotated[
    str,
    typer.Argument(help="A TOML file, or the name of a shipped scenario: demo, walker-72, planet, eurosat."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key, e.g. --set training.rounds=3. Repeatable."
    ),
]


def fail(message: str) -> typer.Exit:
    """Print one error and give the exit to raise."""
    _stderr.print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(1)


def overrides_of(settings: list[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` words as a mapping; values stay text."""
    overrides: dict[str, Any] = {}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals:
            raise fail(f"--set: found {setting!r}, allowed: KEY=VALUE")
        overrides[key.strip()] = value.strip()
    return overrides


def read_scenario(name: str, settings: list[str] | None) -> Scenario:
    """The scenario, or the end of the command with one error."""
    try:
        return load_scenario(name, overrides_of(settings))
    except ScenarioError as error:
        raise fail(str(error)) from error


@app.callback()
def main() -> None:
    """See docs/ for concepts; `skysplit run demo` is the place to start."""


@app.command()
def run(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; the default is runs/TIME-SCENARIO.")
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(min=1, help="Satellites that compute at the same time, a process of about 0.5 GB each."),
    ] = None,
) -> None:
    """Fine-tune the scenario's model, simulated by Flower on this machine.

    Example: `skysplit run demo --set training.rounds=3 --out runs/first`
    """
    from skysplit.progress import RunProgress
    from skysplit.simulate import simulate

    resolved = read_scenario(scenario, settings)
    directory = new_run_directory(str(out or ""), resolved.name)
    if (directory / "run.json").exists():
        raise fail(f"--out: found {directory}, which holds a run already")
    try:
        with RunProgress(resolved.training.rounds) as progress:
            result = simulate(
                resolved,
                str(scenario_path(scenario).resolve()),
                overrides_of(settings),
                directory,
                at_once,
                progress.show,
            )
    except RuntimeError as error:
        raise fail(f"{error}\nrun directory: {directory}") from error
    console = Console()
    console.print(
        f"test accuracy {100 * result['test_accuracy']:.1f} %"
        f" (before fine-tuning {100 * result['initial_test_accuracy']:.1f} %),"
        f" mission time {result['mission_time_s'] / 3600:.2f} h,"
        f" wall time {result['wall_time_s']:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"run directory: {directory}", highlight=False, soft_wrap=True)
