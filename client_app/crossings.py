"""A satellite's tensors over the split: encoded, described, sent, received, decoded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mission.briefing import Briefing
from relay.client import LinkError, ParcelLink
from relay.wire import Buffer, Kind, Manifest
from splitmodel import codecs, crossing
from splitmodel.crossing import EXACT, Crossing
from splitmodel.scaling import SplitScaling

# A turn comes when the satellites before it are done, so a satellite waits for minutes, not for ever.
RECEIVE_TIMEOUT_S = 1800.0
_CROSSINGS = {
    Kind.FEATURES: Crossing.FEATURES,
    Kind.HIDDEN: Crossing.POOLED,
    Kind.GRAD_HIDDEN: Crossing.GRADIENT_OF_POOLED,
}


class Crossings:
    """Sends and receives the tensors of one round of one satellite.

    Args:
        link: What carries them.
        briefing: The run.
        index: Which satellite this is.
        round_number: Round, from 1; 0 is the muster.
        scaling: For codecs that quantise; at the muster there is none yet, and features cross exactly.
    """

    def __init__(
        self,
        link: ParcelLink,
        briefing: Briefing,
        index: int,
        *,
        round_number: int,
        scaling: SplitScaling | None = None,
    ) -> None:
        codec = briefing.scenario.crossings
        self._codecs = {
            Kind.FEATURES: codec.features if scaling else EXACT,
            Kind.GRAD_HIDDEN: codec.gradients,
        }
        self._scaling = scaling
        self._link = link
        self._run = briefing.run
        self._round = round_number
        self._satellite = briefing.satellites[index]
        self._ground = briefing.ground
        self.bytes_up = 0
        self.bytes_down = 0
        self.are_kept = False  # whether the ground says that it keeps the features which it answered last

    def send(self, kind: Kind, step: int, tensor: Tensor, *, attempt: int = 0) -> None:
        """Send a float tensor to the ground as the kind's codec encodes it."""
        codec = self._codecs[kind]
        payload = crossing.encode(tensor, codec, _CROSSINGS[kind], self._scaling)
        self._send(kind, step, payload, "float32", tuple(tensor.shape), codec, attempt)

    def send_names(
        self, step: int, names: NDArray[np.uint8], new: NDArray[np.bool_], *, attempt: int
    ) -> None:
        """Name the features of a step; those of new ones follow.

        Args:
            step: The step.
            names: Shape (B, 16).
            new: Whether the features themselves follow, shape (B,).
            attempt: As in :meth:`send`.
        """
        payload = np.concatenate([names, new[:, None].astype(np.uint8)], axis=1)
        self._send(Kind.SAMPLES, step, payload.tobytes(), "uint8", payload.shape, "raw", attempt)

    def receive(self, kind: Kind, step: int) -> Tensor:
        """The tensor of this kind and step.

        Raises:
            LinkError: It does not come, or another comes instead.
        """
        manifest, payload = self._link.receive(RECEIVE_TIMEOUT_S)
        if (manifest.kind, manifest.round, manifest.step) != (kind, self._round, step):
            raise LinkError(
                f"{self._satellite} waits for {kind.name} of round {self._round}, step {step}, and got "
                f"{manifest.kind.name} of round {manifest.round}, step {manifest.step}"
            )
        self.bytes_down += len(payload)
        self.are_kept = bool(manifest.attributes.get("kept", 0))
        if kind is Kind.GRAD_FEATURES:  # empty, see server_app.ground
            return codecs.decode(payload, manifest.codec, manifest.shape)
        return crossing.decode(payload, manifest.codec, manifest.shape, _CROSSINGS[kind], self._scaling)

    def _send(
        self,
        kind: Kind,
        step: int,
        payload: Buffer,
        dtype: str,
        shape: tuple[int, ...],
        codec: str,
        attempt: int,
    ) -> None:
        manifest = Manifest.describe(
            payload,
            run=self._run,
            kind=kind,
            source=self._satellite,
            destination=self._ground,
            dtype=dtype,
            shape=shape,
            codec=codec,
            round=self._round,
            step=step,
            attributes={"attempt": attempt},
        )
        self._link.send(manifest, payload)
        self.bytes_up += len(payload)
