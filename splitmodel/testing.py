"""Prove a family: a test kit for families of our own and of others.

    check_family(directory, load=lambda: AutoModel.from_pretrained(directory).eval(),
                 hidden=lambda model, pixels: model(pixels).last_hidden_state)

`check_family` raises `AssertionError` where the split model and the whole model, loaded and run without SkySplit, part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from splitmodel.costs.profile import profile
from splitmodel.costs.published import Profile
from splitmodel.families.protocol import ModelInput
from splitmodel.imagery.natural_noise import natural_noise
from splitmodel.imagery.views import view
from splitmodel.lora.adapters import LoraSettings, add_lora, lora_targets, save_adapter, trainable_state
from splitmodel.lora.mixed_adapters import mixed_forward, without_adapter
from splitmodel.parts import (
    Backbone,
    SplitModel,
    Tail,
    head_input,
    load_backbone,
    load_embedding,
    load_onboard_parts,
    load_split,
)
from splitmodel.step import head_step
from splitmodel.token_views import TokenViews
from splitmodel.training import VIEWS

if TYPE_CHECKING:
    from peft import PeftModel

_LABELS, _ROWS, _STEPS = 3, 4, 3
_SETTINGS = LoraSettings(rank=2, alpha=4.0)

Load = Callable[[], nn.Module]
Hidden = Callable[[nn.Module, Tensor], Tensor]


def check_family(
    directory: str | Path,
    load: Load,
    hidden: Hidden,
    *,
    tolerance: float = 0.0,
    wanted: ModelInput = ModelInput(),  # noqa: B008  # frozen
) -> None:
    """Check a model of a family against the whole model.

    Checked are hidden states, parts that are loaded alone, blocks that run in two places, training steps with LoRA as a
    run makes them, rows of several satellites in one batch, the counted FLOPs, views of tokens where it has
    them, and an exported adapter.

    Args:
        directory: A small model, with random weights that are not zero.
        load: The whole model without SkySplit, a new one every time, in evaluation mode.
        hidden: Its hidden states after the final norm, shape (B, tokens, hidden), of pixels.
        tolerance: Of hidden states, absolute; 0 for the same bits.
        wanted: What images the model shall take.

    Raises:
        AssertionError: Something differs.
    """
    split = _split(directory, wanted)
    _check_outputs(split, load, hidden, tolerance)
    _check_parts(split, directory, wanted)
    _check_token_views(split)
    with torch.no_grad():
        logits = split(pixels_of(split))
    costs = _check_profile(split, len(split.backbone.layers))
    adapter = add_lora(split.backbone, _SETTINGS)
    _check_profile_of_adapter(split, costs)
    _check_cuts(split, logits, directory, wanted)
    bare = without_adapter(split.backbone)
    _check_training(split, bare, load, hidden)
    _check_mixed_batch(split, bare)
    _check_export(split, adapter, load, hidden, max(tolerance, 1e-5))


def _split(
    directory: str | Path, wanted: ModelInput, onboard_blocks: int = 0, head_blocks: int = 0
) -> SplitModel:
    return load_split(
        directory,
        num_labels=_LABELS,
        seed=3,
        wanted=wanted,
        onboard_blocks=onboard_blocks,
        head_blocks=head_blocks,
    )


def pixels_of(split: SplitModel, rows: int = _ROWS, seed: int = 0) -> Tensor:
    """Random preprocessed pixels, shape (rows, C, H, W)."""
    shape = rows, len(split.preprocess.mean), split.preprocess.height, split.preprocess.width
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _check_outputs(split: SplitModel, load: Load, hidden: Hidden, tolerance: float) -> None:
    pixels = pixels_of(split)
    with torch.no_grad():
        expected = hidden(load(), pixels)
        output = split.backbone(split.embedding(pixels), pooled=False)
    torch.testing.assert_close(output, expected, rtol=0, atol=tolerance)
    layout = split.backbone.layout
    assert output.shape[1:] == (layout.tokens, split.config.hidden_size)


@torch.no_grad()
def _check_parts(split: SplitModel, directory: str | Path, wanted: ModelInput) -> None:
    embedding, backbone = load_embedding(directory, wanted=wanted), load_backbone(directory, wanted=wanted)
    pixels = pixels_of(split)
    features = embedding(pixels)
    assert torch.equal(features, split.embedding(pixels))
    expected = split.backbone(features)
    assert torch.equal(backbone(features), expected)
    for blocks in range(len(backbone.layers) + 1):
        assert torch.equal(backbone(backbone.below(features, blocks), first_block=blocks), expected)
    held = sum(parameter.numel() for parameter in embedding.parameters())
    assert held < sum(parameter.numel() for parameter in split.backbone.transformer.parameters())


@torch.no_grad()
def _check_token_views(split: SplitModel) -> None:
    """Tokens turn as the pixels do: of patches of one colour by their places alone, of others nearly."""
    if not split.backbone.family.has_token_views(split.config):
        return
    layout, preprocess = split.backbone.layout, split.preprocess
    channels, size = len(preprocess.mean), (preprocess.height, preprocess.width)
    blank = split.embedding(torch.zeros(1, channels, *size))[0]
    nothing = torch.zeros(VIEWS["token-dihedral"], layout.groups, *2 * blank.shape[-1:])
    by_place = TokenViews(
        layout, blank, inside_VGDD=nothing, quarters=size[0] == size[1] and layout.rows == layout.columns
    )
    shape = 1, channels, layout.rows, layout.columns
    colours = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    sides = size[0] // layout.rows, size[1] // layout.columns
    flat = colours.repeat_interleave(sides[0], -2).repeat_interleave(sides[1], -1)
    assert _error_of_views(by_place, split, flat) < 1e-5
    images, _ = natural_noise(8, channels, height=size[0], width=size[1], seed=1)
    assert _error_of_views(TokenViews.of(split), split, images) < 0.5 * _error_of_views(
        by_place, split, images
    )


def _error_of_views(token_views: TokenViews, split: SplitModel, pixels: Tensor) -> float:
    """The largest difference to the embedding of turned pixels, of the largest of its values."""
    every = np.tile(np.arange(VIEWS["token-dihedral"]), len(pixels))
    repeated = pixels.repeat_interleave(VIEWS["token-dihedral"], 0)
    expected = split.embedding(view(repeated, every))
    difference = token_views(split.embedding(repeated), every) - expected
    return float(difference.abs().max() / expected.abs().max())


def _draw(state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """An adapter in which B is not zero: with B = 0 the gradient of A would be."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (0.1 * torch.randn(tensor.shape, generator=generator)).requires_grad_()
        for name, tensor in state.items()
    }


