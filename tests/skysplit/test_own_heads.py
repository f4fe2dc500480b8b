"""Heads of other packages: trained over the split as in one place, counted, averaged, exported."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from two_satellites import TWO_SATELLITES

from learning.task import head_maker, task_of
from mission.record import RunRecord
from mission.scenario import ScenarioError, load_scenario
from mission.schema import Training
from server_app.backbone.shared_head import SharedHead
from server_app.run import ServerRun
from server_app.server_app import fine_tune
from skysplit.deliveries.planned import Content, planned_delivery
from skysplit.planning_inputs import costs_of
from skysplit.testing import check_head
from splitmodel.costs.profile import profile
from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.dense_heads import standardised
from splitmodel.export.final import CardFields, export_final
from splitmodel.families import ModelLoadError
from splitmodel.heads import HeadMaker, OwnHead
from splitmodel.parts import SplitModel, load_split
from splitmodel.shipped import weights_dir
from splitmodel.step import embed, head_step

CLASSES, HIDDEN_LAYER = 5, 32
EXACT = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def two_layers(own_heads: Callable[..., HeadMaker]) -> HeadMaker:
    """Return the head that the installed example package registers."""
    return own_heads(head_maker, "two-layers")


def model_with(maker: HeadMaker) -> SplitModel:
    """The shipped model with such a head, on standardised states."""
    split = load_split(weights_dir("synthetic-vit"), num_labels=CLASSES, seed=3, maker=maker)
    with torch.no_grad():
        scaling = Scaling.of(Moments.of(split.backbone(split.embedding(pixels_of(split, 9, 16)))))
    return dataclasses.replace(split, head=standardised(split.head, scaling))


def pixels_of(split: SplitModel, seed: int, count: int) -> torch.Tensor:
    shape = (count, 3, split.preprocess.height, split.preprocess.width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_shared_head_trains_over_the_split_as_in_one_place(two_layers: HeadMaker) -> None:
    """Head and backbone, over steps of two satellites each: losses, then all weights."""
    split, whole = model_with(two_layers), model_with(two_layers)
    assert isinstance(split.head, OwnHead)
    on_ground = SharedHead(split.head, Training(head_learning_rate=0.01, weight_decay=0.1))
    aboard = [split.head.scaled(split.head.scaling) for _ in range(2)]
    backbones = [
        torch.optim.SGD(one.backbone.layers.requires_grad_().parameters(), lr=0.05) for one in (split, whole)
    ]
    of_whole = torch.optim.AdamW(whole.head.parameters(), lr=0.01, weight_decay=0.1)
    for step in range(4):
        pixels, labels = pixels_of(split, step, 6), torch.arange(6) % CLASSES
        expected = F.cross_entropy(whole(pixels), labels)
        of_whole.zero_grad()
        backbones[1].zero_grad()
        expected.backward()
        of_whole.step()
        backbones[1].step()
        backbones[0].zero_grad()
        gradient, losses = torch.zeros(split.head.table_shape), []
        for head, rows in zip(aboard, (slice(0, 2), slice(2, 6)), strict=True):
            head.set_table(on_ground.table(step))
            head.zero_grad()
            pooled = split.backbone(embed(split.embedding, pixels[rows]))
            part = len(pooled) / 6
            result = head_step(head, pooled, labels[rows], weight=part)
            pooled.backward(result.grad_pooled_BD)
            gradient += head.gradient_table()
            losses.append(part * result.loss)
        on_ground.update(gradient, 0.01, batches=1)
        backbones[0].step()
        torch.testing.assert_close(sum(losses), expected.detach(), **EXACT)
    torch.testing.assert_close(split.head.table(), whole.head.table(), **EXACT)
    for ours, theirs in zip(
        split.backbone.layers.parameters(), whole.backbone.layers.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, **EXACT)


def test_parameters_bytes_and_flops_are_counted_exactly(two_layers: HeadMaker) -> None:
    split = load_split(weights_dir("synthetic-vit"), num_labels=CLASSES, seed=3, maker=two_layers)
    hidden = split.config.hidden_size
    weights = hidden * HIDDEN_LAYER + HIDDEN_LAYER * CLASSES
    plain = profile(load_split(weights_dir("synthetic-vit"), num_labels=CLASSES, seed=3))
    costs = profile(split)
    assert costs.head_params == weights + HIDDEN_LAYER + CLASSES
    assert costs.table_shape == (costs.head_params,)
    assert costs.head_bytes == 4 * costs.head_params
    assert costs.head_flops == 2 * weights
    assert costs.full_backward_flops - plain.full_backward_flops == 2 * (costs.head_flops - plain.head_flops)
    assert costs.backbone_flops == plain.backbone_flops


def test_a_published_model_is_planned_with_it(two_layers: HeadMaker) -> None:
    settings = {
        "planning.profile": "RemoteCLIP ViT-B/32 vision",
        "planning.samples": 32,
        "training.augment": "dihedral",
    }
    plain = costs_of(load_scenario("paper", settings))
    costs = costs_of(load_scenario("paper", settings | {"task.head": "two-layers"}))
    weights = plain.hidden * HIDDEN_LAYER + HIDDEN_LAYER * 10  # classes, as nothing says how many
    assert (costs.head_params, costs.head_flops) == (weights + HIDDEN_LAYER + 10, 2 * weights)
    assert costs.backbone_flops == plain.backbone_flops


CARD = CardFields(
    "Test",
    str(weights_dir("synthetic-vit")),
    classes=tuple("abcde"),
    data="Random data.",
    training="Not trained.",
)


@pytest.mark.parametrize("units", [None, Scaling(torch.arange(5.0), torch.arange(1.0, 6.0))])
def test_the_code_on_the_card_loads_what_was_exported(
    two_layers: HeadMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, units: Scaling | None
) -> None:
    split = model_with(two_layers)
    kind = "classification" if units is None else "regression"
    card = dataclasses.replace(CARD, kind=kind, target_scaling=units)
    export_final(tmp_path / "final", split.backbone, split.preprocess, None, split.head, card)
    code = re.search(r"```python\n(.*?)```", (tmp_path / "final" / "README.md").read_text(), re.DOTALL)
    assert code
    monkeypatch.chdir(tmp_path / "final")
    names: dict[str, Any] = {"pixels": pixels_of(split, 1, 3)}
    exec(code[1], names)
    with torch.no_grad():
        expected = split(names["pixels"])
    if units is None:
        torch.testing.assert_close(names["logits"], expected, rtol=1e-4, atol=1e-5)
    else:
        torch.testing.assert_close(names["numbers"], units.restore(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", [{"training.head": "shared"}, {"training.mode": "head"}])
def test_a_mission_trains_it_and_a_delivery_counts_it(
    two_layers: HeadMaker,
    grid_of: Callable[[int, int], Any],
    bare_run: None,
    tmp_path: Path,
    mode: dict[str, Any],
) -> None:
    """Shared by all, and averaged."""
    scenario = load_scenario("walker-12", TWO_SATELLITES | {"task.head": "two-layers"} | mode)
    record = RunRecord(tmp_path / "run", scenario, command="")
    fine_tune(grid_of(2, 2), ServerRun(record, f"run-{2**64 - 1}", max_concurrency=2))
    file = record.directory / "final" / "head.safetensors"
    found = load_file(file)
    split = load_split(weights_dir("synthetic-vit"), num_labels=10, seed=scenario.seed, maker=two_layers)
    assert isinstance(split.head, OwnHead)
    fresh = split.head.layers.state_dict()
    assert {name: value.shape for name, value in fresh.items()} == {
        name.removeprefix("layers."): value.shape
        for name, value in found.items()
        if name.startswith("layers.")
    }
    assert all(not torch.equal(found[f"layers.{name}"], value) for name, value in fresh.items())
    rows = [json.loads(line) for line in (record.directory / "plan.jsonl").read_text().splitlines()]
    sent = {row["kind"]: row["bytes"] for row in rows if row["round"] == 1}
    parameters = sum(value.numel() for value in fresh.values())
    if "training.mode" in mode:
        assert sent["update"] == pytest.approx(4 * parameters, abs=400)  # and a header
    assert planned_delivery(record.directory, content=Content.HEAD).manifest.size == file.stat().st_size


def test_what_a_head_of_another_package_has_not_is_refused(two_layers: HeadMaker) -> None:
    for overrides, message in (
        (
            {"training.head_rows": "by-class", "training.mode": "head"},
            r'training\.head_rows: found "by-class" with task\.head = "two-layers".*allowed: "by-images"',
        ),
        (
            {"task.kind": "segmentation", "task.classes": ["a", "b"]},
            r'task\.head: found "two-layers" with segmentation.*allowed: "linear"',
        ),
    ):
        with pytest.raises(ScenarioError, match=message):
            task_of(load_scenario("demo", {"task.head": "two-layers"} | overrides), None)
    with pytest.raises(ScenarioError, match=r"task\.head: found 'three-layers', allowed: linear, two-layers"):
        load_scenario("demo", {"task.head": "three-layers"})


class _Drops(nn.Module):
    """Draws in a forward pass."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.layer(F.dropout(states, 0.5, training=True))


