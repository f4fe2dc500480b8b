"""What satellites have come to, until the ground hears it, and how it is averaged then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.aggregation import mean_with_absent, staleness_weight

_HEAD = "head."  # splitmodel.adapters.exchanged_parts


@dataclass(frozen=True, eq=False)
class Contribution:
    """One satellite's trained weights.

    Attributes:
        started: The round whose weights it started from.
        arrays: Its own, by name.
        report: What it tells of its training.
    """

    started: int
    arrays: Mapping[str, NDArray]
    report: Mapping[str, float]


@dataclass(frozen=True)
class Averaging:
    """How what satellites deliver becomes one.

    A satellite counts by its images, the less the older what it delivers is: (1 + s)^-a after s rounds (see
    :func:`strategies.aggregation.staleness_weight`). What those that deliver lack of all is the weight of the present
    average. With ``by_class`` a class' row of the head counts by the images of that class: who has never seen it has
    learnt nothing of it but how to rule it out, which is what spoils averaged heads where satellites see few classes.

    Attributes:
        labels: Images by class of each satellite, in the order in which it is summed.
        exponent: a.
        by_class: Whether the head's rows count by class.
    """

    labels: Mapping[str, Sequence[int]]
    exponent: float
    by_class: bool

    def weights(self, ages: Mapping[str, int]) -> tuple[dict[str, float], float]:
        """The weights of those who deliver what is so many rounds old, and what all would weigh if it were fresh."""
        return self._weights({name: sum(counts) for name, counts in self.labels.items()}, ages)

    def mean(
        self, current: Mapping[str, NDArray], delivered: Mapping[str, Contribution], number: int
    ) -> dict[str, NDArray]:
        """The new average in round ``number`` by name, see :func:`strategies.aggregation.mean_with_absent`."""
        ages = {name: number - one.started for name, one in delivered.items()}
        weights, total = self.weights(ages)
        found = {}
        for key, array in current.items():
            theirs = [delivered[name].arrays[key] for name in weights]
            mean = mean_with_absent(array, theirs, list(weights.values()), total)
            found[key] = np.array(mean)
            if not (self.by_class and key.startswith(_HEAD)):
                continue
            for row in range(len(array)):
                of_class, of_all = self._weights({name: n[row] for name, n in self.labels.items()}, ages)
                if of_all:  # else nobody has an image of it
                    rows = [one[row] for one in theirs]
                    found[key][row] = mean_with_absent(array[row], rows, list(of_class.values()), of_all)
        return found

    def _weights(self, images: Mapping[str, int], ages: Mapping[str, int]) -> tuple[dict[str, float], float]:
        weights = {
            name: count * staleness_weight(ages[name], self.exponent)
            for name, count in images.items()
            if name in ages
        }
        return weights, float(sum(images.values()))