def _check_training(split: SplitModel, bare: Backbone, load: Load, hidden: Hidden) -> None:
    """A few steps as the ground makes them, against a loop with `peft` on the whole model."""
    from peft import LoraConfig, get_peft_model

    targets = lora_targets(bare, _SETTINGS)
    blocks = f"{_blocks_path(bare)}."
    adapter = _draw(trainable_state(split.backbone), 4)
    whole = load().requires_grad_(False)
    names = [
        name
        for name, module in whole.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(blocks) and name.endswith(targets)
    ]
    get_peft_model(
        whole,  # type: ignore[arg-type]
        LoraConfig(r=_SETTINGS.rank, lora_alpha=int(_SETTINGS.alpha), target_modules=names),
    )
    whole_parameters = {f"transformer.{n}": p for n, p in whole.named_parameters() if p.requires_grad}
    assert whole_parameters.keys() == adapter.keys()
    with torch.no_grad():
        for name, parameter in whole_parameters.items():
            parameter.copy_(adapter[name])
    assert isinstance(split.head, nn.Linear)
    head = nn.Linear(split.head.in_features, _LABELS)
    head.load_state_dict(split.head.state_dict())
    ours_optimiser = torch.optim.SGD([*adapter.values(), *split.head.parameters()], lr=0.1, momentum=0.9)
    their_optimiser = torch.optim.SGD([*whole_parameters.values(), *head.parameters()], lr=0.1, momentum=0.9)
    for step in range(_STEPS):
        pixels = pixels_of(split, seed=step)
        labels = torch.arange(_ROWS) % _LABELS
        ours_optimiser.zero_grad()
        their_optimiser.zero_grad()
        features = split.embedding(pixels).detach()  # crosses
        pooled = mixed_forward(bare, features, [adapter], [0] * _ROWS, _SETTINGS)
        sent = pooled.detach().requires_grad_()  # crosses
        loss = F.cross_entropy(split.head(sent), labels)
        loss.backward()
        assert sent.grad is not None
        pooled.backward(sent.grad)
        expected = F.cross_entropy(head(split.backbone.pooling(hidden(whole, pixels))), labels)
        expected.backward()
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
        for name, parameter in whole_parameters.items():
            _assert_same_gradient(adapter[name].grad, parameter.grad, name)
        _assert_same_gradient(split.head.weight.grad, head.weight.grad, "head")
        ours_optimiser.step()
        their_optimiser.step()
    for name, parameter in whole_parameters.items():
        torch.testing.assert_close(adapter[name], parameter, rtol=1e-4, atol=1e-5, msg=name)


