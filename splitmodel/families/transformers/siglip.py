"""The vision part of SigLIP (Zhai et al. 2023); its attention pooling gives way to our head."""

from splitmodel.families.protocol import HALF
from splitmodel.families.transformers.transformer_family import TransformersFamily

SIGLIP = TransformersFamily(
    "siglip_vision_model",
    "SiglipVisionModel",
    composite="siglip",
    pooling="mean",
    special_tokens=0,
    layers="encoder.layers",
    final_norm="post_layernorm",
    settings={"vision_use_head": False},
    statistics=HALF,
)
