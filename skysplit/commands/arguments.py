"""What every command shares: naming a scenario, overriding keys, ending with one error."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from click import Context
from typer.core import TyperGroup

from mission.record import write_text
from mission.scenario import ScenarioError, load_scenario, scalar_keys, shipped_scenarios
from mission.schema import Scenario
from skysplit.terminal import Terminal

_stderr = Terminal(stderr=True)


def completed_from(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return a shell completion that offers those names which start with what has been typed."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


ScenarioArgument = Annotated[
    str,
    typer.Argument(
        help="A TOML file, or the name of a shipped scenario (`skysplit scenarios`).",
        autocompletion=completed_from(shipped_scenarios),
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="File to write for pictures; the default is NAME.html.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key, e.g. --set training.rounds=3. Repeatable.",
        autocompletion=lambda incomplete: [
            f"{key}=" for key, _ in scalar_keys() if key.startswith(incomplete)
        ],
    ),
]
DrawsOption = Annotated[
    int,
    typer.Option(
        "--draws",
        min=0,
        help="Fly a round of the split through this many draws of the scenario's outages. Takes minutes.",
    ),
]


def fail(message: str) -> NoReturn:
    """End the command with one error and exit status 1."""
    _stderr.say(f"error: {message}", style="red")
    raise typer.Exit(1)


class OneErrorGroup(TyperGroup):
    """Commands that say in one line which file or folder the operating system refused."""

    def invoke(self, ctx: Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno == errno.EPIPE:  # who reads the output has seen enough
                raise
            fail(refused(error))


def refused(error: OSError) -> str:
    """Return in words what the operating system refused, and of which file."""
    why = error.strerror or str(error)
    return f"{error.filename}: {why}" if error.filename is not None else why


def deliver(text: str, out: Path | None) -> None:
    """Print a command's result, or write it to the file that was asked for and print the path."""
    if out is None:
        print(text, end="" if text.endswith("\n") else "\n")
        return
    write_text(out, text)
    print(out)


def overrides_of(settings: list[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` words as a mapping; values stay text."""
    overrides: dict[str, Any] = {}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals:
            fail(f"--set: found {setting!r}, allowed: KEY=VALUE")
        overrides[key.strip()] = value.strip()
    return overrides


def read_scenario(name: str, settings: list[str] | None) -> Scenario:
    """The scenario, or the end of the command with one error."""
    try:
        return load_scenario(name, overrides_of(settings))
    except ScenarioError as error:
        fail(str(error))


def require_outages(scenario: Scenario) -> None:
    """End the command with one error where draws are asked for and nothing in the scenario ever fails."""
    from server_app.planning.uncertainty import outage_model_of

    try:
        outage_model_of(scenario)
    except ValueError as error:
        fail(f"--draws: {error}")


class TextFormat(StrEnum):
    """For people or for programs."""

    TABLE = "table"
    JSON = "json"
