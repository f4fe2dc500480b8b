"""DINOv2 (Oquab et al. 2024), with and without registers."""

from splitmodel.families.protocol import IMAGENET
from splitmodel.families.transformers.transformer_family import TransformersFamily

DINOV2, DINOV2_WITH_REGISTERS = (
    TransformersFamily(name, model, layers="encoder.layer", any_image_size=True, statistics=IMAGENET)
    for name, model in (
        ("dinov2", "Dinov2Model"),
        ("dinov2_with_registers", "Dinov2WithRegistersModel"),
    )
)
