"""Make the six-band weights that ship with SkySplit.

    python -m splitmodel.synthetic.pretrain_multispectral --out splitmodel/weights/synthetic-multispectral

A small vision transformer learns the land cover of every pixel of cloudless scenes of
`splitmodel.synthetic.cloud_scenes`, every scene seen once; it never sees a cloud or a shadow. The decoder is thrown
away.
One seed, one thread: the same machine makes the same weights again.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from splitmodel.dense_heads import PatchGrid, PatchHead
from splitmodel.preprocess import Preprocess
from splitmodel.synthetic.cloud_scenes import BANDS, COVERS, SIZE, render_clouds
from splitmodel.synthetic.pretrain import Pretrained, Recipe, fit, save
from splitmodel.synthetic.scenes import split_seed

PATCH_SIZE, HIDDEN_SIZE, LAYERS, HEADS = 4, 64, 4, 4
RECIPE = Recipe(steps=200, batch_size=32, peak_learning_rate=3e-3, warmup_steps=20)
# Of the scenes, rounded: reflectance, that is values ÷ 10,000.
MEAN = (0.21, 0.23, 0.24, 0.28, 0.20, 0.16)
STD = (0.24, 0.24, 0.24, 0.19, 0.15, 0.15)
PREPROCESS = Preprocess(SIZE, SIZE, mean=MEAN, std=STD, rescale_factor=1e-4)


def pretrain(recipe: Recipe, progress: Callable[[int, float], None] = lambda step, loss: None) -> Pretrained:
    """Train from scratch; `progress` gets the number of the step and its loss."""
    from transformers import ViTConfig, ViTModel

    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    config = ViTConfig(
        image_size=SIZE,
        patch_size=PATCH_SIZE,
        num_channels=len(BANDS),
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN_SIZE,
    )
    transformer = ViTModel(config, add_pooling_layer=False).train()
    side = SIZE // PATCH_SIZE
    head = PatchHead.new(
        PatchGrid(side, side, height=SIZE, width=SIZE), HIDDEN_SIZE, len(COVERS), recipe.seed
    )
    parameters = [*transformer.parameters(), *head.parameters()]

    def logits_of(pixels: Tensor) -> Tensor:
        return head(transformer(pixels).last_hidden_state[:, 1:])

    seed = split_seed(recipe.seed, "pretraining")
    batches = (_batch(step, recipe.batch_size, seed) for step in range(recipe.steps))
    fit(logits_of, parameters, batches, recipe, progress)
    transformer.eval()
    pixels, covers = _batch(0, 64, split_seed(recipe.seed, "pretraining test"))
    with torch.no_grad():
        right = logits_of(pixels).argmax(1) == covers
    return Pretrained(transformer, float(right.float().mean()))


def _batch(number: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Preprocessed pixels and the cover of each, of scenes of their own."""
    scenes = render_clouds(range(number * size, (number + 1) * size), seed=seed, cloudy=False)
    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(scenes.pixels, -1, 1)))
    return PREPROCESS(pixels), torch.from_numpy(scenes.covers).long()


def main() -> None:
    """Pretrain as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    arguments = parser.parse_args()
    started = time.monotonic()

    def report(step: int, loss: float) -> None:
        if (step + 1) % 50 == 0:
            print(
                f"step {step + 1}/{RECIPE.steps}  loss {loss:.3f}  {time.monotonic() - started:.0f} s",
                flush=True,
            )

    pretrained = pretrain(RECIPE, report)
    save(pretrained, arguments.out, PREPROCESS)
    print(f"share of pixels rightly named in unseen scenes {pretrained.accuracy:.3f}; wrote {arguments.out}")


if __name__ == "__main__":
    main()
