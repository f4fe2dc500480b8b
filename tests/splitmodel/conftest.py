"""Tiny models of every family, saved as `transformers` directories with random weights."""

import os
from pathlib import Path

import pytest
import torch

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SMALL_IMAGE = {"image_size": 16, "patch_size": 4}
CONFIGS = {
    "vit": {},
    "deit": {},
    "dinov2": {"mlp_ratio": 2, "layerscale_value": 0.7},
    "dinov2_with_registers": {"mlp_ratio": 2, "num_register_tokens": 3},
    "ijepa": {},
    "vit_mae": {},
    "vit_msn": {},
}


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """model_type → directory with config.json and model.safetensors."""
    from transformers import CONFIG_MAPPING, AutoModel

    directories = {}
    torch.manual_seed(1)
    for model_type, extra in CONFIGS.items():
        config = CONFIG_MAPPING[model_type](**TINY, **SMALL_IMAGE, **extra)
        model = AutoModel.from_config(config)
        with torch.no_grad():  # zero tokens and zero biases would hide a mistake
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        directories[model_type] = tmp_path_factory.mktemp(model_type)
        model.save_pretrained(directories[model_type])
    return directories


@pytest.fixture(scope="session")
def galileo_nano() -> Path:
    """A real pretrained remote-sensing model."""
    shared = os.environ.get("SKYSPLIT_DATA")
    directory = Path(shared or "", "galileo-nano-rgb-p8")
    if not shared or not directory.is_dir():
        pytest.skip("SKYSPLIT_DATA is not set or has no galileo-nano-rgb-p8")
    return directory
