"""The baseline that gives imagery away: pixels and labels of a satellite go to the ground, which trains on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client_app.exchange.crossings import Crossings, MicroBatch
from client_app.onboard import OnBoard
from relay.wire.manifest import MessageKind
from splitmodel.training import Batch


def send_images(on_board: OnBoard, crossings: Crossings, batches: Sequence[Batch]) -> None:
    """Send the images of these batches in their order; the ground acknowledges each batch before the next is read."""
    for number, batch in enumerate(batches):
        place = MicroBatch(number)
        raw = on_board.images.images(batch.indices)
        # Images of one size cross together, of several sizes each on its own.
        parts = (
            [np.stack(raw)] if len({image.shape for image in raw}) == 1 else [image[None] for image in raw]
        )
        for part, pixels in enumerate(parts):
            crossings.send_raw(MessageKind.IMAGES, MicroBatch(number, part, of=len(parts)), pixels)
        targets = on_board.task.to_wire(on_board.plain_targets(batch.indices))
        crossings.send_raw(MessageKind.LABELS, place, targets)
        crossings.receive(MessageKind.LABELS, place)
