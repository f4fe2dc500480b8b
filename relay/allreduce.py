"""The weighted mean of one plane's heads and adapters, computed by its satellites over their relays.

Sums are float64 and their order is fixed, so every satellite ends with the same bits, which are those of
`strategies.aggregation`: on a chain its `weighted_mean`; on a ring, where one half of the payload goes round each
way, its `ring_all_reduce` of each half.

Satellites are addressed, not links: where a link of the ring fails, relays carry its parcels the other way round,
or over the ground, and the result is the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from relay.client import LinkError, LinkTimeout, ParcelLink
from relay.wire import Kind, Manifest, Parcel

PIECES = 8  # of a payload on a chain, so that all its links work at once
_MEAN = 1 << 16  # steps from here on carry the mean back


@dataclass
class _Plane:
    """This satellite's exchange with the others, in one round."""

    link: ParcelLink
    me: str
    run: str
    round: int
    deadline_s: float
    early: dict[tuple[str, int, int], Parcel] = field(default_factory=dict)

    def send(self, to: str, step: int, lane: int, values: np.ndarray, weight: float) -> None:
        payload = np.ascontiguousarray(values).view(np.uint8).data
        manifest = Manifest.describe(
            payload,
            run=self.run,
            kind=Kind.AGGREGATE,
            source=self.me,
            destination=to,
            dtype=str(values.dtype),
            shape=values.shape,
            round=self.round,
            step=step,
            micro_batch=lane,
            attributes={"weight": weight},
        )
        self.link.send(manifest, payload)

    def receive(self, source: str, step: int, lane: int) -> tuple[np.ndarray, float]:
        """Values and weight that `source` sends for this step; what comes too early is kept."""
        wanted = source, step, lane
        while wanted not in self.early:
            left_s = self.deadline_s - time.monotonic()
            if left_s <= 0:
                raise LinkTimeout(f"{self.me}: nothing of {source} in step {step} of the all-reduce")
            parcel = self.link.receive(left_s)
            manifest = parcel.manifest
            if manifest.kind is not Kind.AGGREGATE or manifest.run != self.run:
                raise LinkError(f"{self.me}: {manifest.kind.name} of {manifest.source} during an all-reduce")
            if manifest.round == self.round:
                self.early[manifest.source, manifest.step, manifest.micro_batch] = parcel
        manifest, payload = self.early.pop(wanted)
        return np.frombuffer(payload, manifest.dtype), float(manifest.attributes["weight"])


def all_reduce(
    link: ParcelLink,
    members: Sequence[str],
    me: str,
    values: np.ndarray,
    weight: float,
    *,
    shape: Literal["ring", "chain"],
    run: str,
    round: int,
    timeout_s: float,
) -> np.ndarray:
    """The mean of all members' `values`, weighted, of the same shape and dtype (float32 or float64).

    `members` are in the order of the ring or chain, the same on all of them. Raises LinkTimeout when the others'
    parts have not come after `timeout_s` wall seconds; the caller may then leave the mean to the ground.
    """
    if me not in members or len(set(members)) != len(members):
        raise ValueError(f"members {list(members)}: {me} must be among them, and each only once")
    if values.dtype not in (np.float32, np.float64):
        raise ValueError(f"values of {values.dtype}: float32 or float64")
    plane = _Plane(link, me, run, round, time.monotonic() + timeout_s)
    flat = values.ravel()
    if len(members) == 1:
        mean = flat.astype(np.float64) * weight / weight
    elif shape == "ring":
        mean = _ring(plane, members, flat, weight)
    else:
        mean = _chain(plane, members, flat, weight)
    link.settle()
    return mean.astype(values.dtype).reshape(values.shape)


class _Way:
    """One half of the payload on its way round the ring: reduce-scatter, then all-gather.

    Chunk c starts at the c-th satellite of this way and is added to on S − 1 hops (Patarasuk and Yuan 2009).
    """

    def __init__(
        self, plane: _Plane, order: Sequence[str], lane: int, values: np.ndarray, weight: float
    ) -> None:
        self._plane = plane
        self._lane = lane
        self._size = len(order)
        self._index = order.index(plane.me)
        self._next = order[(self._index + 1) % self._size]
        self._previous = order[self._index - 1]
        self._chunks = list(np.array_split(values.astype(np.float64) * weight, self._size))
        self._weights = [float(weight)] * self._size

    def send(self, step: int) -> None:
        gathering = step >= self._size - 1  # one further: the chunk just completed here goes first
        chunk = (self._index - step + (self._size if gathering else 0)) % self._size
        self._plane.send(self._next, step, self._lane, self._chunks[chunk], self._weights[chunk])

    def receive(self, step: int) -> None:
        chunk = (self._index - 1 - step) % self._size
        values, weight = self._plane.receive(self._previous, step, self._lane)
        if step < self._size - 1:
            values, weight = values + self._chunks[chunk], weight + self._weights[chunk]
        self._chunks[chunk], self._weights[chunk] = values, weight

    def mean(self) -> np.ndarray:
        parts = zip(self._chunks, self._weights, strict=True)
        return np.concatenate([values / weight for values, weight in parts])


def _ring(plane: _Plane, members: Sequence[str], values: np.ndarray, weight: float) -> np.ndarray:
    one, other = np.array_split(values, 2)
    ways = [_Way(plane, members, 0, one, weight), _Way(plane, members[::-1], 1, other, weight)]
    for step in range(2 * (len(members) - 1)):
        for way in ways:
            way.send(step)
        for way in ways:
            way.receive(step)
    return np.concatenate([way.mean() for way in ways])


def _chain(plane: _Plane, members: Sequence[str], values: np.ndarray, weight: float) -> np.ndarray:
    """Partial sums run to the end of the chain, the mean runs back, piece by piece."""
    index = members.index(plane.me)
    before = members[index - 1] if index > 0 else None
    behind = members[index + 1] if index + 1 < len(members) else None
    means = []
    for lane, piece in enumerate(np.array_split(values, PIECES)):
        total, total_weight = piece.astype(np.float64) * weight, float(weight)
        if before is not None:
            so_far, weight_so_far = plane.receive(before, index, lane)
            total, total_weight = so_far + total, weight_so_far + total_weight
        if behind is not None:
            plane.send(behind, index + 1, lane, total, total_weight)
        else:
            means.append((total / total_weight).astype(values.dtype))
    for lane in range(PIECES):
        if behind is not None:
            means.append(plane.receive(behind, _MEAN + index, lane)[0])
        if before is not None:
            plane.send(before, _MEAN + index - 1, lane, means[lane], 1.0)
    return np.concatenate(means)
