"""FedProx's term against autograd."""

from __future__ import annotations

import torch

from client_app.proximal import Proximal


def test_the_gradient_is_that_of_the_squared_distance() -> None:
    weights = torch.randn(4, 3, requires_grad=True)
    sent = weights.detach().clone()
    proximal = Proximal([weights], 0.3)
    with torch.no_grad():
        weights.add_(torch.randn(4, 3))
    loss = (weights**3).sum() + 0.15 * ((weights - sent) ** 2).sum()
    (expected,) = torch.autograd.grad(loss, weights)
    (weights**3).sum().backward()
    proximal.add_gradient()
    torch.testing.assert_close(weights.grad, expected)


def test_strength_zero_adds_nothing() -> None:
    weights = torch.ones(2, requires_grad=True)
    proximal = Proximal([weights], 0.0)
    weights.sum().backward()
    proximal.add_gradient()
    assert weights.grad is not None
    assert weights.grad.tolist() == [1.0, 1.0]


def test_a_round_that_goes_on_holds_on_to_the_weights_that_were_sent() -> None:
    weights = torch.ones(2, requires_grad=True)
    sent = Proximal([weights], 0.5).sent
    with torch.no_grad():
        weights.add_(2.0)
    weights.sum().backward()
    Proximal([weights], 0.5, sent=sent).add_gradient()
    assert weights.grad is not None
    assert weights.grad.tolist() == [2.0, 2.0]
