"""Count what a split model costs, from its modules: `profile(split)`.

Per layer of T tokens and D channels, forward: every linear layer takes 2·T·in·out FLOPs; attention takes 4·T²·D
(scores and weighted sum). Backward, a linear layer costs as much again for the gradient of its input and as much
again for that of its weight, whichever is needed; attention costs twice its forward pass. With a frozen embedding
the first layer has no input to give a gradient to, so its projections and half of what leads to them fall away.
"""

from torch import nn

from splitmodel.adapters import LoraSettings, lora_targets
from splitmodel.parts import SplitModel
from splitmodel.published import Profile

_ATTENTION_INPUTS = ("q_proj", "k_proj", "v_proj")


def profile(split: SplitModel, lora: LoraSettings | None = None, *, name: str = "") -> Profile:
    """Cost of a split model without an adapter in it, as if `lora` (the default settings) were added.

    Raises:
        ValueError: the model has a LoRA adapter already, whose cost would be counted twice.
    """
    if any("lora_" in parameter for parameter, _ in split.backbone.named_parameters()):
        raise ValueError("profile a model before an adapter is added to it")
    lora = lora or LoraSettings()
    targets = lora_targets(split.backbone, lora)
    config, head = split.config, split.head
    patches = split.embedding.tokens_from.patch_embeddings.num_patches
    if split.backbone.family.any_image_size:
        height, width = split.preprocess.height, split.preprocess.width
        patches = (height // config.patch_size) * (width // config.patch_size)
    tokens = patches + split.backbone.pooling.prefix_tokens
    hidden, layers = config.hidden_size, split.backbone.layers
    linears = {name: m for name, m in layers.named_modules() if isinstance(m, nn.Linear)}
    adapted = {name: m for name, m in linears.items() if name.rsplit(".", 1)[-1] in targets}

    linear_flops = sum(_product(tokens, m.in_features, m.out_features) for m in linears.values())
    attention_flops = len(layers) * 2 * _product(tokens, tokens, hidden)
    projection = split.embedding.tokens_from.patch_embeddings.projection
    embedding_flops = 2.0 * patches * projection.weight.numel()
    head_flops = 2.0 * head.in_features * head.out_features
    return Profile(
        name=name or f"{split.backbone.family.model_type}-{hidden}x{len(layers)}",
        source="counted from the modules",
        tokens=tokens,
        hidden=hidden,
        blocks=len(layers),
        embedding_params=sum(p.numel() for p in split.embedding.parameters()),
        backbone_params=sum(p.numel() for p in layers.parameters()) + 2 * hidden,  # and the final norm
        head_params=sum(p.numel() for p in head.parameters()),
        adapter_params=sum(lora.rank * (m.in_features + m.out_features) for m in adapted.values()),
        embedding_flops=embedding_flops,
        backbone_flops=linear_flops + attention_flops,
        head_flops=head_flops,
        lora_backward_flops=_lora_backward_flops(linears, targets, lora.rank, tokens, hidden),
        full_backward_flops=2 * (linear_flops + attention_flops + head_flops) + embedding_flops,
        image_bytes=float(patches * projection.weight[0].numel()),  # 8 bits a value
        lowest_block_saves_flops=_lowest_block_saves_flops(linears, targets, lora.rank, tokens, hidden),
    )


def _product(rows: int, inner: int, columns: int) -> float:
    """FLOPs of a matrix product (rows × inner) · (inner × columns)."""
    return 2.0 * rows * inner * columns


def _lowest_block_saves_flops(
    linears: dict[str, nn.Linear], targets: tuple[str, ...], rank: int, tokens: int, hidden: int
) -> float:
    """What the backward pass through the lowest block is less than that through any other."""
    one = {name: linear for name, linear in linears.items() if name.startswith("0.")}
    two = one | {f"1.{name.split('.', 1)[1]}": linear for name, linear in one.items()}
    lowest, both = (_lora_backward_flops(blocks, targets, rank, tokens, hidden) for blocks in (one, two))
    return both - 2 * lowest


def _lora_backward_flops(
    linears: dict[str, nn.Linear], targets: tuple[str, ...], rank: int, tokens: int, hidden: int
) -> float:
    flops = 0.0
    layers = {name.split(".", 1)[0] for name in linears}
    for name, linear in linears.items():
        layer, target = name.split(".", 1)[0], name.rsplit(".", 1)[-1]
        input_has_gradient = not (layer == "0" and target in _ATTENTION_INPUTS)
        flops += input_has_gradient * _product(tokens, linear.in_features, linear.out_features)
        if target in targets:
            down = _product(tokens, linear.in_features, rank)
            up = _product(tokens, rank, linear.out_features)
            flops += (1 + input_has_gradient) * down + 2 * up  # weights A and B; inputs of A and B
    query, key, value = (target in targets for target in _ATTENTION_INPUTS)
    in_first_layer = query + key + (query or key) + value  # gradients of q, k, scores and v
    return flops + (4 * (len(layers) - 1) + in_first_layer) * _product(tokens, tokens, hidden)
