"""Tasks: their losses, scores and targets against sums by hand, and heads that answer at every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.dense_heads import ConvolutionHead, PatchGrid, PatchHead, new_dense_head, outputs_of
from splitmodel.export.head import head_weights
from splitmodel.families import ModelLoadError
from splitmodel.imagery import TargetKind, Targets
from splitmodel.parts import load_split
from splitmodel.step import head_step
from splitmodel.tasks import Score, TaskError, planned_task, task_for
from splitmodel.tasks.classification import Classification, MultiLabel
from splitmodel.tasks.regression import PixelRegression, Regression
from splitmodel.tasks.segmentation import Segmentation

GRID = PatchGrid(rows=3, columns=3, height=12, width=12)
SETTINGS: dict[str, Any] = {"kind": "auto", "classes": (), "ignore_index": 255, "decoder": "linear"}


def of_seed(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def masks(count: int = 6, classes: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    found = torch.randint(0, classes, (count, 12, 12), generator=generator)
    found[torch.rand(found.shape, generator=generator) < 0.2] = 255
    found[0] = 255  # an image of no class at all
    return found.to(torch.uint8)


def test_pixels_of_no_class_count_for_nothing_and_an_image_of_them_loses_nothing() -> None:
    task, outputs, targets = Segmentation(("a", "b", "c"), "linear"), of_seed(6, 3, 12, 12), masks()
    losses = task.losses(outputs, targets)
    assert losses[0] == 0.0
    for image in range(1, 6):
        known = targets[image] != 255
        alone = F.cross_entropy(outputs[image][:, known].T, targets[image][known].long())
        torch.testing.assert_close(losses[image], alone)
    assert torch.isfinite(losses).all()


@pytest.mark.parametrize("kind", ["segmentation", "pixel-regression", "multi-label", "regression"])
def test_gradients_of_parts_of_a_batch_weighted_by_their_images_sum_to_those_of_the_batch(kind: str) -> None:
    torch.manual_seed(0)
    states, grid = of_seed(6, 9, 8), GRID
    if kind == "segmentation":
        task, targets, head = Segmentation(("a", "b", "c"), "linear"), masks(), PatchHead.new(grid, 8, 3, 0)
    elif kind == "pixel-regression":
        raster = of_seed(6, 12, 12)
        raster[:, :2] = torch.nan
        task, targets, head = PixelRegression(("v",), "linear"), raster, PatchHead.new(grid, 8, 1, 0)
    elif kind == "multi-label":
        task, targets, head = MultiLabel(("a", "b")), (of_seed(6, 2) > 0).to(torch.uint8), nn.Linear(8, 2)
    else:
        task, targets, head = Regression(("1", "2")), of_seed(6, 2), nn.Linear(8, 2)
    if not task.is_dense:
        states = states[:, 0]

    def gradients(*parts: slice) -> list[Tensor]:
        head.zero_grad()
        sent = [
            head_step(
                head, states[part], targets[part], weight=len(targets[part]) / 6, loss=task.loss
            ).grad_pooled_BD
            for part in parts
        ]
        return [parameter.grad.clone() for parameter in head.parameters()] + [torch.cat(sent)]

    for found, wanted in zip(
        gradients(slice(0, 1), slice(1, 4), slice(4, 6)), gradients(slice(0, 6)), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_average_precision_is_that_of_the_ranking_and_classes_without_an_image_count_for_nothing() -> None:
    task = MultiLabel(("a", "b", "nowhere"))
    outputs = torch.tensor([[3.0, 0.1, 0.0], [2.0, 0.9, 0.5], [1.0, 0.5, 0.2], [0.0, 0.4, 0.1]])
    targets = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=torch.uint8)
    scorer = task.scorer()
    scorer.add(outputs[:2], targets[:2])
    scorer.add(outputs[2:], targets[2:])
    score = scorer.score()
    # a: ranks 1 and 3 are right, (1/1 + 2/3) / 2; b: ranks 1 and 2.
    assert score.by_class["a"] == pytest.approx((1 + 2 / 3) / 2)
    assert score.by_class["b"] == pytest.approx(1.0)
    assert np.isnan(score.by_class["nowhere"])
    assert score.value == pytest.approx(((1 + 2 / 3) / 2 + 1.0) / 2)


def test_numbers_are_scored_in_their_own_units_whatever_their_size() -> None:
    rng = np.random.default_rng(0)
    truth = np.stack([5e6 + 300 * rng.normal(size=50), 0.01 * rng.normal(size=50)], 1).astype(np.float32)
    scaling = Scaling.of(Moments.of(torch.from_numpy(truth)))
    task = Regression(("1", "2")).scaled(scaling)
    found = truth + np.array([100, 0.002]) * rng.normal(size=(50, 2))
    outputs = scaling.standardise(torch.from_numpy(found.astype(np.float32)))
    scorer = task.scorer()
    for start in (0, 20):
        part = slice(start, start + 20 + 10 * (start > 0))
        scorer.add(outputs[part], torch.from_numpy(truth)[part], ["x"] * len(outputs[part]))
    score = scorer.score()
    error = scaling.restore(outputs).double().numpy() - truth
    explained = 1 - (error**2).sum(0) / ((truth - truth.mean(0, dtype=np.float64)) ** 2).sum(0)
    assert score.value == pytest.approx(explained.mean(), abs=2e-3)
    assert score.figures["RMSE of 1"] == pytest.approx(np.sqrt((error[:, 0] ** 2).mean()), rel=0.01)
    assert score.figures["RMSE of 2"] == pytest.approx(np.sqrt((error[:, 1] ** 2).mean()), rel=0.01)
    assert score.by_group["x"] == pytest.approx(score.value)
    assert score.accuracy is None
    assert Score.from_json(score.to_json()).figures == score.figures


def test_rasters_are_scored_where_a_number_is_known() -> None:
    task = PixelRegression(("value",), "linear")
    targets = of_seed(4, 12, 12, seed=1)
    targets[:, :3] = torch.nan
    outputs = (targets.nan_to_num() + 0.5)[:, None]
    scorer = task.scorer()
    scorer.add(outputs, targets)
    assert scorer.score().figures["RMSE"] == pytest.approx(0.5)
    assert float(task.loss(outputs, targets)) == pytest.approx(0.25)
    blank = torch.full((1, 12, 12), torch.nan)
    assert float(task.loss(outputs[:1], blank)) == 0.0


def test_a_mask_is_turned_as_its_image_is() -> None:
    task, numbers = Segmentation(("a", "b", "c"), "linear"), np.arange(8)
    targets = masks(8)
    found = task.under_views(targets, numbers)
    for number in range(8):
        expected = np.rot90(targets[number].numpy(), number % 4)
        assert np.array_equal(found[number].numpy(), expected[:, ::-1] if number >= 4 else expected)


@pytest.mark.parametrize("decoder", ["linear", "convolution"])
def test_a_head_crosses_as_one_table_and_comes_back_the_same(decoder: Any) -> None:
    head, other = (new_dense_head(decoder, GRID, 8, 3, seed=seed) for seed in (1, 2))
    states = of_seed(2, 9, 8)
    assert head(states).shape == (2, 3, 12, 12)
    assert outputs_of(head) == 3
    assert not torch.equal(head(states), other(states))
    other.set_table(head.table())
    assert torch.equal(head(states), other(states))
    head(states).square().sum().backward()
    other.set_gradient_table(head.gradient_table())
    for one, two in zip(head.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)
    with pytest.raises(ValueError, match="a head's table: found shape"):
        head.set_table(torch.zeros(3))


def test_each_pixel_of_a_patch_has_its_place_also_where_patches_are_not_square() -> None:
    grid = PatchGrid(rows=2, columns=3, height=8, width=6)  # patches of 4 × 2 pixels
    values = torch.arange(6 * 8.0).view(1, 6, 8)  # one output
    maps = grid.assembled(values)[0, 0]
    for patch in range(6):
        row, column = divmod(patch, 3)
        inside = maps[4 * row : 4 * row + 4, 2 * column : 2 * column + 2]
        assert torch.equal(inside, values[0, patch].view(4, 2))
    uncovered = PatchGrid(rows=2, columns=2, height=9, width=9)
    assert uncovered.assembled(torch.ones(1, 4, 16)).shape == (1, 1, 9, 9)


@pytest.mark.parametrize("decoder", ["linear", "convolution"])
def test_constants_bottleneck_and_units_are_folded_into_an_exported_head(decoder: Any) -> None:
    scaling = Scaling(of_seed(5, seed=4), of_seed(5, seed=5).abs() + 0.5)
    units = Scaling(torch.tensor([300.0]), torch.tensor([20.0]))
    head = new_dense_head(decoder, GRID, 5, 1, seed=1).scaled(scaling)
    bottleneck = nn.Linear(8, 5)
    states = of_seed(2, 9, 8)
    wanted = units.restore(head(bottleneck(states)).movedim(1, -1)).movedim(-1, 1)
    weights = head_weights(head, bottleneck, units)
    if isinstance(head, ConvolutionHead):
        grid = states.mT.unflatten(2, (3, 3))
        grid = F.gelu(F.conv2d(grid, weights["reduce.weight"], weights["reduce.bias"]))
        grid = F.gelu(F.conv2d(grid, weights["mix.weight"], weights["mix.bias"], padding=1))
        values = F.conv2d(grid, weights["expand.weight"], weights["expand.bias"]).flatten(2).mT
    else:
        values = F.linear(states, weights["weight"], weights["bias"])
    torch.testing.assert_close(GRID.assembled(values), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("task", "array"),
    [
        (Segmentation(("a", "b"), "linear"), np.full((2, 12, 12), 2, np.uint8)),
        (Segmentation(("a", "b"), "linear"), np.zeros((2, 12, 11), np.uint8)),
        (Segmentation(("a", "b"), "linear"), np.zeros((2, 12, 12), np.int64)),
        (PixelRegression(("v",), "linear"), np.full((1, 12, 12), np.inf, np.float32)),
        (MultiLabel(("a", "b")), np.full((1, 2), 2, np.uint8)),
        (Regression(("1",)), np.full((1, 1), np.nan, np.float32)),
        (Classification(("a", "b")), np.array([2])),
    ],
)
def test_targets_that_no_satellite_sends_are_refused(task: Any, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="targets as .*; allowed: "):
        task.require_on_wire(array, GRID)


def targets_of(kind: TargetKind, names: tuple[str, ...] = ()) -> Targets:
    return Targets(kind, names, values=np.zeros((4, 2)))


def test_the_labels_say_what_is_trained_and_a_key_that_says_otherwise_is_one_error() -> None:
    found = {kind: task_for(SETTINGS | {"classes": ("a", "b") if kind is TargetKind.MASK else ()},
                            targets_of(kind, ("x", "y") if kind in (TargetKind.CLASS, TargetKind.MULTI_LABEL) else ()),
                            "here") for kind in TargetKind}  # fmt: skip
    assert [type(task) for task in found.values()] == [
        Classification, MultiLabel, Regression, Segmentation, PixelRegression
    ]  # fmt: skip
    heights = task_for(SETTINGS | {"kind": "pixel-regression"}, targets_of(TargetKind.MASK), "here")
    assert isinstance(heights, PixelRegression)
    for settings, kind, says in (
        (
            {"kind": "segmentation"},
            TargetKind.CLASS,
            'task.kind: found "segmentation", but here has one class',
        ),
        ({}, TargetKind.MASK, "task.classes: found .*the names of two or more classes"),
        ({"classes": ("a", "b")}, TargetKind.CLASS, "task.classes: found .*allowed with segmentation"),
    ):
        with pytest.raises(TaskError, match=says):
            task_for(
                SETTINGS | settings,
                targets_of(kind, ("x", "y")[: (kind is TargetKind.CLASS and 2) or 0]),
                "here",
            )
    assert planned_task(SETTINGS, "classification").outputs == 10


def test_a_bottleneck_that_is_none_is_refused(tiny_models: dict[str, Path]) -> None:
    for found in (32, 40):
        with pytest.raises(ModelLoadError, match=f"split.bottleneck: found {found}, allowed: 1 to 31, or 0"):
            load_split(tiny_models["vit"], num_labels=3, decoder="linear", bottleneck=found)
    with pytest.raises(ModelLoadError, match="split.bottleneck: found 4, allowed: 0, as one state per image"):
        load_split(tiny_models["vit"], num_labels=3, bottleneck=4)
