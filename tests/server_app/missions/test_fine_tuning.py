"""A whole mission in this process: the ServerApp's run, the product's ClientApp, real gRPC between them."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_missions import (
    ALONE,
    CLIP,
    EXACT,
    PIXELS_TURNED,
    SMALL,
    Mission,
    clipped_step,
    interrupted,
    logits_under_views,
    resumed,
    rows_as_planned,
    same,
    trained,
)
from torch.nn import functional as F

from client_app.partitions import partition
from mission.record import RunRecord, read_run
from mission.scenario import ScenarioError, load_scenario
from mission.schema import Scenario
from relay.client.direct import EndpointError
from server_app.checkpoint import Checkpoint, CheckpointError, newest
from server_app.run import ServerRun
from server_app.server_app import fine_tune
from skysplit.deliveries.exported import export_onnx
from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.heads import StandardisedHead
from splitmodel.imagery import open_imagery
from splitmodel.lora.adapters import LoraSettings, add_lora
from splitmodel.lora.dropout import dropping, row_seeds
from splitmodel.parts import load_split
from splitmodel.shipped import weights_dir
from splitmodel.training import learning_rate, round_batches, round_seed
from strategies.enrolment import FederationError


@pytest.mark.parametrize(
    "settings",
    [
        {"training.proximal": 0.3},
        pytest.param({"training.head": "shared"}, marks=pytest.mark.slow),  # as in test_joint_steps.py
    ],
)
def test_the_result_does_not_depend_on_how_many_satellites_compute_at_once(
    fly: Mission, shared_run: Mission, settings: dict[str, Any]
) -> None:
    """One at a time, all the others are suspended; FedProx also needs what a suspended satellite was sent."""
    alone, together = fly(settings, max_concurrency=1), shared_run(settings)
    assert same(trained(alone), trained(together))
    assert rows_as_planned(alone) == rows_as_planned(together)
    # What a suspended satellite sent before counts, too.
    sent = [pq.read_table(run / "rounds.parquet")["split_up_bytes"].to_numpy() for run in (alone, together)]
    assert (sent[0] >= sent[1]).all()
    assert (sent[1] > 0).all()


def test_an_exported_model_scores_as_the_run_did(
    shared_run: Mission, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    run = shared_run({"training.head": "shared"})
    exported = export_onnx(run, tmp_path / "model.onnx")
    assert exported.score == pytest.approx(read_run(run)["result"]["test_score"], abs=1e-6)
    assert exported.difference < 1e-4
    assert exported.images > 0
    assert exported.size_bytes == (tmp_path / "model.onnx").stat().st_size
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    record = json.loads((run / "run.json").read_text())
    assert json.loads(facts["outputs"]) == record["classes"]
    assert (facts["task"], facts["no_data"]) == ("classification", "NaN")
    record["result"]["test_score"] += 0.1  # as if its images had changed since
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    monkeypatch.setattr(
        "skysplit.deliveries.exported.write_onnx",
        lambda model, path, **facts: shutil.copy(tmp_path / "model.onnx", path),
    )
    with pytest.raises(ValueError, match="its images or its base model are not those of the run any more"):
        export_onnx(tmp_path / "run", tmp_path / "other.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "run"]


def test_nobody_is_suspended_where_those_that_share_passes_run_at_once(
    grid_of: Callable[[int, int], Any], tmp_path: Path
) -> None:
    settings = {"training.rounds": 1, "training.adapter": "per-satellite", "training.batch_size": 16}
    scenario = load_scenario("walker-12", SMALL | settings)
    grid = grid_of(4, 2)
    record = RunRecord(tmp_path / "run", scenario, command="")
    fine_tune(grid, ServerRun(record, "run-1", max_concurrency=2))
    assert len(grid.handled) == 2 * 4  # enrolment and one round


KEPT = {"training.augment": "none", "training.adapter": "per-satellite"}


def test_features_cross_once_and_neither_sending_them_each_time_nor_a_small_cache_changes_the_weights(
    fly: Mission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an adapter and passes each: what satellites share follows the plan, another one where fewer bytes cross."""
    monkeypatch.setattr("server_app.planning.workloads._ROWS_TOGETHER", 8)
    kept = fly(KEPT, out="kept")
    sent = fly(KEPT | {"crossings.cache_gb": 0.0}, out="sent")
    some = fly(KEPT | {"crossings.cache_gb": 30 * 1100 / 1e9}, out="some")
    assert same(trained(sent), trained(kept))
    assert same(trained(some), trained(kept))
    up = {path: pq.read_table(path / "rounds.parquet").to_pandas() for path in (sent, some, kept)}
    first, second = up[kept].groupby("round").split_up_bytes.sum()
    every = up[sent].groupby("round").split_up_bytes.sum()
    assert first == pytest.approx(every[1], rel=0.04)  # with names
    assert second < every[2] / 4  # names, gradients and headers are left
    assert second < up[some].groupby("round").split_up_bytes.sum()[2]
    planned = up[kept].groupby("round").downlink_bytes.sum()
    assert planned[2] < planned[1] / 4
    assert not (kept / "features.safetensors").exists()


