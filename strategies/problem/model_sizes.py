"""What a workload is made from: the sizes of a model's parts, how it trains, how finely values cross."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """A model in three parts, per image where nothing else is said.

    Attributes:
        tokens: Of its features.
        hidden: Values of a token.
        embedding_flops: A forward pass of the embedding.
        backbone_flops: A forward pass of the backbone.
        head_flops: Forward and backward pass of the head.
        head_bytes: Of the head's weights.
        adapter_bytes: Of the adapter's weights.
        backbone_bytes: Of the backbone's weights.
        raw_bytes: Of an image as it was taken.
        label_bytes: Of its label.
        returned_tokens: Tokens whose states come back from the backbone: the pooled one, or all.
        lora_backward_ratio: What the backward pass of LoRA costs, in forward passes of the backbone.
    """

    tokens: int
    hidden: int
    embedding_flops: float
    backbone_flops: float
    head_flops: float
    head_bytes: float
    adapter_bytes: float = 0.0
    backbone_bytes: float = 0.0
    raw_bytes: float = 0.0
    label_bytes: float = 8.0
    returned_tokens: int = 1
    lora_backward_ratio: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CrossingBits:
    """Bits per element of a crossing, scales of block codecs included."""

    feature_bits: float = 16.0
    hidden_bits: float = 16.0
    gradient_bits: float = 16.0


@dataclass(frozen=True, kw_only=True)
class TrainingSchedule:
    """The training of a round in numbers; those that :class:`strategies.problem.workload.Workload` has, too, are
    explained there.

    Attributes:
        shared_head: In mode ``lora``, whether the ground keeps one head for all, which crosses in every step.
        trains_adapter: Where the ground trains by itself, whether it trains an adapter besides the head.
    """

    cached_fraction: float = 0.0
    epochs: int = 1
    micro_batch: int = 16
    onboard_share: bool = False
    shared_head: bool = False
    shared_adapter: bool = False
    satellites_per_step: int = 1
    gradient_delay: int = 0
    micro_batches: int = 1
    trains_adapter: bool = True
