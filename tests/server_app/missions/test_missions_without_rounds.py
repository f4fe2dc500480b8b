"""Runs in which satellites or planes deliver in their own time, and the ground averages what has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from flwr.app import Message
from safetensors.torch import load_file
from small_missions import SMALL, Mission, interrupted, resumed, rows_as_planned, same, trained

from mission.record import RunRecord
from mission.scenario import ScenarioError, load_scenario
from server_app.planning.round_planner import require_rounds
from server_app.run import ServerRun
from server_app.server_app import fine_tune

HEAD = {"training.mode": "onboard-head", "constellation.planes": 4, "training.head_rows": "by-images"}
OF_TWO = HEAD | {
    "strategy.averaging": "buffered-satellites",
    "strategy.buffer_updates": 2,
    "training.rounds": 5,
}
OF_A_PLANE = HEAD | {
    "strategy.averaging": "buffered-planes", "strategy.buffer_updates": 1, "training.rounds": 5,
    "constellation.planes": 2, "constellation.satellites": 12,
}  # fmt: skip
OF_PLANES = HEAD | {
    "strategy.averaging": "plane-rounds", "strategy.plane_rounds": 2, "training.rounds": 5,
    "constellation.planes": 2, "constellation.satellites": 12, "strategy.inter_orbit": "grid",
}  # fmt: skip
SLOTS = HEAD | {"strategy.averaging": "slots", "training.rounds": 3}


@pytest.mark.parametrize(
    "keys",
    [OF_TWO, OF_A_PLANE, SLOTS, OF_PLANES],
    ids=["satellites", "planes", "slots", "planes by themselves"],
)
def test_a_run_follows_its_mission_whoever_computes_at_once_and_resumes_bit_for_bit(
    fly: Mission, heard_run: HeardRun, grid_of: Callable[[int, int], Any], tmp_path: Path, keys: dict
) -> None:
    whole = heard_run(keys)[0]
    alone = fly(keys, max_concurrency=1)
    assert same(trained(whole), trained(alone))
    assert rows_as_planned(whole) == rows_as_planned(alone)
    rounds = keys["training.rounds"]
    killed = interrupted(whole, tmp_path / "killed", 4 if keys is OF_PLANES else rounds)
    satellites = keys.get("constellation.satellites", 4)
    resumed(grid_of(satellites, satellites), killed)
    assert same(trained(whole), trained(killed))
    assert rows_as_planned(whole) == rows_as_planned(killed)
    assert (killed / "plan.jsonl").read_text() == (whole / "plan.jsonl").read_text()
    rows = rows_of(whole)
    assert max(row["round"] for row in rows) == rounds
    for number in range(1, rounds + 1):  # every average is made of something
        alone_yet = keys is OF_PLANES and number % 2 and number < rounds
        assert alone_yet != any(row["round"] == number and row["rounds_late"] is not None for row in rows)


State = dict[str, Any]  # tensors by name
SentAndAnswered = tuple[dict[tuple[int, int], State], dict[tuple[int, int], State]]


def listened_to(grid: Any) -> SentAndAnswered:
    """What the satellites of a grid are sent and answer from now on, by Flower node and round of the start."""
    sent_to, answers = {}, {}
    push, pull = grid.push_messages, grid.pull_messages

    def pushed(messages: list[Message]) -> list[str]:
        for message in messages:
            if "config" in message.content.config_records and "round" in message.content["config"]:
                key = message.metadata.dst_node_id, int(message.content["config"]["round"])
                sent_to[key] = message.content["arrays"].to_torch_state_dict()
        return push(messages)

    def pulled(identifiers: list[str]) -> list[Message]:
        replies = list(pull(identifiers))
        for reply in replies:
            if "arrays" in reply.content.array_records:
                node = reply.metadata.src_node_id
                started = max(number for of_node, number in sent_to if of_node == node)
                answers[node, started] = reply.content.array_records["arrays"].to_torch_state_dict()
        return replies

    grid.push_messages, grid.pull_messages = pushed, pulled
    return sent_to, answers


HeardRun = Callable[[Mapping[str, Any]], tuple[Path, SentAndAnswered]]


@pytest.fixture(scope="module")
def heard_run(
    tmp_path_factory: pytest.TempPathFactory,
    bare: Callable[[], AbstractContextManager[None]],
    grid_of: Callable[[int, int], Any],
) -> HeardRun:
    """A run that keeps all checkpoints, once for all tests, and what its satellites heard and said."""
    heard: dict[str, tuple[Path, SentAndAnswered]] = {}

    def run(keys: Mapping[str, Any]) -> tuple[Path, SentAndAnswered]:
        scenario = load_scenario("walker-12", SMALL | keys)
        key = scenario.model_dump_json()
        if key not in heard:
            directory = tmp_path_factory.mktemp("heard") / "run"
            record = RunRecord(directory, scenario, command="skysplit run walker-12")
            record.prune_checkpoints = lambda keep: None
            satellites = scenario.constellation.satellites
            grid = grid_of(satellites, satellites)
            heard[key] = directory, listened_to(grid)
            with bare():
                fine_tune(grid, ServerRun(record, "run-1"))
        return heard[key]

    return run


def rows_of(directory: Path) -> list[dict[str, Any]]:
    """Rows by round and satellite."""
    return pq.read_table(directory / "rounds.parquet").to_pylist()


def test_planes_by_themselves_start_from_their_own_average_and_after_an_exchange_from_that_of_all(
    heard_run: HeardRun,
) -> None:
    directory, (sent_to, answers) = heard_run(OF_PLANES)
    rows = rows_of(directory)
    names = sorted({row["satellite"] for row in rows})
    images = {1000 + names.index(row["satellite"]): row["samples"] for row in rows}
    planes = [list(range(1000, 1006)), list(range(1006, 1012))]
    for number in range(2, 6):
        groups = planes if number in (2, 4) else [list(range(1000, 1012))]
        for group in groups:
            weights = [images[node] for node in group]
            for node in group:
                for key, value in sent_to[node, number].items():
                    each = [answers[member, number - 1][key].double().numpy() for member in group]
                    mean = np.average(each, axis=0, weights=weights)
                    np.testing.assert_allclose(value.numpy(), mean, rtol=1e-6, atol=1e-8)
    first = next(iter(sent_to[1000, 2]))
    assert not np.array_equal(sent_to[1000, 2][first].numpy(), sent_to[1006, 2][first].numpy())


def test_the_average_is_the_present_one_plus_the_weighted_changes(
    heard_run: HeardRun,
) -> None:
    """By hand, from what the satellites answered and from the weights that each of them was sent."""
    directory, (sent_to, answers) = heard_run(OF_TWO)
    rows = rows_of(directory)
    names = sorted({row["satellite"] for row in rows})
    images = {row["satellite"]: row["samples"] for row in rows}
    stale = 0
    before = next(state for (_, number), state in sent_to.items() if number == 1)
    for number in range(1, 6):
        file = directory / f"checkpoints/round-{number:05d}/state.safetensors"
        after = {
            name.removeprefix("exchanged."): tensor
            for name, tensor in load_file(file).items()
            if name.startswith("exchanged.")
        }
        counted = [row for row in rows if row["round"] == number and row["rounds_late"] is not None]
        assert len(counted) == 2
        total = sum(images[row["satellite"]] for row in counted)
        for key, value in after.items():
            expected = before[key].numpy().astype(np.float64)
            for row in counted:
                node, started = 1000 + names.index(row["satellite"]), number - row["rounds_late"]
                change = answers[node, started][key].double() - sent_to[node, started][key].double()
                weight = images[row["satellite"]] / total * (1.0 + row["rounds_late"]) ** -0.5
                expected = expected + weight * change.numpy()
            np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6, atol=1e-9)
        stale += sum(row["rounds_late"] for row in counted)
        before = after
    assert stale > 0


def test_averages_of_one_update_of_each_are_those_of_rounds(fly: Mission) -> None:
    together = fly(
        HEAD | {"strategy.averaging": "buffered-satellites", "strategy.buffer_updates": 4}, out="buffered"
    )
    rounds = fly(HEAD, out="rounds")
    for name, tensor in trained(rounds).items():
        np.testing.assert_allclose(trained(together)[name].numpy(), tensor.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            {"training.mode": "lora"},
            r"averaging: found slots in mode lora, allowed in the modes onboard-full",
        ),
        ({"strategy.inter_orbit": "grid"}, "inter_orbit: found grid with averaging = slots, allowed: none"),
        ({"strategy.buffer_updates": 0}, "buffer_updates: .*allowed"),
        (
            {"strategy.averaging": "plane-rounds", "training.target_accuracy": 0.5},
            "target_accuracy: found 0.5 with averaging = plane-rounds, .* allowed: 0.0",
        ),
    ],
)
def test_what_has_no_meaning_without_rounds_is_refused(keys: dict, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        load_scenario("walker-12", SMALL | SLOTS | keys)


def test_what_plans_rounds_refuses_a_mission_without() -> None:
    with pytest.raises(ScenarioError, match=r"found slots; skysplit plan plans rounds, allowed: rounds"):
        require_rounds(load_scenario("walker-12", SMALL | SLOTS), "skysplit plan")
    require_rounds(load_scenario("walker-12", SMALL), "skysplit plan")
