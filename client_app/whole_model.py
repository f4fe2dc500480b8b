"""Baselines in which nothing but weights leaves a satellite: it holds the whole model and trains it on board."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from client_app.onboard import Progress, RoundTask, count_batch
from client_app.proximal import Proximal
from splitmodel.imagery import ImageSet
from splitmodel.parts import SplitModel
from splitmodel.training import view


def train_whole_round(task: RoundTask, images: ImageSet, model: SplitModel) -> Progress:
    """Train all that requires a gradient, in place, with optimisers of this round's own.

    Args:
        task: The round.
        images: The satellite's share.
        model: With adapters in its backbone, or with a backbone that is trained itself.
    """
    training = task.training
    trained = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    groups = [
        {"params": trained, "base": training.learning_rate},
        {"params": list(model.head.parameters()), "base": training.head_learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=training.weight_decay)
    proximal = Proximal([*trained, *model.head.parameters()], training.proximal)
    progress = Progress()
    batches = task.batches(len(images))
    for number, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = task.scheduled(group["base"], number, len(batches))
        pixels = view(model.preprocess(images.pixels_BCHW(batch.indices)), batch.views)
        labels_B = torch.from_numpy(images.labels[batch.indices])
        logits = model(pixels)
        loss = F.cross_entropy(logits, labels_B)
        optimizer.zero_grad()
        loss.backward()
        proximal.add_gradient()
        optimizer.step()
        count_batch(progress, float(loss.detach()), logits.detach(), labels_B)
    return progress
