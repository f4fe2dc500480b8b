"""The vision part of CLIP (Radford et al. 2021), of which RemoteCLIP and GeoRSCLIP are fine-tuned."""

from typing import Any

from torch import nn

from splitmodel.families.protocol import OPENAI_CLIP, Usage
from splitmodel.families.transformers.transformer_family import TransformersFamily


class Clip(TransformersFamily):
    """`clip_vision_model`, alone or in a `clip`.

    Its last norm is applied to all tokens; the class token then is what the model calls `pooler_output`.
    """

    def embedding(self, model: nn.Module) -> nn.Module:
        """Embedding and the norm in front of the first block."""
        return nn.Sequential(super().embedding(model), model.pre_layrnorm)  # type: ignore[arg-type]

    def usage(self, base: str, config: Any) -> Usage:
        """The last norm is not in `last_hidden_state`."""
        plain = super().usage(base, config)
        hidden = "hidden = model.post_layernorm(model(pixel_values=pixels).last_hidden_state)"
        return Usage(plain.imports, plain.model, hidden=hidden)


CLIP = Clip(
    "clip_vision_model",
    "CLIPVisionModel",
    composite="clip",
    layers="encoder.layers",
    final_norm="post_layernorm",
    token_views=False,
    statistics=OPENAI_CLIP,
)
