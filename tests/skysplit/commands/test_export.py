"""``skysplit export``: refusals; a whole run's file is in tests/skysplit/launch."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mission.record import RunRecord
from mission.scenario import load_scenario
from skysplit.cli import app
from splitmodel.export import onnx_file


def refused(*words: str) -> str:
    done = CliRunner().invoke(app, ["export", *words])
    assert done.exit_code == 1
    assert done.stderr.count("error:") == 1
    return " ".join(done.stderr.split())


def test_what_is_no_run_or_has_not_ended_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    assert "no run directory" in refused(str(tmp_path / "absent"))
    record = RunRecord(tmp_path / "run", load_scenario("demo", {}), command="skysplit run demo")
    assert "allowed: a completed one" in refused(str(tmp_path / "run"))
    record.finish(mission_time_s=1.0, test_score=0.5)
    assert refused(str(tmp_path / "run"))
    assert not list((tmp_path / "run").glob("**/*.onnx"))


def test_without_the_extra_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(onnx_file, "_PACKAGES", ("onnx", "no_such_package_of_onnx"))
    (tmp_path / "run").mkdir()
    found = refused(str(tmp_path / "run"))
    assert "no_such_package_of_onnx" in found
    assert "pip install 'skysplit[onnx]'" in found
