"""`skysplit doctor` sees what is wrong and says what to do about it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skysplit.cli import app
from skysplit.commands import doctor
from skysplit.commands.doctor import Finding, State

RUNNER = CliRunner()


def test_doctor_reports_every_check_as_json() -> None:
    done = RUNNER.invoke(app, ["doctor", "--format", "json"])
    findings = json.loads(done.stdout)
    assert len(findings) == len(doctor.CHECKS)
    assert done.exit_code == any(finding["state"] == "fault" for finding in findings)
    assert {finding["check"]: finding["state"] for finding in findings}["Python"] == "ok"
    assert all(finding["fix"] for finding in findings if finding["state"] == "fault")


def test_a_fault_ends_with_status_1_and_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor, "CHECKS", (lambda: Finding("orbit", State.FAULT, found="decayed", fix="launch again"),)
    )
    done = RUNNER.invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "launch again" in done.stdout


def test_a_package_that_is_missing_or_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["numpy>=999", "not-a-package-of-anyone", "pyarrow", 'winonly>=1; sys_platform == "plan9"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: needs)
    found = doctor.packages()
    assert found.state is State.FAULT
    assert "allowed >=999" in found.found
    assert "not-a-package-of-anyone is not installed" in found.found
    assert "pyarrow" not in found.found
    assert "winonly" not in found.found


def test_data_that_is_not_there_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SKYSPLIT_DATA", str(tmp_path / "gone"))
    assert doctor.data().state is State.FAULT
    (tmp_path / "tle").mkdir()
    monkeypatch.setenv("SKYSPLIT_DATA", str(tmp_path))
    assert doctor.data() == Finding("data", State.OK, found=f"{tmp_path}: tle")
    monkeypatch.delenv("SKYSPLIT_DATA")
    assert doctor.data().state is State.NOTE


def test_a_cache_that_cannot_be_made_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = doctor.cache()
    assert found.state is State.FAULT
    assert "XDG_CACHE_HOME" in found.fix


def test_a_superlink_left_running_is_named_with_its_process(tmp_path: Path) -> None:
    script = tmp_path / "flower-superlink"
    script.write_text("print('up', flush=True)\nimport time\ntime.sleep(600)\n")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as left:
        try:
            assert left.stdout
            left.stdout.readline()
            found = doctor.superlinks()
        finally:
            left.kill()
    assert found.state is State.NOTE
    assert str(left.pid) in found.found.split()
    assert str(left.pid) in found.fix


def test_a_port_that_flwr_run_would_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.process_iter", lambda: iter(()))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        monkeypatch.setattr(doctor, "_LOCAL_SUPERLINK_PORTS", (number,))
        assert str(number) in doctor.superlinks().found
    assert doctor.superlinks().state is State.OK
