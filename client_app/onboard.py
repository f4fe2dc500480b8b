"""One satellite's part of a training round: embedding, tensors over the split, head, loss.

Nothing here knows of Flower or of how tensors travel: a :class:`relay.client.message_link.BundleLink` carries
them, be it a stream to the ground or the satellite's own relay.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client_app.cached_features import name_of
from client_app.exchange.crossings import Crossings, MicroBatch
from client_app.proximal import Proximal
from mission.divergence import require_sensible_loss
from mission.run_config import ENROLMENT_IMAGES, STEPS_AHEAD
from mission.schema import Training
from orbit.imaging.numbered_images import ImageRange, positions
from relay.wire.manifest import MessageKind
from splitmodel import step as split_step
from splitmodel.cached_states import CachedStates
from splitmodel.imagery import ImageSet
from splitmodel.imagery.views import view
from splitmodel.parts import Embedding, Tail, head_input
from splitmodel.tasks import Task
from splitmodel.training import (
    VIEWS,
    Batch,
    as_they_cross,
    learning_rate,
    round_batches,
    round_seed,
    take_step,
)


@dataclass
class Progress:
    """The state of a satellite within its round. It survives suspension and death: every field is saved and restored.

    Attributes:
        step: The next step to take.
        attempt: How often a step was sent again, since the round was suspended or the ground had lost its cache; makes
            it a new transfer.
        loss_sum, right, seen: Sums over the images seen in this round; of right answers each image's share.
        optimizer: State of the head's optimiser, by parameter and name.
        sent: The head's parameters as the ground sent them, where FedProx holds on to them.
        finished: Whether the last step has been taken, in ``lora`` mode by the ground, too.
        exchanged: Whether the plane's sum has been formed, or given up.
        plane_sum: That sum, where there is one.
        bytes_up, bytes_down: What has been sent and received over the split in this round, before suspensions, too.
    """

    step: int = 0
    attempt: int = 0
    _: KW_ONLY
    loss_sum: float = 0.0
    right: float = 0.0
    seen: int = 0
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    sent: tuple[Tensor, ...] = ()
    finished: bool = False
    exchanged: bool = False
    plane_sum: Tensor | None = None
    bytes_up: int = 0
    bytes_down: int = 0


@dataclass(frozen=True)
class RoundTask:
    """The ground's orders to a satellite for a round.

    Attributes:
        number: Round, from 1.
        seed: Of the run.
        satellite: Its position in the constellation.
        training: The scenario's ``[training]`` table.
        taken: The images of each round so far, where they come as the satellite flies; empty trains on all in each.
        turns: When the ground takes each step among those of all satellites; empty where it does not take steps.
    """

    number: int
    seed: int
    _: KW_ONLY
    satellite: int
    training: Training
    taken: tuple[ImageRange, ...] = ()
    turns: tuple[int, ...] = ()

    def batches(self, samples: int) -> list[Batch]:
        """The round's batches, in order, of a satellite with so many images in all."""
        settings, own = self.training, self.images(samples)
        batches = round_batches(
            len(own),
            settings.batch_size,
            settings.local_epochs,
            VIEWS[settings.augment],
            round_seed(self.seed, self.satellite, self.number),
        )
        return [Batch(own[batch.indices], batch.views) for batch in batches]

    def images(self, samples: int) -> NDArray[np.int64]:
        """Positions of the round's images among all that a satellite has."""
        return positions(self.taken[self.number - 1], samples) if self.taken else np.arange(samples)

    def crossing_batches(self, samples: int) -> list[Batch]:
        """The same under the views in which they cross, see :func:`splitmodel.training.as_they_cross`."""
        return as_they_cross(self.batches(samples), self.training.augment)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of the head in a step of this round."""
        return self.scheduled(self.training.head_learning_rate, step, steps)

    def check_loss(self, loss: float) -> None:
        """Raise DivergenceError if training has diverged by a batch's mean loss."""
        require_sensible_loss(loss, self.number, self.training.mode)

    def scheduled(self, base: float, step: int, steps: int) -> float:
        """A learning rate in a step of this round."""
        progress = (self.number - 1 + step / steps) / self.training.rounds
        return learning_rate(base, self.training.schedule, progress)


@dataclass(frozen=True, eq=False)
class OnBoard:
    """The images of a satellite and its frozen embedding.

    Attributes:
        images: The satellite's share, in the model's bands.
        embedding: With a preprocessing for these images.
        task: What the images are labelled for.
        tail: Frozen blocks between what returns and the head, where there are some.
    """

    images: ImageSet
    embedding: Embedding
    _: KW_ONLY
    task: Task
    tail: Tail | None = None

    def features(self, batch: Batch) -> Tensor:
        """Features of a batch, shape (B, tokens, hidden)."""
        return self._embedded(batch, self.images.images(batch.indices))

    def named_features(self, batch: Batch, key_salt: bytes) -> tuple[NDArray[np.uint8], Tensor]:
        """Names, shape (B, 16), and features of a batch; see :func:`client_app.cached_features.name_of`."""
        images = self.images.images(batch.indices)
        names = [
            name_of(*image_view, key_salt) for image_view in zip(images, batch.views.tolist(), strict=True)
        ]
        return np.stack(names), self._embedded(batch, images)

    def _embedded(self, batch: Batch, images: Sequence[NDArray]) -> Tensor:
        images_BCHW = self.images.prepared_from(batch.indices, images, self.embedding.preprocess)
        return split_step.embed(self.embedding, view(images_BCHW, batch.views))

    def head_input(self, returned: Tensor) -> Tensor:
        """Return the head's input, made of what came back from the ground."""
        return head_input(self.tail, returned)

    def head_step(
        self, head: nn.Module, returned: Tensor, targets: Tensor, *, weight: float
    ) -> split_step.HeadResult:
        """Loss of the head, and the gradient of what has returned; see :func:`splitmodel.step.head_step`."""
        whole = head if self.tail is None else nn.Sequential(self.tail, head)
        return split_step.head_step(whole, returned, targets, weight=weight, loss=self.task.loss)

    def targets(self, batch: Batch) -> Tensor:
        """Targets of a batch, each under the view of its image."""
        as_they_are = self.plain_targets(batch.indices)
        return self.task.under_views(as_they_are, batch.views)

    def plain_targets(self, indices: NDArray[np.int64]) -> Tensor:
        """Targets of images as they are."""
        return self.task.targets(self.images, indices, self.embedding.preprocess)


