"""Imagery, a link model and an aggregation rule of one's own."""

import numpy as np

from splitmodel.imagery import ImageSource, Raster, classes
from strategies.aggregation.rule import AggregationRule

CELLS = (4, 8, 16)  # pixels


def checkerboards(path, seed):
    """Checkerboards in two random colours; the class is the size of their cells."""
    del path  # they are made, not read
    count, side = 360, 64
    labels = np.arange(count) % len(CELLS)

    def decode(index):
        colours = np.random.default_rng([seed, index]).integers(0, 256, (2, 3), dtype=np.uint8)
        row, column = np.indices((side, side)) // CELLS[labels[index]]
        return Raster(colours[(row + column) % 2], ("red", "green", "blue"))

    return ImageSource(
        where="checkerboards",
        decode=decode,
        name=lambda index: f"checkerboard {index}",
        targets=classes(labels, tuple(f"{cell} pixels" for cell in CELLS)),
        subsets=["test" if index % 4 == 3 else "train" for index in range(count)],
    )


def adaptive_bps(range_km, elevation_deg):
    """Three steps of a modem that adapts to the range; nothing below ten degrees."""
    steps_bps = np.select([range_km < 800.0, range_km < 1500.0], [220e6, 160e6], 50e6)
    return np.where(elevation_deg < 10.0, 0.0, steps_bps)


class Clipped(AggregationRule):
    """Move towards the mean by no more than so far in a round: the step's length is at most the learning rate."""

    def step(self, round_number, sent, mean):
        """Return the weights that were sent plus the step, shortened where it is too long."""
        change = {name: mean[name] - sent[name] for name in mean}
        length = np.sqrt(sum(float(np.square(part).sum()) for part in change.values()))
        factor = min(1.0, self.learning_rate / length) if length else 0.0
        return {name: sent[name] + factor * change[name] for name in mean}
