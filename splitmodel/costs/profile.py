"""Count what a split model costs, from its modules: `profile(split)`.

Per layer of T tokens and D channels, forward: every linear layer takes 2·T·in·out FLOPs; attention takes 4·T²·D
(scores and weighted sum). Backward, a linear layer costs as much again for the gradient of its input and as much
again for that of its weight, whichever is needed; attention costs twice its forward pass. With a frozen embedding
the first layer has no input to give a gradient to, so its projections and half of what leads to them fall away.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from splitmodel.costs.published import Profile
from splitmodel.dense_heads import ConvolutionHead, OwnDenseHead, PatchHead
from splitmodel.heads import OwnHead, VectorHead
from splitmodel.lora.adapters import LoraSettings, block_linears, lora_targets
from splitmodel.parts import Backbone, SplitModel

# In the order in which a block computes; what a linear layer gives needs a gradient where one before it is adapted.
_QUERY_KEY_VALUE, _ATTENTION_OUTPUT, _MLP_INPUT, _MLP_OUTPUT = range(4)


def profile(split: SplitModel, lora: LoraSettings | None = None, *, name: str = "") -> Profile:
    """Cost of a split model without an adapter in it, as if `lora` (the default settings) were added.

    Raises:
        ValueError: the model has a LoRA adapter already, whose cost would be counted twice.
    """
    if any("lora_" in parameter for parameter, _ in split.backbone.named_parameters()):
        raise ValueError("profile a model before an adapter is added to it")
    lora = lora or LoraSettings()
    targets = lora_targets(split.backbone, lora)
    head, preprocess = split.head, split.preprocess
    shape = split.backbone.state_shape
    layout = split.backbone.layout
    tokens, hidden = layout.tokens, split.config.hidden_size
    on_board = split.backbone.onboard_blocks
    blocks = split.backbone.ground_blocks.stop - on_board
    linears = block_linears(split.backbone)

    linear_flops = sum(_product(tokens, m.in_features, m.out_features) for m in linears.values())
    block_flops = linear_flops + 2 * _product(tokens, tokens, hidden)  # and attention
    projections = [
        m for m in split.embedding.tokens_from.modules() if isinstance(m, nn.Conv2d | nn.Conv3d | nn.Linear)
    ]
    token_flops = 2.0 * layout.patches * sum(m.weight.numel() for m in projections)
    head_flops = _head_flops(split)
    bottleneck = split.backbone.bottleneck
    narrowing = (
        0.0 if bottleneck is None else _product(layout.rows * layout.columns, *bottleneck.weight.shape)
    )
    narrowing_params = 0 if bottleneck is None else sum(p.numel() for p in bottleneck.parameters())
    embedding_params, tail_params, all_params = (
        0 if part is None else sum(p.numel() for p in part.parameters())
        for part in (split.embedding, split.tail, split.backbone.transformer)
    )
    stages, inputs = _stages(split.backbone), split.backbone.family.attention_inputs
    lowest, other = (
        _lora_backward_flops(linears, stages, targets, inputs, lora.rank, tokens, hidden, is_lowest)
        for is_lowest in (True, False)
    )
    a_block = _adapter_params([linears[path] for path in targets], lora)
    return Profile(
        name=name or f"{split.backbone.family.name}-{hidden}x{blocks}",
        source="counted from the modules",
        tokens=tokens,
        hidden=hidden,
        blocks=blocks,
        embedding_params=embedding_params,
        backbone_params=all_params - embedding_params - tail_params + narrowing_params,
        head_params=sum(p.numel() for p in head.parameters()),
        adapter_params=blocks * a_block + narrowing_params,
        embedding_flops=token_flops + on_board * block_flops,
        backbone_flops=blocks * block_flops + narrowing,
        head_flops=head_flops,
        lora_backward_flops=lowest + (blocks - 1) * other + 2 * narrowing,
        full_backward_flops=2 * (len(split.backbone.layers) * block_flops + head_flops) + token_flops,
        image_bytes=float(len(preprocess.mean) * preprocess.height * preprocess.width),  # 8 bits a value
        lowest_block_saves_flops=other - lowest,
        family=split.backbone.family.name,
        token_views=split.backbone.family.has_token_views(split.config),
        returned=shape if len(shape) > 1 else (),
        head_table=head.table_shape if isinstance(head, PatchHead | VectorHead) else (),
        patches=layout.rows * layout.columns,
        patch_pixels=split.embedding.grid.patch_pixels,
        **_tail_costs(split, block_flops, linear_flops + 4 * _product(tokens, tokens, hidden)),
    )


def _adapter_params(adapted: list[nn.Linear], lora: LoraSettings) -> int:
    """Of a block's adapter."""
    params = lora.rank * sum(m.in_features + m.out_features for m in adapted)
    return params + (sum(m.out_features for m in adapted) if lora.variant == "dora" else 0)


