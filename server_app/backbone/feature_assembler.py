"""The features of a step as they arrive: all of them, or names of all and the features that are new."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from mission.run_config import FEATURE_NAME_BYTES
from relay.wire.manifest import Buffer, Manifest, MessageKind, WireError
from server_app.backbone.feature_cache import FeatureCache
from splitmodel.crossing import codecs

_Place = tuple[int, int, int]  # round, step, micro-batch


class UnexpectedBundle(WireError):
    """A bundle that has no place in the round under way."""


@dataclass(frozen=True)
class Arrived:
    """Encoded features of a step.

    Attributes:
        payload: As ``codec`` encodes them.
        codec: See :mod:`splitmodel.crossing.codecs`.
        shape: (B, tokens, hidden).
        kept: Whether the ground keeps them all from now on.
    """

    payload: Buffer
    codec: str
    _: KW_ONLY
    shape: tuple[int, ...]
    kept: bool = False


class FeatureAssembler:
    """Puts the features of each satellite's steps together.

    Args:
        row_shape: Tokens and hidden size.
        codec: In which kept features cross.
        pending: How many halves of a satellite's micro-batches wait for the other half; older ones are of attempts that
            were given up.
    """

    def __init__(self, row_shape: tuple[int, int], codec: str, *, pending: int = 16) -> None:
        self._row_shape = row_shape
        self._codec = codec
        self._pending = pending
        self._cache: FeatureCache | None = None
        self._halves: dict[str, dict[_Place, tuple[Manifest, Buffer]]] = {}  # the newest last

    def keep_in(self, cache: FeatureCache) -> None:
        """From now on satellites name the features of a step, and what crosses is kept here."""
        self._cache = cache

    def add(self, satellite: str, manifest: Manifest, payload: Buffer) -> Arrived | None:
        """Return the features that are complete with this bundle, or ``None`` while its other half is missing.

        Raises:
            UnexpectedBundle: Both do not fit together.
            server_app.backbone.feature_cache.FeaturesMissing: A name is not known here.
        """
        if self._cache is None:
            if manifest.kind is not MessageKind.FEATURES:
                raise UnexpectedBundle(f"{satellite} names features, and none are kept")
            return Arrived(payload, manifest.codec, shape=manifest.shape)
        if manifest.kind is MessageKind.SAMPLES:
            names, new = _names_in(satellite, manifest, payload)
            if not new.any():
                return self._arrived(self._cache.get(satellite, names), kept=True)
        halves, place = self._halves.setdefault(satellite, {}), _place(manifest)
        other = halves.pop(place, None)
        if other is None or other[0].kind is manifest.kind or other[0].attributes != manifest.attributes:
            halves[place] = manifest, payload  # what was there is of an attempt that was given up
            if len(halves) > self._pending:
                del halves[next(iter(halves))]
            return None
        named, sent = sorted(
            [(manifest, payload), other], key=lambda half: half[0].kind is MessageKind.FEATURES
        )
        names, new = _names_in(satellite, *named)
        return self._complete(satellite, names, new, *sent)

    def _complete(
        self, satellite: str, names: np.ndarray, new: np.ndarray, manifest: Manifest, payload: Buffer
    ) -> Arrived:
        assert self._cache is not None
        allowed = (int(new.sum()), *self._row_shape)
        if manifest.codec != self._codec or manifest.shape != allowed:
            raise UnexpectedBundle(
                f"{satellite} sends {manifest.codec} features of shape {manifest.shape}; "
                f"allowed: {self._codec} of shape {allowed}"
            )
        rows = codecs.to_rows(payload, manifest.codec, manifest.shape)
        kept = self._cache.put(satellite, names[new], rows)
        if kept:
            # Also what has come before: computed again in another batch, it may differ in the last bit.
            return self._arrived(self._cache.get(satellite, names), kept=True)
        whole = np.empty((len(names), rows.shape[1]), np.uint8)
        whole[new] = rows
        whole[~new] = self._cache.get(satellite, names[~new])
        return self._arrived(whole, kept=False)

    def _arrived(self, rows: np.ndarray, *, kept: bool) -> Arrived:
        tokens, hidden = self._row_shape
        payload = codecs.from_rows(rows, self._codec, tokens * hidden)
        return Arrived(payload, self._codec, shape=(len(rows), tokens, hidden), kept=kept)


def _names_in(satellite: str, manifest: Manifest, payload: Buffer) -> tuple[np.ndarray, np.ndarray]:
    """Names, shape (B, 16), and whether the features themselves follow, shape (B,)."""
    if (
        manifest.dtype != "uint8"
        or manifest.codec != "raw"
        or manifest.shape[1:] != (FEATURE_NAME_BYTES + 1,)
    ):
        raise UnexpectedBundle(
            f"{satellite} names features in {manifest.dtype}{list(manifest.shape)} as {manifest.codec}; "
            f"allowed: uint8[B, {FEATURE_NAME_BYTES + 1}] as raw"
        )
    table = np.frombuffer(payload, np.uint8).reshape(manifest.shape)
    return table[:, :FEATURE_NAME_BYTES], table[:, FEATURE_NAME_BYTES].astype(bool)


def _place(manifest: Manifest) -> _Place:
    return manifest.round, manifest.step, manifest.micro_batch