def send_samples_of_features(on_board: OnBoard, crossings: Crossings) -> None:
    """Let the ground see how pooled states are scaled: the features of a few images from all over the share."""
    count = min(ENROLMENT_IMAGES, len(on_board.images))
    few = np.linspace(0, len(on_board.images) - 1, count).round().astype(np.int64)
    crossings.send(MessageKind.FEATURES, MicroBatch(0), on_board.features(Batch(few, np.zeros_like(few))))
    crossings.receive(MessageKind.HIDDEN, MicroBatch(0))


def train_head_round(
    task: RoundTask,
    on_board: OnBoard,
    head: nn.Module,
    crossings: Crossings,
    progress: Progress,
    pooled_states: CachedStates,
    note: Callable[[], None] = lambda: None,
) -> None:
    """Train the head alone: c1 and c2 once per image and view, kept on board ever after.

    Args:
        pooled_states: The cache, which grows in place.
        note: Called when it has grown, and when the head is trained.
    """
    if progress.finished:
        return
    # A satellite that has lost its states, as in a resumed run, asks again as it did then: in other batches the same
    # images come back with other roundings.
    first = 1 if pooled_states.empty else task.number
    places = map(MicroBatch, itertools.count())
    for earlier in range(first, task.number + 1):
        asked = replace(task, number=earlier).batches(len(on_board.images))
        pending_updates: deque[tuple[MicroBatch, Batch]] = deque()
        for batch in pooled_states.missing(asked, task.training.batch_size):
            pending_updates.append((next(places), batch))
            crossings.compute(len(batch.indices) * crossings.times.embedding_s)
            crossings.send(MessageKind.FEATURES, pending_updates[-1][0], on_board.features(batch))
            if len(pending_updates) > STEPS_AHEAD:  # the link need not idle while the ground works
                _keep_answer(on_board, crossings, pooled_states, *pending_updates.popleft())
        for place, batch in pending_updates:
            _keep_answer(on_board, crossings, pooled_states, place, batch)
    note()
    train_on_pooled_states(task, on_board, head, progress, pooled_states)
    crossings.compute(progress.seen * crossings.times.head_s)
    note()


def train_on_pooled_states(
    task: RoundTask, on_board: OnBoard, head: nn.Module, progress: Progress, pooled_states: CachedStates
) -> None:
    """Train the head for a round whose pooled states are all on board."""
    batches = task.batches(len(on_board.images))
    optimizer = head_optimizer(head, task.training, progress)
    proximal = Proximal(list(head.parameters()), task.training.proximal)
    for number, batch in enumerate(batches):
        targets = on_board.targets(batch)
        for group in optimizer.param_groups:
            group["lr"] = task.rate(number, len(batches))
        optimizer.zero_grad()
        states, loss = pooled_states.get(batch), on_board.task.loss
        result = split_step.head_step(head, states, targets, loss=loss)
        proximal.add_gradient()
        take_step(optimizer, task.training.clip_update)
        task.check_loss(float(result.loss))
        count_batch(progress, float(result.loss), on_board.task, result.logits, targets)
    progress.finished = True


@torch.no_grad()
def _keep_answer(
    on_board: OnBoard, crossings: Crossings, pooled_states: CachedStates, place: MicroBatch, batch: Batch
) -> None:
    returned = crossings.receive(MessageKind.HIDDEN, place)
    crossings.compute(len(returned) * crossings.times.tail_s)
    pooled_states.put(batch, on_board.head_input(returned))


def head_optimizer(head: nn.Module, training: Training, progress: Progress) -> torch.optim.AdamW:
    """The head's optimiser, where :class:`Progress` left it."""
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=training.head_learning_rate, weight_decay=training.weight_decay
    )
    for key, tensor in progress.optimizer.items():
        index, name = key.split(".", 1)
        optimizer.state[list(head.parameters())[int(index)]][name] = tensor.clone()
    return optimizer


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state by parameter number and name: ``0.exp_avg`` …"""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        f"{number}.{name}": tensor.detach().clone()
        for number, parameter in enumerate(parameters)
        for name, tensor in optimizer.state[parameter].items()
    }


def count_batch(progress: Progress, loss: float, task: Task, outputs: Tensor, targets: Tensor) -> None:
    """Add a batch to the sums of the round; ``loss`` is its mean."""
    progress.step += 1
    progress.loss_sum += loss * len(targets)
    progress.right += float(task.shares_right(outputs, targets).sum())
    progress.seen += len(targets)
