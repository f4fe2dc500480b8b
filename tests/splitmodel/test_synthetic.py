"""The synthetic scenes and the weights that ship: honest about what they are, and worth starting from."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from splitmodel import weights_dir
from splitmodel.lora.adapters import LoraSettings, add_lora
from splitmodel.parts import SplitModel, load_split
from splitmodel.synthetic.pretrain import Recipe, pretrain, save
from splitmodel.synthetic.scenes import (
    HELD_BACK_CLASSES,
    PRETRAINING_CLASSES,
    render,
    render_many,
    split_seed,
)

CLASSES = PRETRAINING_CLASSES + HELD_BACK_CLASSES


def held_back(split: str, per_class: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    seed = split_seed(0, split)
    scenes = [render_many(name, range(per_class), seed=seed) for name in HELD_BACK_CLASSES]
    return np.concatenate(scenes), np.repeat(np.arange(len(HELD_BACK_CLASSES)), per_class)


@pytest.mark.parametrize("name", CLASSES)
def test_a_scene_is_decided_by_class_index_and_seed_alone(name: str) -> None:
    many = render_many(name, [3, 0, 7], seed=5)
    assert many.shape == (3, 32, 32, 3)
    assert many.dtype == np.uint8
    assert np.array_equal(many[2], render(name, 7, seed=5))
    assert not np.array_equal(many[0], many[1])
    assert not np.array_equal(many[0], render(name, 3, seed=6))
    assert render(name, 0, seed=5, size=64).shape == (64, 64, 3)


@pytest.mark.parametrize("name", CLASSES)
def test_the_structure_of_a_scene_is_visible(name: str) -> None:
    grey = render_many(name, range(20), seed=1).mean(axis=-1)
    assert np.median(grey.std(axis=(1, 2))) > 6  # well above the sensor noise
    assert (grey.max(axis=(1, 2)) > 250).mean() < 0.5  # and not burnt out


def test_there_are_enough_classes_and_none_is_in_both_halves() -> None:
    assert len(CLASSES) == len(set(CLASSES)) >= 16
    assert 8 <= len(HELD_BACK_CLASSES) <= 10


def test_splits_of_one_seed_share_no_stream() -> None:
    assert split_seed(0, "train") == split_seed(0, "train")
    assert len({split_seed(seed, split) for seed in range(50) for split in ("train", "test")}) == 100


def test_hue_alone_does_not_tell_the_classes_apart() -> None:
    """Nearest neighbours on what colour says: mean and deviation of each channel's share of the brightness."""

    def hues(scenes: NDArray[np.uint8]) -> NDArray[np.float64]:
        share = (scenes + 1.0) / (scenes + 1.0).sum(axis=-1, keepdims=True)
        return np.concatenate([share.mean(axis=(1, 2)), share.std(axis=(1, 2))], axis=1)

    train, labels = held_back("train", 60)
    test, expected = held_back("test", 30)
    known, asked = hues(train), hues(test)
    scale = known.std(axis=0)
    distances = np.linalg.norm((known[None] - asked[:, None]) / scale, axis=-1)
    nearest = labels[np.argsort(distances, axis=1)[:, :7]]
    votes = (nearest[:, :, None] == np.arange(len(HELD_BACK_CLASSES))).sum(axis=1)
    assert (votes.argmax(axis=1) == expected).mean() < 0.35


def test_unknown_classes_sizes_and_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="no scenes of class 'desert'; there are: meadow, forest"):
        render("desert", 0, seed=0)
    with pytest.raises(ValueError, match="scenes have 32 or 64 pixels a side; found 48"):
        render("forest", 0, seed=0, size=48)
    with pytest.raises(ValueError, match="count from 0; found -1 and 0"):
        render("forest", -1, seed=0)


def test_the_weights_that_ship_are_small_and_called_synthetic() -> None:
    directory = weights_dir("synthetic-vit")
    assert "synthetic" in directory.name
    assert sum(path.stat().st_size for path in directory.iterdir()) < 3e6
    split = load_split(directory, num_labels=10)
    assert (split.preprocess.height, split.preprocess.width) == (32, 32)


def fine_tuned_accuracy(random_init: bool) -> float:
    """LoRA and head on 400 scenes of the held-back classes, embedding frozen; accuracy on 300 unseen ones."""
    split = load_split(weights_dir("synthetic-vit"), num_labels=10, random_init=random_init)
    add_lora(split.backbone, LoraSettings())
    features, labels = embedded(split, *held_back("train", 40))
    trained = [p for p in [*split.backbone.parameters(), *split.head.parameters()] if p.requires_grad]
    epochs, batch = 8, 20
    optimiser = torch.optim.AdamW(trained, lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * len(labels) // batch)
    shuffle = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=shuffle).split(batch):
            optimiser.zero_grad()
            F.cross_entropy(split.head(split.backbone(features[rows])), labels[rows]).backward()
            optimiser.step()
            schedule.step()
    features, labels = embedded(split, *held_back("test", 30))
    with torch.no_grad():
        return float((split.head(split.backbone(features)).argmax(dim=1) == labels).float().mean())


def embedded(
    split: SplitModel, scenes: NDArray[np.uint8], labels: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(np.ascontiguousarray(scenes.transpose(0, 3, 1, 2)))
    with torch.no_grad():
        return split.embedding(split.preprocess(images)), torch.from_numpy(labels)


# These change with the scenes and the recipe alone; that the shipped weights learn is seen in test_fine_tuning.py, too.
@pytest.mark.slow
def test_fine_tuning_from_the_shipped_weights_reaches_what_random_ones_do_not() -> None:
    assert fine_tuned_accuracy(random_init=False) >= 0.78


@pytest.mark.slow
def test_fine_tuning_from_random_weights_stays_far_below() -> None:
    assert fine_tuned_accuracy(random_init=True) <= 0.53


def test_pretraining_is_seeded_and_what_it_saves_loads_back(tmp_path: Path) -> None:
    recipe = Recipe(steps=3, batch_size=16, warmup_steps=1)
    losses: list[list[float]] = [[], []]
    for run in losses:
        result = pretrain(recipe, lambda step, loss, run=run: run.append(loss))
    assert losses[0] == losses[1]
    save(result, tmp_path / "synthetic-vit")
    split = load_split(tmp_path / "synthetic-vit", num_labels=4)
    pixels = torch.randn(2, 3, 32, 32)
    expected = result.transformer(pixels).last_hidden_state[:, 0]
    assert torch.allclose(split.backbone(split.embedding(pixels)), expected, atol=1e-5)
    assert split.preprocess == load_split(weights_dir("synthetic-vit"), num_labels=4).preprocess