def _tail_costs(split: SplitModel, block_flops: float, backward_flops: float) -> dict[str, Any]:
    """Of blocks on board in front of the head, by the fields of a profile; ``backward_flops`` are of one block."""
    if split.tail is None:
        return {}
    blocks, head_input = split.backbone.head_blocks, split.backbone.head_input_shape
    return {
        "tail_blocks": blocks,
        "tail_params": sum(p.numel() for p in split.tail.parameters()),
        "tail_flops": blocks * block_flops,
        "tail_backward_flops": blocks * backward_flops,
        "head_input": head_input if len(head_input) > 1 else (),
    }


def _head_flops(split: SplitModel) -> float:
    """Of an image: a product for each weight, at every patch where the head answers there; of own heads as counted."""
    head = split.head
    if isinstance(head, OwnHead):
        return counted_flops(head)
    weights = sum(p.numel() for p in head.parameters() if p.ndim > 1)
    patches = split.backbone.head_input_shape[0] if isinstance(head, PatchHead | ConvolutionHead) else 1
    return 2.0 * patches * weights


def counted_flops(head: OwnHead) -> float:
    """Matrix products and convolutions of one image's forward pass."""
    places = (head.grid.rows * head.grid.columns,) if isinstance(head, OwnDenseHead) else ()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        head(torch.zeros(1, *places, head.inputs))
    return float(counter.get_total_flops())


def _product(rows: int, inner: int, columns: int) -> float:
    """FLOPs of a matrix product (rows × inner) · (inner × columns)."""
    return 2.0 * rows * inner * columns


def _stages(backbone: Backbone) -> dict[str, int]:
    """When a block computes each of its linear layers, by path."""
    paths = list(block_linears(backbone))
    inputs = {p for p in paths if p.rsplit(".", 1)[-1] in backbone.family.attention_inputs}
    container = next(iter(inputs)).split(".", 1)[0] + "."
    of_mlp = [path for path in paths if not path.startswith(container)]
    return {
        path: _QUERY_KEY_VALUE
        if path in inputs
        else _ATTENTION_OUTPUT
        if path.startswith(container)
        else _MLP_OUTPUT
        if path == of_mlp[-1]
        else _MLP_INPUT
        for path in paths
    }


def _lora_backward_flops(
    linears: dict[str, nn.Linear],
    stages: dict[str, int],
    targets: tuple[str, ...],
    attention_inputs: tuple[str, ...],
    rank: int,
    tokens: int,
    hidden: int,
    is_lowest: bool,
) -> float:
    """The backward pass of a block; nothing below the lowest block needs a gradient."""
    flops = 0.0
    first_adapted = min(stages[path] for path in targets)
    for path, linear in linears.items():
        input_has_gradient = not is_lowest or stages[path] > first_adapted
        flops += input_has_gradient * _product(tokens, linear.in_features, linear.out_features)
        if path in targets:
            down = _product(tokens, linear.in_features, rank)
            up = _product(tokens, rank, linear.out_features)
            flops += (1 + input_has_gradient) * down + 2 * up  # weights A and B; inputs of A and B
    products = 4
    if is_lowest:
        made = [any(_is_named(path, name) for path in targets) for name in attention_inputs]
        query, key, value = made if len(made) == 3 else made * 3  # one linear layer may make all three
        products = query + key + (query or key) + value  # gradients of q, k, scores and v
    return flops + products * _product(tokens, tokens, hidden)


def _is_named(path: str, name: str) -> bool:
    return path.rsplit(".", 1)[-1] == name
