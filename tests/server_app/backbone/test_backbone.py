"""Passes through the backbone: mixed, bounded in memory, in bfloat16."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from server_app.backbone.executor import BackboneError, BackboneExecutor, Request, choose_precision
from splitmodel.lora.adapters import LoraSettings, add_lora
from splitmodel.parts import load_backbone
from splitmodel.shipped import weights_dir

LORA = LoraSettings(rank=4)


def steps(adapters: list[str], lora: LoraSettings = LORA, **settings: Any) -> BackboneExecutor:
    backbone = load_backbone(weights_dir("synthetic-vit"))
    add_lora(backbone, lora)
    made = BackboneExecutor(backbone, lora, device=torch.device("cpu"), adapters=adapters, **settings)
    generator = torch.Generator().manual_seed(3)
    for adapter in made.adapters.values():
        adapter.set(
            {name: 0.1 * torch.randn(t.shape, generator=generator) for name, t in adapter.tensors.items()}
        )
    return made


def features(rows: int, seed: int, of: BackboneExecutor) -> Tensor:
    tokens = 64 + of.backbone.pooling.prefix_tokens
    return torch.randn(
        rows, tokens, of.backbone.config.hidden_size, generator=torch.Generator().manual_seed(seed)
    )


def trained(of: BackboneExecutor, *, passes: list[list[str]]) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Pooled states of each adapter's rows, and all gradients; all passes are forward before the first goes back."""
    names = list(of.adapters)
    pooled: dict[str, Tensor] = {}
    for together in passes:
        requests = [
            Request(name, features(3 + names.index(name), names.index(name), of)) for name in together
        ]
        pooled |= zip(together, of.forward(tuple(together), requests), strict=True)
    for together in passes:
        of.backward(tuple(together), [pooled[name].cos() for name in together])
    gradients = {
        f"{key}/{name}": tensor.grad
        for key, adapter in of.adapters.items()
        for name, tensor in adapter.tensors.items()
    }
    return [pooled[name] for name in names], gradients


def check_same(first: BackboneExecutor, second: BackboneExecutor, passes: list[list[str]]) -> None:
    alone = [[name] for name in first.adapters]
    expected_BD, expected = trained(first, passes=alone)
    found_BD, found = trained(second, passes=passes)
    for one, other in zip(found_BD, expected_BD, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max(), name


def test_a_pass_of_several_satellites_gives_each_what_it_gets_alone() -> None:
    check_same(steps(["a", "b", "c"]), steps(["a", "b", "c"]), [["a", "b", "c"]])


@pytest.mark.parametrize("rows", [0.5, 2.5, 5.5])
def test_passes_beyond_the_memory_bound_are_made_again_with_the_same_gradients(rows: float) -> None:
    ample = steps(["a", "b", "c"])
    ample.forward("one row", [Request("a", features(1, 0, ample))])
    bounded = steps(["a", "b", "c"], activation_bytes=rows * ample.kept_bytes)
    check_same(steps(["a", "b", "c"]), bounded, [["a"], ["b"], ["c"]])


def test_a_pass_that_is_made_again_drops_what_it_dropped_at_first() -> None:
    dropping = LoraSettings(rank=4, dropout=0.5)
    found = []
    for bound_bytes, seeds in ((math.inf, (5, 6, 7)), (1.0, (5, 6, 7)), (math.inf, (8, 9, 10))):
        one = steps(["a"], dropping, activation_bytes=bound_bytes)
        [pooled_BD] = one.forward("pass", [Request("a", features(3, 0, one), seeds=seeds)])
        assert (one.kept_bytes == 0) == (bound_bytes == 1.0)
        one.backward("pass", [pooled_BD.cos()])
        found.append({name: tensor.grad for name, tensor in one.adapters["a"].tensors.items()})
    kept, made_again, otherwise = found
    for name, gradient in kept.items():
        torch.testing.assert_close(made_again[name], gradient, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(otherwise[name], gradient, rtol=1e-2)


def test_activations_are_counted_as_autograd_keeps_them_and_never_exceed_the_bound() -> None:
    ample = steps(["a"])
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ample.forward("probe", [Request("a", features(1, 0, ample))])
    row_bytes = ample.kept_bytes
    weights = sum(tensor.nbytes for tensor in ample.backbone.parameters())
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        ample.forward("eight", [Request("a", features(8, 1, ample))])
    assert ample.kept_bytes == 9 * row_bytes
    assert sum(kept.values()) - weights <= 8 * row_bytes <= sum(kept.values())

    bounded = steps(["a"], activation_bytes=8 * row_bytes)
    for step in range(3):
        bounded.forward(step, [Request("a", features(5, step, bounded))])
        assert bounded.kept_bytes == 5 * row_bytes
    for step in range(3):
        bounded.backward(step, [torch.ones(5, bounded.backbone.config.hidden_size)])
    assert bounded.kept_bytes == 0


def test_a_gradient_that_fits_no_pending_pass_is_refused() -> None:
    one = steps(["a"])
    with pytest.raises(BackboneError, match="without a pending forward pass"):
        one.backward("nothing", [])
    one.forward("pass", [Request("a", features(2, 0, one))])
    with pytest.raises(BackboneError, match=r"gradient for a: found shape \(3, "):
        one.backward("pass", [torch.ones(3, one.backbone.config.hidden_size)])


def test_bfloat16_is_close_and_adapters_stay_in_single_precision() -> None:
    exact, half = steps(["a"]), steps(["a"], precision="bf16")
    expected_BD, expected = trained(exact, passes=[["a"]])
    found_BD, found = trained(half, passes=[["a"]])
    torch.testing.assert_close(found_BD[0], expected_BD[0], rtol=0.1, atol=0.1)
    assert not torch.equal(found_BD[0], expected_BD[0])
    half.update("a", 1e-3)
    assert {tensor.dtype for tensor in half.adapters["a"].tensors.values()} == {torch.float32}
    for name, gradient in expected.items():
        assert math.isclose(found[name].norm(), gradient.norm(), rel_tol=0.1), name


def test_a_processor_computes_in_single_precision_unless_told_otherwise() -> None:
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) == "fp32"
    assert choose_precision("bf16", cpu) == "bf16"


def test_adapters_are_averaged_by_their_weights() -> None:
    one = steps(["a", "b"])
    before = {name: one.adapters[name].state() for name in ("a", "b")}
    one.average({"a": 3.0, "b": 1.0}, total=4.0)
    for name, tensor in before["a"].items():
        mean = 0.75 * tensor + 0.25 * before["b"][name]
        assert not torch.allclose(tensor, before["b"][name])
        for adapter in one.adapters.values():
            torch.testing.assert_close(adapter.tensors[name].detach(), mean)
