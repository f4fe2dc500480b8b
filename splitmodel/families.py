"""Which part of a `transformers` vision model is what.

Every supported model is ViT-shaped: an embedding (patches, special tokens, positions), a list of equal
layers, a final norm. The table gives the attribute of each, so that a split model runs the very modules of
the unsplit one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

PoolingKind = Literal["cls", "mean"]


class ModelLoadError(ValueError):
    """The model cannot be loaded as asked; the message names the model, what was found and what is
    allowed."""


class UnsupportedModelError(ModelLoadError):
    """The model is of a type that SkySplit does not know how to split."""


@dataclass(frozen=True)
class Family:
    """Where the parts of one `model_type` of `transformers` are.

    Attributes:
        model_type: as in the model's `config.json`.
        layers: dotted path of the list of layers in the whole model.
        pooling: what the head sees by default: the class token, or the mean of the patch tokens.
        special_tokens: tokens in front of the patch tokens (class, distillation), registers not counted.
        has_pooler: the whole model takes `add_pooling_layer`, which we refuse: the head replaces the pooler.
        any_image_size: the embedding interpolates its positions to any image of whole patches.
        embeddings, norm: attributes of the embedding and of the final norm.
        lora_targets: the projections of each layer that get a LoRA adapter by default (Hu et al. 2021:
            query, value).
    """

    model_type: str
    pooling: PoolingKind = "cls"
    special_tokens: int = 1
    layers: str = "layers"
    has_pooler: bool = False
    any_image_size: bool = False
    embeddings: str = "embeddings"
    norm: str = "layernorm"
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")


FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        Family("vit", has_pooler=True),
        Family("deit", has_pooler=True, special_tokens=2),
        Family("dinov2", layers="encoder.layer", any_image_size=True),
        Family("dinov2_with_registers", layers="encoder.layer", any_image_size=True),
        Family("ijepa", has_pooler=True, special_tokens=0, pooling="mean"),
        Family("vit_mae"),
        Family("vit_msn"),
    )
}


def family_of(model_type: str | None) -> Family:
    """The family of a `model_type`; raises `UnsupportedModelError` that names it and those supported."""
    family = FAMILIES.get(model_type or "")
    if family is None:
        found = f"model_type {model_type!r}" if model_type else "no model_type in its config.json"
        raise UnsupportedModelError(
            f"cannot split this model: {found}; supported: {', '.join(sorted(FAMILIES))}"
        )
    return family


def prefix_tokens(family: Family, config: Any) -> int:
    """How many tokens stand before the first patch token, registers of DINOv2 included."""
    return family.special_tokens + getattr(config, "num_register_tokens", 0)
