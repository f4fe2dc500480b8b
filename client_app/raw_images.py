"""The baseline that gives imagery away: pixels and labels of a satellite go to the ground, which trains on them."""

from __future__ import annotations

import numpy as np

from client_app.crossings import Crossings, MicroBatch
from relay.wire import Kind
from splitmodel.imagery import ImageSet


def send_images(images: ImageSet, crossings: Crossings, batch_size: int) -> None:
    """Send the whole share in batches; the ground acknowledges each before the next is read."""
    for number, first in enumerate(range(0, len(images), batch_size)):
        indices, place = np.arange(first, min(first + batch_size, len(images))), MicroBatch(number)
        crossings.send_raw(Kind.IMAGES, place, images.pixels(indices))
        crossings.send_raw(Kind.LABELS, place, images.labels[indices])
        crossings.receive(Kind.LABELS, place)
