"""Runs in which a round ends before all planes have delivered, and those in which the ground has all the images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from flwr.app import Message
from safetensors.torch import load_file
from small_missions import (
    ALONE,
    CLIP,
    EXACT,
    PIXELS_TURNED,
    SMALL,
    Mission,
    interrupted,
    resumed,
    rows_as_planned,
    same,
    trained,
)

from mission.record import RunRecord
from mission.scenario import ScenarioError, load_scenario
from relay.wire.manifest import Manifest, MessageKind
from server_app.backbone.centralized import CentralizedTrainer
from server_app.backbone.feature_assembler import UnexpectedBundle
from server_app.backbone.given_images import GivenImages
from server_app.run import ServerRun
from server_app.server_app import fine_tune
from splitmodel.parts import load_split
from splitmodel.shipped import weights_dir
from splitmodel.tasks.classification import Classification
from strategies.planner.step_order import Schedule

ONE_PLANE = {"strategy.planes_per_round": 1, "constellation.planes": 4, "training.rounds": 5}
MODES = [{"training.mode": "head"}, {"training.adapter": "per-satellite"}]


@pytest.mark.parametrize("mode", [pytest.param(MODES[0], marks=pytest.mark.slow), MODES[1]])
def test_a_late_plane_counts_in_a_later_round_whoever_computes_at_once(
    fly: Mission, shared_run: Mission, mode: dict
) -> None:
    alone, together = fly(mode | ONE_PLANE, max_concurrency=1), shared_run(mode | ONE_PLANE)
    assert same(trained(alone), trained(together))
    assert rows_as_planned(alone) == rows_as_planned(together)
    rows = pq.read_table(alone / "rounds.parquet").to_pylist()
    for row in rows:  # a satellite trains anew in the round after it has delivered, and only then
        before = [
            other
            for other in rows
            if (other["satellite"], other["round"]) == (row["satellite"], row["round"] - 1)
        ]
        assert (row["steps"] > 0) == all(other["rounds_late"] is not None for other in before)
    late = {row["rounds_late"] for row in rows}
    assert late >= {None, 0}
    assert max(late - {None}) >= 1


def test_the_average_is_bit_for_bit_the_stated_weighted_mean(
    bare_run: None, grid_of: Callable[[int, int], Any], tmp_path: Path
) -> None:
    """By hand, from what the satellites answered: images times (1 + s)^-a each, the present average for the rest."""
    scenario = load_scenario("walker-12", SMALL | ONE_PLANE | {"training.mode": "head"})
    record = RunRecord(tmp_path / "run", scenario, command="skysplit run walker-12")
    grid, answers = grid_of(4, 4), {}
    pull = grid.pull_messages

    def watched(identifiers: list[str]) -> list[Message]:
        replies = list(pull(identifiers))
        for reply in replies:
            answers.setdefault(reply.metadata.src_node_id, []).append(
                reply.content.array_records["arrays"].to_torch_state_dict()
            )
        return replies

    grid.pull_messages = watched
    record.prune_checkpoints = lambda keep: None
    fine_tune(grid, ServerRun(record, "run-1"))
    rows = pq.read_table(record.directory / "rounds.parquet").to_pylist()
    names = sorted({row["satellite"] for row in rows})
    images = {row["satellite"]: row["samples"] for row in rows}
    states = {
        number: {
            name.removeprefix("exchanged."): tensor.numpy()
            for name, tensor in load_file(
                record.directory / f"checkpoints/round-{number:05d}/state.safetensors"
            ).items()
            if name.startswith("exchanged.")
        }
        for number in range(1, 6)
    }
    heard = dict.fromkeys(names, 0)
    for number in range(1, 6):
        due = [row for row in rows if row["round"] == number and row["rounds_late"] is not None]
        weights = [row["samples"] * (1.0 + row["rounds_late"]) ** -0.5 for row in due]
        sent = [answers[1000 + names.index(row["satellite"])][heard[row["satellite"]]] for row in due]
        for row in due:
            heard[row["satellite"]] += 1
        rest = sum(images.values()) - sum(weights)
        for key, found in states[number].items():
            total = np.zeros(found.shape)
            for weight, head in zip(weights, sent, strict=True):
                total = total + head[key].numpy().astype(np.float64) * weight
            if number > 1:
                total = total + states[number - 1][key].astype(np.float64) * rest
                expected = (total / (sum(weights) + rest)).astype(np.float32)
                assert expected.tobytes() == found.tobytes()


@pytest.mark.parametrize(
    "mode",
    [
        # The next has a head and an adapter pending.
        pytest.param(MODES[0] | ONE_PLANE, marks=pytest.mark.slow),
        MODES[1] | ONE_PLANE,
        {"training.mode": "downlink", "training.rounds": 5},
    ],
)
def test_a_resumed_run_goes_on_with_the_pending_updates(
    shared_run: Mission, bare_run: None, grid_of: Callable[[int, int], Any], tmp_path: Path, mode: dict
) -> None:
    whole = shared_run(mode)
    killed = interrupted(whole, tmp_path / "killed", 5)
    resumed(grid_of(4, 4), killed)
    assert same(trained(whole), trained(killed))
    assert rows_as_planned(whole) == rows_as_planned(killed)
    assert (killed / "plan.jsonl").read_text() == (whole / "plan.jsonl").read_text()


@pytest.mark.parametrize("mode", [{}, {"training.mode": "onboard-lora"}, {"training.mode": "downlink"}])
def test_a_quorum_is_refused_where_nothing_late_could_be_averaged(mode: dict) -> None:
    with pytest.raises(ScenarioError, match=r"planes_per_round: found 1 in mode .*per-satellite"):
        load_scenario("walker-12", SMALL | ONE_PLANE | mode)


def test_more_planes_than_there_are_are_one_error() -> None:
    with pytest.raises(ScenarioError, match="planes_per_round: found 3, allowed 1 to 2"):
        load_scenario("walker-12", SMALL | {"training.mode": "head", "strategy.planes_per_round": 3})


def test_the_ground_with_all_images_of_one_satellite_takes_the_steps_of_the_split(fly: Mission) -> None:
    same = EXACT | ALONE | PIXELS_TURNED | {"training.head_learning_rate": 3e-3, "training.clip_update": CLIP}
    split = trained(fly(same, out="split"))
    central = trained(fly(same | {"training.mode": "downlink"}, out="central"))
    assert split.keys() == central.keys()
    for name, tensor in split.items():
        torch.testing.assert_close(central[name], tensor, rtol=1e-3, atol=1e-5)


def test_raw_images_cross_once_and_the_ground_learns_from_them(fly: Mission) -> None:
    directory = fly({"training.mode": "downlink", "training.rounds": 3})
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    of_round = {number: [row for row in rows if row["round"] == number] for number in (1, 2, 3)}
    sent = sum(row["split_up_bytes"] for row in of_round[1])
    assert 64 * (32 * 32 * 3 + 8) < sent == pytest.approx(64 * (32 * 32 * 3 + 8), rel=0.03)  # with headers
    assert sum(row["split_up_bytes"] for row in of_round[2] + of_round[3]) == 0
    assert sum(row["downlink_bytes"] for row in of_round[1]) == pytest.approx(sent, rel=0.02)
    assert sum(row["downlink_bytes"] for row in of_round[2]) == 0
    losses = [np.average([row["train_loss"] for row in of_round[number]]) for number in (1, 2, 3)]
    assert losses[0] > losses[1] > losses[2] > 0.0


@pytest.mark.parametrize(
    ("kind", "array", "says"),
    [
        (
            MessageKind.IMAGES,
            np.zeros((2, 8, 8, 3)),
            r"float64\[2, 8, 8, 3\]; allowed: uint8, uint16, int16, float32",
        ),
        (MessageKind.IMAGES, np.zeros((2, 8, 8), np.uint8), r"allowed: .* of \[B, height, width, 3\]"),
        (MessageKind.IMAGES, np.zeros((2, 8, 8, 6), np.uint8), r"allowed: .* of \[B, height, width, 3\]"),
        (
            MessageKind.IMAGES,
            np.zeros((2, 8, 8, 3), np.uint16),
            "uint16 images, others came as uint8; allowed: one depth",
        ),
        (MessageKind.IMAGES, np.zeros((9, 8, 8, 3), np.uint8), "more than the 4 images"),
        (MessageKind.LABELS, np.array([0, 10]), "0 to 9"),
        (MessageKind.LABELS, np.array([-1]), "0 to 9"),
        (MessageKind.SAMPLES, np.zeros((1, 17), np.uint8), "allowed: images and labels of round 1"),
    ],
)
async def test_images_that_cannot_be_trained_on_are_refused(
    kind: MessageKind, array: np.ndarray, says: str
) -> None:
    def bundle(kind: MessageKind, array: np.ndarray) -> tuple[Manifest, bytes]:
        facts = {"run": "run-1", "source": "sat-0-00", "destination": "ground", "round": 1}
        payload = array.tobytes()
        return Manifest.describe(
            payload, kind=kind, dtype=array.dtype.name, shape=array.shape, **facts
        ), payload

    model = load_split(weights_dir("synthetic-vit"), num_labels=10)
    scenario = load_scenario("walker-12")
    ground = CentralizedTrainer(None, None, scenario=scenario, run="run-1", given=GivenImages(scenario))
    ground.configure(model, Classification(tuple("abcdefghij")), {"sat-0-00": 4})
    ground.begin_round(1, Schedule((), ()))
    await ground.handle("sat-0-00", *bundle(MessageKind.IMAGES, np.zeros((1, 8, 8, 3), np.uint8)))
    with pytest.raises(UnexpectedBundle, match=says):
        await ground.handle("sat-0-00", *bundle(kind, array))
    with pytest.raises(UnexpectedBundle, match="found 1 images and 0 labels, wanted 4 of both"):
        ground.end_round({}, 0.0)
