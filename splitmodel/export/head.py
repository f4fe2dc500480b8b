"""A trained head as plain weights: on states as the backbone gives them, in the units of the targets.

Constants, and a bottleneck before the head, are linear, and so is the head's first layer, a product for every patch:
they are folded into it. The units of numbers are folded into its last. Of a head that another package makes nobody
knows which layers are first and last: constants and units stand beside its parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from splitmodel.crossing.scaling import Scaling
from splitmodel.dense_heads import ConvolutionHead, OwnDenseHead, PatchHead
from splitmodel.heads import OwnHead, StandardisedHead
from splitmodel.parts import Backbone, PatchStates


def head_weights(
    head: nn.Module, bottleneck: nn.Linear | None = None, units: Scaling | None = None
) -> dict[str, Tensor]:
    """Return the tensors of a head.

    Args:
        head: As trained, or a plain linear layer.
        bottleneck: What narrows the states before it.
        units: Mean and deviation of the numbers that it gives; without, they are as they are.

    Returns:
        ``weight`` and ``bias`` of a linear layer, or those of ``reduce``, ``mix`` and ``expand``, three convolutions.
        Of a head of another package its parameters behind ``layers.``, and ``states.…`` and ``numbers.…``, means and
        deviations.
    """
    if isinstance(head, OwnHead):
        return _own_weights(head, units)
    if isinstance(head, ConvolutionHead):
        state = {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}
        first = state["reduce.weight"][:, :, 0, 0], state["reduce.bias"]
        weight, bias = _behind(*first, head.scaling, bottleneck)
        state |= {"reduce.weight": weight[:, :, None, None], "reduce.bias": bias}
        last = "expand."
    else:
        assert isinstance(head, nn.Linear)
        scaling = head.scaling if isinstance(head, StandardisedHead) else None
        weight, bias = _behind(head.weight.detach(), head.bias.detach(), scaling, bottleneck)
        state, last = {"weight": weight, "bias": bias}, ""
    if units is not None:
        weight, bias = state[f"{last}weight"], state[f"{last}bias"]
        values = len(bias) // len(units.mean_D)  # of each number: one, or one for every pixel of a patch
        mean, deviation = (part.repeat_interleave(values) for part in (units.mean_D, units.deviation_D))
        state[f"{last}weight"] = weight * deviation.view(-1, *[1] * (weight.ndim - 1))
        state[f"{last}bias"] = bias * deviation + mean
    return {name: tensor.contiguous() for name, tensor in state.items()}


def head_code(backbone: Backbone, head: nn.Module, result: str) -> str:
    """Return Python that sets ``result`` from ``hidden`` and ``head``, the loaded tensors, without SkySplit."""
    pooling = backbone.pooling
    if not isinstance(pooling, PatchStates):
        pooled = (
            "hidden[:, 0]" if pooling.kind == "cls" else f"hidden[:, {pooling.prefix_tokens}:].mean(dim=1)"
        )
        if isinstance(head, OwnHead):
            return _own_code(head, pooled, result)
        return f'{result} = torch.nn.functional.linear({pooled}, head["weight"], head["bias"])'
    assert isinstance(head, PatchHead | ConvolutionHead | OwnDenseHead)
    layout, grid = pooling.layout, head.grid
    patches, (tall, wide) = layout.rows * layout.columns, grid.side
    split = f"{layout.frames}, {patches}, {layout.groups}"
    lines = [
        f"patches = hidden[:, {layout.prefix}:].unflatten(1, ({split})).permute(0, 2, 1, 3, 4).flatten(2)",
        'values = F.linear(patches, head["weight"], head["bias"])',
    ]
    if isinstance(head, ConvolutionHead):
        lines[1:] = [
            f"grid = patches.mT.unflatten(2, ({layout.rows}, {layout.columns}))",
            'grid = F.gelu(F.conv2d(grid, head["reduce.weight"], head["reduce.bias"]))',
            'grid = F.gelu(F.conv2d(grid, head["mix.weight"], head["mix.bias"], padding=1))',
            'values = F.conv2d(grid, head["expand.weight"], head["expand.bias"]).flatten(2).mT',
        ]
    if isinstance(head, OwnDenseHead):
        places = f"grid.unflatten(2, ({layout.rows}, {layout.columns}))"
        outputs = head.outputs * grid.patch_pixels
        lines[1:] = [
            *_own_layers(head, outputs),
            'grid = ((patches - head["states.mean"]) / head["states.deviation"]).mT',
            f"values = layers({places}).flatten(2).mT",
        ]
    lines += [
        f"values = values.unflatten(2, (-1, {tall}, {wide})).unflatten(1, ({layout.rows}, {layout.columns}))",
        f"{result} = values.permute(0, 3, 1, 4, 2, 5).flatten(2, 3).flatten(3, 4)",
    ]
    if (layout.rows * tall, layout.columns * wide) != (grid.height, grid.width):
        size = f"({grid.height}, {grid.width})"
        lines.append(f'{result} = F.interpolate({result}, {size}, mode="bilinear", align_corners=False)')
    if isinstance(head, OwnDenseHead):
        lines += _in_units(result, places="[:, None, None]")
    return "\n".join(lines)


def head_import(head: nn.Module) -> str:
    """Return the statement that :func:`head_code` needs, or nothing."""
    return f"import {head.maker.module}" if isinstance(head, OwnHead) else ""


def _own_weights(head: OwnHead, units: Scaling | None) -> dict[str, Tensor]:
    state = {f"layers.{name}": tensor.detach() for name, tensor in head.layers.state_dict().items()}
    for what, scaling in (("states", head.scaling), ("numbers", units)):
        if scaling is not None:
            state |= {f"{what}.mean": scaling.mean_D, f"{what}.deviation": scaling.deviation_D}
    return {name: tensor.clone().contiguous() for name, tensor in state.items()}


def _own_code(head: OwnHead, pooled: str, result: str) -> str:
    return "\n".join(
        [
            *_own_layers(head, head.outputs),
            f'states = ({pooled} - head["states.mean"]) / head["states.deviation"]',
            f"{result} = layers(states)",
            *_in_units(result),
        ]
    )


def _own_layers(head: OwnHead, outputs: int) -> list[str]:
    """Lines that make the layers of another package's head, with its weights."""
    return [
        f"layers = {head.maker.module}.{head.maker.attribute}({head.inputs}, {outputs})",
        'own = {name: tensor for name, tensor in head.items() if name.startswith("layers.")}',
        'layers.load_state_dict({name.removeprefix("layers."): tensor for name, tensor in own.items()})',
    ]


def _in_units(result: str, places: str = "") -> list[str]:
    """Lines that give numbers their units; ``places`` says where a number stands in a map."""
    return [
        'if "numbers.mean" in head:',
        f'    {result} = {result} * head["numbers.deviation"]{places} + head["numbers.mean"]{places}',
    ]


def _behind(
    weight_OE: Tensor, bias_O: Tensor, scaling: Scaling | None, bottleneck: nn.Linear | None
) -> tuple[Tensor, Tensor]:
    """A layer on scaled, narrow states as one on states as they are."""
    if scaling is not None:
        weight_OE = weight_OE / scaling.deviation_D
        bias_O = bias_O - weight_OE @ scaling.mean_D
    if bottleneck is not None:
        narrow, shift = bottleneck.weight.detach().cpu(), bottleneck.bias.detach().cpu()
        bias_O, weight_OE = bias_O + weight_OE @ shift, weight_OE @ narrow
    return weight_OE, bias_O