def _assert_same_gradient(gradient: Tensor | None, wanted: Tensor | None, name: str) -> None:
    """Equal to 1e-4 of its largest value."""
    assert gradient is not None, f"{name}: no gradient"
    assert wanted is not None, f"{name}: no gradient in the whole model"
    assert (gradient - wanted).abs().max() <= 1e-4 * wanted.abs().max() + 1e-7, name


def _blocks_path(backbone: Backbone) -> str:
    blocks = backbone.layers
    return next(name for name, module in backbone.transformer.named_modules() if module is blocks)


def _check_mixed_batch(split: SplitModel, bare: Backbone) -> None:
    """Rows of two satellites, each with its own adapter, against a pass for each."""
    state = trainable_state(split.backbone)
    adapters, owners = [_draw(state, seed) for seed in (1, 2)], [0, 1, 1, 0]
    with torch.no_grad():
        features = split.embedding(pixels_of(split))
    mixed_forward(bare, features, adapters, owners, _SETTINGS).sin().sum().backward()
    for owner, adapter in enumerate(adapters):
        rows = [row for row, of in enumerate(owners) if of == owner]
        alone = {name: tensor.detach().clone().requires_grad_() for name, tensor in adapter.items()}
        mixed_forward(bare, features[rows], [alone], [0] * len(rows), _SETTINGS).sin().sum().backward()
        for name, tensor in alone.items():
            _assert_same_gradient(adapter[name].grad, tensor.grad, name)


def _check_cuts(whole: SplitModel, logits: Tensor, directory: str | Path, wanted: ModelInput) -> None:
    """With blocks on board the same comes out, and the adapters are in the others.

    So it is for every number of blocks behind the embedding and in front of the head, and so are the gradients.
    ``whole`` has an adapter; ``logits`` are what it computed without.
    """
    blocks, pixels = len(whole.backbone.layers), pixels_of(whole)
    cuts = [(first, last) for first in range(blocks) for last in range(blocks - first) if first or last]
    for first, last in cuts:
        cut = _split(directory, wanted, first, last)
        embedding, tail = load_onboard_parts(directory, wanted=wanted, onboard_blocks=first, head_blocks=last)
        with torch.no_grad():
            returned = cut.backbone(embedding(pixels))
            assert returned.shape[1:] == cut.backbone.state_shape
            assert torch.equal(cut.head(head_input(tail, returned)), logits)
            assert torch.equal(cut(pixels), logits)
        costs = _check_profile(cut, blocks - 1) if first + last == 1 else None
        add_lora(cut.backbone, _SETTINGS)
        for number, block in enumerate(cut.backbone.layers):
            adapted = any("lora_" in name for name, _ in block.named_parameters())
            assert adapted == (first <= number < blocks - last)
        if costs is not None:
            _check_profile_of_adapter(cut, costs)
        if last and first == min(1, blocks - 1 - last):
            _check_gradients_of_a_cut(cut, whole, embedding, tail)


