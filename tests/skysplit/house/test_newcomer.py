"""The newcomer's way to an answer works, in a clean clone and with no more commands than the bar allows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

import newcomer


@pytest.mark.slow
def test_a_newcomer_comes_to_a_saved_answer_about_a_mission_of_their_own() -> None:
    assert len(newcomer.COMMANDS) <= newcomer.MOST_COMMANDS
    steps, answer = newcomer.play()
    assert [(step.command, step.status) for step in steps] == [(command, 0) for command in newcomer.COMMANDS]
    assert "24 satellites, 3 stations" in steps[2].output
    assert "Reached: accuracy" in steps[0].output
    assert 'class="answer"' in answer
