"""What the missions of these tests have in common, and what is looked at afterwards."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from mission.record import RunRecord, read_run
from mission.schema import Scenario
from server_app.run import ServerRun
from server_app.server_app import fine_tune
from splitmodel.imagery.views import view
from splitmodel.parts import SplitModel
from splitmodel.token_views import TokenViews
from strategies.planner.step_order import Schedule, ScheduledStep

SMALL = {
    "constellation.satellites": 4,
    "data.train_samples": 64,
    "data.test_samples": 16,
    "data.alpha": 5.0,
    "training.rounds": 2,
    "training.batch_size": 8,
    "links.inter_orbit.topology": "none",
}
ALONE = {"constellation.satellites": 1, "constellation.planes": 1, "constellation.phasing": 0}
EXACT = {"crossings.features": "fp32", "crossings.hidden": "fp32", "crossings.gradients": "fp32"}
PIXELS_TURNED = {"training.augment": "dihedral"}  # as where no ground turns tokens
CLIP = 0.6  # most steps of these missions are longer, some are shorter


def random_vit(directory: Path, *, bands: int, image: int, patch: int) -> Path:
    """Save a ViT of some bands with random weights and a class token; return its directory."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=image,
        patch_size=patch,
        num_channels=bands,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(directory)
    statistics = {"image_mean": 0.5, "image_std": 0.5}  # the family's are those of three channels
    (directory / "preprocessor_config.json").write_text(json.dumps(statistics))
    return directory


@torch.no_grad()
def clipped_step(optimizer: torch.optim.AdamW, clip: float) -> None:
    """A step without weight decay by the formulas of AdamW, divided by what its root mean square exceeds ``clip``."""
    (group,) = optimizer.param_groups
    before = [weights.clone() for weights in group["params"]]
    optimizer.step()
    if not clip:
        return
    beta1, beta2 = group["betas"]
    updates = []
    for weights in group["params"]:
        state = optimizer.state[weights]
        step = float(state["step"])
        root = (state["exp_avg_sq"] / (1 - beta2**step)).sqrt()
        updates.append(state["exp_avg"] / (1 - beta1**step) / (root + group["eps"]))
    root_mean_square = float(torch.cat([update.flatten() for update in updates]).square().mean().sqrt())
    for weights, was, update in zip(group["params"], before, updates, strict=True):
        weights.copy_(was - group["lr"] * update / max(1.0, root_mean_square / clip))


def batched(*batches: str, delay: int = 0) -> Schedule:
    """A schedule in which each word is a batched step of the satellites that its letters name."""
    counted: dict[str, int] = {}
    made = []
    for batch in batches:
        steps = [ScheduledStep(name, counted.get(name, 0)) for name in batch]
        counted.update({name: step + 1 for name, step in steps})
        made.append(tuple(steps))
    return Schedule(tuple(made), tuple(max(0, position - delay) for position in range(len(made))))


def logits_under_views(scenario: Scenario, model: SplitModel, pixels: Tensor, views: NDArray) -> Tensor:
    """Return the unsplit model's logits of raw pixels, augmented as the scenario says."""
    pixels = model.preprocess(pixels)
    if scenario.training.augment == "dihedral":
        return model(view(pixels, views))
    with torch.no_grad():
        features = _token_views(model, scenario.crossings.features)(model.embedding(pixels), views)
    return model.head(model.backbone(features))


_token_views = functools.lru_cache(maxsize=1)(TokenViews.of)  # fitted once for all steps of a model


Mission = Callable[..., Path]


def interrupted(whole: Path, killed: Path, number: int) -> Path:
    """Copy a run as if killed in its last round, with that round's rows written and its checkpoint not."""
    shutil.copytree(whole, killed)
    shutil.rmtree(killed / "final")
    (killed / f"checkpoints/round-{number:05d}/state.json").unlink()
    (killed / "run.json").write_text(json.dumps({**read_run(killed), "state": "running"}))
    return killed


def resumed(grid: Any, directory: Path) -> None:
    """Let an interrupted run go on to its end."""
    record = RunRecord.reopen(directory)
    fine_tune(grid, ServerRun(record, "run-2", resume=True))


def trained(directory: Path) -> dict[str, torch.Tensor]:
    """The final adapter and head."""
    tensors = {
        f"head.{name}": tensor for name, tensor in load_file(directory / "final" / "head.safetensors").items()
    }
    adapter = directory / "final" / "adapter" / "adapter_model.safetensors"
    return tensors | (load_file(adapter) if adapter.exists() else {})


def rows_as_planned(directory: Path) -> list[dict[str, Any]]:
    """The record without what a satellite that was suspended or forgot sent again."""
    sent = ["split_up_bytes", "split_down_bytes"]
    return pq.read_table(directory / "rounds.parquet").drop(sent).to_pylist()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
