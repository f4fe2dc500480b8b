"""A terminal is told what a command is at while it has nothing to show, and keeps nothing of it; a file is not."""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.table import Table
from typer.testing import CliRunner

from skysplit.__main__ import _loading, main
from skysplit.cli import app
from skysplit.terminal import Terminal, busy


class Screen(io.StringIO):
    """What a terminal was sent."""

    def isatty(self) -> bool:
        return True


def screen_of(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Stand in for standard error; of a test's own, since pytest takes its place before each."""
    shown = Screen()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm-256color")
    return shown


def test_while_commands_load_a_terminal_says_so_and_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = screen_of(monkeypatch)
    with _loading():
        pass
    word, erased, rest = screen.getvalue().split("\r")
    assert word.startswith("loading SkySplit")
    assert (erased, rest) == (" " * len(word), "")


def test_at_the_end_of_a_command_nothing_is_looked_through_for_garbage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_exit: list[object] = []
    monkeypatch.setattr("atexit.register", at_exit.append)
    monkeypatch.setattr("skysplit.cli.app", lambda: None)
    main()
    assert at_exit == [gc.freeze]


def test_a_shell_that_asks_for_completions_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = screen_of(monkeypatch)
    monkeypatch.setenv("_SKYSPLIT_COMPLETE", "complete_bash")
    with _loading():
        pass
    assert screen.getvalue() == ""


def test_what_a_command_is_at_is_shown_on_a_terminal_and_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = screen_of(monkeypatch)
    with busy("planning the round"):
        pass
    assert "planning the round" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")  # erases the line


@pytest.mark.parametrize(
    ("words", "work", "doing"),
    [
        (["deliver", "run"], "skysplit.deliveries.command.planned_delivery", "planning the delivery"),
        (["track", "run"], "report.trackers.track", "exporting the rounds"),
        (
            ["init", "ours.toml", "--planes", "2"],
            "skysplit.new_mission.new_scenario.new_scenario",
            "checking what was chosen",
        ),
        (["constellation", "demo"], "skysplit.commands.orbits.map_page", "drawing the map"),
        (["run", "demo"], "skysplit.launch.simulate.require_ray", "loading Flower and Ray"),
        (
            ["run", "demo"],
            "skysplit.commands.runs.check_model",
            "checking the scenario, its model and its images",
        ),
    ],
)
def test_long_work_is_done_while_it_is_said(
    words: list[str], work: str, doing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    doing_now: list[str] = []

    @contextmanager
    def noted(what: str) -> Iterator[None]:
        doing_now.append(what)
        yield
        doing_now.pop()

    def at_work(*_: object, **__: object) -> None:
        raise ValueError(f"found while {doing_now}")

    for module in (
        "skysplit.deliveries.command",
        "skysplit.commands.orbits",
        "skysplit.commands.runs",
        "skysplit.commands.scenarios",
    ):
        monkeypatch.setattr(f"{module}.busy", noted)
    monkeypatch.setattr(work, at_work)
    done = CliRunner().invoke(app, words)
    said = f"{done.stderr} {done.exception}"
    assert f"found while {[doing]}" in " ".join(said.split())


def test_a_file_is_not_told_what_a_command_is_at(capsys: pytest.CaptureFixture[str]) -> None:
    with _loading(), busy("planning the round"):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_title_is_one_line_however_narrow_its_table_is() -> None:
    shown = io.StringIO()
    table = Table("a")
    table.add_row("1")
    Terminal(file=shown, width=20).print_table("one round from 0 s, of a mission with a name", table)
    assert shown.getvalue().splitlines()[1] == "one round from 0 s, of a mission with a name"


def test_a_sentence_is_one_line_for_programs_and_ends_its_lines_between_words_on_a_terminal() -> None:
    for is_terminal, lines in ((False, ["30 MB down, 36 kB up"]), (True, ["30 MB down,", "36 kB up"])):
        shown = io.StringIO()
        Terminal(file=shown, width=12, force_terminal=is_terminal, color_system=None).say(
            "30 MB down, 36 kB up"
        )
        assert [line.rstrip() for line in shown.getvalue().splitlines()] == lines