class _Mixes(_Drops):
    """Lets images look at each other."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.layer(states - states.mean(0))


class _Idle(_Drops):
    """Has a parameter that it does not use."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.idle = nn.Parameter(torch.zeros(3))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.layer(states)


def maker_of(make: Any) -> HeadMaker:
    return HeadMaker("task.head 'mine' (theirs:head)", make, module="theirs", attribute="head")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda inputs, outputs: 1 / 0, "failed: ZeroDivisionError"),
        (lambda inputs, outputs: 7, r"returned a int; allowed: a torch\.nn\.Module"),
        (lambda inputs, outputs: nn.Identity(), "has no parameters; allowed"),
        (lambda inputs, outputs: nn.Linear(inputs, outputs).double(), "has weight, which is not float32"),
        (
            lambda inputs, outputs: nn.Linear(inputs, outputs).requires_grad_(False),
            "has weight, which is not float32 or not trained",
        ),
        (
            lambda inputs, outputs: nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)),
            r"has the buffer 1\.running_mean; allowed: none",
        ),
        (lambda inputs, outputs: nn.Linear(inputs, 3), r"makes \(2, 3\) of \(2, 8\); allowed: \(2, 5\)"),
        (lambda inputs, outputs: nn.Linear(3, outputs), "failed: RuntimeError"),
    ],
)
def test_a_head_that_cannot_be_trained_is_one_error_that_names_it(make: Any, message: str) -> None:
    with pytest.raises(ModelLoadError, match=rf"task\.head 'mine' \(theirs:head\): {message}"):
        maker_of(make).new(8, 5)


def test_the_kit_finds_heads_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for make, message in (
        (_Drops, "asked again, it gives other outputs"),
        (_Mixes, "an image changes the outputs of others"),
        (_Idle, "layers.idle has no gradient"),
    ):
        monkeypatch.setattr("learning.task.head_maker", lambda name, make=make: maker_of(make))
        with pytest.raises(AssertionError, match=message):
            check_head("mine")
