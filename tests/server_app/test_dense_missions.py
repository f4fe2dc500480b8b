"""Missions whose head answers at every pixel, and those of several classes and of numbers: tiles of two sensors."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from small_missions import ALONE, EXACT, SMALL, Mission
from torch import Tensor, nn
from transformers import AutoModel

from mission.record import read_run
from mission.scenario import load_scenario
from splitmodel.parts import SplitModel, load_split
from splitmodel.training import round_batches, round_seed

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


class _InOnePlace(nn.Module):
    """The whole model as torch, transformers and peft have it, with a head written here."""

    def __init__(self, base: Path, seed: int, bottleneck: int, decoder: str) -> None:
        super().__init__()
        whole = AutoModel.from_pretrained(base, add_pooling_layer=False).eval().requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.adapted = get_peft_model(
                whole, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
            )
        inputs, values = bottleneck or 32, len(CLASSES) * PATCH * PATCH
        self.narrow = nn.Linear(32, inputs) if bottleneck else nn.Identity()
        layers = [nn.Conv2d(inputs, values, 1)]
        if decoder == "convolution":
            layers = [nn.Conv2d(inputs, 64, 1), nn.GELU(), nn.Conv2d(64, 64, 3, padding=1), nn.GELU()]
            layers.append(nn.Conv2d(64, values, 1))
        self.head = nn.Sequential(*layers)
        self.mean, self.deviation = torch.zeros(inputs), torch.ones(inputs)

    def states(self, pixels: Tensor) -> Tensor:
        return self.narrow(self.adapted(pixels).last_hidden_state[:, 1:])

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = (self.states(pixels) - self.mean) / self.deviation
        side = SIDE // PATCH
        return F.pixel_shuffle(self.head(scaled.mT.unflatten(2, (side, side))), PATCH)


@pytest.mark.parametrize(
    ("bottleneck", "decoder", "head"),
    [(0, "linear", "per-satellite"), (8, "linear", "shared"), (12, "convolution", "shared")],
)
def test_masks_are_learned_over_the_split_as_in_a_plain_loop_in_one_place_and_the_export_says_the_same(
    fly: Mission,
    tiles: Path,
    four_bands: Path,
    monkeypatch: pytest.MonkeyPatch,
    bottleneck: int,
    decoder: str,
    head: str,
) -> None:
    settings = (
        ALONE | EXACT | {"split.bottleneck": bottleneck, "task.decoder": decoder, "training.head": head}
    )
    settings |= {"training.rounds": 1, "training.local_epochs": 2, "training.micro_batches": 3}
    directory = fly(over(tiles, four_bands) | settings)
    run = read_run(directory)
    scenario = load_scenario("demo", SMALL | over(tiles, four_bands) | settings)
    statistics = run["band_statistics"]

    def read(subset: str) -> tuple[Tensor, Tensor]:
        files = sorted((tiles / "images" / subset).glob("*.tif"))
        values = np.stack([tifffile.imread(file) for file in files]).astype(np.float32)
        masks = np.stack([tifffile.imread(tiles / "masks" / subset / file.name) for file in files])
        scaled = (values - np.float32(statistics["mean"])) / np.float32(statistics["deviation"])
        return torch.from_numpy(scaled).movedim(-1, 1), torch.from_numpy(masks).long()

    pixels, masks = read("train")
    model = _InOnePlace(four_bands, scenario.seed, bottleneck, decoder)
    _start_alike(model, load_split(
        four_bands, num_labels=3, seed=scenario.seed, decoder=decoder, bottleneck=bottleneck  # type: ignore[arg-type]
    ))  # fmt: skip
    with torch.no_grad():
        seen = model.states(pixels).flatten(0, 1)
    model.mean, model.deviation = seen.mean(0), seen.std(0)
    adapter = [p for p in (*model.adapted.parameters(), *model.narrow.parameters()) if p.requires_grad]
    groups = [
        {"params": adapter, "base": scenario.training.learning_rate},
        {"params": list(model.head.parameters()), "base": scenario.training.head_learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    batches = round_batches(TRAIN, 4, 2, 8, round_seed(scenario.seed, 0, 1))
    assert len(batches) == 16
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * 0.5 * (1 + math.cos(math.pi * step / len(batches)))
        optimizer.zero_grad()
        losses = []
        for index, number in zip(batch.indices.tolist(), batch.views.tolist(), strict=True):
            image, mask = (torch.rot90(one, number % 4, (-2, -1)) for one in (pixels[index], masks[index]))
            if number >= 4:
                image, mask = image.flip(-1), mask.flip(-1)
            losses.append(F.cross_entropy(model(image[None]), mask[None], ignore_index=255))
        torch.stack(losses).mean().backward()
        optimizer.step()

    test_pixels, _ = read("test")
    expected = model(test_pixels)
    code = re.search(r"```python\n(.*?)```", (directory / "final" / "README.md").read_text(), re.DOTALL)
    assert code
    monkeypatch.chdir(directory / "final")
    names: dict[str, Tensor] = {"pixels": test_pixels}
    exec(code[1], names)
    torch.testing.assert_close(names["logits"], expected, rtol=1e-3, atol=1e-3)
    found = load_file(directory / "final" / "adapter" / "adapter_model.safetensors")
    trained = {n.replace(".default", ""): p for n, p in model.adapted.named_parameters() if p.requires_grad}
    assert found.keys() == trained.keys()
    for name, parameter in trained.items():
        torch.testing.assert_close(found[name], parameter.detach(), rtol=1e-3, atol=1e-5)


@torch.no_grad()
def _start_alike(model: _InOnePlace, split: SplitModel) -> None:
    """The head's and the bottleneck's first weights: both are drawn by the product, the rest is the loop's own."""
    if isinstance(model.narrow, nn.Linear):
        assert split.backbone.bottleneck is not None
        model.narrow.load_state_dict(split.backbone.bottleneck.state_dict())
    drawn = list(split.head.parameters())
    for parameter, first in zip(model.head.parameters(), drawn, strict=True):
        parameter.copy_(first.view_as(parameter))
