"""Masks follow their images, and are scored as torchmetrics and a sum by hand have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from splitmodel.imagery import ImageryError, ImageSet, TargetKind, open_imagery
from splitmodel.imagery.views import view
from splitmodel.preprocess import Preprocess
from splitmodel.tasks import TaskKind, task_for
from splitmodel.tasks.masks import prepared_masks
from splitmodel.tasks.segmentation import Segmentation
from splitmodel.tasks.segmentation_scores import SegmentationScorer


@pytest.mark.parametrize("shape", [(6, 6), (4, 7)])
def test_a_mask_under_a_view_is_that_of_the_image_under_the_view(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 3, (8, *shape), generator=generator)
    images = torch.stack([masks.float(), masks.float() * 10], 1)
    numbers = np.arange(8)
    turned = view(images, numbers)
    assert turned.shape == images.shape
    assert torch.equal(
        turned[:, 0].long(), Segmentation(("a", "b", "c"), "linear").under_views(masks, numbers)
    )
    assert torch.equal(turned[:, 1], 10 * turned[:, 0])


def test_square_images_have_eight_views_and_others_four() -> None:
    for shape, distinct in (((5, 5), 8), ((5, 7), 4)):
        image = torch.rand(1, 1, *shape).expand(8, -1, -1, -1)
        turned = view(image, np.arange(8))
        assert len({tuple(one.flatten().tolist()) for one in turned}) == distinct
        assert all(
            torch.equal(one.sort().values, image[0].flatten().sort().values) for one in turned.flatten(1)
        )


def tiles(root: Path, mask: np.ndarray) -> ImageSet:
    for folder, values in (("images", np.zeros((*mask.shape, 3), np.uint8)), ("masks", mask)):
        (root / folder).mkdir()
        for i in range(5):
            tifffile.imwrite(root / folder / f"{i}.tif", values)
    return open_imagery("folder", root, seed=0).train


def test_a_resized_mask_holds_only_classes_that_it_held(tmp_path: Path) -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[:, 8:], mask[:4, :4] = 2, 255
    images = tiles(tmp_path, mask)
    found = prepared_masks(images, [0, 1], Preprocess(8, 8), classes=3)
    assert torch.equal(found[0], torch.from_numpy(mask[::2, ::2].astype(np.int64)))
    assert prepared_masks(images, [0], Preprocess(24, 24), classes=3).unique().tolist() == [0, 2, 255]
    with pytest.raises(ImageryError, match=r"\d\.tif: its mask holds 2; allowed: 0 to 1, or 255"):
        prepared_masks(images, [0], Preprocess(16, 16), classes=2)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "int32", "uint32", "int64", "float32", "float64"]
)
def test_masks_of_any_depth_hold_the_same_classes(tmp_path: Path, dtype: str) -> None:
    mask = np.arange(64).reshape(8, 8) % 3
    images = tiles(tmp_path, mask.astype(dtype))
    is_float = np.dtype(dtype).kind == "f"
    assert images.targets.kind is (TargetKind.RASTER if is_float else TargetKind.MASK)
    settings = {"kind": "auto", "classes": ["a", "b", "c"], "decoder": "linear", "ignore_index": 255}
    task = task_for(settings, images.targets, "tiles")
    assert task.kind is TaskKind.SEGMENTATION
    assert torch.equal(task.targets(images, [0], Preprocess(8, 8))[0].long(), torch.from_numpy(mask))


def test_a_mask_in_floating_point_has_no_class_where_it_is_nan_and_whole_numbers_elsewhere(
    tmp_path: Path,
) -> None:
    mask = np.ones((8, 8), np.float32)
    mask[0, 0] = np.nan
    images = tiles(tmp_path, mask)
    assert prepared_masks(images, [0], Preprocess(8, 8), classes=2)[0].unique().tolist() == [1, 255]
    mask[3, 3] = 0.5
    (tmp_path / "other").mkdir()
    with pytest.raises(ImageryError, match=r"\d\.tif: its mask holds 0\.5; allowed: whole numbers"):
        prepared_masks(tiles(tmp_path / "other", mask), [0], Preprocess(8, 8), classes=2)


def test_scores_are_those_of_torchmetrics_over_all_batches_together() -> None:
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(12, 4, 9, 9, generator=generator)
    masks = torch.randint(0, 4, (12, 9, 9), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.1] = 255
    sensors = ["S2", "L7", "L5"] * 4
    scorer = SegmentationScorer(4)
    for start in range(0, 12, 5):
        part = slice(start, start + 5)
        scorer.add(logits[part], masks[part], sensors[part])
    score, predicted = scorer.score(), logits.argmax(1)
    wanted = multiclass_jaccard_index(predicted, masks, 4, average=None, ignore_index=255)
    torch.testing.assert_close(score.iou_K.float(), wanted)
    assert score.mean_iou == pytest.approx(float(wanted.mean()))
    accuracy = multiclass_accuracy(predicted, masks, 4, average="micro", ignore_index=255)
    assert score.pixel_accuracy == pytest.approx(float(accuracy))
    for sensor, of_sensor in scorer.by_group().items():
        rows = torch.tensor([name == sensor for name in sensors])
        alone = multiclass_jaccard_index(predicted[rows], masks[rows], 4, average=None, ignore_index=255)
        torch.testing.assert_close(of_sensor.iou_K.float(), alone)


def test_a_class_that_is_nowhere_does_not_count() -> None:
    scorer = SegmentationScorer(3)
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 0], logits[0, 1, 0, 0] = 1.0, 2.0  # predicts class 1 in a corner, else class 0
    scorer.add(logits, torch.tensor([[[1, 0], [0, 1]]]))
    score = scorer.score()
    assert score.confusion_KK.tolist() == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert score.iou_K[:2].tolist() == [2 / 3, 1 / 2]
    assert score.iou_K[2].isnan()
    assert score.mean_iou == pytest.approx(7 / 12)
    assert np.isnan(SegmentationScorer(3).score().mean_iou)


def test_logits_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be of shape \(1, 3, 2, 2\); found \(1, 2, 2, 2\)"):
        SegmentationScorer(3).add(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))
