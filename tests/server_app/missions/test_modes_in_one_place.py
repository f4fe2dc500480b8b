"""Each further mode of training gives the weights of a plain loop over the whole model in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
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
from mission.orbits import constellation_of
from mission.scenario import ScenarioError, load_scenario
from mission.schema import Scenario
from server_app.backbone.centralized import CentralizedTrainer
from server_app.run import require_emulable
from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.heads import StandardisedHead
from splitmodel.imagery import ImageSet, open_imagery
from splitmodel.imagery.views import view
from splitmodel.lora.adapters import LoraSettings, add_lora
from splitmodel.parts import SplitModel, load_split
from splitmodel.shipped import weights_dir
from splitmodel.training import learning_rate, round_batches, round_seed
from strategies.planner.step_order import Schedule

ON_GROUND = {"training.labels": "ground"}
CLOSE = {"rtol": 1e-3, "atol": 1e-5}


def shares_of(scenario: Scenario) -> list[ImageSet]:
    """The images of each satellite."""
    images = open_imagery(
        "synthetic", None, seed=scenario.seed, train_samples=scenario.data.train_samples, test_samples=1
    ).train
    planes = constellation_of(scenario).plane.tolist()
    parts = partition(
        "dirichlet", images.labels, planes, alpha=5.0, classes_per_satellite=2, seed=scenario.seed
    )
    return [images.take(part) for part in parts]


def whole_model(shares: list[ImageSet], seed: int) -> SplitModel:
    """The model before training, with its head scaled by what satellites send before round 1."""
    model = load_split(weights_dir("synthetic-vit"), num_labels=len(shares[0].classes), seed=seed)
    seen = None
    for images in shares:
        few = np.linspace(0, len(images) - 1, min(32, len(images))).round().astype(int)
        pooled = model.backbone(model.embedding(model.preprocess(images.pixels_BCHW(few))))
        seen = Moments.of(pooled) if seen is None else seen + Moments.of(pooled)
    assert seen is not None
    return dataclasses.replace(model, head=StandardisedHead.of(model.head, Scaling.of(seen)))


def logits_of(
    scenario: Scenario, model: SplitModel, shares: list[ImageSet], batch: list[tuple[int, int, int]]
) -> torch.Tensor:
    """Of images of several satellites, each under its view."""
    images = [shares[k].pixels_BCHW([index]) for k, index, _ in batch]
    return logits_under_views(scenario, model, torch.cat(images), np.array([view for *_, view in batch]))


@pytest.fixture
def first_passes(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[str]]:
    """By round, whose images the ground takes in its first pass, one by one, as the plan has it."""
    found: dict[int, list[str]] = {}
    begin_round = CentralizedTrainer.begin_round

    def noted(ground: CentralizedTrainer, number: int, schedule: Schedule, samples: Any = None) -> None:
        found[number] = [name for name, count in schedule.first_pass for _ in range(count)]
        begin_round(ground, number, schedule, samples)

    monkeypatch.setattr(CentralizedTrainer, "begin_round", noted)
    return found


def ground_batches(
    scenario: Scenario, shares: list[ImageSet], number: int, first_pass: list[str]
) -> Iterator[list[tuple[int, int, int]]]:
    """Of each step of a round, satellite, image and view, seen as each satellite would see it.

    The first pass takes images as they come, where any comes, in the order in which satellites would train on them;
    other passes are mixed over satellites.
    """
    training, names = scenario.training, constellation_of(scenario).names
    places = [(k, index) for k, images in enumerate(shares) for index in range(len(images))]
    mixed = round_batches(
        len(places), training.batch_size, training.local_epochs, 1, round_seed(scenario.seed, 0, number)
    )
    own = [
        round_batches(
            len(images), training.batch_size, training.local_epochs, 8, round_seed(scenario.seed, k, number)
        )
        for k, images in enumerate(shares)
    ]
    under: dict[tuple[int, int, int], int] = {}
    first: dict[str, list[int]] = {name: [] for name in names}
    for k, batches in enumerate(own):
        for position, batch in enumerate(batches):
            epoch = position // (len(batches) // training.local_epochs)
            for index, one in zip(batch.indices.tolist(), batch.views.tolist(), strict=True):
                under[epoch, k, index] = one
                if not epoch:
                    first[names[k]].append(index)
    as_they_come = [(names.index(name), first[name].pop(0)) for name in first_pass]
    steps = len(mixed) // training.local_epochs
    for position, batch in enumerate(mixed):
        taken = [places[place] for place in batch.indices.tolist()]
        if as_they_come and position < steps:
            begin = sum(len(one.indices) for one in mixed[:position])
            taken = as_they_come[begin : begin + len(taken)]
        yield [(k, index, under[position // steps, k, index]) for k, index in taken]


@pytest.mark.parametrize(
    ("mode", "augment"),
    [
        ("lora", "dihedral"),
        ("head", "token-dihedral"),
        pytest.param("lora", "token-dihedral", marks=pytest.mark.slow),  # each half of these is above
        pytest.param("head", "dihedral", marks=pytest.mark.slow),
    ],
)
def test_labels_on_the_ground_train_as_one_loop_over_all_images_in_one_place(
    fly: Mission, first_passes: dict[int, list[str]], mode: str, augment: str
) -> None:
    settings = EXACT | ON_GROUND | {"training.mode": mode, "training.local_epochs": 2}
    settings |= {"training.augment": augment, "training.clip_update": CLIP}
    scenario = load_scenario("walker-12", SMALL | settings)
    found = trained(fly(settings))
    shares = shares_of(scenario)
    model = whole_model(shares, scenario.seed)
    training = scenario.training
    if mode == "lora":
        add_lora(
            model.backbone,
            LoraSettings(**scenario.lora.model_dump()),
            seed=scenario.seed,
        )
    adapter = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    optimizers = [(torch.optim.AdamW(adapter, weight_decay=0.0), training.learning_rate)] if adapter else []
    for number in (1, 2):
        head = torch.optim.AdamW(model.head.parameters(), weight_decay=0.0)
        new_come = number == 1 or augment == "dihedral"  # of a view that has crossed nothing more comes
        assert len(set(first_passes[number])) == (len(shares) if new_come else 0)
        steps = list(ground_batches(scenario, shares, number, first_passes[number]))
        for step, batch in enumerate(steps):
            progress = (number - 1 + step / len(steps)) / training.rounds
            both = [*optimizers, (head, training.head_learning_rate)]
            for optimizer, base in both:
                optimizer.param_groups[0]["lr"] = learning_rate(base, "cosine", progress)
                optimizer.zero_grad()
            logits = logits_of(scenario, model, shares, batch)
            labels = torch.tensor([int(shares[k].labels[index]) for k, index, _ in batch])
            F.cross_entropy(logits, labels).backward()
            for optimizer, _ in both:
                clipped_step(optimizer, CLIP)
    folded = model.head.folded()
    torch.testing.assert_close(found["head.weight"], folded.weight.detach(), **CLOSE)
    torch.testing.assert_close(found["head.bias"], folded.bias.detach(), **CLOSE)
    expected = {
        name.replace(".default", ""): parameter.detach()
        for name, parameter in model.backbone.named_parameters()
        if parameter.requires_grad
    }
    assert len(expected) == len(found) - 2
    for name, tensor in expected.items():
        (one,) = [key for key in found if key.endswith(name.removeprefix("transformer."))]
        torch.testing.assert_close(found[one], tensor, **CLOSE)


def test_with_one_satellite_labels_on_the_ground_train_as_the_split_and_as_its_images_on_the_ground(
    fly: Mission,
) -> None:
    settings = EXACT | ALONE | PIXELS_TURNED
    settings |= {"training.head_learning_rate": 3e-3, "training.clip_update": CLIP}
    split = trained(fly(settings, out="split"))
    for name, other in {"labels": ON_GROUND, "images": {"training.mode": "downlink"}}.items():
        found = trained(fly(settings | other, out=name))
        assert split.keys() == found.keys()
        for key, tensor in split.items():
            torch.testing.assert_close(found[key], tensor, **CLOSE)


def test_features_and_labels_cross_once_and_images_never(fly: Mission) -> None:
    directory = fly(ON_GROUND | {"training.augment": "none", "training.rounds": 3})
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    of_round = {number: [row for row in rows if row["round"] == number] for number in (1, 2, 3)}
    sent = sum(row["split_up_bytes"] for row in of_round[1])
    scale_bytes = 2 / 64
    size = 64 * (25 * 64 * (1 + scale_bytes) + 8)
    assert size < sent == pytest.approx(size, rel=0.1)  # with headers
    assert sum(row["split_up_bytes"] for row in of_round[2] + of_round[3]) == 0
    assert sum(row["downlink_bytes"] for row in of_round[1]) == pytest.approx(sent, rel=0.02)
    assert sum(row["downlink_bytes"] for row in of_round[2] + of_round[3]) == 0
    uplink = [sum(row["uplink_bytes"] for row in of_round[number]) for number in (1, 2, 3)]
    assert uplink[:2] == [0, 0]
    assert uplink[2] > 0  # the head
    losses = [np.average([row["train_loss"] for row in of_round[number]]) for number in (1, 2, 3)]
    assert losses[0] > losses[1] > losses[2] > 0.0


def test_a_head_on_board_learns_what_it_learns_with_the_backbone_on_the_ground(fly: Mission) -> None:
    exact = {"crossings.features": "fp32", "crossings.hidden": "fp32"}
    split = trained(fly(exact | {"training.mode": "head"}, out="split"))
    directory = fly({"training.mode": "onboard-head"}, out="on-board")
    on_board = trained(directory)
    assert split.keys() == on_board.keys()
    for name, tensor in split.items():
        torch.testing.assert_close(on_board[name], tensor, **CLOSE)
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    assert {row["split_up_bytes"] for row in rows} == {0}
    first, second = (sum(row["compute_s"] for row in rows if row["round"] == number) for number in (1, 2))
    assert second < first  # what was seen before is not computed again


@pytest.mark.parametrize("blocks", [*(pytest.param(count, marks=pytest.mark.slow) for count in (0, 1)), 3])
def test_what_is_kept_on_board_changes_no_weights(fly: Mission, blocks: int) -> None:
    settings = {
        "training.mode": "onboard-lora",
        "training.adapted_blocks": blocks,
        "training.local_epochs": 2,
        "training.rounds": 1,
    }
    anew = trained(fly(settings, out="anew"))
    kept = trained(fly(settings | {"training.onboard_cache": True}, out="kept"))
    assert anew.keys() == kept.keys()
    for name, tensor in anew.items():
        torch.testing.assert_close(kept[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cached", [False, True])
def test_adapters_in_the_last_blocks_train_as_one_loop_with_peft_in_one_place(
    fly: Mission, cached: bool
) -> None:
    from peft import LoraConfig, get_peft_model

    settings = ALONE | {
        "training.mode": "onboard-lora", "training.adapted_blocks": 2, "training.onboard_cache": cached,
        "training.head_learning_rate": 3e-3,
    }  # fmt: skip
    directory = fly(settings)
    scenario = load_scenario("walker-12", SMALL | settings)
    training, (images,) = scenario.training, shares_of(scenario)
    model = whole_model([images], scenario.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(scenario.seed)
        adapted = get_peft_model(
            model.backbone.transformer,
            LoraConfig(
                r=scenario.lora.rank, lora_alpha=int(scenario.lora.alpha),
                target_modules=r"layers\.[23]\..*(q_proj|v_proj)",
            ),
        )  # fmt: skip
    parameters = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    for number in (1, 2):
        optimizer = torch.optim.AdamW([*parameters, *model.head.parameters()], weight_decay=0.0)
        batches = round_batches(len(images), training.batch_size, 1, 8, round_seed(scenario.seed, 0, number))
        for step, batch in enumerate(batches):
            rate = learning_rate(3e-3, "cosine", (number - 1 + step / len(batches)) / training.rounds)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            logits = model(view(model.preprocess(images.pixels_BCHW(batch.indices)), batch.views))
            F.cross_entropy(logits, torch.from_numpy(images.labels[batch.indices])).backward()
            optimizer.step()
    found = load_file(directory / "final" / "adapter" / "adapter_model.safetensors")
    expected = {
        name.replace(".default", ""): parameter.detach()
        for name, parameter in adapted.named_parameters()
        if parameter.requires_grad
    }
    assert found.keys() == expected.keys()
    assert {name.split("layers.")[1][0] for name in found} == {"2", "3"}
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, **CLOSE)


@pytest.mark.parametrize(
    "mode",
    [
        ON_GROUND,
        pytest.param(ON_GROUND | {"training.mode": "head"}, marks=pytest.mark.slow),
        # Of the modes on board, the one with most to resume: adapters, a head and what it keeps.
        pytest.param({"training.mode": "onboard-head"}, marks=pytest.mark.slow),
        {"training.mode": "onboard-lora", "training.adapted_blocks": 1, "training.onboard_cache": True},
    ],
    ids=str,
)
def test_a_resumed_run_of_such_a_mode_ends_as_one_that_was_never_interrupted(
    fly: Mission, grid_of: Callable[[int, int], Any], tmp_path: Path, mode: dict[str, Any]
) -> None:
    whole = fly(mode, out="whole")
    killed = interrupted(whole, tmp_path / "killed", 2)
    resumed(grid_of(4, 4), killed)
    assert same(trained(whole), trained(killed))
    assert rows_as_planned(whole) == rows_as_planned(killed)
    assert (killed / "plan.jsonl").read_text() == (whole / "plan.jsonl").read_text()


@pytest.mark.parametrize("settings", [ON_GROUND, {"training.mode": "onboard-head"}])
def test_an_emulation_refuses_what_does_not_move_tensors_of_the_split(settings: dict[str, str]) -> None:
    with pytest.raises(ScenarioError, match="an emulation moves the tensors of the split, allowed"):
        require_emulable(load_scenario("walker-12", settings))


def test_a_cache_that_no_run_can_hold_is_one_error_that_says_how_large_it_is(
    fly: Mission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client_app.modes.whole_model._LARGEST_CACHE_BYTES", 1000)
    with pytest.raises(
        Exception, match=r"training.onboard_cache: found true, \d+ images under all views take"
    ):
        fly({"training.mode": "onboard-lora", "training.onboard_cache": True})
