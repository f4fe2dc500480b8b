"""The masked autoencoder (He et al. 2022), whose embedding is asked to keep every patch, in order."""

from typing import Any

import torch
from torch import Tensor, nn

from splitmodel.families.protocol import IMAGENET, Usage
from splitmodel.families.transformers.transformer_family import TransformersFamily


class _AllPatches(nn.Module):
    """Fine-tuning does not mask."""

    def __init__(self, embeddings: Any) -> None:
        super().__init__()
        self.embeddings = embeddings
        self._patches: int = embeddings.patch_embeddings.num_patches

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        order = torch.arange(self._patches, dtype=torch.float32, device=pixels_BCHW.device)
        return self.embeddings(pixels_BCHW, noise=order.expand(pixels_BCHW.shape[0], -1))[0]


class MaskedAutoencoder(TransformersFamily):
    """`vit_mae`."""

    def embedding(self, model: nn.Module) -> nn.Module:
        """The embedding with a noise that keeps the order."""
        return _AllPatches(super().embedding(model))

    def usage(self, base: str, config: object) -> Usage:
        """The same noise."""
        plain = super().usage(base, config)
        hidden = (
            "order = torch.arange(model.config.image_size**2 // model.config.patch_size**2).float()\n"
            "hidden = model(pixel_values=pixels, noise=order.expand(len(pixels), -1)).last_hidden_state"
        )
        return Usage(plain.imports, plain.model, hidden=hidden)


MAE = MaskedAutoencoder("vit_mae", "ViTMAEModel", settings={"mask_ratio": 0.0}, statistics=IMAGENET)
