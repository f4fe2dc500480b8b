"""The sum of one plane's vectors, added up by its satellites over their relays: on a two-way ring, or on a chain.

Sums are float64 and their order is fixed, so every satellite ends with the same bits, which are those of
`strategies.aggregation.averages.plane_sum`. On a ring one half of the vector goes round each way; on a chain
both ends add towards the middle, and the sum comes back.

Satellites are addressed, not links: where a link of the ring fails, relays carry its bundles the other way along the
chain that is left, and where the chain is torn, over the ground. What fails in spite of that is given up by all, and
left to the ground.

Bundles that a satellite sends follow from what it has been given, so one that dies on the way does all of it again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence

import numpy as np

from mission.client_update import pieces_of
from relay.client.message_link import BundleLink, LinkError, LinkTimeout
from relay.wire.manifest import Bundle, Manifest, MessageKind, WireError

_GATHER, _SPREAD = 0, 1  # steps on a chain
_GIVEN_UP = "given_up"


class GivenUp(LinkError):
    """Another satellite of the plane has given the sum up."""


def all_reduce(
    link: BundleLink,
    members: Sequence[str],
    me: str,
    values: np.ndarray,
    *,
    ring: bool,
    run: str,
    round: int,
    timeout_s: float,
    early: Iterable[Bundle] = (),
) -> np.ndarray:
    """The sum of all members' `values`, float64 and of one length.

    `members` are in the order of the ring or chain, the same on all of them. `early` are bundles of kind AGGREGATE
    that have come on this link before. Nothing is acknowledged: should this process die before the sum
    is kept, the next one forms it again from the same bundles.

    Raises LinkError when the sum cannot be had: another member has given it up, or after `timeout_s` wall seconds.
    The other members are told so, and the caller may leave it to the ground.
    """
    if me not in members or len(set(members)) != len(members):
        raise ValueError(f"members {list(members)}: {me} must be among them, and each only once")
    if values.dtype != np.float64 or values.ndim != 1:
        raise ValueError(f"values of {values.dtype}{list(values.shape)}: float64 in one dimension")
    if len(members) == 1:
        return values
    plane = _Plane(link, members, me=me, run=run, round=round, deadline_s=time.monotonic() + timeout_s)
    try:
        for bundle in early:
            plane.keep(bundle)
        return _ring(plane, values) if ring else _chain(plane, values)
    except GivenUp:
        raise
    except (LinkError, WireError) as error:
        plane.give_up()
        raise LinkError(f"{me}: the sum of its plane is given up: {error}") from error


class _Plane:
    """This satellite's exchange with the others, in one round."""

    def __init__(
        self, link: BundleLink, members: Sequence[str], *, me: str, run: str, round: int, deadline_s: float
    ) -> None:
        self.members = members
        self.me = me
        self._link = link
        self._run = run
        self._round = round
        self._deadline_s = deadline_s
        self._kept: dict[tuple[str, int, int], np.ndarray] = {}

    def send(self, to: str, step: int, channel: int, values: np.ndarray) -> None:
        self._send(to, step, channel, values, {})

    def receive(self, source: str, step: int, channel: int, size: int) -> np.ndarray:
        """The `size` values that `source` sends for this step; what comes too early is kept."""
        wanted = source, step, channel
        while wanted not in self._kept:
            left_s = self._deadline_s - time.monotonic()
            if left_s <= 0:
                raise LinkTimeout(f"nothing of {source} in step {step}")
            self.keep(self._link.receive(left_s))
        values = self._kept.pop(wanted)
        if values.shape != (size,):
            raise LinkError(f"{source} sends {values.dtype}{list(values.shape)}: allowed is float64[{size}]")
        return values

    def keep(self, bundle: Bundle) -> None:
        """Keep a part until its turn comes; what is none is for a process that has died, or of a round gone by."""
        manifest, payload = bundle
        if manifest.kind is not MessageKind.AGGREGATE or (manifest.run, manifest.round) != (
            self._run,
            self._round,
        ):
            return
        if manifest.source not in self.members:  # a satellite of another plane has no say in this sum
            return
        if _GIVEN_UP in manifest.attributes:
            raise GivenUp(f"{manifest.source} has given the sum of its plane up")
        values = np.frombuffer(payload, manifest.dtype).reshape(manifest.shape)
        self._kept[manifest.source, manifest.step, manifest.micro_batch] = values

    def give_up(self) -> None:
        """Spare the others waiting for what will not come."""
        for name in self.members:
            if name != self.me:
                with contextlib.suppress(LinkError):
                    self._send(name, 0, 0, np.empty(0), {_GIVEN_UP: 1})

    def _send(self, to: str, step: int, channel: int, values: np.ndarray, attributes: dict[str, int]) -> None:
        payload = np.ascontiguousarray(values).view(np.uint8).data
        manifest = Manifest.describe(
            payload,
            run=self._run,
            kind=MessageKind.AGGREGATE,
            source=self.me,
            destination=to,
            dtype=str(values.dtype),
            shape=values.shape,
            round=self._round,
            step=step,
            micro_batch=channel,
            attributes=attributes,
        )
        self._link.send(manifest, payload)


