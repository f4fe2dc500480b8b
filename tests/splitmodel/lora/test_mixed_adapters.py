"""Rows of many satellites in one pass against one `peft` pass per satellite."""

from pathlib import Path
from typing import Any

import pytest
import torch

from splitmodel.lora.adapters import (
    AdapterError,
    LoraSettings,
    add_lora,
    load_trainable_state,
    trainable_state,
)
from splitmodel.lora.dropout import drop, dropping, row_seeds
from splitmodel.lora.mixed_adapters import mixed_forward, new_adapter
from splitmodel.parts import load_backbone, load_embedding

SETTINGS = LoraSettings(rank=4, alpha=12.0)
INTERLEAVED, GROUPED = [2, 0, 1, 1, 0, 2, 2, 1], [0, 0, 0, 1, 1, 1, 2, 2, 2]


def check(
    directory: Path,
    of_row: list[int] = INTERLEAVED,
    settings: LoraSettings = SETTINGS,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Outputs to 1e-5, gradients to 1e-5 of their largest value."""
    backbone = load_backbone(directory).to(dtype)
    size = backbone.image_size[0]
    generator = torch.Generator().manual_seed(0)
    features = load_embedding(directory)(torch.randn(len(of_row), 3, size, size, generator=generator)).to(
        dtype
    )
    gradient = torch.randn(len(of_row), backbone.config.hidden_size, generator=generator, dtype=dtype)
    adapters = [new_adapter(backbone, settings, seed=seed) for seed in range(3)]
    with torch.no_grad():
        for adapter in adapters:
            for weight in adapter.values():
                weight.data = weight.to(dtype)
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    mixed_features = features.clone().requires_grad_()
    pooled = mixed_forward(backbone, mixed_features, adapters, of_row, settings)
    pooled.backward(gradient)
    assert mixed_features.grad is not None

    alone = load_backbone(directory)
    add_lora(alone, settings)
    alone.to(dtype)
    for owner, adapter in enumerate(adapters):
        rows = [row for row, of in enumerate(of_row) if of == owner]
        load_trainable_state(alone, adapter)
        alone.zero_grad()
        own_features = features[rows].clone().requires_grad_()
        expected = alone(own_features)
        expected.backward(gradient[rows])
        torch.testing.assert_close(pooled[rows], expected, rtol=1e-5, atol=1e-5)
        assert own_features.grad is not None
        torch.testing.assert_close(mixed_features.grad[rows], own_features.grad, rtol=1e-5, atol=1e-5)
        for name, parameter in alone.named_parameters():
            if parameter.requires_grad:
                wanted, found = parameter.grad, adapter[name].grad
                assert wanted is not None
                assert found is not None
                assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max(), name


@pytest.mark.parametrize("of_row", [INTERLEAVED, GROUPED], ids=["interleaved", "grouped"])
@pytest.mark.parametrize("model_type", ["vit", "dinov2_with_registers", "dinov3_vit", "beit"])
def test_outputs_and_gradients_equal_separate_passes(
    tiny_models: dict[str, Path], model_type: str, of_row: list[int]
) -> None:
    check(tiny_models[model_type], of_row)


def test_outputs_and_gradients_of_galileo_nano_equal_separate_passes(galileo_nano: Path) -> None:
    # In float32 its own rounding is above 1e-5 of these gradients, whichever way they are computed.
    check(galileo_nano, dtype=torch.float64)


def test_other_targets_mix_as_well(tiny_models: dict[str, Path]) -> None:
    check(tiny_models["vit"], settings=LoraSettings(rank=2, targets=("k_proj", "fc1", "fc2")))


def test_a_new_adapter_has_peft_names_and_changes_nothing(tiny_models: dict[str, Path]) -> None:
    backbone = load_backbone(tiny_models["dinov2"])
    adapter = new_adapter(backbone, SETTINGS)
    features = load_embedding(tiny_models["dinov2"])(torch.randn(2, 3, 16, 16))
    assert torch.equal(mixed_forward(backbone, features, [adapter], [0, 0], SETTINGS), backbone(features))
    add_lora(backbone, SETTINGS)
    theirs = trainable_state(backbone)
    assert {name: weight.shape for name, weight in adapter.items()} == {n: w.shape for n, w in theirs.items()}


def test_the_backbone_is_left_as_it_was_even_after_an_error(tiny_models: dict[str, Path]) -> None:
    backbone = load_backbone(tiny_models["vit"])
    features = load_embedding(tiny_models["vit"])(torch.randn(2, 3, 16, 16))
    before = backbone(features)
    adapter = new_adapter(backbone, SETTINGS)
    with torch.no_grad():
        for weight in adapter.values():
            weight.add_(1.0)
    with pytest.raises(RuntimeError):
        mixed_forward(backbone, features[..., :5], [adapter], [0, 0], SETTINGS)
    assert torch.equal(backbone(features), before)


def test_rows_without_adapter_and_adapters_that_do_not_fit_are_refused(tiny_models: dict[str, Path]) -> None:
    backbone = load_backbone(tiny_models["vit"])
    features = torch.zeros(2, 17, 32)
    adapter = new_adapter(backbone, SETTINGS)
    for rows in ([0], [0, 1], [0, -1]):
        with pytest.raises(AdapterError, match="each of the 2 rows needs one of 1 adapters"):
            mixed_forward(backbone, features, [adapter], rows, SETTINGS)
    with pytest.raises(AdapterError, match=r"an adapter has no weights '.*k_proj.lora_A.default.weight'"):
        mixed_forward(backbone, features, [adapter], [0, 0], LoraSettings(rank=4, targets=("k_proj",)))
    add_lora(backbone, SETTINGS)
    with pytest.raises(AdapterError, match="adapter of its own"):
        mixed_forward(backbone, features, [adapter], [0, 0], SETTINGS)


def test_a_row_drops_the_same_inputs_in_a_mixed_pass_and_in_pefts_own_layers(
    tiny_models: dict[str, Path],
) -> None:
    settings = LoraSettings(rank=4, dropout=0.3)
    generator = torch.Generator().manual_seed(0)
    features = load_embedding(tiny_models["vit"])(torch.randn(4, 3, 16, 16, generator=generator))
    alone, bare = load_backbone(tiny_models["vit"]), load_backbone(tiny_models["vit"])
    add_lora(alone, settings)
    adapter = {
        name: (0.2 * torch.randn(weight.shape, generator=generator)).requires_grad_()
        for name, weight in trainable_state(alone).items()
    }
    load_trainable_state(alone, adapter)
    seeds = row_seeds((1, 2, 3), 4)
    assert seeds[:2] == row_seeds((1, 2, 3), 2)
    undropped = mixed_forward(bare, features, [adapter], [0] * 4, settings)
    pooled = mixed_forward(bare, features, [adapter], [0] * 4, settings, seeds)
    with dropping(alone, seeds):
        expected = alone(features)
    torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-5)
    assert (pooled - undropped).abs().max() > 0.01
    torch.testing.assert_close(alone(features), undropped, rtol=1e-5, atol=1e-5)  # outside nothing is dropped
    order = [2, 0, 3, 1]  # whatever a row shares a pass with
    mixed = mixed_forward(
        bare, features[order], [adapter, adapter], [0, 1, 1, 0], settings, [seeds[row] for row in order]
    )
    torch.testing.assert_close(mixed, pooled[order], rtol=1e-5, atol=1e-5)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    dropped = drop(torch.ones(50, 400), row_seeds((7,), 50), "layer", 0.25)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 4 / 3]))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert not torch.equal(dropped[0], dropped[1])
    other = drop(torch.ones(50, 400), row_seeds((7,), 50), "other layer", 0.25)
    assert not torch.equal(dropped, other)


@pytest.mark.parametrize("variant", ["rslora", "dora"])
@pytest.mark.parametrize("of_row", [INTERLEAVED, GROUPED], ids=["interleaved", "grouped"])
def test_variants_of_lora_mix_as_peft_computes_them(
    tiny_models: dict[str, Path], variant: Any, of_row: list[int]
) -> None:
    check(tiny_models["vit"], of_row, LoraSettings(rank=4, alpha=8.0, variant=variant), torch.float64)
    check(
        tiny_models["beit"],
        of_row,
        LoraSettings(rank=2, variant=variant, targets="all-linear"),
        torch.float64,
    )
