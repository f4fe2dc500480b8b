"""Features and labels that are given away, once, so that the ground trains alone; images stay on board."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from client_app.exchange.crossings import Crossings, MicroBatch
from client_app.onboard import OnBoard, RoundTask
from relay.wire.manifest import MessageKind
from splitmodel.training import new_batches


def send_labelled_features(
    task: RoundTask, on_board: OnBoard, crossings: Crossings, sent: NDArray[np.bool_]
) -> None:
    """Send what is new in this round; the ground acknowledges each batch before the next is embedded.

    Args:
        task: The round.
        on_board: Images and embedding.
        crossings: Of the round.
        sent: Which images and views the ground has, shape (samples, views that cross); changed in place.
    """
    # Where none has been sent, as in a resumed run, all come in the batches of the earlier rounds.
    first = task.number if sent.any() else 1
    places = map(MicroBatch, itertools.count())
    for earlier in range(first, task.number + 1):
        asked = replace(task, number=earlier).crossing_batches(len(on_board.images))
        for batch in new_batches(asked, sent, task.training.batch_size):
            place = next(places)
            crossings.compute(len(batch.indices) * crossings.times.embedding_s)
            crossings.send(MessageKind.FEATURES, place, on_board.features(batch))
            targets = on_board.task.to_wire(on_board.plain_targets(batch.indices))
            crossings.send_raw(MessageKind.LABELS, place, targets)
            crossings.receive(MessageKind.LABELS, place)
            sent[batch.indices, batch.views] = True
