"""The standardised head is a linear head, only better conditioned."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.heads import StandardisedHead
from splitmodel.lora.adapters import trainable_state
from splitmodel.parts import new_head
from splitmodel.step import head_step


def pooled_states(rows: int) -> tuple[Tensor, Tensor]:
    """Two classes that differ by little beside a large common part, as pooled states do."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 2
    common = torch.linspace(-1.5, 1.5, 16)
    return common + 0.04 * (torch.randn(rows, 16, generator=generator) + labels[:, None]), labels


def scaling_of(pooled_BD: Tensor) -> Scaling:
    return Scaling.of(Moments.of(pooled_BD))


def test_the_folded_head_has_the_same_logits() -> None:
    pooled, _ = pooled_states(64)
    head = StandardisedHead.of(new_head(16, 3, seed=1), scaling_of(pooled[:32]))
    torch.testing.assert_close(head.folded()(pooled), head(pooled), rtol=1e-4, atol=1e-4)


def test_its_constants_are_neither_trained_nor_saved() -> None:
    pooled, labels = pooled_states(64)
    head = StandardisedHead.of(new_head(16, 2), scaling_of(pooled))
    assert set(trainable_state(head)) == set(head.state_dict()) == {"weight", "bias"}
    result = head_step(head, pooled, labels)
    assert result.grad_pooled_BD.shape == pooled.shape


def test_it_learns_faster_than_a_plain_head() -> None:
    pooled, labels = pooled_states(400)

    def loss_after_training(head: nn.Linear) -> float:
        optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)
        for _ in range(100):
            optimiser.zero_grad()
            F.cross_entropy(head(pooled), labels).backward()
            optimiser.step()
        return float(F.cross_entropy(head(pooled), labels).detach())

    standardised = StandardisedHead.of(new_head(16, 2), scaling_of(pooled[:32]))
    assert loss_after_training(standardised) < 0.5 * loss_after_training(new_head(16, 2))


def test_a_channel_that_never_changes_does_no_harm() -> None:
    pooled = torch.randn(8, 16)
    pooled[:, 3] = 2.0
    head = StandardisedHead.of(new_head(16, 2), scaling_of(pooled))
    assert torch.isfinite(head(pooled)).all()


def test_constants_of_other_states_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a head of 16 inputs needs as many constants; found \(15,\)"):
        StandardisedHead.of(new_head(16, 2), scaling_of(torch.zeros(8, 15)))