ONE_ROUND = {"training.adapter": "per-satellite", "training.rounds": 1}


def test_with_int8_both_ways_a_kept_image_costs_little_and_training_is_what_it_was(
    fly: Mission, shared_run: Mission
) -> None:
    small = fly({"crossings.hidden": "int8", "crossings.gradients": "int8"} | ONE_ROUND)
    losses = [read_run(run)["result"]["test_loss"] for run in (small, shared_run(EXACT | ONE_ROUND))]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize(
    "shared",
    [
        {"training.adapter": "per-satellite"},
        # With a shared adapter as in split training below, and in test_joint_steps.py.
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"training.head": "shared"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_micro_batches_that_overlap_give_the_weights_of_whole_batches(
    fly: Mission, shared_run: Mission, shared: dict[str, str]
) -> None:
    settings = EXACT | shared | {"training.rounds": 1}
    whole = trained(shared_run(settings))
    parts = trained(fly(settings | {"training.micro_batches": 3}, out="parts"))
    assert not same(whole, parts)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-3, atol=1e-5)


APART = (  # satellites that share no adapter
    {"training.mode": "head", "training.server_optimizer": "fedadam"},
    {
        "training.adapter": "per-satellite",
        "training.augment": "token-dihedral",
        "training.server_optimizer": "fedavgm",
    },
)


@pytest.mark.parametrize(
    "mode",
    [
        {},
        # A shared head is resumed with masks, in test_dense_missions.py.
        pytest.param({"training.head": "shared"}, marks=pytest.mark.slow),
        *APART,
        {"training.augment": "token-dihedral", "training.satellites_per_step": 3},
    ],
)
def test_a_resumed_run_ends_as_one_that_was_never_interrupted(
    shared_run: Mission,
    grid_of: Callable[[int, int], Any],
    bare_run: None,
    tmp_path: Path,
    mode: dict[str, str],
) -> None:
    """Killed in its last round, after the round's rows were written and before its checkpoint was."""
    whole = shared_run(mode, report=not mode)
    killed = interrupted(whole, tmp_path / "killed", 2)
    (killed / "plan.jsonl").write_text((killed / "plan.jsonl").read_text() + '{"round":2,"cut o')
    resumed(grid_of(4, 4), killed)
    assert same(trained(whole), trained(killed))
    assert (killed / "plan.jsonl").read_text() == (whole / "plan.jsonl").read_text()
    assert rows_as_planned(whole) == rows_as_planned(killed)
    first, second = (read_run(path)["result"] for path in (whole, killed))
    for key in ("test_accuracy", "test_loss", "mission_time_s", "initial_test_accuracy", "rounds"):
        assert first[key] == second[key]


def test_a_complete_run_and_one_without_a_finished_round_are_not_resumed(
    shared_run: Mission, tmp_path: Path
) -> None:
    complete = shutil.copytree(shared_run({}, report=True), tmp_path / "complete")
    with pytest.raises(FileExistsError, match="is complete"):
        RunRecord.reopen(complete)
    state = newest(complete / "checkpoints") / "state.json"
    today = json.loads(state.read_text())
    older = {"under_way": today.pop("pending_updates"), "left_over": today.pop("carry_over"), **today}
    as_it_is = Checkpoint.load(state.parent)
    state.write_text(json.dumps(older))
    assert Checkpoint.load(state.parent).carry_over == as_it_is.carry_over
    with pytest.raises(CheckpointError, match="no finished round"):
        newest(tmp_path / "nowhere")
    (complete / "checkpoints/round-00002/state.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"round-00002.*damaged"):
        Checkpoint.load(newest(complete / "checkpoints"))


def test_another_seed_gives_another_result(fly: Mission, shared_run: Mission) -> None:
    assert not same(trained(shared_run({}, report=True)), trained(fly({"seed": 8})))


@pytest.mark.parametrize(
    "settings",
    [
        # A head of each satellite's own is the next but one's, too, with more.
        pytest.param({"training.head": "per-satellite"}, marks=pytest.mark.slow),
        {"training.head": "shared", "lora.targets": ["mlp.fc1", "q_proj"]},
        {"lora.dropout": 0.2, "lora.targets": "attention", "lora.variant": "rslora"},
        {"lora.variant": "dora", "split.onboard_blocks": 2},
        # The next one has blocks in front of the head, too, and the second one a shared head.
        pytest.param({"split.head_blocks": 2, "training.head": "shared"}, marks=pytest.mark.slow),
        {"split.onboard_blocks": 1, "split.head_blocks": 1, "training.micro_batches": 3},
        {
            "training.augment": "token-dihedral",
            "training.adapter": "per-satellite",
            "training.micro_batches": 3,
            "training.clip_update": CLIP,
        },
    ],
    ids=[
        "per-satellite",
        "shared, targets by name",
        "dropout",
        "dora, two blocks on board",
        "two blocks in front of the head",
        "a block on board at each end",
        "token views, an adapter of its own, micro-batches, clipped",
    ],
)
def test_split_training_in_orbit_equals_unsplit_training_in_one_place(
    fly: Mission, settings: dict[str, Any]
) -> None:
    """One satellite, no codec: weights after two rounds are those of a plain loop over the whole model."""
    overrides = SMALL | EXACT | ALONE | settings
    flown = trained(fly(overrides))
    scenario = load_scenario("walker-12", overrides)
    model, losses = _trained_in_one_place(scenario)
    assert losses[-1] < losses[0]
    plain = {name: p.detach() for name, p in model.backbone.transformer.named_parameters() if p.requires_grad}
    # Where dropout leaves almost no gradient, AdamW makes a step of what rounding is left; other masks differ by 1e-3.
    atol = 1e-4 if "lora.dropout" in settings else 1e-5
    for name, tensor in plain.items():
        name = name.replace(".default", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")
        torch.testing.assert_close(flown[f"base_model.model.{name}"], tensor, rtol=1e-4, atol=atol)
    folded = model.head.folded()
    torch.testing.assert_close(flown["head.weight"], folded.weight.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(flown["head.bias"], folded.bias.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "split",
    [
        pytest.param({"split.head_blocks": 2}, marks=pytest.mark.slow),  # a part of the next
        {"split.onboard_blocks": 1, "split.head_blocks": 2},
    ],
)
def test_a_head_on_a_frozen_model_is_the_same_wherever_its_blocks_compute(
    fly: Mission, split: dict[str, int]
) -> None:
    settings = EXACT | {"training.mode": "head", "training.rounds": 1}
    whole, cut = trained(fly(settings, out="whole")), trained(fly(settings | split, out="cut"))
    assert whole.keys() == cut.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_run_ends_with_the_round_that_reaches_the_target(fly: Mission) -> None:
    directory = fly({"training.rounds": 4, "training.target_accuracy": 0.01})
    assert read_run(directory)["result"]["rounds"] == 1


def test_a_satellite_that_holds_the_whole_model_trains_it_as_the_split_does(fly: Mission) -> None:
    """One satellite, one round, no codec: only where the backbone computes is different."""
    settings = EXACT | ALONE | PIXELS_TURNED
    settings |= {"training.rounds": 1, "lora.dropout": 0.1, "training.clip_update": CLIP}
    split = trained(fly(settings, out="split"))
    on_board = trained(fly(settings | {"training.mode": "onboard-lora"}, out="on-board"))
    assert split.keys() == on_board.keys()
    for name, tensor in split.items():
        torch.testing.assert_close(on_board[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", ["onboard-lora", "onboard-full"])
def test_on_board_baselines_average_weights_and_move_no_features(shared_run: Mission, mode: str) -> None:
    directory = shared_run({"training.mode": mode})
    result = read_run(directory)["result"]
    assert result["test_loss"] < 2.5
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert {row["split_up_bytes"] for row in rows} == {0}
    assert (directory / "final" / ("model" if mode == "onboard-full" else "adapter")).is_dir()


def test_a_whole_model_that_was_trained_loads_without_skysplit(shared_run: Mission) -> None:
    from transformers import AutoModel

    directory = shared_run({"training.mode": "onboard-full"})
    run = read_run(directory)
    model = AutoModel.from_pretrained(directory / "final" / "model", add_pooling_layer=False).eval()
    assert _accuracy(model, directory, run["scenario"]["seed"]) == pytest.approx(
        run["result"]["test_accuracy"]
    )


def _trained_in_one_place(scenario: Scenario) -> tuple[Any, list[float]]:
    training = scenario.training
    images = open_imagery(
        "synthetic", None, seed=scenario.seed, train_samples=scenario.data.train_samples, test_samples=1
    ).train
    share = partition(
        "dirichlet", images.labels, [0], alpha=5.0, classes_per_satellite=2, seed=scenario.seed
    )[0]
    images = images.take(share)
    model = load_split(weights_dir("synthetic-vit"), num_labels=len(images.classes), seed=scenario.seed)
    pixels = images.pixels_BCHW(np.linspace(0, len(images) - 1, 32).round().astype(int))
    pooled = model.backbone(model.embedding(model.preprocess(pixels)))
    model = dataclasses.replace(model, head=StandardisedHead.of(model.head, Scaling.of(Moments.of(pooled))))
    # What is on board in front of the head gets no adapter; where the model computes is nothing to a loop in one place.
    model.backbone.onboard_blocks, model.backbone.head_blocks = (
        scenario.split.onboard_blocks,
        scenario.split.head_blocks,
    )
    add_lora(model.backbone, LoraSettings(**scenario.lora.model_dump()), seed=scenario.seed)
    model.backbone.onboard_blocks = model.backbone.head_blocks = 0
    adapter = [p for p in model.backbone.parameters() if p.requires_grad]
    on_ground = torch.optim.AdamW(adapter, lr=training.learning_rate, weight_decay=0.0)
    losses = []
    for number in range(1, training.rounds + 1):
        if number == 1 or not training.shares_head:  # on board, an optimiser lives for a round
            on_board = torch.optim.AdamW(model.head.parameters(), lr=training.learning_rate, weight_decay=0.0)
        batches = round_batches(len(images), training.batch_size, 1, 8, round_seed(scenario.seed, 0, number))
        for step, batch in enumerate(batches):
            progress = (number - 1 + step / len(batches)) / training.rounds
            for optimizer, base in (
                (on_ground, training.learning_rate),
                (on_board, training.head_learning_rate),
            ):
                optimizer.param_groups[0]["lr"] = learning_rate(base, "cosine", progress)
                optimizer.zero_grad()
            pixels = images.pixels_BCHW(batch.indices)
            seeds = row_seeds((*round_seed(scenario.seed, 0, number), step, 0), len(batch.indices))
            with dropping(model.backbone, seeds):
                logits = logits_under_views(scenario, model, pixels, batch.views)
            loss = F.cross_entropy(logits, torch.from_numpy(images.labels[batch.indices]))
            loss.backward()
            clipped_step(on_ground, training.clip_update)
            clipped_step(on_board, training.clip_update)
            losses.append(float(loss.detach()))
    return model, losses


def test_a_run_directory_holds_what_the_readme_says(shared_run: Mission) -> None:
    directory = shared_run({}, report=True)
    run = read_run(directory)
    assert run["state"] == "completed"
    result = run["result"]
    assert result["rounds"] == 2
    assert 0.0 <= result["test_accuracy"] <= 1.0
    assert result["mission_time_s"] > 0.0
    assert 0.0 < result["backbone_s"] < result["wall_time_s"] - run["start_up_s"]
    assert {"test_loss", "wall_time_s", "peak_memory_bytes", "initial_test_accuracy"} <= result.keys()
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    assert len(rows) == 2 * 4
    assert sum(row["samples"] for row in rows) == 2 * 64
    for row in rows:
        parts = [row[key] for key in ("compute_s", "isl_s", "sgl_s", "waiting_s", "idle_s")]
        assert min(parts) >= 0.0
    activities = [json.loads(line) for line in (directory / "plan.jsonl").read_text().splitlines()]
    assert {row["round"] for row in activities} == {0, 1, 2}  # 0 is the enrolment
    assert max(row["end_s"] for row in activities) <= result["mission_time_s"] + 1e-6
    assert len(pq.read_table(directory / "contacts.parquet")) > 0
    assert [path.name for path in sorted((directory / "checkpoints").iterdir())] == [
        "round-00001",
        "round-00002",
    ]
    assert (directory / "report.html").read_text().count("Plotly.react") == 1


def test_the_final_weights_load_without_skysplit(shared_run: Mission) -> None:
    """Only transformers, peft and safetensors, as the model card says; the accuracy is the recorded one."""
    from peft import PeftModel
    from transformers import AutoModel

    directory = shared_run({}, report=True)
    run = read_run(directory)
    base = AutoModel.from_pretrained(weights_dir("synthetic-vit"), add_pooling_layer=False).eval()
    model = PeftModel.from_pretrained(base, directory / "final" / "adapter").eval()
    assert _accuracy(model, directory, run["scenario"]["seed"]) == pytest.approx(
        run["result"]["test_accuracy"]
    )


def _accuracy(model: Any, directory: Path, seed: int) -> float:
    head = load_file(directory / "final" / "head.safetensors")
    split = load_split(weights_dir("synthetic-vit"), num_labels=2)
    test = open_imagery(
        "synthetic", None, seed=seed, train_samples=64, test_samples=SMALL["data.test_samples"]
    ).test
    with torch.no_grad():
        hidden = model(pixel_values=split.preprocess(test.pixels_BCHW(range(len(test))))).last_hidden_state
        logits = F.linear(split.backbone.pooling(hidden), head["weight"], head["bias"])
    return float((logits.argmax(-1) == torch.from_numpy(test.labels)).float().mean())


@pytest.mark.parametrize("mode", APART)
def test_satellites_that_do_not_share_an_adapter_give_the_same_result_in_any_order(
    fly: Mission, shared_run: Mission, mode: dict[str, str]
) -> None:
    assert same(trained(fly(mode, max_concurrency=1)), trained(shared_run(mode)))


def test_head_mode_crosses_each_image_once(fly: Mission) -> None:
    rows = pq.read_table(
        fly({"training.mode": "head", "training.augment": "none"}) / "rounds.parquet"
    ).to_pylist()
    first = sum(row["downlink_bytes"] + row["isl_bytes"] for row in rows if row["round"] == 1)
    second = sum(row["downlink_bytes"] + row["isl_bytes"] for row in rows if row["round"] == 2)
    assert second < 0.2 * first


def test_with_token_views_features_cross_once(fly: Mission) -> None:
    directory = fly({"training.augment": "token-dihedral", "training.rounds": 3})
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    first, *later = (
        sum(row["split_up_bytes"] for row in rows if row["round"] == number) for number in (1, 2, 3)
    )
    features = 64 * 25 * 64  # int8 of all images
    assert first > features
    assert max(later) < min(first - features, 0.5 * features)  # names and gradients


@pytest.mark.parametrize(
    "overrides",
    [
        {"training.mode": "head"},
        {"training.mode": "downlink"},
        {"training.mode": "onboard-lora"},
    ],
)
def test_token_views_are_refused_where_no_ground_turns_tokens_in_a_step(overrides: dict[str, str]) -> None:
    with pytest.raises(ScenarioError, match=r'augment: found "token-dihedral" in mode .*; allowed "none"'):
        load_scenario("walker-12", overrides | {"training.augment": "token-dihedral"})


def test_fine_tuning_learns_and_flower_s_log_says_so(fly: Mission, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flwr"):
        directory = fly({"data.train_samples": 160, "data.test_samples": 40, "training.rounds": 3})
    result = read_run(directory)["result"]
    assert result["test_accuracy"] > result["initial_test_accuracy"] + 0.3
    logged = caplog.text.split("[ROUND ")
    assert f"accuracy {result['initial_test_accuracy']:.4g}" in logged[0]
    assert [one[:3] for one in logged[1:]] == ["1/3", "2/3", "3/3"]
    assert f"accuracy {result['test_accuracy']:.4g}" in logged[3]


def failing(
    fly: Mission, overrides: dict[str, Any], error: type[Exception], says: str, **kwargs: Any
) -> None:
    with pytest.raises(error, match=says):
        fly(overrides, **kwargs)


def test_too_few_flower_nodes_is_one_error(fly: Mission, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strategies.enrolment._NODES_TIMEOUT_S", 0.1)
    failing(fly, {}, FederationError, "4 satellites, Flower has 3 nodes.*num-supernodes=4", nodes=3)


def test_spare_flower_nodes_do_no_harm(fly: Mission) -> None:
    assert read_run(fly({"training.rounds": 1}, nodes=6))["state"] == "completed"


def test_an_unreadable_image_stops_the_run_before_training(fly: Mission, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(24):
            folder = tmp_path / "images" / split / f"class-{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            if split == "test":
                Image.new("RGB", (32, 32)).save(folder / f"{number}.png")
            else:
                (folder / f"{number}.png").write_bytes(b"not an image")
    overrides = {"data.source": "folder", "data.path": str(tmp_path / "images")}
    failing(fly, overrides, FederationError, r"cannot train: .*\.png: not readable as an image")


def test_a_satellite_without_a_sample_stops_the_run_before_training(fly: Mission) -> None:
    failing(fly, {"data.train_samples": 3, "data.partition": "iid"}, FederationError, "without a sample")


def test_a_constellation_that_no_station_sees_is_one_error(fly: Mission) -> None:
    overrides = {"constellation.inclination_deg": 0.0, "horizon_h": 0.01}
    failing(fly, overrides, ScenarioError, "horizon_h: no contact between 4 satellites")


def test_a_port_in_use_is_one_error(grid_of: Callable[[int, int], Any], tmp_path: Path) -> None:
    import socket

    scenario = load_scenario("walker-12", SMALL)
    record = RunRecord(tmp_path / "run", scenario, command="")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EndpointError, match="port is in use"):
            fine_tune(grid_of(4, 4), ServerRun(record, "run-1", address=address))
