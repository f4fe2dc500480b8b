"""Every family against its whole model, loaded and run without SkySplit, by the kit that third parties use, too."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitmodel import parts
from splitmodel.families import FAMILIES
from splitmodel.families.transformers.transformer_family import TransformersFamily
from splitmodel.lora import mixed_adapters
from splitmodel.testing import check_family

OF_TRANSFORMERS = [name for name, family in FAMILIES.items() if isinstance(family, TransformersFamily)]


def whole_of(model_type: str, directory: Path) -> nn.Module:
    from transformers import AutoModel

    arguments: dict[str, Any] = {"mask_ratio": 0.0} if model_type == "vit_mae" else {}
    return AutoModel.from_pretrained(directory, **arguments).eval()


def hidden_of(model_type: str, model: Any, pixels: Tensor) -> Tensor:
    """Hidden states after the final norm, as each model's own documentation gives them."""
    if model_type == "vit_mae":
        return model(pixels, noise=torch.arange(16.0).expand(len(pixels), -1)).last_hidden_state
    if model_type == "siglip2_vision_model":
        from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

        patches = torch.stack(
            [
                torch.from_numpy(convert_image_to_patches(image.numpy(), model.config.patch_size))
                for image in pixels
            ]
        )
        mask = torch.ones(patches.shape[:2], dtype=torch.int64)
        shapes = torch.tensor([[4, 4]]).expand(len(pixels), 2)
        return model(patches, pixel_attention_mask=mask, spatial_shapes=shapes).last_hidden_state
    hidden = model(pixels).last_hidden_state
    return model.post_layernorm(hidden) if model_type == "clip_vision_model" else hidden


@pytest.mark.parametrize("model_type", OF_TRANSFORMERS)
def test_a_split_model_computes_trains_and_exports_as_the_whole_one(
    tiny_models: dict[str, Path], model_type: str
) -> None:
    directory = tiny_models[model_type]
    check_family(
        directory,
        load=lambda: whole_of(model_type, directory),
        hidden=lambda model, pixels: hidden_of(model_type, model, pixels),
    )


def _a_little_more(result: Any) -> Any:
    """A result that is wrong by a thousandth; of several, the first that there is."""
    if isinstance(result, torch.Tensor):
        return 1.001 * result
    first = next(place for place, one in enumerate(result) if isinstance(one, torch.Tensor))
    return tuple(1.001 * one if place == first else one for place, one in enumerate(result))


@pytest.mark.parametrize(
    ("of", "name"),
    [(parts, "run_blocks"), (mixed_adapters, "_stacked"), (mixed_adapters._Adding, "backward")],
    ids=["blocks", "adapters", "gradients"],
)
def test_what_runs_is_what_is_proven_tampering_with_it_fails_the_proof(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, of: Any, name: str
) -> None:
    directory, true = tiny_models["vit"], getattr(of, name)
    wrong = functools.wraps(true)(lambda *args: _a_little_more(true(*args)))
    monkeypatch.setattr(of, name, staticmethod(wrong) if isinstance(of, type) else wrong)
    with pytest.raises(AssertionError):
        check_family(
            directory,
            load=lambda: whole_of("vit", directory),
            hidden=lambda model, pixels: hidden_of("vit", model, pixels),
        )
