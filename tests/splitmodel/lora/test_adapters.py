"""Trained weights leave SkySplit as files that transformers, peft and safetensors read on their own."""

import json
import re
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from trained_models import move_trained

from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.export.final import CardFields, export_final
from splitmodel.families import FAMILIES, ModelInput
from splitmodel.families.transformers.transformer_family import TransformersFamily
from splitmodel.heads import StandardisedHead
from splitmodel.lora.adapters import (
    AdapterError,
    LoraSettings,
    add_lora,
    load_trainable_state,
    trainable_state,
)
from splitmodel.parts import SplitModel, load_split

OF_TRANSFORMERS = [name for name, family in FAMILIES.items() if isinstance(family, TransformersFamily)]
PIXELS = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def trained(directory: Path) -> tuple[SplitModel, PeftModel]:
    """A model whose adapter and head are no longer what they were at the start."""
    split = load_split(directory, num_labels=3, seed=1)
    adapter = add_lora(split.backbone, LoraSettings(rank=4), seed=2)
    move_trained(split, 0.2)
    return split, adapter


def card(base: Path) -> CardFields:
    return CardFields(
        "Test",
        str(base),
        classes=("a", "b", "c"),
        data="Random data.",
        training="Not trained.",
        metrics={"test_accuracy": 0.5},
    )


