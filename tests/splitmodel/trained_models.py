"""Models that are no longer what they were at the start, for tests of what is exported."""

from __future__ import annotations

import torch

from splitmodel.parts import SplitModel


@torch.no_grad()
def move_trained(split: SplitModel, by: float) -> None:
    """Add noise of a size to all that is trained."""
    generator = torch.Generator().manual_seed(3)
    for parameter in [*split.backbone.parameters(), *split.head.parameters()]:
        if parameter.requires_grad:
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
