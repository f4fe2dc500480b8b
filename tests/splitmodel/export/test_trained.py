"""A trained model loaded from its files again: the same outputs as in the run, here and as an ONNX file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trained_models import move_trained

from splitmodel.crossing.scaling import Scaling
from splitmodel.dense_heads import standardised
from splitmodel.export.final import CardFields, export_final
from splitmodel.export.onnx_file import OnnxModel, write_onnx
from splitmodel.export.trained import TrainedModel, load_trained
from splitmodel.families import FAMILIES
from splitmodel.families.transformers.transformer_family import TransformersFamily
from splitmodel.heads import HeadMaker
from splitmodel.lora.adapters import LoraSettings, make_trainable
from splitmodel.parts import SplitModel, load_split

OF_TRANSFORMERS = [name for name, family in FAMILIES.items() if isinstance(family, TransformersFamily)]
IMAGES = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
UNITS = Scaling(torch.tensor([300.0, -2.0, 7.0]), torch.tensor([20.0, 0.5, 1.0]))


def two_layers(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 7), nn.GELU(), nn.Linear(7, outputs))


OWN = HeadMaker("two_layers", two_layers, module="test_trained", attribute="two_layers")


def trained(base: Path, mode: str, **options: Any) -> tuple[SplitModel, Any]:
    """A model of which all that is trained is no longer what it was, its head on states of some scale."""
    split = load_split(base, num_labels=3, seed=1, **options)
    shape = split.backbone.head_input_shape[-1:]
    head = standardised(split.head, Scaling(torch.randn(shape) * 0.3, torch.rand(shape) + 0.5))
    split = replace(split, head=head)
    adapter = make_trainable(split.backbone, mode, LoraSettings(rank=4), seed=2)
    move_trained(split, 0.1)
    return split, adapter


def loaded_again(
    split: SplitModel, adapter: Any, base: Path, final: Path, units: Scaling | None = None, **options: Any
) -> TrainedModel:
    card = CardFields(
        "Test", str(base), classes=("a", "b", "c"), data="Random.", training="None.", target_scaling=units
    )
    export_final(final, split.backbone, split.preprocess, adapter, split.head, card)
    options.pop("bottleneck", None)
    whole = final / "model"
    plain = load_split(whole if whole.is_dir() else base, num_labels=3, **options)
    return load_trained(final, plain, split.preprocess)


@torch.no_grad()
def outputs_of(split: SplitModel, images: Tensor) -> Tensor:
    return split(split.preprocess(images))


@pytest.mark.parametrize("model_type", OF_TRANSFORMERS)
def test_a_trained_model_of_every_family_computes_from_its_files_what_it_did(
    tiny_models: dict[str, Path], model_type: str, tmp_path: Path
) -> None:
    base = tiny_models[model_type]
    split, adapter = trained(base, "lora")
    again = loaded_again(split, adapter, base, tmp_path / "final")
    found = again(split.preprocess.unnormalised(IMAGES))
    torch.testing.assert_close(found, outputs_of(split, IMAGES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("head", {}),
        ("onboard-full", {}),
        ("lora", {"maker": OWN}),
        ("lora", {"decoder": "linear", "bottleneck": 9}),
        ("downlink", {"decoder": "convolution"}),
    ],
)
@pytest.mark.parametrize("units", [None, UNITS])
def test_every_mode_and_head_is_loaded_with_its_units(
    tiny_models: dict[str, Path], mode: str, options: dict[str, Any], units: Scaling | None, tmp_path: Path
) -> None:
    base = tiny_models["dinov2"]
    split, adapter = trained(base, mode, **options)
    again = loaded_again(split, adapter, base, tmp_path / "final", units, **options)
    wanted = outputs_of(split, IMAGES)
    if units is not None:
        wanted = units.restore(wanted.movedim(1, -1)).movedim(-1, 1)
    found = again(split.preprocess.unnormalised(IMAGES))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)


def test_what_was_not_measured_is_nan_and_counts_as_in_the_run(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    base = tiny_models["vit"]
    split, adapter = trained(base, "lora")
    preprocess = replace(split.preprocess, no_data=7.0)
    images = IMAGES.clone()
    images[:, :, 2:6, 3:9] = 7
    split.embedding.preprocess = preprocess
    again = loaded_again(split, adapter, base, tmp_path / "final")
    pixels = preprocess.unnormalised(images)
    assert pixels.isnan().sum() == (images == 7).sum() > 0
    torch.testing.assert_close(again(pixels), outputs_of(split, images), rtol=1e-4, atol=1e-5)


def test_files_of_another_model_are_refused_by_name(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_models["vit"]
    split, adapter = trained(base, "lora")
    loaded_again(split, adapter, base, tmp_path / "final")
    other = load_split(base, num_labels=4)
    with pytest.raises(
        ValueError, match=r"final: these are not the trained weights of this model: .*size mismatch"
    ):
        load_trained(tmp_path / "final", other, split.preprocess)


def require_the_same_as_onnx(split: SplitModel, again: TrainedModel, path: Path) -> None:
    write_onnx(again, path, names=("a", "b", "c"), kind="classification")
    written = OnnxModel(path)
    pixels = split.preprocess.unnormalised(IMAGES)
    pixels[0, 0, 1, 1] = torch.nan
    for count in (1, 2, 3):
        wanted = again(pixels[:count])
        torch.testing.assert_close(written(pixels[:count]), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [None, "linear", "convolution"])
@pytest.mark.parametrize("model_type", OF_TRANSFORMERS)
def test_every_family_and_decoder_can_be_written_as_onnx(
    tiny_models: dict[str, Path], model_type: str, decoder: Any, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    base = tiny_models[model_type]
    split, adapter = trained(base, "lora", decoder=decoder)
    again = loaded_again(split, adapter, base, tmp_path / "final", decoder=decoder)
    require_the_same_as_onnx(split, again, tmp_path / "model.onnx")
