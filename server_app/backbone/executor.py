"""The backbone on the ground: forward, backward and the adapters' optimisers, one pass at a time.

Plain torch: it knows neither the wire nor whose turn it is. The frozen weights exist once; each adapter is a set
of LoRA tensors of its own with its own optimiser, and every row of a pass goes through the adapter it is for.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from splitmodel.bottleneck import SecondMoments, principal_components
from splitmodel.crossing.scaling import Scaling
from splitmodel.lora.adapters import LoraSettings, load_trainable_state, trainable_state
from splitmodel.lora.mixed_adapters import BOTTLENECK, mixed_forward, without_adapter
from splitmodel.parts import Backbone
from splitmodel.training import set_step, take_step
from strategies.aggregation.averages import mean_with_absent

_PUBLISHED = "published/"  # no satellite's name holds a slash


class BackboneError(ValueError):
    """A request that does not fit the step under way."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """Tensors by parameter name, of LoRA or of a shared head, and the optimiser that trains them.

    Attributes:
        clip_update: How long a step may be, see :func:`splitmodel.training.take_step`; 0 is any.
    """

    tensors: Mapping[str, Tensor]
    optimizer: torch.optim.AdamW
    _: KW_ONLY
    clip_update: float = 0.0

    @classmethod
    def fresh(cls, state: Mapping[str, Tensor], *, weight_decay: float, clip_update: float = 0.0) -> Adapter:
        """A trainable copy of ``state``."""
        tensors = {name: tensor.detach().clone().requires_grad_() for name, tensor in state.items()}
        optimizer = torch.optim.AdamW(tensors.values(), weight_decay=weight_decay)
        return cls(tensors, optimizer, clip_update=clip_update)

    def state(self) -> dict[str, Tensor]:
        """Copies of the tensors."""
        return {name: tensor.detach().clone() for name, tensor in self.tensors.items()}

    def set(self, state: Mapping[str, Tensor]) -> None:
        """Take over other values; the optimiser goes on."""
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(state[name])

    def update(self, learning_rate: float, batches: int = 1) -> None:
        """Take an optimiser step with the gradients that have been added, the mean of so many batches'."""
        set_step(self.optimizer, learning_rate, batches)
        take_step(self.optimizer, self.clip_update)
        self.optimizer.zero_grad()

    def whole_state(self) -> dict[str, Tensor]:
        """Copies of the tensors and of what the optimiser remembers, by parameter and name."""
        return {
            f"{name}/{kind}": value.detach().cpu().clone()
            for name, tensor in self.tensors.items()
            for kind, value in {"value": tensor, **self.optimizer.state[tensor]}.items()
        }

    def load_whole_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`whole_state` gave."""
        self.set({name: state[f"{name}/value"] for name in self.tensors})
        for name, tensor in self.tensors.items():
            self.optimizer.state[tensor] = {
                kind.removeprefix(f"{name}/"): value.clone()
                for kind, value in state.items()
                if kind.startswith(f"{name}/") and not kind.endswith("/value")
            }


class AdapterVersions:
    """An adapter after each of its last updates in a round, for passes that use it some updates late.

    Copies, because the adapter itself changes in place while a pass waits for its gradients.

    Args:
        adapter: It is updated with gradients that were taken at a copy.
        delay: How many updates a pass may be late.
    """

    def __init__(self, adapter: Adapter, delay: int) -> None:
        self._adapter = adapter
        self._delay = delay
        self._updates = 0
        self._copies = {0: self._copy()}

    def after(self, updates: int) -> Mapping[str, Tensor]:
        """Return the tensors after so many updates, the last ones by up to ``delay``."""
        return self._copies[updates]

    def update(self, updates: int, learning_rate: float, *, batches: int) -> None:
        """Take an optimiser step with the gradients that were added to the copy after so many updates."""
        for name, tensor in self._copies[updates].items():
            self._adapter.tensors[name].grad, tensor.grad = tensor.grad, None
        self._adapter.update(learning_rate, batches)
        self._updates += 1
        self._copies[self._updates] = self._copy()
        self._copies.pop(self._updates - self._delay - 1, None)

    def _copy(self) -> Mapping[str, Tensor]:
        return {name: tensor.requires_grad_() for name, tensor in self._adapter.state().items()}


class Request(NamedTuple):
    """Features of a satellite, shape (B, tokens, hidden), for the adapter of this name.

    Attributes:
        seeds: Of the rows' LoRA dropout; without, nothing is dropped.
    """

    adapter: str
    features_BTD: Tensor
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class _Pending:
    """A pass whose gradients have not come.

    Attributes:
        requests: What went through, in order.
        updates: After how many updates of this round the adapter was used, where passes may be late.
        pooled_BD: With its graph; or ``None``, then the pass is made again when the gradients are there.
        bytes: Of the activations in the graph.
    """

    requests: Sequence[Request]
    updates: int
    _: KW_ONLY
    pooled_BD: Tensor | None
    bytes: int


class BackboneExecutor:
    """Training passes of many satellites through one frozen backbone, each row with its own adapter.

    Args:
        backbone: With LoRA in it (mode ``lora``) or without (mode ``head``).
        lora: How adapters are put on.
        device: Where it computes.
        adapters: Names of the adapters: one for all, or one a satellite; none in ``head`` mode.
        weight_decay, clip_update: Of the adapters' AdamW, and see :class:`Adapter`.
        activation_bytes: Activations that are kept for backward passes at most; others are computed again.
        precision: Of the matrix products, ``fp32`` or ``bf16`` (autocast).

    Attributes:
        busy_s: Wall time spent in passes and optimiser steps.
    """

    def __init__(
        self,
        backbone: Backbone,
        lora: LoraSettings,
        *,
        device: torch.device,
        adapters: Sequence[str] = (),
        weight_decay: float = 0.0,
        clip_update: float = 0.0,
        activation_bytes: float = math.inf,
        precision: str = "fp32",
    ) -> None:
        self.backbone = backbone.to(device)
        self.device = device
        self._lora = lora
        self._bare = without_adapter(backbone)
        start = trainable_state(backbone)
        self.adapters = {
            name: Adapter.fresh(start, weight_decay=weight_decay, clip_update=clip_update)
            for name in adapters
        }
        self._activation_bytes = activation_bytes
        self._row_bytes: dict[tuple[int, ...], int] = {}
        self._precision = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
        self._pending: dict[Hashable, _Pending] = {}
        self._versions: dict[str, AdapterVersions] = {}
        self.busy_s = 0.0

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of what comes back for an image: (hidden,), or patches and values of each."""
        return self.backbone.state_shape

    @property
    def kept_bytes(self) -> int:
        """Activations that are kept now for backward passes to come."""
        return sum(pending.bytes for pending in self._pending.values())

    @torch.no_grad()
    def infer(self, features_BTD: Tensor, narrow: bool = True) -> Tensor:
        """States, shape (B, …), through the adapter that the backbone itself holds (if any).

        Without ``narrow`` they are those before the bottleneck.
        """
        with self._busy(), self._precision:
            return self.backbone(features_BTD.to(self.device), narrow=narrow).float().cpu()

    @torch.no_grad()
    def start_bottleneck(self, seen: SecondMoments) -> Scaling:
        """Start the bottleneck of the backbone and of all adapters as the principal components of these states.

        Returns:
            The scaling of what it leaves of them.
        """
        assert self.backbone.bottleneck is not None
        weight_VE, scaling = principal_components(seen, self.backbone.bottleneck.out_features)
        of_adapters = [adapter.tensors[f"{BOTTLENECK}weight"] for adapter in self.adapters.values()]
        for tensor in (self.backbone.bottleneck.weight, *of_adapters):
            tensor.copy_(weight_VE)
        return scaling

    def begin_round(self, adapter: str, delay: int) -> None:
        """From now on passes may use an adapter as it was up to ``delay`` updates ago; updates count from here."""
        self._versions.pop(adapter, None)
        if delay:
            self._versions[adapter] = AdapterVersions(self.adapters[adapter], delay)

    def forward(self, key: Hashable, requests: Sequence[Request], updates: int = 0) -> list[Tensor]:
        """Pooled states of each request, all in one pass, remembered under ``key`` until its gradients come.

        Adapters are used as they are, or where :meth:`begin_round` has allowed a delay, after so many ``updates``.
        """
        rows = sum(len(request.features_BTD) for request in requests)
        needed = rows * self._bytes_of_row(requests[0], updates)
        fits = self.kept_bytes + needed <= self._activation_bytes
        with self._busy(), torch.set_grad_enabled(fits):
            pooled_BD = self._pass(requests, updates)
        self._pending[key] = _Pending(
            requests, updates, pooled_BD=pooled_BD if fits else None, bytes=needed if fits else 0
        )
        return list(pooled_BD.detach().cpu().split([len(request.features_BTD) for request in requests]))

    def backward(self, key: Hashable, gradients: Sequence[Tensor]) -> None:
        """Add what the gradients of a pass' pooled states, one for each request, are to those of the adapters.

        Raises:
            BackboneError: No such pass is pending, or a gradient has another shape than its features have.
        """
        if key not in self._pending:
            raise BackboneError(f"a gradient without a pending forward pass: {key}")
        pending = self._pending[key]
        for request, gradient in zip(pending.requests, gradients, strict=True):
            allowed = len(request.features_BTD), *self.state_shape
            if gradient.shape != allowed:
                raise BackboneError(
                    f"gradient for {request.adapter}: found shape {tuple(gradient.shape)}, allowed {allowed}"
                )
        del self._pending[key]
        with self._busy():
            if pending.pooled_BD is not None:
                pending.pooled_BD.backward(torch.cat(list(gradients)).to(self.device))
                return
            for requests, part in self._slices(pending, gradients):
                self._pass(requests, pending.updates).backward(part.to(self.device))

    def update(self, adapter: str, learning_rate: float, *, updates: int = 0, batches: int = 1) -> None:
        """Take an optimiser step with the gradients that have been added, by passes as late as :meth:`forward` says.

        They are of the mean over so many batches: see :func:`splitmodel.training.set_step`.
        """
        with self._busy():
            if adapter in self._versions:
                self._versions[adapter].update(updates, learning_rate, batches=batches)
            else:
                self.adapters[adapter].update(learning_rate, batches)

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.busy_s += time.perf_counter() - started

    def _pass(self, requests: Sequence[Request], updates: int) -> Tensor:
        names = list(dict.fromkeys(request.adapter for request in requests))
        of_row = [names.index(request.adapter) for request in requests for _ in request.features_BTD]
        features_BTD = torch.cat([request.features_BTD for request in requests]).to(self.device)
        adapters = [self._tensors(name, updates) for name in names]
        seeds = [seed for request in requests for seed in request.seeds] or None
        with self._precision:
            return mixed_forward(self._bare, features_BTD, adapters, of_row, self._lora, seeds).float()

    def _tensors(self, adapter: str, updates: int) -> Mapping[str, Tensor]:
        """What passes use of an adapter, see :meth:`forward`."""
        if adapter in self._versions:
            return self._versions[adapter].after(updates)
        return self.adapters[adapter].tensors

    def _bytes_of_row(self, request: Request, updates: int) -> int:
        """Activations that a backward pass needs of one row, as autograd saves them; found out once for a shape."""
        row_BTD = request.features_BTD[:1]
        if row_BTD.shape not in self._row_bytes:
            weights = {tensor.data_ptr() for tensor in self._bare.parameters()}
            weights |= {tensor.data_ptr() for tensor in self._tensors(request.adapter, updates).values()}
            saved: dict[int, int] = {}

            def count(tensor: Tensor) -> Tensor:
                if tensor.data_ptr() not in weights:
                    saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
                graph = self._pass([Request(request.adapter, row_BTD, seeds=request.seeds[:1])], updates)
            del graph
            self._row_bytes[row_BTD.shape] = sum(saved.values())
        return self._row_bytes[row_BTD.shape]

    def _slices(
        self, pending: _Pending, gradients: Sequence[Tensor]
    ) -> Iterator[tuple[list[Request], Tensor]]:
        """A pass to be made again, in pieces that fit beside what is kept."""
        room = self._activation_bytes - self.kept_bytes
        rows = max(1, int(room // self._bytes_of_row(pending.requests[0], pending.updates)))
        for request, gradient_BD in zip(pending.requests, gradients, strict=True):
            pieces = zip(request.features_BTD.split(rows), gradient_BD.split(rows), strict=True)
            for number, (features_BTD, part) in enumerate(pieces):
                seeds = request.seeds[number * rows : (number + 1) * rows]
                yield [Request(request.adapter, features_BTD, seeds=seeds)], part

    def average(self, weights: Mapping[str, float], total: float) -> None:
        """Set the adapters named in ``weights`` to their weighted mean, in this order, and activate it.

        What ``weights`` lack of ``total`` is the weight of the average as it was published last.
        """
        published = trainable_state(self.backbone)
        mean = {
            name: torch.from_numpy(
                mean_with_absent(
                    tensor.cpu().numpy(),
                    [self.adapters[key].tensors[name].detach().cpu().numpy() for key in weights],
                    list(weights.values()),
                    total,
                )
            )
            for name, tensor in published.items()
        }
        for key in weights:
            self.adapters[key].set(mean)
        load_trainable_state(self.backbone, mean)

    def state(self) -> dict[str, Tensor]:
        """Copies of all adapters, of what their optimisers remember, and of the one that is published, by name."""
        state: dict[str, Tensor] = {}
        for key, adapter in self.adapters.items():
            state |= {f"{key}/{name}": value for name, value in adapter.whole_state().items()}
        if self.adapters:
            state |= {
                _PUBLISHED + name: tensor.cpu() for name, tensor in trainable_state(self.backbone).items()
            }
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave."""
        for key, adapter in self.adapters.items():
            prefix = f"{key}/"
            adapter.load_whole_state(
                {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            )
        if self.adapters:
            names = trainable_state(self.backbone)
            load_trainable_state(self.backbone, {name: state[_PUBLISHED + name] for name in names})

    def activate(self, adapter: str) -> None:
        """Copy an adapter into the backbone itself, where :meth:`infer` and an export read it."""
        load_trainable_state(self.backbone, self.adapters[adapter].state())


def choose_precision(name: str, device: torch.device) -> str:
    """The precision that ``training.precision`` means; ``auto`` takes bfloat16 where it is faster.

    That is on accelerators with matrix units for it. On CPUs autocast costs more than it saves: Galileo-Nano trains at
    0.7 times the speed on one with AVX-512 BF16.
    """
    if name == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return name


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
