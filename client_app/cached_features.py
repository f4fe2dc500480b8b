"""Which features the ground keeps already, so that the satellite names them instead of sending them again."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from mission.run_config import FEATURE_NAME_BYTES, STEPS_AHEAD
from splitmodel.crossing.scaling import Scaling
from splitmodel.parts import Embedding
from splitmodel.training import Batch

_EARLIER = -1 - STEPS_AHEAD  # kept since before the first step of the round


class CachedFeatures:
    """Names of the features that the ground keeps, by image and view; zeros where it keeps none.

    What a step may name follows from its number alone, not from how far the answers to earlier ones have come when its
    features are sent ahead: a satellite that resumes after a crash sends the same again.

    Args:
        key_salt: See :func:`key_salt_of`.
        names: As :attr:`names` of an earlier instance, to go on with; uint8 of shape (samples, views, 16).
        since: As :attr:`since`; int64 of shape (samples, views).

    Attributes:
        since: The step of this round whose answer said that the features are kept.
    """

    def __init__(
        self,
        samples: int,
        views: int,
        *,
        key_salt: bytes,
        names: NDArray[np.uint8] | None = None,
        since: NDArray[np.int64] | None = None,
    ) -> None:
        self.key_salt = key_salt
        self.names = np.zeros((samples, views, FEATURE_NAME_BYTES), np.uint8) if names is None else names
        self.since = np.full((samples, views), _EARLIER) if since is None else since

    def begin_round(self) -> None:
        """All that is kept by now was kept before the first step."""
        self.since[:] = _EARLIER

    def names_of(self, batch: Batch, step: int) -> NDArray[np.uint8]:
        """Shape (B, 16); zeros for features that must be sent with this step."""
        names = self.names[batch.indices, batch.views]
        return np.where(self.since[batch.indices, batch.views, None] < step - STEPS_AHEAD, names, 0)

    def put(self, batch: Batch, names: NDArray[np.uint8], step: int) -> None:
        """The ground keeps these, as the answer to this step says."""
        new = ~self.names[batch.indices, batch.views].any(axis=1)
        self.since[batch.indices[new], batch.views[new]] = step
        self.names[batch.indices, batch.views] = names

    def invalidate(self) -> None:
        """The ground keeps nothing any more."""
        self.names[:] = 0


def name_of(pixels: NDArray, view: int, key_salt: bytes) -> NDArray[np.uint8]:
    """The name of an image's features: a hash of its pixels, its view, and all that is the same for every image.

    Args:
        pixels: Shape (height, width, channels), of any dtype; all images of a run have the same.
        view: See :func:`splitmodel.imagery.views.view`.
        key_salt: See :func:`key_salt_of`.
    """
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=FEATURE_NAME_BYTES, key=key_salt)
    digest.update(view.to_bytes(2, "little"))
    return np.frombuffer(digest.digest(), np.uint8)


def key_salt_of(embedding: Embedding, scaling: Scaling, codec: str) -> bytes:
    """A hash of the embedding's weights, the preprocessing, the scaling and the codec."""
    digest = hashlib.blake2b(f"{embedding.preprocess!r} {codec}".encode(), digest_size=32)
    for tensor in (*embedding.state_dict().values(), scaling.mean_D, scaling.deviation_D):
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()
