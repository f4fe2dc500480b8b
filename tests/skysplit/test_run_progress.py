"""What is shown while a run lasts and when it is over: rounds with their cost, how long yet, the story in sentences."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pyarrow as pa
import pytest
from rich.text import Text

from report.story import link_totals, story
from report.totals import round_ends_s
from skysplit.commands import progress as shown
from skysplit.commands.progress import ProgressForm, RunProgress
from skysplit.terminal import Terminal

ROUND = {
    "round": 1, "test_score": 0.5, "test_loss": 1.25, "downlink_bytes": 2_000_000, "uplink_bytes": 3_000,
    "isl_bytes": 0, "mission_time_s": 7200.0, "window": "a → Svalbard",
}  # fmt: skip
RUN = {
    "result": {
        "test_score": 0.9, "initial_test_score": 0.12, "rounds": 8, "mission_time_s": 7200.0, "wall_time_s": 83.0,
        "worst_satellite": "sat-3", "worst_satellite_score": 0.8,
    },
    "enrolment": {"downlink_bytes": 500_000, "uplink_bytes": 1000, "isl_bytes": 0, "flown": True},
}  # fmt: skip
ROUNDS = pa.table({"downlink_bytes": [1_000_000, 500_000], "uplink_bytes": [1000, 2000], "isl_bytes": [0, 0]})


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


def test_a_round_is_shown_with_score_loss_bytes_and_mission_time(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress(8) as progress:
        progress.show({"phase": "training", "progress": ROUND})
    said = capsys.readouterr().err
    assert "round 1 of 8: accuracy 50.0 %, loss 1.250, 2.00 MB down, 3.00 kB up, mission time 2.00 h" in said


def test_how_long_a_run_takes_yet_is_told_from_its_own_rounds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(shown, "time", clock)
    with RunProgress(8) as progress:
        progress.show({"phase": "training", "progress": ROUND})
        clock.now_s += 20.0
        progress.show({"phase": "training", "progress": {**ROUND, "round": 3}})
    first, second = capsys.readouterr().err.splitlines()
    assert "left" not in first  # one round tells nothing of the next: the first has its start-up in it
    assert second.endswith("about 50 s left")


def test_on_a_terminal_of_100_columns_nothing_is_cut_and_the_bar_has_its_width(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        shown,
        "Terminal",
        lambda **_: Terminal(file=screen, force_terminal=True, width=100, legacy_windows=False),
    )
    satellites = [f"satellite-{number}" for number in range(12)]
    run = {"satellites": satellites, "awaited": satellites[:9], "phase": "training", "progress": ROUND}
    with RunProgress(8) as progress:
        progress.show(run)
    lines = [line.rstrip() for line in Text.from_ansi(screen.getvalue()).plain.splitlines()]
    assert any(
        re.match(r"round 1 of 8 [━╸╺]{40} +16% ", line) for line in lines
    )  # three of twelve have answered
    assert "mission time 2.00 h, most by a → Svalbard" in lines[-2]
    assert lines[-1] == "awaiting 9: satellite-0, satellite-1, satellite-2 …"
    assert max(map(len, lines)) <= 100
    assert "…" not in "".join(lines[:-1])


def test_progress_as_json_lines_is_an_object_a_change_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RunProgress(8, ProgressForm.JSON_LINES) as progress:
        for run in ({"phase": "training"}, {"phase": "training"}, {"phase": "training", "progress": ROUND}):
            progress.show(run)
    said = capsys.readouterr()
    assert [json.loads(line) for line in said.out.splitlines()] == [
        {"event": "phase", "phase": "training"}, {"event": "round", **ROUND},
    ]  # fmt: skip
    assert not said.err


def test_no_progress_is_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress(8, ProgressForm.NONE) as progress:
        progress.show({"phase": "training", "progress": ROUND, "warnings": ["w"]})
    assert capsys.readouterr() == ("", "")


def test_the_story_says_what_was_reached_what_it_cost_and_what_else_would_have_cost() -> None:
    comparison: dict[str, Any] = {
        "cases": [
            {"name": "split", "title": "split", "mission": None},
            {
                "name": "onboard-lora",
                "title": "on-board LoRA",
                "mission": {"length_s": 36e3, "down_bytes": 8e5},
            },
            {"name": "onboard-head", "title": "on-board head", "mission": None},
            {"name": "images-down", "title": "images down", "mission": None},
        ],
        "headline": ["split", "onboard-lora", "images-down"],
    }
    reached, cost, otherwise = story(RUN, ROUNDS, comparison)
    assert "accuracy 90.0 % after 8 rounds, 12.0 % before" in reached
    assert "80.0 % on images such as sat-3 sees" in reached
    assert "2.00 h of mission time, 2.00 MB down, 4.00 kB up; 83.0 s" in cost
    assert (
        "on-board LoRA: 10.0 h, 800 kB down; images down: does not end within the contact plan" in otherwise
    )
    assert "split" not in otherwise


def test_an_enrolment_on_the_ground_before_launch_crosses_no_link() -> None:
    assert link_totals(RUN, ROUNDS)["downlink_bytes"] == 2_000_000
    before_launch = {"enrolment": {**RUN["enrolment"], "flown": False}}
    assert link_totals(before_launch, ROUNDS)["downlink_bytes"] == 1_500_000


def test_a_round_is_over_when_the_average_is_back_not_with_the_last_step() -> None:
    ends = {"round": [1, 2], "end_s": [100.0, 300.0]}
    rounds = pa.table({**ends, "measured_end_s": pa.nulls(2, pa.float64())})
    rows = [
        {"round": 1, "bytes": 5.0, "flops": 0.0, "end_s": 250.0},
        {"round": 1, "bytes": 0.0, "flops": 0.0, "end_s": 999.0},  # an antenna that stays pointed
        {"round": 7, "bytes": 5.0, "flops": 0.0, "end_s": 999.0},
    ]
    assert round_ends_s(rounds, rows) == [250.0, 300.0]
    late = pa.table({**ends, "measured_end_s": [240.0, 310.0]})  # of an emulation
    assert round_ends_s(late, rows) == [250.0, 310.0]


def test_a_run_that_has_not_ended_has_no_story() -> None:
    assert story({"state": "running"}, ROUNDS) == ()
