"""The half of a training step that is computed on board, as pure functions: nothing here knows of a network, an
optimiser or a clock.

    on board                            on the ground
    embed ──────── features_BTD ──────→ mixed_adapters.mixed_forward
    head_step ←──── pooled_BD ─────────     │ its graph
        │ ───── gradient of pooled ───→ backward of that

`head_step` adds to `.grad` of the parameters that require it, as autograd does. Gradients over
micro-batches sum to those of the batch when each `head_step` is given its share of the batch as `weight`.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmodel.parts import Embedding


@dataclass(frozen=True, eq=False)
class HeadResult:
    """The results of a satellite's half: loss (mean over the batch), outputs of the head, gradient to send down."""

    loss: Tensor
    logits: Tensor
    _: KW_ONLY
    grad_pooled_BD: Tensor


Loss = Callable[[Tensor, Tensor], Tensor]  # mean over a batch, of outputs and targets


def embed(embedding: Embedding, pixels_BCHW: Tensor) -> Tensor:
    """features_BTD, with a graph only if the embedding is trained."""
    with torch.set_grad_enabled(_is_trained(embedding)):
        return embedding(pixels_BCHW)


def head_step(
    head: Callable[[Tensor], Tensor],
    states: Tensor,
    targets: Tensor,
    *,
    weight: float = 1.0,
    loss: Loss = F.cross_entropy,
) -> HeadResult:
    """Loss of the head: adds to the head's gradients and gives that of the states.

    Args:
        head: Takes the states; with blocks on board before it, they and the head.
        states: Pooled, shape (B, D), or of every patch, shape (B, P, E).
        targets: Of these images.
        weight: Scales the gradients, not the loss that is reported: micro-batch size ÷ batch size, so that the
            gradients of the micro-batches sum to those of the batch.
        loss: Of outputs and targets, a mean over the images.
    """
    states = states.detach().requires_grad_()
    with torch.enable_grad():
        outputs = head(states)
        mean_loss = loss(outputs, targets)
        (mean_loss * weight).backward()
    assert states.grad is not None
    return HeadResult(mean_loss.detach(), outputs.detach(), grad_pooled_BD=states.grad)


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
