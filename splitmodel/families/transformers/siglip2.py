"""The vision part of SigLIP 2 (Tschannen et al. 2025, NaFlex): it takes patches instead of pixels."""

from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from splitmodel.families.protocol import HALF, Usage, pair
from splitmodel.families.transformers.transformer_family import TransformersFamily

_PATCHES = """rows, columns = (side // {patch} for side in pixels.shape[-2:])
patches = pixels.unflatten(2, (rows, {patch})).unflatten(4, (columns, {patch})).permute(0, 2, 4, 3, 5, 1)
patches = patches.reshape(len(pixels), rows * columns, -1)
mask = torch.ones(patches.shape[:2], dtype=torch.int64)
shapes = torch.tensor([[rows, columns]]).expand(len(pixels), 2)
hidden = model(
    pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes
).last_hidden_state"""


class _OfPixels(nn.Module):
    """Cuts images of one size into patches (row by row, channels last) and embeds them."""

    def __init__(self, embeddings: nn.Module, patch_size: int) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.patch_size = patch_size

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        side = self.patch_size
        rows, columns = (size // side for size in pixels_BCHW.shape[-2:])
        cut = pixels_BCHW.unflatten(2, (rows, side)).unflatten(4, (columns, side))
        patches_BTP = cut.permute(0, 2, 4, 3, 5, 1).reshape(pixels_BCHW.shape[0], rows * columns, -1)
        shapes = torch.tensor([[rows, columns]]).expand(pixels_BCHW.shape[0], 2)
        return self.embeddings(patches_BTP, shapes)


class Siglip2(TransformersFamily):
    """`siglip2_vision_model`, alone or in a `siglip2`, with images of one size and without padding."""

    def image_size(self, config: Any) -> tuple[int, int]:
        """A square of as many patches as it has positions."""
        side = isqrt(config.num_patches) * pair(config.patch_size)[0]
        return side, side

    def embedding(self, model: nn.Module) -> nn.Module:
        """The embedding, of pixels."""
        return _OfPixels(super().embedding(model), pair(model.config.patch_size)[0])  # type: ignore[union-attr]

    def usage(self, base: str, config: Any) -> Usage:
        """With the patches cut by hand, as its image processor does it."""
        plain = super().usage(base, config)
        return Usage(plain.imports, plain.model, hidden=_PATCHES.format(patch=pair(config.patch_size)[0]))


SIGLIP2 = Siglip2(
    "siglip2_vision_model",
    "Siglip2VisionModel",
    composite="siglip2",
    pooling="mean",
    special_tokens=0,
    layers="encoder.layers",
    final_norm="post_layernorm",
    any_image_size=True,
    settings={"vision_use_head": False},
    statistics=HALF,
)
