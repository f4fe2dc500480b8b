"""One pass through the frozen backbone for the rows of many satellites, each row with its own satellite's adapter.

The expensive products of the backbone run once over the whole batch; only the low-rank products differ by row (as
in Punica, Chen et al. 2023, arXiv 2310.18547, but differentiable). `peft` can mix adapters in one batch in
inference only. Adapters are plain dictionaries of parameters under the names that `adapters.trainable_state` gives
them, so that they move freely between here and `peft`.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from splitmodel.lora.adapters import AdapterError, LoraSettings, adapted_layers
from splitmodel.lora.dropout import drop
from splitmodel.parts import Backbone

AdapterWeights = Mapping[str, Tensor]
BOTTLENECK = "bottleneck."  # before the names of its parameters


def without_adapter(backbone: Backbone) -> Backbone:
    """The backbone as it was before `add_lora`: modules of its own around the same weights."""
    from peft.tuners.lora import LoraLayer

    copies: dict[int, Any] = {id(tensor): tensor for tensor in (*backbone.parameters(), *backbone.buffers())}
    for module in backbone.modules():
        if isinstance(module, LoraLayer):  # its layer stands where it stood
            copies[id(module)] = copy.deepcopy(module.get_base_layer(), copies)
    return copy.deepcopy(backbone, copies)


def new_adapter(backbone: Backbone, settings: LoraSettings, *, seed: int = 0) -> dict[str, nn.Parameter]:
    """A trainable adapter that changes nothing yet: A uniform in ±1/√in (as `peft` draws it), B zero."""
    generator = torch.Generator().manual_seed(seed)
    adapter = {}
    for name, linear in _bare_layers(backbone, settings).items():
        bound = 1 / math.sqrt(linear.in_features)
        down = torch.empty(settings.rank, linear.in_features).uniform_(-bound, bound, generator=generator)
        adapter[_weight(name, "A")] = nn.Parameter(down)
        adapter[_weight(name, "B")] = nn.Parameter(torch.zeros(linear.out_features, settings.rank))
        if settings.variant == "dora":
            adapter[_magnitude(name)] = nn.Parameter(linear.weight.detach().norm(dim=1))
    if backbone.bottleneck is not None:
        for kind, tensor in backbone.bottleneck.named_parameters():
            adapter[f"{BOTTLENECK}{kind}"] = nn.Parameter(tensor.detach().clone())
    return adapter


def mixed_forward(
    backbone: Backbone,
    features_BTD: Tensor,
    adapters: Sequence[AdapterWeights],
    adapter_of_row: Sequence[int],
    settings: LoraSettings,
    row_seeds: Sequence[int] | None = None,
) -> Tensor:
    """pooled_BD of rows with different adapters; its backward pass adds to the gradients of those adapters.

    Equals, up to rounding, one pass per adapter over its own rows. One pass at a time on one backbone.

    Args:
        backbone: without an adapter of its own.
        adapters: as `new_adapter` makes them, or of `trainable_state` after `add_lora` with the same settings.
        adapter_of_row: for each row of the features, the position of its adapter in `adapters`.
        settings: of the adapters.
        row_seeds: for each row what its LoRA dropout follows from; without, nothing is dropped.

    Raises:
        AdapterError: the backbone has an adapter already, a row has none, weights are missing.
    """
    if len(adapter_of_row) != len(features_BTD) or not all(0 <= i < len(adapters) for i in adapter_of_row):
        raise AdapterError(
            f"each of the {len(features_BTD)} rows needs one of {len(adapters)} adapters; found {list(adapter_of_row)}"
        )
    layers = _bare_layers(backbone, settings)
    rows = _gather(len(adapters), adapter_of_row)
    hooks = []
    try:
        for name, linear in layers.items():
            down, up = (_stacked(adapters, _weight(name, side), rows) for side in "AB")
            dropped = _dropping(name, settings.dropout, row_seeds)
            if settings.variant == "dora":
                magnitude = _stacked(adapters, _magnitude(name), rows)
                hook = _replacing(down, up, settings.scaling, magnitude)
            else:
                hook = _adding(down, up, settings.scaling, dropped)
            hooks.append(linear.register_forward_hook(hook))
        if backbone.bottleneck is not None:
            weight, bias = (_stacked(adapters, f"{BOTTLENECK}{kind}", rows) for kind in ("weight", "bias"))
            hooks.append(backbone.bottleneck.register_forward_hook(_narrowing(weight, bias)))
        return backbone(features_BTD)
    finally:
        for hook_handle in hooks:
            hook_handle.remove()


def _bare_layers(backbone: Backbone, settings: LoraSettings) -> dict[str, nn.Linear]:
    """The linear layers that get an adapter, by their names in the backbone."""
    if any("lora_" in name for name, _ in backbone.named_parameters()):
        raise AdapterError("this backbone has a LoRA adapter of its own; mixed adapters need it bare")
    return adapted_layers(backbone, settings)


def _magnitude(layer: str) -> str:
    return f"{layer}.lora_magnitude_vector.default.weight"


def _weight(layer: str, side: str) -> str:
    return f"{layer}.lora_{side}.default.weight"


def _gather(adapters: int, adapter_of_row: Sequence[int]) -> Tensor | None:
    """Which adapter's weights to take for each row; None if the rows are equal groups in the adapters' order.

    Then one product per group does, which is faster than one per row.
    """
    group, rest = divmod(len(adapter_of_row), adapters)
    if not rest and list(adapter_of_row) == [i for i in range(adapters) for _ in range(group)]:
        return None
    return torch.tensor(adapter_of_row)


def _stacked(adapters: Sequence[AdapterWeights], name: str, rows: Tensor | None) -> Tensor:
    """Weights of every row's (or every group's) adapter: (n, rank, in) or (n, out, rank)."""
    try:
        stacked = torch.stack([adapter[name] for adapter in adapters])
    except KeyError:
        raise AdapterError(f"an adapter has no weights {name!r}") from None
    return stacked if rows is None else stacked[rows]


Hook = Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]


def _dropping(layer: str, probability: float, row_seeds: Sequence[int] | None) -> Callable[[Tensor], Tensor]:
    if not probability or row_seeds is None:
        return lambda inputs: inputs
    seeds = row_seeds
    return lambda inputs: drop(inputs, seeds, layer, probability)


def _adding(down: Tensor, up: Tensor, scaling: float, dropped: Callable[[Tensor], Tensor]) -> Hook:
    def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        groups = len(down)
        rows, low, high = (
            tensor.to(output.dtype) for tensor in (dropped(inputs[0]), down, up)
        )  # half, under autocast
        grouped = rows.reshape(groups, -1, rows.shape[-1])
        added = _Adding.apply(output.view(groups, -1, output.shape[-1]), grouped, low, high, scaling)
        return added.view_as(output)

    return hook


def _narrowing(weight: Tensor, bias: Tensor) -> Hook:
    """The bottleneck of each group's adapter, in place of the backbone's own."""

    def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        states = inputs[0].reshape(len(weight), -1, inputs[0].shape[-1])
        narrow = torch.baddbmm(
            bias.to(output.dtype)[:, None], states.to(output.dtype), weight.to(output.dtype).mT
        )
        return narrow.view_as(output)

    return hook


def _replacing(down: Tensor, up: Tensor, scaling: float, magnitude: Tensor) -> Hook:
    """DoRA: magnitude · (W + scaling · B·A) ÷ its norm by row, the norm as a constant, as `peft` has it."""

    def hook(linear: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        assert isinstance(linear, nn.Linear)
        groups = len(down)
        rows, low, high = (tensor.to(output.dtype) for tensor in (inputs[0], down, up))
        grouped = rows.reshape(groups, -1, rows.shape[-1])
        with torch.no_grad():
            norms = torch.stack(
                [
                    torch.addmm(linear.weight, of_out, of_in, alpha=scaling).norm(dim=1)
                    for of_out, of_in in zip(up, down, strict=True)
                ]
            )
        share = (magnitude / norms).to(output.dtype).unsqueeze(1)  # (n, 1, out)
        plain = output if linear.bias is None else output - linear.bias
        plain = plain.view(groups, -1, output.shape[-1])
        adapted = plain + scaling * torch.bmm(torch.bmm(grouped, low.mT), high.mT)
        replaced = (share * adapted).view_as(output)
        return replaced if linear.bias is None else replaced + linear.bias

    return hook


class _Adding(torch.autograd.Function):
    """output + scaling · input · downᵀ · upᵀ, by group: (n, rows, out) of (n, rows, in).

    What autograd makes of the same products takes twice the time: BLAS multiplies a matrix of few rows by a large one
    several times faster than a large one, transposed, by one of few columns. So the rank always comes first here.
    """

    @staticmethod
    def forward(
        context: Any, output: Tensor, inputs: Tensor, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        low = torch.bmm(down, inputs.mT)  # (n, rank, rows)
        context.save_for_backward(inputs, low, down, up)
        context.scaling = scaling
        return torch.baddbmm(output, low.mT, up.mT, alpha=scaling)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, low, down, up = context.saved_tensors
        of_low = torch.bmm(up.mT, gradient.mT).mul_(context.scaling)
        of_inputs = torch.bmm(of_low.mT, down) if context.needs_input_grad[1] else None
        of_up = torch.bmm(low, gradient).mul_(context.scaling).mT
        return gradient, of_inputs, torch.bmm(of_low, inputs), of_up, None
