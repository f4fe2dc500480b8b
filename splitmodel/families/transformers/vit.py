"""The vision transformer (Dosovitskiy et al. 2021) and the families that share its parts: DeiT, MSN, I-JEPA."""

from splitmodel.families.protocol import HALF, IMAGENET
from splitmodel.families.transformers.transformer_family import TransformersFamily

VIT = TransformersFamily("vit", "ViTModel", arguments={"add_pooling_layer": False}, statistics=HALF)
DEIT = TransformersFamily(
    "deit", "DeiTModel", special_tokens=2, arguments={"add_pooling_layer": False}, statistics=IMAGENET
)
MSN = TransformersFamily("vit_msn", "ViTMSNModel", statistics=IMAGENET)
IJEPA = TransformersFamily(
    "ijepa",
    "IJepaModel",
    pooling="mean",
    special_tokens=0,
    arguments={"add_pooling_layer": False},
    statistics=IMAGENET,
)