@pytest.mark.parametrize("model_type", OF_TRANSFORMERS)
def test_the_code_on_the_model_card_gives_the_split_models_logits(
    tiny_models: dict[str, Path], model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_models[model_type]
    split, adapter = trained(base)
    export_final(tmp_path / "final", split.backbone, split.preprocess, adapter, split.head, card(base))
    readme = (tmp_path / "final" / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert code
    monkeypatch.chdir(tmp_path / "final")
    names: dict[str, torch.Tensor] = {"pixels": PIXELS}
    exec(code[1], names)
    torch.testing.assert_close(names["logits"], split(PIXELS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["lora", "head"])
def test_an_export_of_random_weights_carries_them(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    split = load_split(tiny_models["vit"], num_labels=3, random_init=True, seed=5)
    adapter = add_lora(split.backbone, LoraSettings(rank=4)) if mode == "lora" else None
    for parameter in split.backbone.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.2)
    arguments = (split.backbone, split.preprocess, adapter, split.head, card(tiny_models["vit"]))
    export_final(tmp_path / "final", *arguments, with_base=True)
    code = code_of(tmp_path / "final")
    assert "ViTModel.from_pretrained('model'" in code
    monkeypatch.chdir(tmp_path / "final")
    names: dict[str, torch.Tensor] = {"pixels": PIXELS}
    exec(code, names)
    torch.testing.assert_close(names["logits"], split(PIXELS), rtol=1e-4, atol=1e-5)


def code_of(directory: Path) -> str:
    code = re.search(r"```python\n(.*?)```", (directory / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code
    return code[1]


@pytest.mark.parametrize("family", ["prithvi", "galileo"])
def test_the_card_of_a_loader_of_our_own_names_bands_and_its_code_gives_the_logits(
    golden: Path, shared_galileo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    wanted = ModelInput(bands=("Blue", "Green", "Red"), image_size=32)
    base = shared_galileo
    if family == "prithvi":
        base = tmp_path / "prithvi"
        base.mkdir()
        weights = load_file(golden / "v2-1frame.safetensors")
        torch.save(
            {k.removeprefix("weights."): v for k, v in weights.items() if "weights." in k}, base / "m.pt"
        )
        sizes = {
            "img_size": 32,
            "patch_size": [1, 8, 8],
            "embed_dim": 48,
            "depth": 3,
            "num_heads": 4,
            "in_chans": 6,
        }
        (base / "config.json").write_text(
            json.dumps({"architecture": "prithvi_eo_v2", "pretrained_cfg": sizes})
        )
    split = load_split(base, num_labels=3, seed=1, wanted=wanted)
    adapter = add_lora(split.backbone, LoraSettings(rank=4))
    for parameter in split.backbone.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1)
    final = tmp_path / "final"
    export_final(final, split.backbone, split.preprocess, adapter, split.head, card(base))
    readme = (final / "README.md").read_text(encoding="utf-8")
    assert "bands Blue, Green, Red" in readme
    assert "without SkySplit" not in readme
    monkeypatch.chdir(final)
    pixels = torch.randn(2, 3, 32, 32)
    names: dict[str, torch.Tensor] = {"pixels": pixels}
    exec(code_of(final), names)
    torch.testing.assert_close(names["logits"], split(pixels), rtol=1e-4, atol=1e-5)


def test_the_card_says_how_images_of_another_size_are_resized(
    tiny_models: dict[str, Path], galileo_nano: Path, tmp_path: Path
) -> None:
    for name, base, says in (
        ("a", tiny_models["vit"], "resized to 16 × 16 (bilinear, whole image, antialiased)"),
        ("b", galileo_nano, "images of 64 × 64, never resized"),
    ):
        split = load_split(base, num_labels=3)
        export_final(tmp_path / name, split.backbone, split.preprocess, None, split.head, card(base))
        assert says in (tmp_path / name / "README.md").read_text(encoding="utf-8")


def test_an_adapters_configuration_names_the_base_as_the_card_does(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    split, adapter = trained(tiny_models["vit"])
    arguments = (split.backbone, split.preprocess, adapter, split.head, card(tiny_models["vit"]))
    export_final(tmp_path / "final", *arguments)
    config = json.loads((tmp_path / "final" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_models["vit"])


def test_head_mode_exports_no_adapter_and_its_card_code_runs(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = load_split(tiny_models["deit"], num_labels=3, seed=1, pooling="mean")
    export_final(
        tmp_path / "f", split.backbone, split.preprocess, None, split.head, card(tiny_models["deit"])
    )
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == ["README.md", "head.safetensors"]
    code = re.search(
        r"```python\n(.*?)```", (tmp_path / "f/README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert code
    monkeypatch.chdir(tmp_path / "f")
    names: dict[str, torch.Tensor] = {"pixels": PIXELS}
    exec(code[1], names)
    torch.testing.assert_close(names["logits"], split(PIXELS), rtol=1e-4, atol=1e-5)


def test_a_standardised_head_is_exported_as_a_plain_one(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    split, _ = trained(tiny_models["vit"])
    pooled = split.backbone(split.embedding(PIXELS))
    head = StandardisedHead.of(split.head, Scaling.of(Moments.of(pooled)))
    export_final(tmp_path / "f", split.backbone, split.preprocess, None, head, card(tiny_models["vit"]))
    plain = load_file(tmp_path / "f/head.safetensors")
    logits = torch.nn.functional.linear(pooled, plain["weight"], plain["bias"])
    torch.testing.assert_close(logits, head(pooled), rtol=1e-4, atol=1e-4)


def test_an_export_replaces_the_one_before_and_leaves_nothing_else(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    split, adapter = trained(tiny_models["vit"])
    for value in (1.0, 2.0):
        with torch.no_grad():
            split.head.bias.fill_(value)
        arguments = (split.backbone, split.preprocess, adapter, split.head, card(tiny_models["vit"]))
        export_final(tmp_path / "final", *arguments)
    assert load_file(tmp_path / "final/head.safetensors")["bias"].tolist() == [2.0, 2.0, 2.0]
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_an_export_that_fails_leaves_the_one_before(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, adapter = trained(tiny_models["vit"])
    arguments = (split.backbone, split.preprocess, adapter, split.head, card(tiny_models["vit"]))
    export_final(tmp_path / "final", *arguments)
    before = (tmp_path / "final/head.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("splitmodel.export.final.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        export_final(tmp_path / "final", *arguments)
    assert (tmp_path / "final/head.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_a_card_that_names_too_few_classes_is_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    split = load_split(tiny_models["vit"], num_labels=4)
    with pytest.raises(ValueError, match="the head has 4 labels, the card names 3 classes"):
        export_final(
            tmp_path / "x", split.backbone, split.preprocess, None, split.head, card(tiny_models["vit"])
        )


@pytest.mark.parametrize("model_type", ["vit", "data2vec-vision"])
def test_a_fresh_adapter_is_seeded_changes_nothing_and_is_all_that_trains(
    tiny_models: dict[str, Path], model_type: str
) -> None:
    split = load_split(tiny_models[model_type], num_labels=3)
    before = split(PIXELS)
    add_lora(split.backbone, LoraSettings(rank=4), seed=5)
    assert torch.equal(split(PIXELS), before)
    state = trainable_state(split.backbone)
    layers, targets, hidden = split.config.num_hidden_layers, 2, 32
    assert sum(tensor.numel() for tensor in state.values()) == layers * targets * 2 * 4 * hidden
    twin = load_split(tiny_models[model_type], num_labels=3)
    add_lora(twin.backbone, LoraSettings(rank=4), seed=5)
    assert all(torch.equal(tensor, state[name]) for name, tensor in trainable_state(twin.backbone).items())


def test_trainable_state_carries_an_adapter_to_another_model(tiny_models: dict[str, Path]) -> None:
    split, _ = trained(tiny_models["vit"])
    other = load_split(tiny_models["vit"], num_labels=3)
    add_lora(other.backbone, LoraSettings(rank=4))
    load_trainable_state(other.backbone, trainable_state(split.backbone))
    load_trainable_state(other.head, trainable_state(split.head))
    assert torch.equal(other(PIXELS), split(PIXELS))


def test_trained_weights_that_do_not_fit_are_refused_and_change_nothing(tiny_models: dict[str, Path]) -> None:
    split, _ = trained(tiny_models["vit"])
    before = trainable_state(split.head)
    with pytest.raises(AdapterError, match="the trained weights lack 'bias'"):
        load_trainable_state(split.head, {"weight": torch.zeros(3, 32)})
    with pytest.raises(AdapterError, match="have an unknown 'extra'"):
        load_trainable_state(split.head, before | {"extra": torch.zeros(1)})
    with pytest.raises(AdapterError, match=r"'bias' has shape \(4,\), the model takes \(3,\)"):
        load_trainable_state(split.head, {"weight": torch.zeros(3, 32), "bias": torch.zeros(4)})
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainable_state(split.head).items())


def test_bad_lora_settings_are_refused(tiny_models: dict[str, Path]) -> None:
    for settings, message in (
        ({"rank": 0}, "rank must be at least 1; found 0"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
    ):
        with pytest.raises(AdapterError, match=message):
            LoraSettings(**settings)  # type: ignore[arg-type]
    backbone = load_split(tiny_models["vit"], num_labels=3).backbone
    message = r"lora.targets: found 'query', which is no linear layer of a block; allowed: .*q_proj"
    with pytest.raises(AdapterError, match=message):
        add_lora(backbone, LoraSettings(targets=("query",)))
    add_lora(backbone, LoraSettings())
    with pytest.raises(AdapterError, match="has a LoRA adapter already"):
        add_lora(backbone, LoraSettings())
