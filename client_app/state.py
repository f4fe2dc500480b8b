"""What a satellite keeps between two messages: Flower's ``Context.state``, which outlives the process of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from numpy.typing import NDArray
from torch import nn

from client_app.cached_features import CachedFeatures
from client_app.onboard import Progress
from splitmodel.cached_states import CachedStates

_ROUND, _TENSORS, _COUNTERS, _STATES, _KEPT, _SENT, _GIVEN = (
    "progress-of",
    "progress-tensors",
    "progress-counters",
    "kept-states",
    "kept-features",
    "images-sent",
    "features-sent",
)
_PLANE_SUM = "plane-sum"
CACHES = (_STATES, _KEPT, _SENT, _GIVEN)  # what outlives a round


def save_progress(context: Context, run: str, number: int, progress: Progress, head: nn.Module) -> None:
    """Keep round ``number`` of a run where it stands: every field of the progress, and the head."""
    tensors = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in progress.optimizer.items()}
    tensors |= {f"sent.{number}": tensor for number, tensor in enumerate(progress.sent)}
    if progress.plane_sum is not None:
        tensors[_PLANE_SUM] = progress.plane_sum
    context.state[_ROUND] = ConfigRecord({"run": run, "round": number})
    context.state[_TENSORS] = ArrayRecord(tensors)
    context.state[_COUNTERS] = MetricRecord(
        {
            "step": progress.step,
            "attempt": progress.attempt,
            "loss-sum": progress.loss_sum,
            "right": progress.right,
            "seen": progress.seen,
            "finished": int(progress.finished),
            "exchanged": int(progress.exchanged),
            "bytes-up": progress.bytes_up,
            "bytes-down": progress.bytes_down,
        }
    )


def load_progress(context: Context, run: str, number: int, head: nn.Module) -> Progress | None:
    """Return the progress of this round if it was begun before; set ``head`` to its weights."""
    if context.state.config_records.get(_ROUND) != {"run": run, "round": number}:
        return None
    tensors = context.state.array_records[_TENSORS].to_torch_state_dict()
    counters = context.state.metric_records[_COUNTERS]
    head.load_state_dict(_below("head.", tensors))
    return Progress(
        step=int(counters["step"]),  # type: ignore[arg-type]
        attempt=int(counters["attempt"]),  # type: ignore[arg-type]
        loss_sum=float(counters["loss-sum"]),  # type: ignore[arg-type]
        right=float(counters["right"]),  # type: ignore[arg-type]
        seen=int(counters["seen"]),  # type: ignore[arg-type]
        optimizer=_below("optimizer.", tensors),
        sent=tuple(_below("sent.", tensors).values()),
        finished=bool(counters["finished"]),
        exchanged=bool(counters["exchanged"]),
        plane_sum=tensors.get(_PLANE_SUM),
        bytes_up=int(counters["bytes-up"]),  # type: ignore[arg-type]
        bytes_down=int(counters["bytes-down"]),  # type: ignore[arg-type]
    )


def save_cached_states(context: Context, kept: CachedStates) -> None:
    """Keep what leaves the frozen part of the model: pooled states, or what the first adapted block is given."""
    context.state[_STATES] = ArrayRecord(kept.state())


def load_cached_states(context: Context, samples: int, views: int, shape: Sequence[int]) -> CachedStates:
    """Return the states cached in earlier rounds, empty in the first; arguments as for :class:`CachedStates`."""
    if _STATES not in context.state.array_records:
        return CachedStates(samples, views, shape=shape)
    kept = context.state.array_records[_STATES].to_torch_state_dict()
    return CachedStates(samples, views, shape=shape, kept=kept)


def save_cached_features(context: Context, kept: CachedFeatures) -> None:
    """Keep which features the ground keeps (``lora`` mode)."""
    arrays = {"names": torch.from_numpy(kept.names), "since": torch.from_numpy(kept.since)}
    context.state[_KEPT] = ArrayRecord(arrays)


def load_cached_features(context: Context, samples: int, views: int, key_salt: bytes) -> CachedFeatures:
    """Return the record of features that the ground keeps; empty in the first round."""
    if _KEPT not in context.state.array_records:
        return CachedFeatures(samples, views, key_salt=key_salt)
    arrays = context.state.array_records[_KEPT].to_torch_state_dict()
    return CachedFeatures(
        samples, views, key_salt=key_salt, names=arrays["names"].numpy(), since=arrays["since"].numpy()
    )


def save_images_are_sent(context: Context) -> None:
    """The ground has the raw images (``downlink`` mode)."""
    context.state[_SENT] = MetricRecord({"images": 1})


def images_are_sent(context: Context) -> bool:
    """Whether it has; it forgets them when a run is interrupted, and so does the satellite."""
    return _SENT in context.state.metric_records


def save_sent(context: Context, sent: NDArray[np.bool_]) -> None:
    """Keep which features and labels the ground has (labels on the ground)."""
    context.state[_GIVEN] = ArrayRecord({"sent": torch.from_numpy(sent.astype(np.uint8))})


def load_sent(context: Context, samples: int, views: int) -> NDArray[np.bool_]:
    """Return the images and views that the ground has, shape (samples, views); it forgets them as it forgets
    images."""
    if _GIVEN not in context.state.array_records:
        return np.zeros((samples, views), bool)
    return context.state.array_records[_GIVEN].to_torch_state_dict()["sent"].numpy().astype(bool)


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
