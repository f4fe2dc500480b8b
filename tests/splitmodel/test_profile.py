"""Counted costs against torch's own counter, and against the published figures."""

import functools
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from splitmodel.costs.profile import profile
from splitmodel.costs.published import published, published_profiles
from splitmodel.lora.adapters import LoraSettings, add_lora, trainable_state
from splitmodel.parts import SplitModel, load_split

LORA = LoraSettings(rank=4)


def counted(action: object) -> int:
    with FlopCounterMode(display=False) as counter:
        action()  # type: ignore[operator]
    return counter.get_total_flops()


def backward_flops(split: SplitModel) -> int:
    """Of a pass through the adapters that the backbone has."""
    with sdpa_kernel(SDPBackend.MATH):  # the counter does not know the fused products of attention
        total = split.backbone(split.embedding(torch.randn(1, 3, 16, 16))).sum()
        return counted(total.backward)


@pytest.mark.parametrize("model_type", ["vit", "dinov2_with_registers", "dinov3_vit"])
def test_head_and_whole_backward_pass_are_counted_as_torch_counts_them(
    tiny_models: dict[str, Path], model_type: str
) -> None:
    split = load_split(tiny_models[model_type], num_labels=10)
    costs = profile(split, LORA)
    pixels, labels = torch.randn(1, 3, 16, 16), torch.zeros(1, dtype=torch.int64)
    pooled = split.backbone(split.embedding(pixels))
    assert counted(lambda: split.head(pooled)) == pytest.approx(costs.head_flops, rel=0.02)
    split.backbone.transformer.requires_grad_(True)
    with sdpa_kernel(SDPBackend.MATH):
        loss = torch.nn.functional.cross_entropy(split(pixels), labels)
        assert counted(loss.backward) == pytest.approx(costs.full_backward_flops, rel=0.02)


@pytest.mark.parametrize(
    ("model_type", "targets"),
    [
        ("vit", ("k_proj", "o_proj")),
        ("vit", ("q_proj", "k_proj", "v_proj", "fc1")),
        ("vit", ("o_proj",)),
        ("vit", ("fc1",)),
        ("vit", ("mlp.fc2",)),
        ("vit", "all-linear"),
        ("dinov3_vit", "all-linear"),
        ("dinov3_vit", ("k_proj",)),
        ("data2vec-vision", "attention"),
        ("data2vec-vision", ("intermediate.dense",)),
    ],
)
def test_the_backward_pass_of_other_lora_targets_is_counted_as_well(
    tiny_models: dict[str, Path], model_type: str, targets: tuple[str, ...]
) -> None:
    split = load_split(tiny_models[model_type], num_labels=10)
    lora = LoraSettings(rank=4, targets=targets)
    costs = profile(split, lora)
    add_lora(split.backbone, lora)
    assert backward_flops(split) == pytest.approx(costs.lora_backward_flops, rel=0.02)
    trained = trainable_state(split.backbone).values()
    assert costs.adapter_bytes == sum(tensor.nbytes for tensor in trained)


@pytest.mark.parametrize("adapted_blocks", [1, 2])
@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("k_proj", "o_proj"), ("q_proj", "fc1")])
def test_the_truncated_backward_pass_is_counted_as_torch_counts_it(
    tiny_models: dict[str, Path], targets: tuple[str, ...], adapted_blocks: int
) -> None:
    split = load_split(tiny_models["vit"], num_labels=10)
    lora = LoraSettings(rank=4, targets=targets)
    costs = profile(split, lora)
    add_lora(split.backbone, lora, adapted_blocks=adapted_blocks)
    adapter_bytes = sum(tensor.nbytes for tensor in trainable_state(split.backbone).values())
    assert costs.adapted_share(adapted_blocks) * costs.adapter_bytes == adapter_bytes
    assert backward_flops(split) == pytest.approx(costs.truncated_backward_flops(adapted_blocks), rel=0.02)


