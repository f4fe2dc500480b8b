"""Whose answers a round waits for, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message, RecordDict
from small_missions import SMALL, Mission

from mission.record import RunRecord
from mission.scenario import load_scenario
from server_app import awaited_grid
from server_app.run import ServerRun
from server_app.server_app import fine_tune
from skysplit.commands.progress import RunProgress
from strategies.enrolment import FederationError

TWO = {
    "constellation.satellites": 2, "constellation.planes": 1, "constellation.phasing": 0, "data.train_samples": 16,
}  # fmt: skip


class Nodes:
    """Of a Grid what is needed here: who has answered is in `replies`."""

    def __init__(self) -> None:
        self.replies: list[Message] = []

    def push_messages(self, messages: list[Message]) -> list[str]:
        return [f"message-{message.metadata.dst_node_id}" for message in messages]

    def pull_messages(self, message_ids: list[str]) -> list[Message]:
        replies, self.replies = self.replies, []
        return replies


def test_satellites_are_awaited_from_their_message_to_their_answer(
    grid_of: Callable[[int, int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaited_grid, "_TELL_S", 0.0)
    grid_of(1, 1)  # says to Flower whose messages these are
    nodes, config = Nodes(), []
    grid = awaited_grid.WatchedGrid(nodes, {1: "a", 2: "b", 3: "c"}, on_change=config.append)
    messages = [Message(RecordDict(), node, "train") for node in (2, 1)]
    ids = grid.push_messages(messages)
    grid.pull_messages(ids)
    for message, identifier in zip(messages, ids, strict=True):
        reply = Message(RecordDict(), reply_to=message)
        reply.metadata.__dict__["_reply_to_message_id"] = identifier
        nodes.replies = [reply]
        grid.pull_messages(ids)
        grid.pull_messages(ids)
    assert config == [["a", "b"], ["a"], []]


def test_progress_says_who_is_awaited(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skysplit.commands.progress._QUIET_S", 0.0)
    with RunProgress(2) as progress:
        for _ in range(2):
            progress.show({"phase": "training", "awaited": ["a", "b", "c", "d"]})
    assert "training: awaiting 4: a, b, c …" in capsys.readouterr().err


def test_a_round_that_takes_too_long_ends_with_the_key_and_a_satellite(fly: Mission) -> None:
    with pytest.raises(
        Exception, match=r"2 of 2 satellites .*training\.round_timeout_s.*, the first is sat-0-0"
    ):
        fly({**TWO, "training.rounds": 1, "training.round_timeout_s": 0.001})


def test_satellites_that_never_answer_the_enrolment_are_named_with_the_key(
    grid_of: Callable[[int, int], Any], tmp_path: Path
) -> None:
    grid = grid_of(2, 2)
    grid.send_and_receive = lambda messages, timeout: []
    scenario = load_scenario("walker-12", SMALL | TWO | {"training.enrolment_timeout_s": 7})
    record = RunRecord(tmp_path, scenario, command="")
    with pytest.raises(
        FederationError, match=r"no answer from 2 of 2 .* 7 s \(training\.enrolment_timeout_s\), .*sat-0-00"
    ):
        fine_tune(grid, ServerRun(record, "run-1"))
