"""Heads that train well whatever the scale of the pooled states: one linear layer, or what another package makes."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmodel.crossing.scaling import Scaling
from splitmodel.families.errors import ModelLoadError


class StandardisedHead(nn.Linear):
    """A linear head on standardised pooled states, with constants that all satellites share.

    The pooled states of a frozen backbone have a large common part and small differences (Galileo-Nano on EuroSAT:
    up to 1.4 and about 0.04), so that gradient descent on a plain linear head is slow and ends points lower. The
    constants are no parameters: they are not trained, averaged or in `trainable_state`. `folded` gives the plain
    linear head that computes the same.
    """

    scaling: Scaling

    @classmethod
    def of(cls, head: nn.Linear, scaling: Scaling) -> Self:
        """A head with the weights of `head` on states that are scaled so.

        Raises:
            ValueError: The scaling is for states of another size than the head takes.
        """
        if scaling.mean_D.shape != (head.in_features,):
            raise ValueError(
                f"a head of {head.in_features} inputs needs as many constants; found {tuple(scaling.mean_D.shape)}"
            )
        made = nn.utils.skip_init(cls, head.in_features, head.out_features)
        made.load_state_dict(head.state_dict())
        made.scaling = scaling
        return made

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """Logits of pooled states."""
        return F.linear(self.scaling.standardise(pooled_BD), self.weight, self.bias)

    @property
    def table_shape(self) -> tuple[int, int]:
        """The shape of :meth:`table`."""
        return self.out_features, self.in_features + 1

    @torch.no_grad()
    def table(self) -> Tensor:
        """A copy of weights and biases, the biases as the last column; shape (classes, hidden + 1)."""
        return _table(self.weight, self.bias)

    def gradient_table(self) -> Tensor:
        """The gradients of :meth:`table`, as they have been added up."""
        assert self.weight.grad is not None
        assert self.bias.grad is not None
        return _table(self.weight.grad, self.bias.grad)

    @torch.no_grad()
    def set_table(self, table: Tensor) -> None:
        """The inverse of :meth:`table`.

        Raises:
            ValueError: The table is of another head.
        """
        self._require(table)
        self.weight.copy_(table[:, :-1])
        self.bias.copy_(table[:, -1])

    def set_gradient_table(self, table: Tensor) -> None:
        """The inverse of :meth:`gradient_table`.

        Raises:
            ValueError: The table is of another head.
        """
        self._require(table)
        self.weight.grad, self.bias.grad = table[:, :-1].clone(), table[:, -1].clone()

    def _require(self, table: Tensor) -> None:
        if table.shape != self.table_shape:
            raise ValueError(f"a head's table: found shape {tuple(table.shape)}, allowed {self.table_shape}")

    def folded(self) -> nn.Linear:
        """The plain head with the same logits."""
        plain = nn.utils.skip_init(nn.Linear, self.in_features, self.out_features)
        with torch.no_grad():
            plain.weight.copy_(self.weight / self.scaling.deviation_D)
            plain.bias.copy_(self.bias - plain.weight @ self.scaling.mean_D)
        return plain


def _table(weight_KD: Tensor, bias_K: Tensor) -> Tensor:
    return torch.cat([weight_KD, bias_K[:, None]], dim=1)


class VectorHead(nn.Module, ABC):
    """A head of several layers: its table is all its parameters, one after the other.

    Attributes:
        inputs: Values of a state.
        outputs: For an image, or for each pixel.
        scaling: Of the states; constants that all satellites share, see :class:`StandardisedHead`.
    """

    def __init__(self, inputs: int, outputs: int, *, scaling: Scaling) -> None:
        super().__init__()
        if scaling.mean_D.shape != (inputs,):
            raise ValueError(
                f"a head of {inputs} inputs needs as many constants; found {tuple(scaling.mean_D.shape)}"
            )
        self.inputs, self.outputs, self.scaling = inputs, outputs, scaling

    @abstractmethod
    def scaled(self, scaling: Scaling) -> Self:
        """Return a copy for states that are scaled so."""

    @property
    def table_shape(self) -> tuple[int]:
        """The shape of :meth:`table`."""
        return (sum(parameter.numel() for parameter in self.parameters()),)

    @torch.no_grad()
    def table(self) -> Tensor:
        """Return a copy of all parameters, one after the other."""
        return nn.utils.parameters_to_vector(self.parameters()).detach().clone()

    def gradient_table(self) -> Tensor:
        """Return the gradients of :meth:`table`, as they have been added up."""
        parts = [torch.zeros_like(own) if own.grad is None else own.grad for own in self.parameters()]
        return nn.utils.parameters_to_vector(parts)

    @torch.no_grad()
    def set_table(self, table: Tensor) -> None:
        """Set all parameters; the inverse of :meth:`table`.

        Raises:
            ValueError: The table is of another head.
        """
        for parameter, part in zip(self.parameters(), self._parts(table), strict=True):
            parameter.copy_(part)

    def set_gradient_table(self, table: Tensor) -> None:
        """Set all gradients; the inverse of :meth:`gradient_table`.

        Raises:
            ValueError: The table is of another head.
        """
        for parameter, part in zip(self.parameters(), self._parts(table), strict=True):
            parameter.grad = part.clone()

    def _parts(self, table: Tensor) -> list[Tensor]:
        if table.shape != self.table_shape:
            raise ValueError(f"a head's table: found shape {tuple(table.shape)}, allowed {self.table_shape}")
        parts = table.split([parameter.numel() for parameter in self.parameters()])
        return [part.view_as(own) for part, own in zip(parts, self.parameters(), strict=True)]


@dataclass(frozen=True)
class HeadMaker:
    """A function of another package that makes heads for whole images, or decoders of the states of patches.

    Attributes:
        words: Which one it is, for messages.
        make: Returns a module of pooled states (B, inputs) to outputs (B, outputs), or of the states of patches
            (B, inputs, rows, columns) to (B, outputs, rows, columns).
        module, attribute: Where it is imported from.
    """

    words: str
    make: Callable[[int, int], nn.Module]
    _: KW_ONLY
    module: str
    attribute: str

    def new(self, inputs: int, outputs: int, *, seed: int = 0) -> OwnHead:
        """Return a head on states that are not scaled, with weights drawn from ``seed``.

        Raises:
            ModelLoadError: The function fails, or returns what cannot be trained over a split.
        """
        layers = self.layers(inputs, outputs, seed=seed)
        return OwnHead(layers, self, outputs=outputs, scaling=Scaling.neutral(inputs))

    def layers(self, inputs: int, outputs: int, *, seed: int = 0, places: tuple[int, ...] = ()) -> nn.Module:
        """Return what the function makes, for states at so many places: none, or rows and columns of patches.

        Raises: As :meth:`new`.
        """
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                layers = self.make(inputs, outputs)
            self._require(layers, (2, inputs, *places), (2, outputs, *places))
        except ModelLoadError:
            raise
        except Exception as error:  # whatever a package's code does
            raise ModelLoadError(f"{self.words}: failed: {type(error).__name__}: {error}") from error
        return layers

    def _require(self, layers: nn.Module, states: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        """Raise ModelLoadError unless all that is learnt is parameters, and outputs have their shape."""
        if not isinstance(layers, nn.Module):
            raise ModelLoadError(
                f"{self.words}: returned a {type(layers).__name__}; allowed: a torch.nn.Module"
            )
        parameters = dict(layers.named_parameters())
        wrong = [
            name
            for name, parameter in parameters.items()
            if parameter.dtype != torch.float32 or not parameter.requires_grad
        ]
        if wrong or not parameters:
            problem = f"{wrong[0]}, which is not float32 or not trained" if wrong else "no parameters"
            raise ModelLoadError(f"{self.words}: has {problem}; allowed: trained parameters in float32")
        if buffers := [name for name, _ in layers.named_buffers()]:
            raise ModelLoadError(
                f"{self.words}: has the buffer {buffers[0]}; allowed: none, as satellites average parameters alone"
            )
        with torch.no_grad():
            shape = tuple(layers(torch.zeros(states)).shape)
        if shape != outputs:
            raise ModelLoadError(f"{self.words}: makes {shape} of {states}; allowed: {outputs}")


class OwnHead(VectorHead):
    """A head that another package makes, on standardised pooled states.

    Attributes:
        layers: What the package made.
        maker: By which function.
    """

    def __init__(self, layers: nn.Module, maker: HeadMaker, *, outputs: int, scaling: Scaling) -> None:
        super().__init__(len(scaling.mean_D), outputs, scaling=scaling)
        self.layers, self.maker = layers, maker

    def scaled(self, scaling: Scaling) -> Self:
        """Return a copy for states that are scaled so."""
        return type(self)(copy.deepcopy(self.layers), self.maker, outputs=self.outputs, scaling=scaling)

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """Outputs of pooled states, shape (B, K)."""
        return self.layers(self.scaling.standardise(pooled_BD))
