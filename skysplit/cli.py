"""`skysplit`: the commands, in the order in which one uses them."""

from __future__ import annotations

from typing import Annotated

import typer

from skysplit import __version__
from skysplit.commands import (
    comparisons,
    cuts,
    doctor,
    orbits,
    plans,
    presets,
    relays,
    runs,
    scenarios,
    sweeps,
)
from skysplit.commands.arguments import OneErrorGroup
from skysplit.deliveries.command import deliver
from skysplit.deliveries.export_command import export
from skysplit.plain_warnings import print_warnings_plainly

app = typer.Typer(
    cls=OneErrorGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fine-tune a remote-sensing foundation model over a LEO constellation without bringing the imagery down.",
    epilog="Start with `skysplit run demo`. Every command has an example: `skysplit COMMAND --help`.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"skysplit {__version__}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    del version  # printed by its callback
    print_warnings_plainly()


_STORY = {
    "First": (
        doctor.doctor,
        scenarios.scenarios,
        plans.models,
        presets.presets,
        scenarios.init,
    ),
    "Look at the orbits": (orbits.constellation, orbits.contacts),
    "Plan": (plans.plan, comparisons.compare, sweeps.sweep, cuts.cuts),
    "Fine-tune": (
        runs.run,
        runs.emulate,
        relays.status,
        runs.report,
        runs.track,
        export,
        deliver,
    ),
    "Deploy on several machines": (relays.certs, relays.deploy),
}
for chapter, commands in _STORY.items():
    for command in commands:
        app.command(rich_help_panel=chapter)(command)

# What follows the file is a command with options of its own.
app.command(rich_help_panel="Deploy on several machines", context_settings={"ignore_unknown_options": True})(
    relays.relay
)
