"""A head of one's own."""

from torch import nn


def two_layers(inputs, outputs):
    """A hidden layer between pooled states and outputs."""
    return nn.Sequential(nn.Linear(inputs, 32), nn.GELU(), nn.Linear(32, outputs))