def _check_gradients_of_a_cut(
    cut: SplitModel, whole: SplitModel, embedding: nn.Module, tail: Tail | None
) -> None:
    """Adapters of the ground's blocks get the gradients that they have in the whole model."""
    adapter = _draw(trainable_state(cut.backbone), 6)
    own = {name: parameter for name, parameter in whole.backbone.named_parameters() if name in adapter}
    assert own.keys() == adapter.keys()
    others = {
        name: parameter
        for name, parameter in whole.backbone.named_parameters()
        if parameter.requires_grad and name not in adapter
    }
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(adapter[name])
        for parameter in others.values():
            parameter.zero_()  # blocks on board have no adapter
    whole.backbone.zero_grad()
    pixels, labels = pixels_of(cut), torch.arange(_ROWS) % _LABELS
    bare = without_adapter(cut.backbone)
    returned = mixed_forward(bare, embedding(pixels).detach(), [adapter], [0] * _ROWS, _SETTINGS)
    result = head_step(lambda states: cut.head(head_input(tail, states)), returned, labels)
    returned.backward(result.grad_pooled_BD)
    loss = F.cross_entropy(whole(pixels), labels)
    loss.backward()
    torch.testing.assert_close(result.loss, loss.detach(), rtol=1e-5, atol=1e-6)
    for name, parameter in own.items():
        _assert_same_gradient(adapter[name].grad, parameter.grad, name)


@torch.enable_grad()
def _check_profile(split: SplitModel, ground_blocks: int) -> Profile:
    """Counted costs of a model without adapter, within 2 % of torch's counter."""
    costs = profile(split, _SETTINGS)
    pixels = pixels_of(split, rows=1)
    with torch.no_grad():
        features = split.embedding(pixels)
        returned = split.backbone(features)
    assert features.shape[1:] == (costs.tokens, costs.hidden)
    assert returned.shape[1:] == costs.state_shape
    assert costs.blocks == ground_blocks
    _assert_flops(lambda: split.embedding(pixels), costs.embedding_flops, "embedding_flops")
    _assert_flops(lambda: split.backbone(features), costs.backbone_flops, "backbone_flops")
    whole = sum(parameter.numel() for parameter in split.backbone.transformer.parameters())
    assert costs.embedding_params + costs.backbone_params + costs.tail_params == whole
    if split.tail is not None:
        _check_profile_of_tail(split.tail, returned, costs)
    return costs


@torch.enable_grad()
def _check_profile_of_adapter(split: SplitModel, costs: Profile) -> None:
    """Bytes are those of what is trained, and the backward pass within 2 % of torch's counter."""
    trained = trainable_state(split.backbone).values()
    assert costs.adapter_bytes == sum(tensor.nbytes for tensor in trained)
    with torch.no_grad():
        features = split.embedding(pixels_of(split, rows=1))
    with sdpa_kernel(SDPBackend.MATH):
        total = split.backbone(features).sum()
    _assert_flops(total.backward, costs.lora_backward_flops, "lora_backward_flops")


def _check_profile_of_tail(tail: Tail, returned: Tensor, costs: Profile) -> None:
    with torch.no_grad():
        _assert_flops(lambda: tail(returned), costs.tail_flops, "tail_flops")
    with sdpa_kernel(SDPBackend.MATH):
        total = tail(returned.clone().requires_grad_()).sum()
    _assert_flops(total.backward, costs.tail_backward_flops, "tail_backward_flops")


def _assert_flops(action: Callable[[], object], counted: float, name: str) -> None:
    # torch counts the products of attention only where it does not fuse them.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        action()
    measured = counter.get_total_flops()
    assert abs(counted - measured) <= 0.02 * measured, f"{name}: {counted} counted, torch counts {measured}"


def _check_export(
    split: SplitModel, adapter: PeftModel, load: Load, hidden: Hidden, tolerance: float
) -> None:
    """The adapter as a directory of `peft`, on the whole model."""
    from peft import PeftModel

    drawn = _draw(trainable_state(split.backbone), 5)
    with torch.no_grad():
        for name, parameter in split.backbone.named_parameters():
            if name in drawn:
                parameter.copy_(drawn[name])
    pixels, whole = pixels_of(split), load()
    with torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        plain = hidden(whole, pixels)
        save_adapter(adapter, scratch)
        PeftModel.from_pretrained(whole, scratch)  # type: ignore[arg-type]  # in place
        adapted = hidden(whole.eval(), pixels)
        output = split.backbone(split.embedding(pixels), pooled=False)
    torch.testing.assert_close(output, adapted, rtol=1e-4, atol=tolerance)
    assert (adapted - plain).abs().max() > 10 * tolerance, "the exported adapter changes nothing"
