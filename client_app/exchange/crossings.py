"""A satellite's tensors over the split: encoded, described, sent, received, decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mission.run_config import RunConfig
from relay.client.message_link import BundleLink, LinkError
from relay.wire.manifest import Buffer, Bundle, Manifest, MessageKind
from splitmodel.crossing import codecs, tensors
from splitmodel.crossing.codec_sizes import EXACT
from splitmodel.crossing.scaling import SplitScaling
from splitmodel.crossing.tensors import Crossing

# A turn comes when the satellites before it are done, so a satellite waits for minutes, not for ever.
RECEIVE_TIMEOUT_S = 1800.0
_CROSSINGS = {
    MessageKind.FEATURES: Crossing.FEATURES,
    MessageKind.HIDDEN: Crossing.POOLED,
    MessageKind.GRAD_HIDDEN: Crossing.GRADIENT_OF_POOLED,
}

_AHEAD = (MessageKind.FEATURES, MessageKind.SAMPLES)  # of the steps that use them


class MicroBatch(NamedTuple):
    """A part of a step's images, which crosses on its own.

    Attributes:
        step: The step of the round.
        number: Which part.
        of: How many parts the step has.
    """

    step: int
    number: int = 0
    of: int = 1


class Crossings:
    """Sends and receives the tensors of one round of one satellite.

    Args:
        link: What carries them.
        run_config: The run.
        index: Which satellite this is.
        round_number: Round, from 1; 0 is enrolment.
        scaling: For codecs that quantise; at enrolment there is none yet, and features cross exactly.
        turns: When the ground takes each of the satellite's steps, see :meth:`Schedule.turns_of
            <strategies.planner.step_order.Schedule.turns_of>`; empty where what is sent belongs to no step.

    Attributes:
        times: What the plan has computing take.
    """

    def __init__(
        self,
        link: BundleLink,
        run_config: RunConfig,
        *,
        index: int,
        round_number: int,
        scaling: SplitScaling | None = None,
        turns: Sequence[int] = (),
    ) -> None:
        codec = run_config.scenario.crossings
        self._codecs = {
            MessageKind.FEATURES: codec.features if scaling else EXACT,
            MessageKind.GRAD_HIDDEN: codec.gradients,
            MessageKind.GRAD_HEAD: codec.gradients,
        }
        self._scaling = scaling
        self._turns = turns
        self.times = run_config.compute_times
        self._link = link
        self._run = run_config.run
        self._round = round_number
        self._satellite = run_config.satellites[index]
        self._ground = run_config.ground
        self.for_the_plane: list[Bundle] = []  # what others of the plane send who are done with the round
        self.bytes_up = 0
        self.bytes_down = 0
        self._early: dict[tuple[MessageKind, int, int], Bundle] = {}
        self.are_kept = False  # whether the ground says that it keeps the features which it answered last

    def compute(self, duration_s: float) -> None:
        """Have computed for so long in mission time: what is sent from now on is ready after that."""
        self._link.compute(duration_s)

    def send(self, kind: MessageKind, place: MicroBatch, tensor: Tensor, *, attempt: int = 0) -> bytes:
        """Send a float tensor to the ground as the kind's codec encodes it; returns the transfer's id."""
        codec = self._codecs[kind]
        if kind in _CROSSINGS:
            payload = tensors.encode(tensor, codec, _CROSSINGS[kind], self._scaling)
        else:
            payload = codecs.encode(tensor, codec)
        return self._send(kind, place, payload, "float32", tuple(tensor.shape), codec, attempt)

    def send_names(
        self, place: MicroBatch, names: NDArray[np.uint8], new: NDArray[np.bool_], *, attempt: int
    ) -> bytes:
        """Name the features of a micro-batch; those of new ones follow.

        Args:
            place: The micro-batch.
            names: Shape (B, 16).
            new: Whether the features themselves follow, shape (B,).
            attempt: As in :meth:`send`.

        Returns:
            The transfer's id.
        """
        table = np.concatenate([names, new[:, None].astype(np.uint8)], axis=1)
        return self.send_raw(MessageKind.SAMPLES, place, table, attempt=attempt)

    def send_raw(self, kind: MessageKind, place: MicroBatch, array: NDArray, *, attempt: int = 0) -> bytes:
        """Send an array as it is; returns the transfer's id."""
        return self._send(kind, place, array.tobytes(), array.dtype.name, array.shape, "raw", attempt)

    def receive(self, kind: MessageKind, place: MicroBatch) -> Tensor:
        """The tensor of this kind for a micro-batch; what comes for a later one is held until it is asked for.

        Raises:
            LinkError: It does not come, or one of a later round comes instead.
        """
        wanted = (kind, place.step, place.number)
        while wanted not in self._early:
            bundle = self._link.receive(RECEIVE_TIMEOUT_S)
            manifest = bundle.manifest
            if manifest.kind is MessageKind.AGGREGATE:
                self.for_the_plane.append(bundle)
                continue
            if manifest.source != self._ground:  # another satellite that poses as the backbone
                continue
            if manifest.run != self._run or (manifest.round, manifest.step) < (self._round, place.step):
                continue  # for a process that has died, of this satellite or of the ground
            if manifest.round > self._round:
                raise LinkError(
                    f"{self._satellite} waits for {kind.name} of round {self._round}, step {place.step}, and got "
                    f"{manifest.kind.name} of round {manifest.round}, step {manifest.step}"
                )
            self._early[manifest.kind, manifest.step, manifest.micro_batch] = bundle
        manifest, payload = self._early.pop(wanted)
        self.bytes_down += self._link.bundle_bytes(manifest)
        self.are_kept = bool(manifest.attributes.get("kept", 0))
        if (
            kind not in _CROSSINGS
        ):  # the shared head, or an empty acknowledgement, see server_app.backbone.service
            return codecs.decode(payload, manifest.codec, manifest.shape)
        return tensors.decode(payload, manifest.codec, manifest.shape, _CROSSINGS[kind], self._scaling)

    def acknowledge(self) -> None:
        """The state that has come of what was received is kept: a new process of this satellite need not have it."""
        held = [*self._early.values(), *self.for_the_plane]
        self._link.acknowledge(keep={bundle.manifest.transfer_id for bundle in held})

    def _send(
        self,
        kind: MessageKind,
        place: MicroBatch,
        payload: Buffer,
        dtype: str,
        shape: tuple[int, ...],
        codec: str,
        attempt: int,
    ) -> bytes:
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
            step=place.step,
            micro_batch=place.number,
            attributes={"attempt": attempt, "of": place.of},
            turn=self._turns[place.step] if kind in _AHEAD and self._turns else 0,
        )
        self._link.send(manifest, payload)
        self.bytes_up += self._link.bundle_bytes(manifest)
        return manifest.transfer_id
