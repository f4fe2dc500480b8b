"""A head and a decoder of one's own."""

from torch import nn


def two_layers(inputs, outputs):
    """A hidden layer between pooled states and outputs."""
    return nn.Sequential(nn.Linear(inputs, 32), nn.GELU(), nn.Linear(32, outputs))


def depthwise(inputs, outputs):
    """Mix the states of neighbouring patches, channel by channel, before a linear layer for each patch."""
    mix = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
    return nn.Sequential(mix, nn.GELU(), nn.Conv2d(inputs, outputs, 1))
