"""LoRA on the backbone, by `peft`, and the trained weights as files that `peft` and safetensors read back."""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from splitmodel.lora.dropout import SeededDropout
from splitmodel.parts import Backbone

if TYPE_CHECKING:
    from peft import PeftModel


class AdapterError(ValueError):
    """An adapter does not fit the model; the message names the first thing that is wrong."""


Variant = Literal["lora", "rslora", "dora"]


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685): W + scaling · B·A on each targeted projection.

    Attributes:
        rank, alpha: The scaling is alpha ÷ rank, with `rslora` alpha ÷ √rank.
        dropout: Share of the inputs of A that is dropped, see `splitmodel.lora.dropout`.
        targets: Names of linear layers of a block, as their last part ("q_proj") or by path ("mlp.fc1"); or `auto`,
            the family's choice, `attention`, all of the attention, or `all-linear`, all of a block.
        variant: `rslora` (Kalajdzievski 2023, arXiv 2312.03732), `dora` (Liu et al. 2024, arXiv 2402.09353).
    """

    rank: int = 8
    alpha: float = 16.0
    _: KW_ONLY
    dropout: float = 0.0
    targets: tuple[str, ...] | Literal["auto", "attention", "all-linear"] = "auto"
    variant: Variant = "lora"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise AdapterError(f"LoRA rank must be at least 1; found {self.rank}")
        if not self.alpha > 0:
            raise AdapterError(f"LoRA alpha must be above 0; found {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise AdapterError(f"LoRA dropout must be in [0, 1); found {self.dropout}")
        if self.variant == "dora" and self.dropout:
            raise AdapterError(f'lora.dropout: found {self.dropout} with variant = "dora"; allowed: 0')

    @property
    def scaling(self) -> float:
        """Return the factor of the product of the two low-rank matrices."""
        return self.alpha / (math.sqrt(self.rank) if self.variant == "rslora" else self.rank)


def lora_targets(backbone: Backbone, settings: LoraSettings) -> tuple[str, ...]:
    """The linear layers to adapt, as their paths in a block; the blocks are all alike.

    Raises:
        AdapterError: A target is no linear layer of the blocks.
    """
    linears = block_linears(backbone)
    if settings.targets == "all-linear":
        return tuple(linears)
    if settings.targets == "attention":
        container = _paths(linears, backbone.family.attention_inputs[0])[0].split(".", 1)[0]
        return tuple(path for path in linears if path.startswith(f"{container}."))
    chosen = backbone.family.lora_targets if settings.targets == "auto" else settings.targets
    targets: list[str] = []
    for target in chosen:
        paths = _paths(linears, target)
        if not paths:
            present = sorted({path.rsplit(".", 1)[-1] for path in linears})
            raise AdapterError(
                f"lora.targets: found {target!r}, which is no linear layer of a block; allowed: {', '.join(present)}, "
                f"or a path in a block such as {next(iter(linears))}"
            )
        targets += paths
    return tuple(path for path in linears if path in targets)


def block_linears(backbone: Backbone) -> dict[str, nn.Linear]:
    """The linear layers of a block by their paths in it."""
    return {
        path: module for path, module in backbone.layers[0].named_modules() if isinstance(module, nn.Linear)
    }


def _paths(linears: Mapping[str, nn.Linear], target: str) -> list[str]:
    return [path for path in linears if path == target or path.endswith(f".{target}")]


def adapted_layers(
    backbone: Backbone, settings: LoraSettings, adapted_blocks: int = 0
) -> dict[str, nn.Linear]:
    """The layers that get an adapter, by their names in the backbone: of the ground's last blocks, with 0 of all.

    Raises:
        AdapterError: A target or a block is not there.
    """
    first, last = frozen_blocks(backbone, adapted_blocks), backbone.ground_blocks.stop
    targets = lora_targets(backbone, settings)
    wanted = {
        id(block.get_submodule(path)) for block in list(backbone.layers)[first:last] for path in targets
    }
    return {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and id(module) in wanted
    }


def add_lora(
    backbone: Backbone, settings: LoraSettings, *, seed: int = 0, adapted_blocks: int = 0
) -> "PeftModel":
    """Put trainable adapters into the backbone, in place, and freeze the rest of it.

    They go into the last `adapted_blocks` blocks of the ground, with 0 into all of them.

    A fresh adapter changes no output (B = 0); A is drawn from `seed`. The returned `PeftModel` wraps
    `backbone.transformer` and is what `save_adapter` takes; to compute, go on using `backbone`.

    Raises:
        AdapterError: a target or a block is not there, or the backbone has an adapter already.
    """
    from peft import LoraConfig, get_peft_model

    if any("lora_" in name for name, _ in backbone.named_parameters()):
        raise AdapterError("this backbone has a LoRA adapter already")
    layers = adapted_layers(backbone, settings, adapted_blocks)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft computes with floats, too
        lora_dropout=settings.dropout,
        # By path: a short name would also mean layers that the whole model has beside its blocks.
        target_modules=[name.removeprefix("transformer.") for name in layers],
        use_rslora=settings.variant == "rslora",
        use_dora=settings.variant == "dora",
        bias="none",
    )
    with torch.random.fork_rng(devices=[]), _without_an_old_name():
        torch.manual_seed(seed)
        adapter = get_peft_model(backbone.transformer, config)  # type: ignore[arg-type]
    if settings.dropout:
        for name in layers:
            drops = backbone.get_submodule(f"{name}.lora_dropout")
            drops["default"] = SeededDropout(name, settings.dropout)  # type: ignore[operator]
    return adapter


def frozen_blocks(backbone: Backbone, adapted_blocks: int) -> int:
    """Return the number of blocks below the last `adapted_blocks` of the ground; with 0, all of its blocks are adapted.

    Raises:
        AdapterError: there are not so many.
    """
    blocks = backbone.ground_blocks.stop - backbone.ground_blocks.start
    if not 0 <= adapted_blocks <= blocks:
        raise AdapterError(
            f"training.adapted_blocks: found {adapted_blocks}, the backbone has {blocks} blocks; allowed: 1 to "
            f"{blocks}, or 0 for all"
        )
    return backbone.onboard_blocks + (blocks - adapted_blocks if adapted_blocks else 0)


def make_trainable(
    backbone: Backbone, mode: str, settings: LoraSettings, *, seed: int = 0, adapted_blocks: int = 0
) -> "PeftModel | None":
    """Make trainable what a training mode trains besides the head, in place: the adapters, which are returned, in
    `lora`, `onboard-lora` and `downlink`, and with them a bottleneck; the whole model in `onboard-full`; nothing in
    `head` and `onboard-head`."""
    if mode in ("lora", "onboard-lora", "downlink"):
        adapter = add_lora(backbone, settings, seed=seed, adapted_blocks=adapted_blocks)
        if backbone.bottleneck is not None:
            backbone.bottleneck.requires_grad_(True)
        return adapter
    if mode == "onboard-full":
        backbone.requires_grad_(True)
    return None


def exchanged_parts(head: nn.Module, backbone: Backbone | None = None) -> nn.ModuleDict:
    """The parts whose trained weights travel and are averaged: the head, and a backbone that is trained on board."""
    return nn.ModuleDict({"head": head} if backbone is None else {"head": head, "backbone": backbone})


def save_adapter(adapter: "PeftModel", directory: str | Path) -> None:
    """Write an ordinary peft adapter directory: `PeftModel.from_pretrained(base, directory)` reads it."""
    # Saving embedding layers is for new words of a language model; deciding it would ask the hub.
    adapter.save_pretrained(str(directory), save_embedding_layers=False)


def merge_adapter(directory: str | Path, transformer: nn.Module) -> None:
    """Add what the adapter of a directory has learnt to the weights of its model, in place."""
    from peft import PeftModel

    with _without_an_old_name():
        adapted = PeftModel.from_pretrained(transformer, str(directory))  # type: ignore[arg-type]
    adapted.merge_and_unload()  # type: ignore[operator]


@contextmanager
def _without_an_old_name() -> Iterator[None]:
    """Keep back a warning: peft 0.21 asks transformers for a property under its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        yield


def trainable_state(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all trainable parameters by name: of a backbone the LoRA adapter, of a head all of it."""
    return {
        name: parameter.detach().clone()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def load_trainable_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Set all trainable parameters, in place, so that an optimiser that holds them goes on.

    Raises:
        AdapterError: a name is missing or unknown, or a shape differs; then nothing has been changed.
    """
    trainable = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    for name in sorted(trainable.keys() ^ state.keys()):
        raise AdapterError(
            f"the trained weights {'lack' if name in trainable else 'have an unknown'} {name!r}"
        )
    for name, parameter in trainable.items():
        if state[name].shape != parameter.shape:
            raise AdapterError(
                f"{name!r} has shape {tuple(state[name].shape)}, the model takes {tuple(parameter.shape)}"
            )
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(state[name])
