"""`skysplit`: the commands."""

from __future__ import annotations

import typer

from skysplit import orbit_commands, plan_commands, relay_commands, run_commands

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Fine-tune a remote-sensing foundation model over a LEO constellation without bringing the imagery down.",
    epilog="Start with `skysplit run demo`.",
)


@app.callback()
def _commands() -> None: ...


for command in (
    run_commands.run,
    run_commands.emulate,
    run_commands.report,
    orbit_commands.contacts,
    orbit_commands.constellation,
    plan_commands.plan,
    plan_commands.compare,
    plan_commands.models,
    relay_commands.status,
    relay_commands.certs,
    relay_commands.deploy,
):
    app.command()(command)

# What follows the file is a command with options of its own.
app.command(context_settings={"ignore_unknown_options": True})(relay_commands.relay)
