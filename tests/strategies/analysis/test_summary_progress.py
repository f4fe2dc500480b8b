"""The benchmark of summaries resumes where it was."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import summary


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Judge by number alone: the third scenario of a seed has a fault. Returns which were judged, in order."""
    numbers: list[int] = []

    def faults_of(number: int, _draw: object) -> tuple[list[str], int]:
        numbers.append(number)
        return ["a sentence"] if number == 2 else [], 4

    monkeypatch.setattr(summary, "drawn", lambda draw: draw)
    monkeypatch.setattr(summary, "faults_of", faults_of)
    monkeypatch.setattr(summary.random, "Random", lambda text: int(text.split()[1]))
    return numbers


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> bool:
    monkeypatch.setattr(sys, "argv", ["summary", *arguments])
    with pytest.raises(SystemExit) as ended:
        summary.main()
    return bool(ended.value.code)


def test_what_a_progress_file_has_is_not_judged_again_and_its_faults_still_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judged: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = str(tmp_path / "progress.jsonl")
    assert not _run(monkeypatch, "--scenarios", "2", "--progress", progress)
    assert _run(monkeypatch, "--scenarios", "4", "--progress", progress)
    assert judged == [0, 1, 2, 3]
    assert _run(monkeypatch, "--scenarios", "4", "--progress", progress)
    assert judged == [0, 1, 2, 3]
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["good"], figures["scenarios"], figures["statements"]) == (3, 4, 16)


def test_scenarios_of_another_seed_are_judged_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judged: list[int]
) -> None:
    progress = str(tmp_path / "progress.jsonl")
    _run(monkeypatch, "--scenarios", "2", "--progress", progress)
    _run(monkeypatch, "--scenarios", "2", "--seed", "2", "--progress", progress)
    assert judged == [0, 1, 0, 1]
