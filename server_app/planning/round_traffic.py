"""What crosses the split in a round, counted as :mod:`client_app` and :mod:`server_app.backbone.service` send it.

Every message is one bundle of :mod:`relay.wire.manifest`: its manifest and the headers of its chunks cross with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mission.run_config import FEATURE_NAME_BYTES, GROUND, STEPS_AHEAD
from mission.schema import Scenario, Training
from orbit.imaging.numbered_images import ImageRange, positions
from relay.wire.frames import bundle_bytes
from relay.wire.manifest import (
    DIGEST_BYTES,
    DTYPE_BYTES,
    SLOW_CHUNK_BYTES,
    Manifest,
    MessageKind,
    encoded_bytes,
    transfer_id_of,
)
from server_app.backbone.feature_cache import shares
from splitmodel.crossing import codec_sizes
from splitmodel.training import VIEWS, VIEWS_THAT_CROSS, batch_sizes, round_order, round_seed

# Two-byte numbers, which most rounds and steps take, and a run's name as Flower gives it, of any 64 bits: what a plan
# counts does not depend on them, so that a seed gives one plan.
_ROUND, _STEP = 1, 200
_RUN = f"run-{2**64 - 1}"
_UPLINK = (MessageKind.HIDDEN, MessageKind.HEAD, MessageKind.GRAD_FEATURES)
_NEVER = np.iinfo(np.int64).max
_EARLIER = -1 - STEPS_AHEAD  # kept since before the first step, see client_app.cached_features
_Numbers = NDArray[np.int64]


def payload_bytes(dtype: str, shape: tuple[int, ...], codec: str) -> int:
    """Return the bytes of a tensor as it is sent, of whichever package its codec is.

    Raises:
        splitmodel.crossing.codec.CodecError: The codec of another package cannot be used.
    """
    return encoded_bytes(dtype, shape, codec) if codec == "raw" else codec_sizes.encoded_bytes(shape, codec)


@dataclass(frozen=True)
class Framing:
    """The headers and manifests around a message.

    Attributes:
        satellite: A name as long as those of the satellites.
        signature_bytes: What signature and certificate add, see
            :attr:`relay.wire.identity.NodeIdentity.signature_bytes`.
        chunk_bytes: Largest payload of a chunk: that of slow links.
    """

    satellite: str = "sat-0-00"
    signature_bytes: int = 0
    _: KW_ONLY
    chunk_bytes: int = SLOW_CHUNK_BYTES

    def header_bytes(
        self,
        kind: MessageKind,
        shape: tuple[int, ...],
        codec: str,
        attributes: Mapping[str, int],
        *,
        dtype: str = "float32",
        down: bool = True,
    ) -> int:
        """Return the bytes of a message beside its payload."""
        ends = (self.satellite, GROUND) if down else (GROUND, self.satellite)
        size = payload_bytes(dtype, shape, codec)
        manifest = Manifest(
            transfer_id=transfer_id_of(_RUN, _ROUND, _STEP, 0, kind, *ends, attributes),
            run=_RUN,
            round=_ROUND,
            step=_STEP,
            micro_batch=0,
            kind=kind,
            source=ends[0],
            destination=ends[1],
            dtype=dtype,
            shape=shape,
            codec=codec,
            total_bytes=size,
            digest=bytes(DIGEST_BYTES),
            attributes=attributes,
        )
        return bundle_bytes(manifest, self.chunk_bytes, signature_bytes=self.signature_bytes) - size


@dataclass(frozen=True)
class RoundTraffic:
    """Traffic of all satellites in a round, in numbers of images and of messages.

    Attributes:
        features: Images whose features cross.
        feature_messages: Messages that carry them.
        named: Images that are named, each time.
        name_messages: Messages that carry names.
        states: Images whose pooled states come back, each time.
        state_messages: Messages that carry them, and as many their gradients.
        steps: Steps of all satellites.
        satellites: Who takes part.
    """

    features: int = 0
    feature_messages: int = 0
    _: KW_ONLY
    named: int = 0
    name_messages: int = 0
    states: int = 0
    state_messages: int = 0
    steps: int = 0
    satellites: int = 0

    @property
    def all_kept(self) -> RoundTraffic:
        """The same round of mode ``lora`` once the ground keeps all features, which are only named."""
        return dataclasses.replace(
            self, features=0, feature_messages=0, named=self.states, name_messages=self.state_messages
        )

    def __add__(self, other: RoundTraffic) -> RoundTraffic:
        return RoundTraffic(**{name: count + getattr(other, name) for name, count in vars(self).items()})


class SentImages:
    """Follows which images need not cross again, or be computed again: what they become is kept.

    In mode ``lora`` the ground keeps their features, as far as there is room.  In ``head`` satellites keep pooled
    states, in ``features`` and ``downlink`` the ground keeps what came down, in the on-board modes satellites keep what
    leaves the frozen part of the model; of all that there is no limit.

    Args:
        scenario: The resolved scenario.
        samples: Training images of each satellite.
        mode: As planned.
        room: Images, each view counted, whose features the ground keeps in mode ``lora``.
        taken: The images of each round and satellite, where not all of them are in each; it may grow.
    """

    def __init__(
        self,
        scenario: Scenario,
        samples: Sequence[int],
        *,
        mode: str,
        room: int,
        taken: Sequence[Sequence[ImageRange]] | None = None,
    ) -> None:
        self._scenario = scenario
        self._taken = taken
        self._asks_once = mode != "lora"
        self._names = room > 0
        self._room = shares(room, samples)
        self._views = VIEWS[scenario.training.augment]
        # Where nothing is turned on the ground, as in the baselines, all views are of pixels.
        crossing = (
            VIEWS_THAT_CROSS[scenario.training.augment] if mode in ("lora", "features") else self._views
        )
        self._since = [np.full((count, crossing), _NEVER) for count in samples]
        self._seen = [np.zeros((count, self._views), bool) for count in samples]  # through a frozen backbone
        self._round = 0
        self._last = RoundTraffic()

    def in_round(self, number: int) -> RoundTraffic:
        """Return the crossings of round ``number``; ask for rounds in order."""
        for earlier in range(self._round + 1, number + 1):
            self._last = sum((self._of(k, earlier) for k in range(len(self._since))), RoundTraffic())
        self._round = max(self._round, number)
        return self._last

    def _of(self, satellite: int, number: int) -> RoundTraffic:
        since, training = self._since[satellite], self._scenario.training
        share, crossing = since.shape
        if not share:
            return RoundTraffic()
        own = (
            np.arange(share) if self._taken is None else positions(self._taken[number - 1][satellite], share)
        )
        count = len(own)
        if not (self._asks_once or self._names):
            return _nothing_kept(count, training)
        seed = round_seed(self._scenario.seed, satellite, number)
        order = [
            (own[images], views)
            for images, views in round_order(count, training.local_epochs, self._views, seed)
        ]
        if self._asks_once:
            return self._asked(satellite, order)
        since[since != _NEVER] = _EARLIER
        sizes = batch_sizes(count, training.batch_size)
        traffic = RoundTraffic(steps=len(sizes) * len(order), satellites=1)
        for epoch, (images, views) in enumerate(order):
            traffic += self._stepped(satellite, images, views % crossing, sizes, epoch * len(sizes))
        return traffic

    def _asked(self, satellite: int, order: Sequence[tuple[_Numbers, _Numbers]]) -> RoundTraffic:
        """All modes but ``lora``: what is new is computed, and asked for, once and in batches."""
        since, seen = self._since[satellite], self._seen[satellite]
        wanted = np.zeros(seen.shape, bool)
        for images, views in order:
            wanted[images, views] = True
        crosses = wanted if since.shape == seen.shape else wanted.any(axis=1, keepdims=True)
        new, states = crosses & (since == _NEVER), int((wanted & ~seen).sum())
        since[new] = _EARLIER
        seen |= wanted
        features, size = int(new.sum()), self._scenario.training.batch_size
        return RoundTraffic(
            features=features,
            feature_messages=-(-features // size),
            states=states,
            state_messages=-(-states // size),
            satellites=1,
        )

    def _stepped(
        self, satellite: int, images: _Numbers, views: _Numbers, sizes: tuple[int, ...], first: int
    ) -> RoundTraffic:
        """An epoch of mode ``lora`` with memory for features: images in batches of ``sizes``, each of them once.

        ``first`` is the number of its first step.
        """
        step, part = _places(sizes, self._scenario.training.micro_batches)
        step = step + first
        parts = int(part[-1]) + 1
        before = self._since[satellite][images, views]
        new = np.logical_not(before < step - STEPS_AHEAD)
        kept = self._kept(satellite, part, before == _NEVER)
        self._since[satellite][images[kept], views[kept]] = step[kept]
        return RoundTraffic(
            features=int(new.sum()),
            feature_messages=len(np.unique(part[new])),
            named=len(images),
            name_messages=parts,
            states=len(images),
            state_messages=parts,
        )

    def _kept(self, satellite: int, part: NDArray[np.int64], fresh: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Fresh features that are kept; of a message with too many, none (as :mod:`.backbone.feature_cache`)."""
        kept = fresh
        if fresh.sum() > self._room[satellite]:
            wanted, room = np.bincount(part, fresh), self._room[satellite]
            taken = np.zeros(len(wanted), bool)
            for message, images in enumerate(wanted):
                if images <= room:
                    taken[message] = True
                    room -= images
            kept = fresh & taken[part]
        self._room[satellite] -= int(kept.sum())
        return kept


