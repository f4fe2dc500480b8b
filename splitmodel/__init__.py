"""The decomposed foundation model: embedding (on board) → backbone (on the ground) → head (on board).

`families` says which part of a `transformers` model is what, `parts` loads and splits it, `preprocess` makes its
pixels, `heads` its head. `step` computes one training step in its two halves, `training` says what both halves
know without asking. `adapters` adds LoRA, `mixed_adapters` passes rows of many satellites at once, `codecs` packs
what crosses the split, `export` writes the result. `profile` and `published` count what each part costs. `imagery`
opens data; `scenes`, `scene_fields` and `pretrain` make the synthetic images and weights that SkySplit ships, and
`shipped` finds them.

This package file imports no torch, so that `splitmodel.costs.published` can be read where torch is not wanted.
"""

from splitmodel.shipped import weights_dir

__all__ = ["weights_dir"]
