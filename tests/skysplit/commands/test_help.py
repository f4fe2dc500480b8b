"""The help tells the story, and every example in it is a command that there is."""

from __future__ import annotations

import re
import shlex

import click
import pytest
import typer
from typer.testing import CliRunner

from skysplit.cli import app

GROUP = typer.main.get_command(app)
assert isinstance(GROUP, click.Group)


def test_help_has_the_commands_in_the_order_of_use() -> None:
    said = CliRunner().invoke(app, ["--help"]).stdout
    order = [
        "doctor",
        "scenarios",
        "init",
        "constellation",
        "contacts",
        "plan",
        "compare",
        "run",
        "report",
        "deploy",
    ]
    places = [re.search(rf"^│ {name}\s", said, re.MULTILINE) for name in order]
    assert all(places)
    starts = [place.start() for place in places if place]
    assert starts == sorted(starts)


@pytest.mark.parametrize("name", list(GROUP.commands))
def test_the_help_of_a_command_has_an_example_that_it_understands(name: str) -> None:
    command = GROUP.commands[name]
    examples = re.findall(rf"`skysplit ({name} [^`]*)`", command.help or "")
    assert examples
    for example in examples:
        words = shlex.split(re.sub(r"\s+(…|> \S+)$", "", example))[1:]
        command.make_context(name, words)  # parses, or raises UsageError
