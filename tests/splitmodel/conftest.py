"""Tiny models of every family of `transformers`, saved as its directories with random weights."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports each file by itself

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SMALL_IMAGE = {"image_size": 16, "patch_size": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "vit": {},
    "deit": {},
    "dinov2": {"mlp_ratio": 2, "layerscale_value": 0.7},
    "dinov2_with_registers": {"mlp_ratio": 2, "num_register_tokens": 3},
    "dinov3_vit": {"num_register_tokens": 3, "layerscale_value": 0.7, "use_gated_mlp": True},
    "ijepa": {},
    "vit_mae": {},
    "vit_msn": {},
    "clip_vision_model": {},
    "siglip_vision_model": {},
    "siglip2_vision_model": {"image_size": None, "num_patches": 16},
    "aimv2_vision_model": {},
    "beit": {"use_relative_position_bias": True, "use_mask_token": True},
    "data2vec-vision": {"use_shared_relative_position_bias": True, "use_mean_pooling": False},
    "pixio": {"mlp_ratio": 2, "n_cls_tokens": 3},
}


def save_tiny(directory: Path, model: Any) -> None:
    """Save a model without zero tokens and zero biases, which would hide a mistake."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(directory)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """For tiny models threads cost more than they save, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TinyModels(dict[str, Path]):
    """model_type → directory with config.json and model.safetensors, made when it is first asked for."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        super().__init__()
        self._factory = factory

    def __missing__(self, model_type: str) -> Path:
        from transformers import CONFIG_MAPPING, AutoModel

        settings = {**TINY, **SMALL_IMAGE, **CONFIGS[model_type]}
        config = CONFIG_MAPPING[model_type](
            **{key: value for key, value in settings.items() if value is not None}
        )
        directory = self._factory.mktemp(model_type)
        torch.manual_seed(1)
        save_tiny(directory, AutoModel.from_config(config))
        self[model_type] = directory
        return directory


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """model_type → directory with config.json and model.safetensors."""
    return TinyModels(tmp_path_factory)


@pytest.fixture(scope="session")
def galileo_nano() -> Path:
    """A real pretrained remote-sensing model."""
    return shared_data("galileo-nano-rgb-p8")


def shared_data(name: str) -> Path:
    """A folder of the shared data; skips the test where it is absent."""
    shared = os.environ.get("SKYSPLIT_DATA")
    directory = Path(shared or "", name)
    if not shared or not directory.is_dir():
        pytest.skip(f"SKYSPLIT_DATA is not set or has no {name}")
    return directory


@pytest.fixture(scope="session")
def golden() -> Path:
    """What TerraTorch computes from small Prithvi models with random weights."""
    return shared_data("golden-prithvi")


@pytest.fixture(scope="session")
def shared_galileo() -> Path:
    """Galileo-Nano with all of its bands, and what its own code computes."""
    return shared_data("galileo-nano-multispectral")
