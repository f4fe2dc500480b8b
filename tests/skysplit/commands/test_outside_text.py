"""Text from outside is text: names and messages of others steer neither terminal nor page nor log."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from mission.text.plain_text import label, plain
from relay.clock.paced_clock import PacedClock
from relay.operation.logs import MissionFormatter
from skysplit.cli import app
from skysplit.commands import arguments
from skysplit.commands.doctor import Finding, State
from skysplit.commands.progress import RunProgress
from skysplit.terminal import Terminal

RUNNER = CliRunner()
NAMES = [
    "A [/] B",
    "[bold red]X[/bold red]",
    "[link=file:///etc]y[/link]",
    ":rocket:",
    "\\[x]",
    "<b>&amp;</b>",
    "][",
]
CONTROLS = ["\x1b[2J", "a\rb", "a\nb", "\x07", "\x9b31m", "\u202egnp.exe", "\u2028", "\x00"]


def printed(what: object) -> str:
    file = io.StringIO()
    Terminal(file=file, force_terminal=True, color_system=None, width=200).print(what)
    return file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_with_markup_is_printed_as_it_is(name: str) -> None:
    assert name in printed(name)
    table = Table(name, title=name)
    table.add_row(name)
    assert printed(table).count(name) == 3


@pytest.mark.parametrize("text", CONTROLS)
def test_control_characters_are_shown_not_obeyed(text: str) -> None:
    table = Table("name")
    table.add_row(text)
    for shown in (printed(text), printed(table)):
        assert all(c.isprintable() or c == "\n" for c in shown)
    assert "\n" not in plain(text)


@given(st.text(), st.integers(2, 300))
def test_plain_text_is_one_printable_line_of_bounded_length_that_can_be_encoded(
    text: str, limit: int
) -> None:
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    shown.encode()
    if text.isprintable() and len(text) <= limit:
        assert shown == text


@given(st.text(max_size=100))
def test_a_label_of_a_figure_holds_no_markup(text: str) -> None:
    assert "<" not in label(text)


@pytest.mark.parametrize("name", [*NAMES, *CONTROLS])
@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_shows_its_progress_whatever_its_satellites_are_called(
    name: str, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    monkeypatch.setattr(
        "skysplit.commands.progress.Terminal",
        lambda **_: Terminal(file=file, force_terminal=terminal, width=200),
    )
    latest = {"round": 1, "test_accuracy": 0.5, "mission_time_s": 3600.0, "window": f"{name} over [station]"}
    with RunProgress(2) as progress:
        progress.show({"phase": f"training {name}", "progress": latest})
    assert plain(name) in file.getvalue()
    assert name.isprintable() or name not in file.getvalue()


def test_what_doctor_finds_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Finding("data", State.NOTE, found="[/] \x1b[2J", fix="[fix]")
    monkeypatch.setattr("skysplit.commands.doctor.CHECKS", (lambda: found,))
    done = RUNNER.invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert "[/]" in done.stdout
    assert "[fix]" in done.stdout
    assert "\x1b" not in done.stdout


def scenario(folder: Path, name: str) -> list[str]:
    """Words that set a constellation of one satellite of this name, in orbit messages, which take any text."""
    messages = [
        {
            "OBJECT_NAME": name,
            "OBJECT_ID": "2014-033AL",
            "CENTER_NAME": "EARTH",
            "REF_FRAME": "TEME",
            "TIME_SYSTEM": "UTC",
            "MEAN_ELEMENT_THEORY": "SGP4",
            "EPOCH": "2026-01-01T00:00:00",
            "MEAN_MOTION": 14.776,
            "ECCENTRICITY": 0.0057,
            "INCLINATION": 97.68,
            "RA_OF_ASC_NODE": 182.15,
            "ARG_OF_PERICENTER": 94.96,
            "MEAN_ANOMALY": 265.81,
            "EPHEMERIS_TYPE": 0,
            "CLASSIFICATION_TYPE": "U",
            "NORAD_CAT_ID": 40044,
            "ELEMENT_SET_NO": 999,
            "REV_AT_EPOCH": 51463,
            "BSTAR": 0.00048589,
            "MEAN_MOTION_DOT": 0.00003519,
            "MEAN_MOTION_DDOT": 0,
        }
    ]
    path = folder / "elements.json"
    path.write_text(json.dumps(messages))
    return ["planet", "--set", "constellation.kind=omm", "--set", f"constellation.path={path}"]


@pytest.mark.parametrize("name", ["A [/] B", "[red]x", "<script>alert(1)</script>"])
def test_contacts_of_a_satellite_with_markup_in_its_name(tmp_path: Path, name: str) -> None:
    done = RUNNER.invoke(
        app, ["contacts", *scenario(tmp_path, name), "--hours", "12"], env={"COLUMNS": "200"}
    )
    assert done.exit_code == 0, done.stderr
    assert name in done.stdout


@pytest.mark.parametrize("name", ["\x1b[2Jx", "a\nb", "x" * 65, "..", "\u202ex"])
def test_a_satellite_whose_name_cannot_be_shown_is_one_clear_error(tmp_path: Path, name: str) -> None:
    done = RUNNER.invoke(app, ["contacts", *scenario(tmp_path, name)])
    assert done.exit_code == 1
    assert "constellation.path: satellite 1 of" in done.stderr
    assert "allowed: 1 to 64 printable characters" in done.stderr.replace("\n", " ")
    assert "\x1b[2J" not in done.stderr


def test_a_line_of_a_relays_log_is_one_line_whatever_a_peer_sends() -> None:
    record = logging.LogRecord("x", logging.INFO, "x", 1, "stream of %s ended", ("a\n{forged}\x1b",), None)
    line = MissionFormatter("ground", PacedClock()).format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    assert "{forged}" in json.loads(line)["text"]


def test_progress_bars_of_others_take_descriptions_as_text() -> None:
    file = io.StringIO()
    from rich.markup import escape

    with Progress(console=Terminal(file=file, force_terminal=True, width=100)) as progress:
        progress.add_task(escape("A [/] B"), total=1.0)
    assert "A [/] B" in file.getvalue()


def test_an_error_on_a_terminal_ends_its_lines_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(arguments, "_stderr", Terminal(file=screen, force_terminal=True, width=30))
    with pytest.raises(typer.Exit):
        arguments.fail("ours.toml: ground.mask_deg is 95; allowed are 0 to 90")
    lines = Text.from_ansi(screen.getvalue()).plain.split("\n")
    assert [line.rstrip() for line in lines] == [
        "error: ours.toml:",
        "ground.mask_deg is 95; allowed",
        "are 0 to 90",
    ]
