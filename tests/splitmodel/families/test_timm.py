"""Vision transformers of timm; skipped where timm, or the torchvision that it needs, cannot be imported."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from splitmodel.families import ModelLoadError
from splitmodel.parts import load_split
from splitmodel.testing import check_family

SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 4}


@pytest.fixture(scope="module")
def timm() -> Any:
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm cannot be imported: {error}")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"reg_tokens": 2, "no_embed_class": True},
        {"class_token": False, "global_pool": "avg"},
        {"pre_norm": True},
    ],
    ids=["plain", "registers", "mean", "pre-norm"],
)
def test_a_timm_model_computes_trains_and_exports_as_timms_own(
    timm: Any, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, fc_norm=False, **SIZES, **arguments)
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 0,
        "model_args": SIZES | arguments,
        "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))

    def whole() -> torch.nn.Module:
        again = timm.create_model("vit_tiny_patch16_224", num_classes=0, fc_norm=False, **SIZES, **arguments)
        again.load_state_dict(state)
        return again.eval()

    check_family(tmp_path, whole, lambda of, pixels: of.forward_features(pixels))
    assert load_split(tmp_path, num_labels=3).preprocess.mean == (0.1, 0.2, 0.3)


def test_without_timm_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    try:
        importlib.import_module("timm")
    except (ImportError, RuntimeError):
        pass
    else:
        pytest.skip("timm is installed")
    (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_224"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelLoadError, match=r"needs timm \(pip install 'skysplit\[timm\]'\)"):
        load_split(tmp_path, num_labels=3)
