"""The decomposed foundation model: embedding (on board) → backbone (on the ground) → head (on board).

`families` says which part of a `transformers` model is what, `parts` loads and splits it, `step` computes one
training step in its two halves, `adapters` adds LoRA and writes checkpoints, `mixed_adapters` passes rows of
many satellites at once, `codecs` packs the tensors that cross the split, `profile` and `published` count
what each part costs, `scenes` and `pretrain` make the synthetic images and weights that SkySplit ships.

This package file imports no torch, so that `splitmodel.published` can be read where torch is not wanted.
"""

from splitmodel.shipped import weights_dir

__all__ = ["weights_dir"]