def _nothing_kept(count: int, training: Training) -> RoundTraffic:
    """A satellite's round of mode ``lora`` where the ground keeps no features: all cross, in whatever order."""
    sizes = batch_sizes(count, training.batch_size)
    messages = int(_places(sizes, training.micro_batches)[1][-1]) + 1
    epochs = training.local_epochs
    images, messages = count * epochs, messages * epochs
    return RoundTraffic(
        features=images,
        feature_messages=messages,
        states=images,
        state_messages=messages,
        steps=len(sizes) * epochs,
        satellites=1,
    )


@lru_cache(maxsize=64)  # satellites have as many images as each other, or one more, round after round
def _places(sizes: tuple[int, ...], micro_batches: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Step and message of each image of batches of these sizes, both from 0; messages are as numpy splits a batch."""
    step = np.repeat(np.arange(len(sizes)), sizes)
    parts: list[int] = []
    for size in sizes:
        count = min(micro_batches, size)
        short, long = divmod(size, count)
        parts += [short + 1] * long + [short] * (count - long)
    return step, np.repeat(np.arange(len(parts)), parts)


@dataclass(frozen=True)
class Target:
    """The label of one image: a number, or several, or one for every pixel."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """As it crosses."""
        return payload_bytes(self.dtype, self.shape, "raw") if self.shape else DTYPE_BYTES[self.dtype]


@dataclass(frozen=True)
class CrossingBytes:
    """Bytes of all satellites in a round: features and their names down, pooled states up, gradients down."""

    features: float
    states: float
    _: KW_ONLY
    gradients: float


def split_bytes(
    traffic: RoundTraffic,
    scenario: Scenario,
    mode: str,
    features_shape: tuple[int, int],
    state_shape: tuple[int, ...],
    head_table: tuple[int, ...],
    target: Target | None,
    framing: Framing,
) -> CrossingBytes:
    """The bytes of a round of the split.

    Args:
        traffic: What crosses in it.
        scenario: Codecs and micro-batches.
        mode: ``head``, ``lora`` or ``features``.
        features_shape: Tokens and hidden size of an image's features.
        state_shape: Of what comes back of an image.
        head_table: Shape of a head that crosses, empty where none does.
        target: What an image is labelled with; ``None`` where the ground has the labels.
        framing: What messages are sent in.
    """
    codec, training = scenario.crossings, scenario.training
    lora = mode == "lora"
    up = {"attempt": 0, "of": min(training.micro_batches, training.batch_size) if lora else 1}
    back = up | {"kept": 0}

    def of(kind: MessageKind, images: int, messages: int, row: tuple[int, ...], how: str) -> float:
        if not messages:
            return 0.0
        mean = (max(1, round(images / messages)), *row)
        attributes = back if kind is MessageKind.HIDDEN else up
        dtype, down = ("uint8", True) if kind is MessageKind.SAMPLES else ("float32", kind not in _UPLINK)
        header = framing.header_bytes(kind, mean, how, attributes, dtype=dtype, down=down)
        return images * payload_bytes(dtype, (1, *row), how) + messages * header

    def head(kind: MessageKind, how: str) -> float:
        if not head_table:
            return 0.0
        header = framing.header_bytes(kind, head_table, how, up, down=kind not in _UPLINK)
        return traffic.steps * (payload_bytes("float32", head_table, how) + header)

    features = of(
        MessageKind.FEATURES, traffic.features, traffic.feature_messages, features_shape, codec.features
    )
    features += of(
        MessageKind.SAMPLES, traffic.named, traffic.name_messages, (FEATURE_NAME_BYTES + 1,), "raw"
    )
    if mode == "features":
        if target is None:
            return CrossingBytes(features, 0.0, gradients=0.0)
        sizes = (max(1, round(traffic.features / max(1, traffic.feature_messages))),)
        labels = framing.header_bytes(
            MessageKind.LABELS, (*sizes, *target.shape), "raw", up, dtype=target.dtype
        )
        size = traffic.features * target.bytes + traffic.feature_messages * labels
        return CrossingBytes(features + size, 0.0, gradients=0.0)
    states = of(MessageKind.HIDDEN, traffic.states, traffic.state_messages, state_shape, codec.hidden)
    if not lora:
        return CrossingBytes(features, states, gradients=0.0)
    states += head(MessageKind.HEAD, codec.hidden)
    states += traffic.satellites * framing.header_bytes(
        MessageKind.GRAD_FEATURES, (0,), "fp32", up, down=False
    )
    gradients = of(
        MessageKind.GRAD_HIDDEN, traffic.states, traffic.state_messages, state_shape, codec.gradients
    )
    return CrossingBytes(features, states, gradients=gradients + head(MessageKind.GRAD_HEAD, codec.gradients))
