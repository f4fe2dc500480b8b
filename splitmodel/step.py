"""One training step in its two halves, as pure functions: nothing here knows of a network, an optimiser or a
clock.

    on board                            on the ground
    embed ──────── features_BTD ──────→ backbone_forward
    head_step ←──── pooled_BD ─────────     │ context
        │ ───── gradient of pooled ───→ backbone_backward
    embedding_backward ←─ gradient of features (only where the embedding is trained)

Every backward adds to `.grad` of the parameters that require it, as autograd does. Gradients over
micro-batches sum to those of the batch when each `head_step` is given its share of the batch as `weight`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmodel.parts import Backbone, Embedding


@dataclass(frozen=True, eq=False)
class BackboneContext:
    """What the ground keeps between the two halves of a step: the graph from `features_BTD` to
    `pooled_BD`."""

    features_BTD: Tensor
    pooled_BD: Tensor


@dataclass(frozen=True, eq=False)
class HeadResult:
    """What a satellite knows after its half: loss (mean over the batch), logits, gradient to send down."""

    loss: Tensor
    logits: Tensor
    grad_pooled_BD: Tensor


def embed(embedding: Embedding, pixels_BCHW: Tensor) -> Tensor:
    """features_BTD, with a graph only if the embedding is trained."""
    with torch.set_grad_enabled(_is_trained(embedding)):
        return embedding(pixels_BCHW)


def backbone_forward(
    backbone: Backbone, features_BTD: Tensor, *, with_feature_gradient: bool = False
) -> tuple[Tensor, BackboneContext]:
    """pooled_BD to send up, and the context that `backbone_backward` needs.

    `with_feature_gradient` is for an embedding that is trained; without it nothing below the first adapter is
    differentiated.
    """
    features_BTD = features_BTD.detach().requires_grad_(with_feature_gradient)
    with torch.enable_grad():
        pooled_BD = backbone(features_BTD)
    return pooled_BD.detach(), BackboneContext(features_BTD, pooled_BD)


def backbone_backward(context: BackboneContext, grad_pooled_BD: Tensor) -> Tensor | None:
    """Add to the gradients of the backbone; the gradient of the features, or None if it was not asked for.

    Raises:
        ValueError: the gradient has another shape than the pooled states it belongs to.
    """
    if grad_pooled_BD.shape != context.pooled_BD.shape:
        raise ValueError(
            f"the gradient has shape {tuple(grad_pooled_BD.shape)}, "
            f"the pooled states {tuple(context.pooled_BD.shape)}"
        )
    if context.pooled_BD.requires_grad:
        context.pooled_BD.backward(grad_pooled_BD)
    return context.features_BTD.grad


def head_step(head: nn.Linear, pooled_BD: Tensor, labels_B: Tensor, *, weight: float = 1.0) -> HeadResult:
    """Cross-entropy of the head: adds to the head's gradients and gives that of the pooled states.

    `weight` scales the gradients, not the loss that is reported: micro-batch size ÷ batch size, so that the
    gradients of the micro-batches sum to those of the batch.
    """
    pooled_BD = pooled_BD.detach().requires_grad_()
    with torch.enable_grad():
        logits = head(pooled_BD)
        loss = F.cross_entropy(logits, labels_B)
        (loss * weight).backward()
    assert pooled_BD.grad is not None
    return HeadResult(loss.detach(), logits.detach(), pooled_BD.grad)


def embedding_backward(features_BTD: Tensor, grad_features_BTD: Tensor) -> None:
    """Add to the gradients of a trained embedding; `features_BTD` as `embed` gave them."""
    features_BTD.backward(grad_features_BTD)


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
