"""The vision part of AIMv2 (Fini et al. 2024)."""

from splitmodel.families.protocol import OPENAI_CLIP
from splitmodel.families.transformers.transformer_family import TransformersFamily

AIMV2 = TransformersFamily(
    "aimv2_vision_model",
    "Aimv2VisionModel",
    composite="aimv2",
    pooling="mean",
    special_tokens=0,
    layers="encoder.layers",
    final_norm="rms_norm",
    settings={"use_head": False},
    statistics=OPENAI_CLIP,
)
