"""The baseline that gives imagery away: pixels and labels of a satellite go to the ground, which trains on them."""

from __future__ import annotations

from collections.abc import Sequence

from client_app.crossings import Crossings, MicroBatch
from relay.wire import Kind
from splitmodel.imagery import ImageSet
from splitmodel.training import Batch


def send_images(images: ImageSet, crossings: Crossings, batches: Sequence[Batch]) -> None:
    """Send the images of these batches in their order; the ground acknowledges each batch before the next is read."""
    for number, batch in enumerate(batches):
        place = MicroBatch(number)
        crossings.send_raw(Kind.IMAGES, place, images.pixels(batch.indices))
        crossings.send_raw(Kind.LABELS, place, images.labels[batch.indices])
        crossings.receive(Kind.LABELS, place)
