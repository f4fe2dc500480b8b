"""The backbone on the ground: forward, backward and the adapters' optimiser, one step at a time.

Plain torch: it knows neither the wire nor whose turn it is. The frozen weights exist once; each adapter is a set
of LoRA tensors of its own with its own optimiser, and a step runs the backbone with the adapter it is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from splitmodel.adapters import load_trainable_state, trainable_state
from splitmodel.parts import Backbone


class BackboneError(ValueError):
    """A request that does not fit the step under way."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """LoRA tensors by parameter name, and the optimiser that trains them."""

    tensors: Mapping[str, Tensor]
    optimizer: torch.optim.AdamW

    @classmethod
    def fresh(cls, state: Mapping[str, Tensor], *, learning_rate: float, weight_decay: float) -> Adapter:
        """A trainable copy of ``state``."""
        tensors = {name: tensor.detach().clone().requires_grad_() for name, tensor in state.items()}
        optimizer = torch.optim.AdamW(tensors.values(), lr=learning_rate, weight_decay=weight_decay)
        return cls(tensors, optimizer)

    def state(self) -> dict[str, Tensor]:
        """Copies of the tensors."""
        return {name: tensor.detach().clone() for name, tensor in self.tensors.items()}

    def set(self, state: Mapping[str, Tensor]) -> None:
        """Take over other values; the optimiser goes on."""
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(state[name])


@dataclass(frozen=True, eq=False)
class _Pending:
    adapter: str
    step: int
    pooled_BD: Tensor


class BackboneSteps:
    """Training steps of many satellites through one frozen backbone.

    Args:
        backbone: With LoRA in it (mode ``lora``) or without (mode ``head``).
        device: Where it computes.
        adapters: Names of the adapters: one for all, or one a satellite; none in ``head`` mode.
        learning_rate, weight_decay: Of the adapters' AdamW.
    """

    def __init__(
        self,
        backbone: Backbone,
        device: torch.device,
        adapters: Sequence[str] = (),
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        self.backbone = backbone.to(device)
        self.device = device
        start = trainable_state(backbone)
        self.adapters = {
            name: Adapter.fresh(start, learning_rate=learning_rate, weight_decay=weight_decay)
            for name in adapters
        }
        self._pending: dict[str, _Pending] = {}

    @torch.no_grad()
    def infer(self, features_BTD: Tensor) -> Tensor:
        """Pooled states, shape (B, hidden), through the adapter that the backbone itself holds (if any)."""
        return self.backbone(features_BTD.to(self.device)).cpu()

    def forward(self, satellite: str, step: int, features_BTD: Tensor, adapter: str) -> Tensor:
        """Pooled states of a training step; the graph is kept until its gradient comes.

        A forward that is sent again replaces the one before.
        """
        features_BTD = features_BTD.to(self.device)
        pooled_BD = functional_call(self.backbone, dict(self.adapters[adapter].tensors), (features_BTD,))
        self._pending[satellite] = _Pending(adapter, step, pooled_BD)
        return pooled_BD.detach().cpu()

    def backward(self, satellite: str, step: int, grad_pooled_BD: Tensor, learning_rate: float) -> None:
        """Take the optimiser step of the satellite's pending forward.

        Raises:
            BackboneError: No forward of this step is pending, or the gradient has another shape.
        """
        pending = self._pending.get(satellite)
        if pending is None or pending.step != step:
            raise BackboneError(f"gradient of {satellite}, step {step}: no forward of that step is pending")
        if grad_pooled_BD.shape != pending.pooled_BD.shape:
            raise BackboneError(
                f"gradient of {satellite}, step {step}: found shape {tuple(grad_pooled_BD.shape)}, "
                f"allowed {tuple(pending.pooled_BD.shape)}"
            )
        del self._pending[satellite]
        optimizer = self.adapters[pending.adapter].optimizer
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.zero_grad()
        pending.pooled_BD.backward(grad_pooled_BD.to(self.device))
        optimizer.step()

    def average(self, weights: Mapping[str, float]) -> None:
        """Set every adapter to the weighted mean of all, summed in float64 in the order of ``weights``."""
        total = sum(weights.values())
        mean = {
            name: sum(
                (
                    self.adapters[key].tensors[name].detach().double() * (weight / total)
                    for key, weight in weights.items()
                ),
                start=torch.zeros_like(tensor, dtype=torch.float64),
            ).to(tensor.dtype)
            for name, tensor in next(iter(self.adapters.values())).tensors.items()
        }
        for adapter in self.adapters.values():
            adapter.set(mean)

    def state(self) -> dict[str, Tensor]:
        """Copies of all adapters and of what their optimisers remember, by name."""
        found = {}
        for key, adapter in self.adapters.items():
            for name, tensor in adapter.tensors.items():
                remembered = adapter.optimizer.state[tensor]
                for kind, value in {"value": tensor, **remembered}.items():
                    found[f"{key}/{name}/{kind}"] = value.detach().cpu().clone()
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave."""
        for key, adapter in self.adapters.items():
            adapter.set({name: state[f"{key}/{name}/value"] for name in adapter.tensors})
            for name, tensor in adapter.tensors.items():
                prefix = f"{key}/{name}/"
                adapter.optimizer.state[tensor] = {
                    kind.removeprefix(prefix): value.clone()
                    for kind, value in state.items()
                    if kind.startswith(prefix) and not kind.endswith("/value")
                }

    def publish(self, adapter: str) -> None:
        """Copy an adapter into the backbone itself, where :meth:`infer` and an export read it."""
        load_trainable_state(self.backbone, self.adapters[adapter].state())


def choose_device(name: str) -> torch.device:
    """The device that ``training.device`` means; ``auto`` takes an accelerator where there is one.

    Raises:
        BackboneError: There is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BackboneError(
            f"training.device: found {name!r}, which cannot be used here ({reason})"
        ) from error
    return device
