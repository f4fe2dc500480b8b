"""Missions whose head answers at every pixel, and those of several classes and of numbers: tiles of two sensors."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file
from small_missions import (
    ALONE,
    EXACT,
    PIXELS_TURNED,
    SMALL,
    Mission,
    interrupted,
    random_vit,
    resumed,
    rows_as_planned,
    same,
    trained,
)
from torch import Tensor, nn
from transformers import AutoModel

from mission.record import read_run
from mission.scenario import load_scenario
from splitmodel.parts import SplitModel, load_split
from splitmodel.training import round_batches, round_seed

CLASSES = ("land", "cloud", "shadow")
SIDE, PATCH, TRAIN, TEST, EPOCHS = 16, 4, 32, 12, 3
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
    "training.local_epochs": 4,
    "training.head_learning_rate": 0.03,
    "training.batch_size": 4,
    "training.learning_rate": 3e-3,
}


@pytest.fixture(scope="module")
def four_bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_vit(tmp_path_factory.mktemp("four-bands"), bands=4, image=SIDE, patch=PATCH)


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


# Decoders, bottleneck, blocks before the head and micro-batches train as a plain loop does (see below), own adapters
# as in test_fine_tuning.py; that mode lora learns masks and scores them is proven without any of them, too.
LEARNED_IN_ONE_PLACE = (
    {"task.decoder": "convolution", "training.head": "per-satellite"},
    {"training.adapter": "per-satellite", "training.head": "per-satellite", "training.micro_batches": 3},
    {"split.bottleneck": 8, "crossings.hidden": "int8", "training.augment": "token-dihedral"},
    {"split.head_blocks": 1, "crossings.hidden": "int8", "training.augment": "token-dihedral"},
)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        *(pytest.param(settings, marks=pytest.mark.slow) for settings in LEARNED_IN_ONE_PLACE),
        {"training.mode": "head", "training.head": "per-satellite"},
        # On the ground and on board, what is not below is proven with classes in test_modes_in_one_place.py.
        pytest.param({"training.mode": "downlink", "training.head": "per-satellite"}, marks=pytest.mark.slow),
        pytest.param(
            {"training.mode": "onboard-full", "training.head": "per-satellite"}, marks=pytest.mark.slow
        ),
        {"training.labels": "ground", "training.head": "per-satellite", "training.augment": "token-dihedral"},
        {"training.mode": "onboard-lora", "training.head": "per-satellite", "training.onboard_cache": True},
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

    def __init__(self, base: Path, seed: int, bottleneck: int, decoder: str, head_blocks: int) -> None:
        super().__init__()
        whole = AutoModel.from_pretrained(base, add_pooling_layer=False).eval().requires_grad_(False)
        projections = [name for name, _ in whole.named_modules() if name.endswith(("q_proj", "v_proj"))]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.adapted = get_peft_model(
                whole,
                LoraConfig(r=8, lora_alpha=16, target_modules=projections[: 2 * (2 - head_blocks)]),
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
    ("bottleneck", "decoder", "head", "head_blocks"),
    [
        (0, "linear", "per-satellite", 0),
        pytest.param(8, "linear", "shared", 0, marks=pytest.mark.slow),  # the first and the next together
        (12, "convolution", "shared", 0),
        (0, "convolution", "shared", 1),
    ],
)
def test_masks_are_learned_over_the_split_as_in_a_plain_loop_in_one_place_and_the_export_says_the_same(
    fly: Mission,
    tiles: Path,
    four_bands: Path,
    monkeypatch: pytest.MonkeyPatch,
    bottleneck: int,
    decoder: str,
    head: str,
    head_blocks: int,
) -> None:
    settings = (
        ALONE | EXACT | {"split.bottleneck": bottleneck, "task.decoder": decoder, "training.head": head}
    )
    settings |= PIXELS_TURNED | {"training.clip_update": 0.0, "split.head_blocks": head_blocks}
    settings |= {"training.rounds": 1, "training.local_epochs": 2, "training.micro_batches": 3}
    directory = fly(over(tiles, four_bands) | settings)
    run = read_run(directory)
    scenario = load_scenario("walker-12", SMALL | over(tiles, four_bands) | settings)
    statistics = run["band_statistics"]

    def read(subset: str) -> tuple[Tensor, Tensor]:
        files = sorted((tiles / "images" / subset).glob("*.tif"))
        values = np.stack([tifffile.imread(file) for file in files]).astype(np.float32)
        masks = np.stack([tifffile.imread(tiles / "masks" / subset / file.name) for file in files])
        scaled = (values - np.float32(statistics["mean"])) / np.float32(statistics["deviation"])
        return torch.from_numpy(scaled).movedim(-1, 1), torch.from_numpy(masks).long()

    pixels, masks = read("train")
    model = _InOnePlace(four_bands, scenario.seed, bottleneck, decoder, head_blocks)
    _start_alike(model, load_split(
        four_bands, num_labels=3, seed=scenario.seed, decoder=decoder, bottleneck=bottleneck  # type: ignore[arg-type]
    ))  # fmt: skip
    if bottleneck:
        _start_as_principal_components(model, pixels)
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
    """The head's first weights are drawn by the product, the rest is the loop's own."""
    drawn = list(split.head.parameters())
    for parameter, first in zip(model.head.parameters(), drawn, strict=True):
        parameter.copy_(first.view_as(parameter))


@torch.no_grad()
def _start_as_principal_components(model: _InOnePlace, pixels: Tensor) -> None:
    """By the singular vectors of the standardised states."""
    states = model.adapted(pixels).last_hidden_state[:, 1:].flatten(0, 1).double().numpy()
    deviation = states.std(axis=0, ddof=1)
    _, _, vectors = np.linalg.svd((states - states.mean(axis=0)) / deviation, full_matrices=False)
    first = vectors[: model.narrow.out_features]
    first *= np.sign(np.take_along_axis(first, np.abs(first).argmax(1)[:, None], axis=1))
    model.narrow.weight.copy_(torch.from_numpy(first / deviation))
    model.narrow.bias.zero_()


@pytest.mark.parametrize(
    ("bottleneck", "head_blocks"),
    [pytest.param(0, 0, marks=pytest.mark.slow), (8, 0), (0, 1)],  # the others send as many states, or fewer
)
def test_the_plan_of_masks_counts_the_bytes_that_are_sent(
    fly: Mission, tiles: Path, four_bands: Path, bottleneck: int, head_blocks: int
) -> None:
    codecs = {"crossings.hidden": "int8", "split.bottleneck": bottleneck, "split.head_blocks": head_blocks}
    directory = fly(
        over(tiles, four_bands) | codecs | {"training.rounds": 1, "training.local_epochs": EPOCHS}
    )
    run = read_run(directory)
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    sent_up, sent_back = (sum(row[key] for row in rows) for key in ("split_up_bytes", "split_down_bytes"))
    planned_up, planned_back = (sum(row[key] for row in rows) for key in ("downlink_bytes", "uplink_bytes"))
    assert planned_up == pytest.approx(sent_up, rel=0.03)  # a run of tests has a shorter name
    assert sent_back < planned_back < 1.05 * sent_back  # with the head as the last step leaves it
    values = ((SIDE // PATCH) ** 2 + (head_blocks > 0)) * (
        bottleneck or 32
    )  # all tokens, with the class token
    states = TRAIN * EPOCHS * (values + 2 * -(-values // 64))  # int8, a scale for 64 values
    assert sent_back > states
    assert run["enrolment"]["split_down_bytes"] > TRAIN * 4 * values  # exactly, before scales are known


LORA, LABELS_ON_THE_GROUND = {"training.mode": "lora"}, {"training.labels": "ground"}


def table(path: Path, labels: str, count: int = 48) -> Path:
    """8-bit pictures in a Parquet file: brightness of red and green decide the labels."""
    rng = np.random.default_rng(2)
    rows = []
    for i in range(count):
        red, green = rng.integers(0, 2, 2)
        level = rng.uniform(20, 230)
        pixels = (
            rng.normal((200 * red + 20, 200 * green + 20, level), 8, (32, 32, 3))
            .clip(0, 255)
            .astype(np.uint8)
        )
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="PNG")
        label = {"several": [int(red), int(green)], "number": 1000.0 + 3.0 * level}[labels]
        subset = "train" if i < count - 16 else "test"
        rows.append({"image": {"bytes": stream.getvalue(), "path": None}, "label": label, "split": subset})
    pq.write_table(pa.Table.from_pylist(rows), path / "table.parquet")
    return path / "table.parquet"


@pytest.mark.parametrize(
    ("labels", "kind", "score", "mode"),
    [
        ("several", "multi-label", "mean average precision", LORA),
        ("number", "regression", "R²", LABELS_ON_THE_GROUND),
        pytest.param(
            "several", "multi-label", "mean average precision", LABELS_ON_THE_GROUND, marks=pytest.mark.slow
        ),
        pytest.param("number", "regression", "R²", LORA, marks=pytest.mark.slow),
    ],
)
def test_several_classes_and_numbers_are_learned(
    fly: Mission, tmp_path: Path, labels: str, kind: str, score: str, mode: dict[str, object]
) -> None:
    mission = {
        "constellation.satellites": 2, "data.source": "parquet", "data.partition": "iid", "data.train_samples": 0,
        "data.test_samples": 0, "data.path": str(table(tmp_path, labels)), "training.rounds": 2,
        "training.local_epochs": 6, "training.batch_size": 8, "training.head_learning_rate": 0.03,
    }  # fmt: skip
    directory = fly(mission | mode)
    run = read_run(directory)
    result = run["result"]
    assert (run["task"]["kind"], run["task"]["score"]) == (kind, score)
    assert result["test_score"] > max(0.7, result["initial_test_score"])
    assert (result["test_accuracy"] is None) == (kind == "regression")
    if kind == "regression":
        deviation = 3.0 * 210 / math.sqrt(12)
        assert result["scores"]["figures"]["RMSE"] == pytest.approx(
            deviation * math.sqrt(1 - result["test_score"]), rel=0.35
        )
    code = re.search(r"```python\n(.*?)```", (directory / "final" / "README.md").read_text(), re.DOTALL)
    assert code
    assert ("numbers = " in code[1]) == (kind == "regression")


def test_numbers_are_learned_at_every_pixel_from_the_tiles_to_the_exported_model(
    fly: Mission, tmp_path: Path, four_bands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rasters of heights in metres, which brightness tells, with pixels that were not measured."""
    rng = np.random.default_rng(3)
    truth = []
    for subset, count in (("train", TRAIN), ("test", TEST)):
        for folder in ("images", "masks"):
            (tmp_path / folder / subset).mkdir(parents=True)
        for i in range(count):
            coarse = rng.uniform(0.0, 1.0, (2, 2))
            level = np.kron(coarse, np.ones((SIDE // 2, SIDE // 2)))
            values = 8000 * level[..., None] * rng.normal(1.0, 0.02, (SIDE, SIDE, 4)) + 200
            heights = (300.0 + 40.0 * level).astype(np.float32)
            heights[:, 0] = np.nan
            image = values.clip(1, 10_000).astype(np.uint16)
            tifffile.imwrite(
                tmp_path / "images" / subset / f"t{i:02}.tif",
                image,
                planarconfig="contig",
                photometric="minisblack",
            )
            tifffile.imwrite(tmp_path / "masks" / subset / f"t{i:02}.tif", heights)
            if subset == "test":
                truth.append((image.astype(np.float32), heights))
    directory = fly(over(tmp_path, four_bands, **{"task.classes": (), "crossings.hidden": "int8"}))
    run = read_run(directory)
    result = run["result"]
    assert run["task"] == {"kind": "pixel-regression", "score": "R²", "outputs": ["value"]}
    assert result["test_accuracy"] is None
    assert result["test_score"] > max(0.8, result["initial_test_score"] + 0.3)
    code = re.search(r"```python\n(.*?)```", (directory / "final" / "README.md").read_text(), re.DOTALL)
    assert code
    monkeypatch.chdir(directory / "final")
    statistics = run["band_statistics"]
    images, heights = (np.stack(parts) for parts in zip(*truth, strict=True))
    scaled = (images - np.float32(statistics["mean"])) / np.float32(statistics["deviation"])
    names: dict[str, Any] = {"pixels": torch.from_numpy(scaled).movedim(-1, 1)}
    exec(code[1], names)
    found, known = names["numbers"][:, 0].numpy(), ~np.isnan(heights)
    error = (found - heights)[known]  # in metres, without SkySplit
    assert math.sqrt(np.mean(error**2)) == pytest.approx(result["scores"]["figures"]["RMSE"], rel=1e-3)
    explained = 1 - np.sum(error**2) / np.sum((heights[known] - heights[known].mean()) ** 2)
    assert explained == pytest.approx(result["test_score"], abs=1e-3)


@pytest.mark.slow  # as with classes, in test_fine_tuning.py
def test_a_mission_of_masks_stops_when_its_score_is_reached(
    fly: Mission, tiles: Path, four_bands: Path
) -> None:
    settings = {"training.rounds": 5, "training.target_accuracy": 0.3}
    result = read_run(fly(over(tiles, four_bands) | settings))["result"]
    assert result["rounds"] < 5
    assert result["test_score"] >= 0.3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"data.partition": "dirichlet"}, 'data.partition: found "dirichlet", which spreads classes, but'),
        (
            {"task.classes": ("land", "cloud")},
            r"t\d\d\.tif: its mask holds 2; allowed: 0 to 1, or 255 for no class",
        ),
        ({"training.head": "per-satellite", "training.head_rows": "by-class"}, "training.head_rows: found"),
        ({"task.kind": "classification"}, 'task.kind: found "classification", but .* has segmentation masks'),
    ],
)
def test_what_masks_do_not_allow_is_one_error_before_any_round(
    fly: Mission, tiles: Path, four_bands: Path, settings: dict[str, object], says: str
) -> None:
    with pytest.raises(Exception, match=says):
        fly(over(tiles, four_bands) | settings)


def test_a_resumed_run_of_masks_ends_as_one_that_was_never_interrupted(
    fly: Mission, grid_of: Callable[[int, int], Any], tiles: Path, four_bands: Path, tmp_path: Path
) -> None:
    whole = fly(
        over(tiles, four_bands) | {"data.sensor_column": "sensor", "training.local_epochs": 1}, out="whole"
    )
    killed = interrupted(whole, tmp_path / "killed", 2)
    resumed(grid_of(2, 2), killed)
    assert same(trained(whole), trained(killed))
    assert rows_as_planned(whole) == rows_as_planned(killed)
