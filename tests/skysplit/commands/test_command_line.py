"""Bad input to a command is one error on stderr and exit status 1, before any work starts."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

import skysplit
from skysplit.cli import app

ROOT = Path(__file__).resolve().parents[3]
RUNNER = CliRunner()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "nowhere"], "no such file"),
        (["run", "walker-12", "--set", "training.round=3"], "did you mean training.rounds?"),
        (["run", "walker-12", "--set", "training.rounds"], "allowed: KEY=VALUE"),
        (["contacts", "walker-12", "--set", "constellation.planes=5"], "constellation.planes"),
        (["contacts", "planet", "--set", "constellation.path=nowhere.txt"], "constellation.path"),
        (["report", "nowhere"], "holds no run"),
    ],
)
def test_bad_input_is_one_error(words: list[str], says: str) -> None:
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    done = RUNNER.invoke(app, ["run", "walker-12", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "holds a run already" in done.stderr


def test_contacts_as_json_have_the_documented_keys() -> None:
    done = RUNNER.invoke(app, ["contacts", "walker-12", "--hours", "2", "--format", "json"])
    said = json.loads(done.stdout)
    assert said["horizon_s"] == 7200
    assert said["epoch"].startswith("2026-01-01T00:00:00")
    keys = {"source", "target", "kind", "start_s", "end_s", "max_elevation_deg", "min_range_km", "rate_bps"}
    for contact in said["contacts"]:
        assert keys | {"volume_bytes"} == contact.keys()
        assert 0 <= contact["start_s"] < contact["end_s"] <= 7200
        volume = contact["rate_bps"] * (contact["end_s"] - contact["start_s"]) / 8
        assert contact["volume_bytes"] == pytest.approx(volume)


def test_the_version_is_that_of_the_package() -> None:
    done = RUNNER.invoke(app, ["--version"])
    assert done.stdout == f"skysplit {skysplit.__version__}\n"
    assert skysplit.__version__ == metadata.version("skysplit")
    for name in ("CHANGELOG.md", "CITATION.cff", "mkdocs.yml"):
        assert skysplit.__version__ in (ROOT / name).read_text()


@pytest.mark.parametrize("command", typer.main.get_command(app).commands.values(), ids=lambda one: one.name)
def test_every_argument_and_option_of_a_command_has_its_help(command: click.Command) -> None:
    for parameter in command.params:
        assert parameter.help, parameter.name  # type: ignore[attr-defined]


@pytest.mark.parametrize("output", ["table", "csv", "ion", "hdtn"])
def test_contacts_print_in_every_format(output: str) -> None:
    done = RUNNER.invoke(app, ["contacts", "walker-12", "--hours", "1", "--format", output])
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) > 10


def test_help_names_every_command() -> None:
    done = RUNNER.invoke(app, ["--help"])
    for name in ("run", "report", "contacts"):
        assert name in done.stdout
