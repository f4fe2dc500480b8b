"""Missions whose head answers at every pixel, and those of several classes and of numbers: tiles of two sensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import torch
from small_missions import Mission

from mission.record import read_run

CLASSES = ("land", "cloud", "shadow")
SIDE, PATCH, TRAIN, TEST = 16, 4, 32, 12
MISSION = {
    "constellation.satellites": 2,
    "data.source": "folder",
    "data.partition": "iid",
    "data.train_samples": 0,
    "data.test_samples": 0,
    "data.band_names": ("Blue", "Green", "Red", "NIR"),
    "data.statistics": "computed",
    "task.classes": CLASSES,
    "training.head": "shared",
    "training.rounds": 2,
    "training.local_epochs": 6,
    "training.head_learning_rate": 0.02,
    "training.batch_size": 4,
    "training.learning_rate": 3e-3,
}


@pytest.fixture(scope="module")
def four_bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT of four bands with random weights and a class token."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("four-bands")
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=SIDE,
        patch_size=PATCH,
        num_channels=4,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(json.dumps({"image_mean": 0.5, "image_std": 0.5}))
    return directory


def tile(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """uint16 reflectance of four bands and its mask: a bright block, a dark one, a column of no class."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    (top, left), (low, right) = rng.integers(0, SIDE - 6, 2), rng.integers(0, SIDE - 6, 2)
    mask[low : low + 6, right : right + 6] = 2
    mask[top : top + 6, left : left + 6] = 1
    level = np.array([[900, 800, 700, 2500], [6000, 6000, 6100, 6200], [200, 200, 200, 500]])
    values = level[mask] * rng.normal(1.0, 0.08, (SIDE, SIDE, 4))
    mask[:, 0] = 255
    return values.clip(1, 10_000).astype(np.uint16), mask


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/ beside masks/, with a manifest that names each tile's sensor."""
    root, rng = tmp_path_factory.mktemp("tiles"), np.random.default_rng(0)
    rows = ["subset,tile,sensor"]
    for subset, count in (("train", TRAIN), ("test", TEST)):
        for folder in ("images", "masks"):
            (root / folder / subset).mkdir(parents=True)
        for i in range(count):
            values, mask = tile(rng)
            tifffile.imwrite(
                root / "images" / subset / f"t{i:02}.tif",
                values,
                planarconfig="contig",
                photometric="minisblack",
            )
            tifffile.imwrite(root / "masks" / subset / f"t{i:02}.tif", mask)
            rows.append(f"{subset},t{i:02},{('S2', 'L7')[i % 2]}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root


def over(root: Path, model: Path, **settings: object) -> dict[str, object]:
    return MISSION | {"data.path": str(root), "model.path": str(model)} | settings


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"task.decoder": "convolution", "training.head": "per-satellite"},
        {"training.adapter": "per-satellite", "training.head": "per-satellite", "training.micro_batches": 3},
        {"training.mode": "head", "training.head": "per-satellite"},
        {"training.mode": "downlink", "training.head": "per-satellite"},
        {"training.labels": "ground", "training.head": "per-satellite", "training.augment": "token-dihedral"},
        {"training.mode": "onboard-lora", "training.head": "per-satellite", "training.onboard_cache": True},
        {"training.mode": "onboard-full", "training.head": "per-satellite"},
        {"training.mode": "onboard-head", "training.head": "per-satellite"},
        {"split.bottleneck": 8, "crossings.hidden": "int8", "training.augment": "token-dihedral"},
    ],
    ids=str,
)
def test_masks_are_learned_in_every_mode_and_scored_by_class_and_sensor(
    fly: Mission, tiles: Path, four_bands: Path, settings: dict[str, object]
) -> None:
    directory = fly(over(tiles, four_bands, **{"data.sensor_column": "sensor"}) | settings)
    run = read_run(directory)
    result = run["result"]
    assert run["task"] == {"kind": "segmentation", "score": "mean IoU", "outputs": list(CLASSES)}
    assert result["test_score"] > max(0.5, result["initial_test_score"] + 0.3)
    scores = result["scores"]
    assert scores["by_class"].keys() == set(CLASSES)
    assert scores["by_group"].keys() == {"S2", "L7"}
    confusion = np.array(scores["confusion"])
    assert confusion.sum() == TEST * SIDE * (SIDE - 1)  # the column of no class is not scored
    hits = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - hits
    assert result["test_score"] == pytest.approx(float(np.mean(hits / union)))
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    assert {row["test_score"] for row in rows if row["round"] == 2} == {result["test_score"]}
    assert all(0.0 < row["train_accuracy"] <= 1.0 for row in rows)
