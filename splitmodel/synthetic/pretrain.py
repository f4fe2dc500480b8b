"""Make the weights that ship with SkySplit.

    python -m splitmodel.synthetic.pretrain --out splitmodel/weights/synthetic-vit

A small vision transformer learns to tell the pretraining classes of `splitmodel.synthetic.scenes` apart, every image
seen once; the held-back classes are never shown to it. The classifier is thrown away. One seed, one thread:
the same machine makes the same weights again.
"""

import argparse
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmodel.parts import new_head
from splitmodel.preprocess import Preprocess
from splitmodel.synthetic.scenes import PRETRAINING_CLASSES, render_many, split_seed

IMAGE_SIZE, PATCH_SIZE = 32, 8
HIDDEN_SIZE, LAYERS, HEADS = 96, 4, 4
MEAN, STD = (0.46, 0.45, 0.37), (0.16, 0.15, 0.14)  # of the pretraining scenes, rounded
PREPROCESS = Preprocess(IMAGE_SIZE, IMAGE_SIZE, mean=MEAN, std=STD)


@dataclass(frozen=True)
class Recipe:
    """Settings of a pretraining; the defaults made the weights that ship."""

    seed: int = 0
    steps: int = 3000
    _: KW_ONLY
    batch_size: int = 128
    peak_learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 0.05


@dataclass(frozen=True, eq=False)
class Pretrained:
    """The results of a pretraining."""

    transformer: nn.Module
    accuracy: float  # on unseen scenes of the pretraining classes


def pretrain(recipe: Recipe, progress: Callable[[int, float], None] = lambda step, loss: None) -> Pretrained:
    """Train from scratch; `progress` gets the number of the step and its loss."""
    from transformers import ViTConfig, ViTModel

    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    config = ViTConfig(
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN_SIZE,
    )
    transformer = ViTModel(config, add_pooling_layer=False).train()
    head = new_head(HIDDEN_SIZE, len(PRETRAINING_CLASSES), seed=recipe.seed)
    parameters = [*transformer.parameters(), *head.parameters()]

    def logits_of(images: Tensor) -> Tensor:
        return head(transformer(PREPROCESS(images)).last_hidden_state[:, 0])

    fit(
        logits_of,
        parameters,
        _batches(recipe.batch_size, split_seed(recipe.seed, "pretraining")),
        recipe,
        progress,
    )
    transformer.eval()
    unseen = _batches(64, split_seed(recipe.seed, "pretraining test"))
    with torch.no_grad():
        correct = [logits_of(images).argmax(dim=1) == labels for images, labels in islice(unseen, 22)]
    return Pretrained(transformer, float(torch.cat(correct).float().mean()))


def fit(
    logits_of: Callable[[Tensor], Tensor],
    parameters: Sequence[nn.Parameter],
    batches: Iterator[tuple[Tensor, Tensor]],
    recipe: Recipe,
    progress: Callable[[int, float], None],
) -> None:
    """Minimise the cross-entropy of ``logits_of`` over the recipe's steps, a new batch in each; in place."""
    optimiser = torch.optim.AdamW(parameters, lr=recipe.peak_learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warmup_then_cosine(step, recipe))
    for step, (pixels, labels) in zip(range(recipe.steps), batches, strict=False):
        loss = F.cross_entropy(logits_of(pixels), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        progress(step, float(loss.detach()))


def save(pretrained: Pretrained, directory: Path, preprocess: Preprocess = PREPROCESS) -> None:
    """Write `config.json`, `model.safetensors`, `preprocessor_config.json`; whole, or not at all."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        new = scratch / "new"
        pretrained.transformer.save_pretrained(new)  # type: ignore[operator]
        settings = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": preprocess.height, "width": preprocess.width},
            "resample": 2,
            "do_rescale": True,
            "rescale_factor": preprocess.rescale_factor,
            "do_normalize": True,
            "image_mean": preprocess.mean,
            "image_std": preprocess.std,
        }
        (new / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        if directory.exists():
            directory.rename(scratch / "old")
        new.rename(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _batches(batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches (uint8 BCHW, labels): every image is new, all classes are equally frequent."""
    shuffle = np.random.default_rng(seed)
    classes, per_class, start = len(PRETRAINING_CLASSES), batch_size, 0
    while True:
        scenes = np.concatenate(
            [render_many(name, range(start, start + per_class), seed=seed) for name in PRETRAINING_CLASSES]
        )
        start += per_class
        order = shuffle.permutation(len(scenes)).reshape(classes, batch_size)
        for rows in order:
            images = torch.from_numpy(np.ascontiguousarray(scenes[rows].transpose(0, 3, 1, 2)))
            yield images, torch.from_numpy(rows // per_class)


def warmup_then_cosine(step: int, recipe: Recipe) -> float:
    """Return the factor on the peak learning rate at a step."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.warmup_steps) / (recipe.steps - recipe.warmup_steps)))


def main() -> None:
    """Pretrain as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="directory to write, for example ./synthetic-vit"
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    arguments = parser.parse_args()
    recipe = Recipe(seed=arguments.seed, steps=arguments.steps)
    started = time.monotonic()

    def report(step: int, loss: float) -> None:
        if (step + 1) % 100 == 0:
            elapsed_s = time.monotonic() - started
            print(f"step {step + 1}/{recipe.steps}  loss {loss:.3f}  {elapsed_s:.0f} s", flush=True)

    pretrained = pretrain(recipe, report)
    save(pretrained, arguments.out)
    print(f"accuracy on unseen scenes {pretrained.accuracy:.3f}; wrote {arguments.out}")


if __name__ == "__main__":
    main()
