"""The pre-norm transformer block of timm and of the models that share its names, written for our own loaders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FusedAttention(nn.Module):
    """Self-attention whose query, key and value come of one layer, `qkv`."""

    def __init__(self, hidden_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Attended states."""
        made = self.qkv(hidden_BTD).unflatten(-1, (3, self.heads, -1))
        query, key, value = made.permute(2, 0, 3, 1, 4)
        served = F.scaled_dot_product_attention(query, key, value)
        return self.proj(served.transpose(1, 2).flatten(2))


class SeparateAttention(nn.Module):
    """Self-attention with a layer each for query, key and value: `q`, `k`, `v`."""

    def __init__(self, hidden_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(hidden_size, hidden_size) for _ in range(3))
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Attended states."""
        query, key, value = (
            made(hidden_BTD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for made in (self.q, self.k, self.v)
        )
        served = F.scaled_dot_product_attention(query, key, value)
        return self.proj(served.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers with GELU."""

    def __init__(self, hidden_size: int, inner_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, inner_size)
        self.fc2 = nn.Linear(inner_size, hidden_size)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Transformed states."""
        return self.fc2(F.gelu(self.fc1(hidden_BTD)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, hidden_size: int, attention: nn.Module, *, inner_size: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, eps=eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(hidden_size, eps=eps)
        self.mlp = Mlp(hidden_size, inner_size)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """States after the block."""
        hidden_BTD = hidden_BTD + self.attn(self.norm1(hidden_BTD))
        return hidden_BTD + self.mlp(self.norm2(hidden_BTD))


def sine_cosine(positions: Tensor, size: int, *, scale: float = 10_000.0) -> Tensor:
    """Sines, then cosines, of positions, shape (…, size): frequency i of size ÷ 2 is scale^(-i ÷ (size ÷ 2))."""
    half = size // 2
    frequencies = scale ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = positions.double().unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def initialise(model: nn.Module, std: float = 0.02) -> None:
    """Weights N(0, std²) and biases 0, of linear layers, convolutions and free parameters; norms stay as they are."""
    for name, parameter in model.named_parameters():
        if "norm" in name:
            continue
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim > 1:
            nn.init.normal_(parameter, std=std)