@pytest.mark.parametrize("onboard_blocks", [0, 1])
@pytest.mark.parametrize("model_type", ["vit", "dinov3_vit"])
def test_a_profile_is_cut_as_the_model_is(
    tiny_models: dict[str, Path], model_type: str, onboard_blocks: int
) -> None:
    whole = profile(load_split(tiny_models[model_type], num_labels=3), LORA)
    blocks = {"onboard_blocks": onboard_blocks, "head_blocks": 1 - onboard_blocks}
    found = whole.cut(**blocks)
    expected = profile(load_split(tiny_models[model_type], num_labels=3, **blocks), LORA)
    shapes = ("state_shape", "head_input_shape", "table_shape")
    for field in (
        "tokens",
        "hidden",
        "blocks",
        "adapter_params",
        "head_params",
        "family",
        "tail_blocks",
        *shapes,
    ):
        assert getattr(found, field) == getattr(expected, field), field
    flops = ("embedding_flops", "backbone_flops", "lora_backward_flops", "full_backward_flops", "tail_flops")
    for field in (*flops, "tail_backward_flops"):
        assert getattr(found, field) == pytest.approx(getattr(expected, field), rel=1e-9), field
    for field in (
        "embedding_params",
        "backbone_params",
        "tail_params",
    ):  # the final norm counts as part of the blocks
        assert getattr(found, field) == pytest.approx(getattr(expected, field), rel=0.01), field
    if not onboard_blocks:
        assert found.without_tail() == whole
    with pytest.raises(ValueError, match="split.onboard_blocks: found 2, .* 2 blocks; allowed: 0 to 1"):
        profile(load_split(tiny_models[model_type], num_labels=3), LORA).cut(2)
    with pytest.raises(ValueError, match="split.onboard_blocks: found 2, allowed: 0 to 1"):
        load_split(tiny_models[model_type], num_labels=3, onboard_blocks=2)
    for cut in (whole.cut, functools.partial(load_split, tiny_models[model_type], num_labels=3)):
        with pytest.raises(
            ValueError, match="split.head_blocks: found 1, .*split.onboard_blocks.*|allowed: 0 to 0"
        ):
            cut(onboard_blocks=1, head_blocks=1)


def test_more_adapted_blocks_than_there_are_get_one_error_that_says_how_many(
    tiny_models: dict[str, Path],
) -> None:
    split = load_split(tiny_models["vit"], num_labels=10)
    costs = profile(split, LORA)
    too_many = costs.blocks + 1
    says = (
        rf"training.adapted_blocks: found {too_many}, .* {costs.blocks} blocks; allowed: 1 to {costs.blocks}"
    )
    with pytest.raises(ValueError, match=says):
        costs.adapted_share(too_many)
    with pytest.raises(ValueError, match=says):
        add_lora(split.backbone, LORA, adapted_blocks=too_many)


def test_the_head_is_counted_and_a_model_with_an_adapter_refused(tiny_models: dict[str, Path]) -> None:
    split = load_split(tiny_models["vit"], num_labels=7)
    costs = profile(split, LORA)
    assert costs.head_bytes == sum(tensor.nbytes for tensor in trainable_state(split.head).values())
    add_lora(split.backbone, LORA)
    with pytest.raises(ValueError, match="before an adapter is added"):
        profile(split, LORA)


def test_the_published_galileo_nano_is_what_its_modules_count(galileo_nano: Path) -> None:
    ours = profile(load_split(galileo_nano, num_labels=10))
    theirs = published("Galileo-Nano (S2-RGB, 64px p8)")
    for field in ("tokens", "hidden", "backbone_params", "head_params", "adapter_params", "blocks"):
        assert getattr(ours, field) == getattr(theirs, field), field
    for field in ("embedding_flops", "backbone_flops", "head_flops", "full_backward_flops"):
        assert getattr(ours, field) == pytest.approx(getattr(theirs, field), rel=1e-9), field
    assert ours.lora_backward_flops == pytest.approx(theirs.lora_backward_flops, rel=0.06)


def test_published_profiles_are_consistent_and_name_their_sources() -> None:
    profiles = published_profiles()
    assert len(profiles) >= 20
    for entry in profiles.values():
        layers, rest = divmod(
            entry.adapter_params, 2 * 2 * 8 * entry.hidden
        )  # rank 8, A and B, query and value
        assert rest == 0, entry.name
        attention = 4 * entry.tokens**2 * entry.hidden * layers
        forward = 2 * entry.tokens * entry.backbone_params + attention  # 2 FLOPs per multiply-accumulate
        assert entry.backbone_flops == pytest.approx(forward, rel=0.01), entry.name
        assert "arXiv" in entry.source or "github.com" in entry.source


def test_an_unknown_published_name_lists_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="no published profile 'GPT-2'; there are: Galileo-Nano"):
        published("GPT-2")
