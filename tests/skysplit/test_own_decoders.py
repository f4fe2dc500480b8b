"""Decoders of other packages: trained over the split as in one place, counted, averaged, exported."""

from __future__ import annotations

import dataclasses
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

from learning.task import decoder_maker, task_of
from mission.record import RunRecord
from mission.scenario import ScenarioError, load_scenario
from server_app.run import ServerRun
from server_app.server_app import fine_tune
from skysplit.testing import check_decoder
from splitmodel.costs.profile import profile
from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.dense_heads import OwnDenseHead, standardised
from splitmodel.export.final import CardFields, export_final
from splitmodel.families import ModelLoadError
from splitmodel.heads import HeadMaker
from splitmodel.parts import SplitModel, load_split
from splitmodel.shipped import weights_dir
from splitmodel.step import embed, head_step

CLASSES = 3
CLOUDS = {
    "data.source": "synthetic-clouds", "data.bands": [3, 2, 1], "data.statistics": "computed",
    "task.decoder": "depthwise",
}  # fmt: skip
BOTTLENECK = {"split.bottleneck": 8, "task.kind": "segmentation", "task.classes": ["a", "b"]}


@pytest.fixture
def depthwise(own_heads: Callable[..., HeadMaker]) -> HeadMaker:
    """Return the decoder that the installed example package registers."""
    return own_heads(decoder_maker, "depthwise")


def pixels_of(split: SplitModel, seed: int, count: int) -> torch.Tensor:
    shape = (count, 3, split.preprocess.height, split.preprocess.width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def model_with(maker: HeadMaker) -> SplitModel:
    """The shipped model with such a decoder, on standardised states."""
    split = load_split(
        weights_dir("synthetic-vit"), num_labels=CLASSES, seed=3, decoder="depthwise", maker=maker
    )
    with torch.no_grad():
        states = split.backbone(split.embedding(pixels_of(split, 9, 16)))
    scaling = Scaling.of(Moments.of(states.flatten(0, 1)))
    return dataclasses.replace(split, head=standardised(split.head, scaling))


def test_loss_and_gradients_over_the_split_are_those_of_one_place(depthwise: HeadMaker) -> None:
    split, whole = model_with(depthwise), model_with(depthwise)
    assert isinstance(split.head, OwnDenseHead)
    pixels = pixels_of(split, 1, 4)
    masks = torch.randint(CLASSES, (4, *pixels.shape[-2:]), generator=torch.Generator().manual_seed(2))
    expected = F.cross_entropy(whole(pixels), masks)
    expected.backward()
    states = split.backbone(embed(split.embedding, pixels)).detach()
    found = head_step(split.head, states, masks, loss=F.cross_entropy)
    torch.testing.assert_close(found.loss, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(split.head.gradient_table(), whole.head.gradient_table(), rtol=1e-4, atol=1e-6)


def test_parameters_and_flops_are_counted_exactly(depthwise: HeadMaker) -> None:
    split = model_with(depthwise)
    costs, grid, hidden = profile(split), split.head.grid, split.config.hidden_size
    outputs = CLASSES * grid.patch_pixels
    assert costs.head_params == hidden * 9 + hidden + hidden * outputs + outputs
    assert costs.head_flops == 2 * grid.rows * grid.columns * (9 * hidden + hidden * outputs)


CARD = CardFields(
    "Test", str(weights_dir("synthetic-vit")), classes=("a", "b", "c"), data="Random.", training="None.",
    kind="segmentation",
)  # fmt: skip


def test_the_code_on_the_card_loads_what_was_exported(
    depthwise: HeadMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = model_with(depthwise)
    export_final(tmp_path / "final", split.backbone, split.preprocess, None, split.head, CARD)
    code = re.search(r"```python\n(.*?)```", (tmp_path / "final" / "README.md").read_text(), re.DOTALL)
    assert code
    monkeypatch.chdir(tmp_path / "final")
    names: dict[str, Any] = {"pixels": pixels_of(split, 1, 3)}
    exec(code[1], names)
    with torch.no_grad():
        expected = split(names["pixels"])
    torch.testing.assert_close(names["logits"], expected, rtol=1e-4, atol=1e-4)


def test_a_mission_trains_it(
    depthwise: HeadMaker, grid_of: Callable[[int, int], Any], bare_run: None, tmp_path: Path
) -> None:
    scenario = load_scenario("walker-12", TWO_SATELLITES | CLOUDS | {"training.mode": "head"})
    record = RunRecord(tmp_path / "run", scenario, command="")
    fine_tune(grid_of(2, 2), ServerRun(record, "run-1", max_concurrency=2))
    found = load_file(record.directory / "final" / "head.safetensors")
    layers = {name for name in found if name.startswith("layers.")}
    assert layers == {"layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"}
    assert all(bool(found[name].any()) for name in layers)


def test_the_kit_passes_the_example_and_what_cannot_be_trained_is_refused(
    depthwise: HeadMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_decoder("depthwise")

    def narrower(inputs: int, outputs: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, 3)  # without padding: fewer patches

    wrong = HeadMaker("task.decoder 'mine' (theirs:mine)", narrower, module="theirs", attribute="mine")
    monkeypatch.setattr("learning.task.decoder_maker", lambda name: wrong)
    with pytest.raises(
        ModelLoadError, match=r"makes \(2, 12, 2, 3\) of \(2, 48, 4, 5\); allowed: \(2, 12, 4, 5\)"
    ):
        check_decoder("mine")
    narrow = load_scenario("demo", {"task.decoder": "depthwise"} | BOTTLENECK)
    with pytest.raises(ScenarioError, match=r'split\.bottleneck: found 8 with task\.decoder = "depthwise"'):
        task_of(narrow, None)
    with pytest.raises(
        ScenarioError, match=r"task\.decoder: found 'mine', allowed: linear, convolution, depthwise"
    ):
        load_scenario("demo", {"task.decoder": "mine"})
