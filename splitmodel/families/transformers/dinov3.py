"""DINOv3's vision transformer (Siméoni et al. 2025): rotary positions, which follow from the grid of patches alone."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from splitmodel.families.protocol import IMAGENET
from splitmodel.families.transformers.transformer_family import TransformersFamily


class Dinov3(TransformersFamily):
    """`dinov3_vit`; of checkpoints of satellite images (SAT-493M) `preprocessor_config.json` has the statistics."""

    def block_inputs(
        self, model: nn.Module, hidden_BTD: Tensor, height: int, width: int
    ) -> Mapping[str, Any]:
        """The rotary table; of the image it reads size, dtype and device."""
        blank = hidden_BTD.new_empty((1, 1, height, width))
        return {"position_embeddings": model.rope_embeddings(blank)}  # type: ignore[operator]


DINOV3 = Dinov3(
    "dinov3_vit",
    "DINOv3ViTModel",
    layers="model.layer",
    final_norm="norm",
    any_image_size=True,
    statistics=IMAGENET,
)
