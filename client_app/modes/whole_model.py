"""Baselines in which nothing but weights leaves a satellite: it holds the whole model and trains it on board."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from client_app.onboard import OnBoard, Progress, RoundTask, count_batch, train_on_pooled_states
from client_app.proximal import Proximal
from mission.schema import Training
from splitmodel.cached_states import CachedStates
from splitmodel.imagery.views import view
from splitmodel.lora.adapters import frozen_blocks
from splitmodel.lora.dropout import dropping, row_seeds
from splitmodel.parts import SplitModel
from splitmodel.training import Batch, round_seed, take_step

_LARGEST_CACHE_BYTES = 1 << 30  # Flower carries a satellite's state with its messages


class OnboardCacheError(ValueError):
    """The cache on board would exceed the limit per satellite; the message gives both sizes."""


def kept_shape(model: SplitModel, training: Training) -> tuple[int, ...]:
    """The shape of what leaves the frozen part of the model for one image."""
    if training.mode == "onboard-head":
        return model.backbone.state_shape
    preprocess = model.preprocess
    pixels = torch.zeros(1, len(preprocess.mean), preprocess.height, preprocess.width)
    with torch.no_grad():
        return tuple(model.embedding(pixels).shape[1:])


def train_head_alone(
    task: RoundTask, on_board: OnBoard, model: SplitModel, pooled_states: CachedStates
) -> Progress:
    """Train the head, in place, on pooled states that the frozen model makes once of each image and view.

    Args:
        task: The round.
        on_board: The satellite's share.
        model: The whole model, frozen but for its head.
        pooled_states: What is kept of earlier rounds; it grows in place.
    """
    progress = Progress()
    _fill(task, on_board, model, pooled_states, lambda features_BTD: model.backbone(features_BTD))
    train_on_pooled_states(task, on_board, model.head, progress, pooled_states)
    return progress


def train_whole_round(
    task: RoundTask, on_board: OnBoard, model: SplitModel, kept: CachedStates | None = None
) -> Progress:
    """Train all that requires a gradient, in place, with optimisers of this round's own.

    Args:
        task: The round.
        on_board: The satellite's share.
        model: With adapters in the last blocks of its backbone, or all of it trained itself.
        kept: What leaves the frozen part, kept of earlier rounds; it grows in place. Without, each pass computes it.

    Raises:
        OnboardCacheError: That is too much to be kept.
    """
    training = task.training
    trained = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    groups = [
        {"params": trained, "base": training.learning_rate},
        {"params": list(model.head.parameters()), "base": training.head_learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=training.weight_decay)
    proximal = Proximal([*trained, *model.head.parameters()], training.proximal)
    first_block = frozen_blocks(model.backbone, training.adapted_blocks)

    def frozen(features_BTD: Tensor) -> Tensor:
        return model.backbone.below(features_BTD, first_block)

    if kept is not None:
        _fill(task, on_board, model, kept, frozen)
    progress = Progress()
    batches = task.batches(len(on_board.images))
    for number, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = task.scheduled(group["base"], number, len(batches))
        if training.mode == "onboard-full":
            logits = model(_pixels(on_board, model, batch))
        else:
            states = kept.get(batch) if kept is not None else _frozen(on_board, model, batch, frozen)
            seeds = row_seeds((*round_seed(task.seed, task.satellite, task.number), number, 0), len(states))
            with dropping(model.backbone, seeds):
                logits = model.head(model.backbone(states, first_block=first_block))
        targets = on_board.targets(batch)
        loss = on_board.task.loss(logits, targets)
        task.check_loss(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        proximal.add_gradient()
        take_step(optimizer, training.clip_update)
        count_batch(progress, float(loss.detach()), on_board.task, logits.detach(), targets)
    return progress


def _fill(
    task: RoundTask,
    on_board: OnBoard,
    model: SplitModel,
    kept: CachedStates,
    frozen: Callable[[Tensor], Tensor],
) -> None:
    """Compute what the round needs and is not kept yet."""
    if kept.bytes > _LARGEST_CACHE_BYTES:
        raise OnboardCacheError(
            f"training.onboard_cache: found true, {len(on_board.images)} images under all views take "
            f"{kept.bytes / 1e9:.1f} GB on board in mode {task.training.mode}; allowed in a run are "
            f'{_LARGEST_CACHE_BYTES / 1e9:.1f} GB a satellite: fewer images, or augment = "none"'
        )
    # A satellite that has lost its states, as in a resumed run, computes them in the batches in which it did then: in
    # other batches the same images come out with other roundings.
    first = 1 if kept.empty else task.number
    for earlier in range(first, task.number + 1):
        asked = replace(task, number=earlier).batches(len(on_board.images))
        for batch in kept.missing(asked, task.training.batch_size):
            kept.put(batch, _frozen(on_board, model, batch, frozen))


@torch.no_grad()
def _frozen(on_board: OnBoard, model: SplitModel, batch: Batch, frozen: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the output of the model's frozen part for a batch."""
    return frozen(model.embedding(_pixels(on_board, model, batch)))


def _pixels(on_board: OnBoard, model: SplitModel, batch: Batch) -> Tensor:
    return view(on_board.images.prepared(batch.indices, model.preprocess), batch.views)
