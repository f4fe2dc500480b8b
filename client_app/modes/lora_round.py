"""A round of mode ``lora`` on board: c1, c2 and c3 in every step, in micro-batches that overlap with the ground's work.

The embedding is frozen, so the features of a step do not depend on the steps before: a few steps of them are always on
their way, and the next are computed while the ground works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client_app.cached_features import CachedFeatures
from client_app.exchange.crossings import Crossings, MicroBatch
from client_app.onboard import OnBoard, Progress, RoundTask, count_batch, head_optimizer, optimizer_state
from client_app.proximal import Proximal
from mission.run_config import STEPS_AHEAD
from relay.client.message_link import RemoteError
from relay.wire.manifest import MessageKind
from splitmodel.dense_heads import TrainedHead
from splitmodel.training import Batch, as_they_cross, take_step

_SUSPENDED, _MISSING = (
    "Suspended",
    "FeaturesMissing",
)  # server_app.backbone.scheduling, server_app.backbone.feature_cache
_STEPS_AT_ONCE = 2  # whose features are sent between two steps, until enough are ahead


class RoundSuspended(Exception):
    """The ground cannot take this satellite's step now; the round resumes later from :class:`Progress`."""


def train_lora_round(
    task: RoundTask,
    on_board: OnBoard,
    head: TrainedHead,
    crossings: Crossings,
    progress: Progress,
    kept: CachedFeatures | None,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Train the head on board and the adapter on the ground.

    ``head``, ``progress`` and ``kept`` are changed in place, also when the round is suspended.

    Args:
        kept: What the ground keeps of c1, or ``None`` where it keeps nothing.
        after_step: Called when the round can go on from what ``head``, ``progress`` and ``kept`` have become.

    Raises:
        RoundSuspended: The ground cannot take the next step now.
    """
    if progress.finished:
        return
    under_views = task.batches(len(on_board.images))
    batches = as_they_cross(under_views, task.training.augment)
    trainer = (
        _SharedHead(head, crossings)
        if task.training.shares_head
        else _OwnHead(head, task, steps=len(batches), progress=progress)
    )
    upward = _Upward(
        on_board,
        crossings,
        kept=kept,
        progress=progress,
        batches=batches,
        micro_batches=task.training.micro_batches,
    )
    upward.send(upward.prepare(steps=1))
    if not progress.attempt:
        upward.send(upward.prepare(steps=1))
    for number in range(progress.step, len(batches)):
        batch = batches[number]
        targets = on_board.targets(under_views[number])
        of_parts = targets.tensor_split(len(upward.places(number)))
        following = list(upward.prepare(_STEPS_AT_ONCE))
        head.zero_grad()
        loss, logits = 0.0, []
        for part, pooled_BD in upward.answers(number):
            if not part.place.number:
                trainer.begin(part.place)
            share = len(pooled_BD) / len(batch.indices)
            result = on_board.head_step(head, pooled_BD, of_parts[part.place.number], weight=share)
            task.check_loss(float(result.loss))
            crossings.compute(crossings.times.message_s + len(pooled_BD) * crossings.times.head_s)
            crossings.send(
                MessageKind.GRAD_HIDDEN, part.place, result.grad_pooled_BD, attempt=progress.attempt
            )
            loss += share * float(result.loss)
            logits.append(result.logits)
        trainer.end(part.place, attempt=progress.attempt)
        upward.send(following)
        count_batch(progress, loss, on_board.task, torch.cat(logits), targets)
        after_step()
    # Empty, as the embedding is frozen: it says that the ground has taken the last step.
    crossings.receive(MessageKind.GRAD_FEATURES, upward.places(len(batches) - 1)[-1])
    progress.finished = True
    after_step()


class _OwnHead:
    """The steps of a head that is trained on board."""

    def __init__(self, head: TrainedHead, task: RoundTask, *, steps: int, progress: Progress) -> None:
        self._task = task
        self._steps = steps
        self._progress = progress
        self._optimizer = head_optimizer(head, task.training, progress)
        self._proximal = Proximal(list(head.parameters()), task.training.proximal, sent=progress.sent)
        progress.sent = self._proximal.sent

    def begin(self, place: MicroBatch) -> None:
        """Before the first micro-batch of a step."""

    def end(self, place: MicroBatch, *, attempt: int) -> None:
        """After the last; its gradients are those of the step."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._task.rate(place.step, self._steps)
        self._proximal.add_gradient()
        take_step(self._optimizer, self._task.training.clip_update)
        self._progress.optimizer = optimizer_state(self._optimizer)


class _SharedHead:
    """The steps of a head that is trained on the ground: it comes with pooled states, its gradient follows theirs."""

    def __init__(self, head: TrainedHead, crossings: Crossings) -> None:
        self._head = head
        self._crossings = crossings

    def begin(self, place: MicroBatch) -> None:
        """Before the first micro-batch of a step."""
        self._head.set_table(self._crossings.receive(MessageKind.HEAD, place))

    def end(self, place: MicroBatch, *, attempt: int) -> None:
        """After the last; its gradients are those of the step."""
        self._crossings.send(MessageKind.GRAD_HEAD, place, self._head.gradient_table(), attempt=attempt)


@dataclass(frozen=True, eq=False)
class _Part:
    """The features of a micro-batch, ready to be sent.

    Attributes:
        place: Which micro-batch it is.
        images: Its images under the views in which they cross.
        names: Names of the features, shape (B, 16), where the ground keeps them; else ``None``.
        new: Whether the features themselves have to cross, shape (B,).
        features_BTD: Those that have to.
    """

    place: MicroBatch
    images: Batch
    _: KW_ONLY
    names: NDArray[np.uint8] | None
    new: NDArray[np.bool_]
    features_BTD: Tensor


class _Upward:
    """c1 and c2: features go to the ground, or their names where it keeps them, and pooled states come back."""

    def __init__(
        self,
        on_board: OnBoard,
        crossings: Crossings,
        *,
        kept: CachedFeatures | None,
        progress: Progress,
        batches: Sequence[Batch],
        micro_batches: int,
    ) -> None:
        self._on_board = on_board
        self._crossings = crossings
        self._kept = kept
        self._progress = progress
        self._batches = batches
        self._micro_batches = micro_batches
        self._next = progress.step  # to be prepared
        self._sent: dict[int, list[_Part]] = {}  # by step, those that are not answered
        self._part_of: dict[bytes, _Part] = {}  # by their transfers

    def prepare(self, steps: int) -> Iterator[_Part]:
        """The micro-batches of up to so many further steps, one by one, as far as they may be sent ahead."""
        # A satellite that was suspended and may be so again would send all of them again.
        ahead = 1 if self._progress.attempt else STEPS_AHEAD
        end = min(self._next + steps, self._progress.step + ahead + 1, len(self._batches))
        first, self._next = self._next, max(self._next, end)
        for step in range(first, end):
            places = self.places(step)
            pieces = (np.array_split(column, len(places)) for column in self._batches[step])
            for place, *piece in zip(places, *pieces, strict=True):
                yield self._part(place, Batch(*piece))

    def places(self, step: int) -> list[MicroBatch]:
        """Return the micro-batches of a step."""
        count = min(self._micro_batches, len(self._batches[step].indices))
        return [MicroBatch(step, number, of=count) for number in range(count)]

    def send(self, parts: Iterable[_Part]) -> None:
        """Send micro-batches, each as it is ready."""
        for part in parts:
            self._sent.setdefault(part.place.step, []).append(part)
            self._send(part)

    def answers(self, step: int) -> Iterator[tuple[_Part, Tensor]]:
        """Each micro-batch of a step with its pooled states, shape (B, hidden).

        Raises:
            RoundSuspended: The ground cannot take the step now.
        """
        for part in self._sent.pop(step):
            yield part, self._answer(part)
        self._part_of = {transfer: part for transfer, part in self._part_of.items() if part.place.step > step}

    def _part(self, place: MicroBatch, images: Batch) -> _Part:
        every = np.ones(len(images.indices), bool)
        if self._kept is None:
            self._crossings.compute(len(every) * self._crossings.times.embedding_s)
            return _Part(place, images, names=None, new=every, features_BTD=self._on_board.features(images))
        names = self._kept.names_of(images, place.step)
        new = np.logical_not(names.any(axis=1))
        features_BTD = torch.empty(0)
        if new.any():
            self._crossings.compute(int(new.sum()) * self._crossings.times.embedding_s)
            names[new], features_BTD = self._on_board.named_features(
                Batch(images.indices[new], images.views[new]), self._kept.key_salt
            )
        return _Part(place, images, names=names, new=new, features_BTD=features_BTD)

    def _send(self, part: _Part) -> None:
        attempt = self._progress.attempt
        if part.names is not None:
            transfer = self._crossings.send_names(part.place, part.names, part.new, attempt=attempt)
            self._part_of[transfer] = part
        if part.new.any():
            transfer = self._crossings.send(
                MessageKind.FEATURES, part.place, part.features_BTD, attempt=attempt
            )
            self._part_of[transfer] = part

    def _answer(self, part: _Part) -> Tensor:
        while True:
            try:
                pooled_BD = self._crossings.receive(MessageKind.HIDDEN, part.place)
                break
            except RemoteError as error:
                self._progress.attempt += 1
                if error.error == _SUSPENDED:
                    raise RoundSuspended from error
                if error.error != _MISSING or self._kept is None or error.transfer_id not in self._part_of:
                    raise
                self._kept.invalidate()  # the ground has lost its cache
                refused = self._part_of[error.transfer_id]
                self._send(self._part(refused.place, refused.images))
        if self._kept is not None and part.names is not None and self._crossings.are_kept:
            self._kept.put(part.images, part.names, part.place.step)
        return pooled_BD