class _Way:
    """One half of the vector on its way round the ring: reduce-scatter, then all-gather.

    Chunk c starts at the c-th satellite of this way and is added to on S − 1 hops (Patarasuk and Yuan 2009).
    """

    def __init__(self, plane: _Plane, order: Sequence[str], *, channel: int, values: np.ndarray) -> None:
        self._plane = plane
        self._channel = channel
        self._size = len(order)
        self._index = order.index(plane.me)
        self._next = order[(self._index + 1) % self._size]
        self._previous = order[self._index - 1]
        self._chunks = list(np.array_split(values, self._size))

    def send(self, step: int) -> None:
        gathering = step >= self._size - 1  # one further: the chunk just completed here goes first
        chunk = (self._index - step + (self._size if gathering else 0)) % self._size
        self._plane.send(self._next, step, self._channel, self._chunks[chunk])

    def receive(self, step: int) -> None:
        chunk = (self._index - 1 - step) % self._size
        own = self._chunks[chunk]
        came = self._plane.receive(self._previous, step, self._channel, own.size)
        self._chunks[chunk] = came + own if step < self._size - 1 else came

    def total(self) -> np.ndarray:
        return np.concatenate(self._chunks)


def _ring(plane: _Plane, values: np.ndarray) -> np.ndarray:
    first, other = np.array_split(values, 2)
    ways = [
        _Way(plane, plane.members, channel=0, values=first),
        _Way(plane, plane.members[::-1], channel=1, values=other),
    ]
    for step in range(2 * (len(plane.members) - 1)):
        for way in ways:
            way.send(step)
        for way in ways:
            way.receive(step)
    return np.concatenate([way.total() for way in ways])


def _chain(plane: _Plane, values: np.ndarray) -> np.ndarray:
    """Partial sums run from both ends to the middle, the sum runs back, piece by piece."""
    members, index, middle = plane.members, plane.members.index(plane.me), len(plane.members) // 2
    inward = 0 if index == middle else 1 if index < middle else -1
    outer = [side for side in (-1, 1) if side != inward and 0 <= index + side < len(members)]
    pieces = np.array_split(values, pieces_of(values.nbytes))
    totals = []
    for channel, piece in enumerate(pieces):
        total = piece
        for side in outer:  # in the middle: first what comes from the left, then what comes from the right
            came = plane.receive(members[index + side], _GATHER, channel, piece.size)
            total = came + total if side < 0 or index != middle else total + came
        if inward:
            plane.send(members[index + inward], _GATHER, channel, total)
        totals.append(total)
    for channel, total in enumerate(totals):
        if inward:
            totals[channel] = plane.receive(members[index + inward], _SPREAD, channel, total.size)
        for side in outer:
            plane.send(members[index + side], _SPREAD, channel, totals[channel])
    return np.concatenate(totals)
