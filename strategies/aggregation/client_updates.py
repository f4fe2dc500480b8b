"""What satellites have come to, until the ground hears it, and how it is averaged then."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from mission.client_update import Vector, average, client_update, counts_in
from strategies.aggregation.averages import AggregationError, plane_sum, staleness_weight
from strategies.intra_orbit import PlaneOrder


@dataclass(frozen=True, eq=False)
class ClientUpdate:
    """One satellite's trained weights.

    Attributes:
        started: The round whose weights it started from.
        arrays: Its own, by name; none where it has summed them with those of its plane.
        report: What it tells of its training.
        plane_sum: Then that sum, see :func:`strategies.aggregation.averages.plane_sum`.
    """

    started: int
    arrays: Mapping[str, NDArray]
    _: KW_ONLY
    report: Mapping[str, float]
    plane_sum: Vector | None = None


@dataclass(frozen=True)
class Averaging:
    """Make one average of the satellites' updates: plane by plane, the planes in the order of their numbers.

    A satellite counts by its images, the less the older what it delivers is: (1 + s)^-a after s rounds (see
    :func:`strategies.aggregation.averages.staleness_weight`). What those that deliver lack of all is the
    weight of the present
    average. With ``by_class`` a class' row of the head counts by the images of that class: who has never seen it has
    learnt nothing of it but how to rule it out, which is what spoils averaged heads where satellites see few classes.

    Attributes:
        labels: Images by class of each satellite, in the order in which weights are summed.
        exponent: a.
        by_class: Whether the head's rows count by class.
    """

    labels: Mapping[str, Sequence[int]]
    exponent: float
    _: KW_ONLY
    by_class: bool

    def weights(self, ages: Mapping[str, int]) -> tuple[dict[str, float], float]:
        """The weights of those who deliver what is so many rounds old, and what all would weigh if it were fresh."""
        weights = {name: float(self.counts(name, ages[name])[0]) for name in self.labels if name in ages}
        return weights, float(sum(sum(images) for images in self.labels.values()))

    def counts(self, name: str, age: int = 0) -> Vector:
        """Return what a satellite adds to the sum, see :func:`mission.client_update.client_update`."""
        images = np.array(self.labels[name], float)
        counts = [images.sum()]
        if self.by_class:
            seen = np.array(list(self.labels.values())).any(axis=0)
            # A class that nobody has an image of counts as the whole head does.
            counts += np.where(seen, images, images.sum()).tolist()
        return np.array(counts) * staleness_weight(age, self.exponent)

    def mean(
        self,
        current: Mapping[str, NDArray],
        delivered: Mapping[str, ClientUpdate],
        number: int,
        planes: Sequence[PlaneOrder],
    ) -> dict[str, NDArray]:
        """The new average in round ``number`` by name.

        Raises:
            AggregationError: A plane's sum is not that of its satellites.
        """
        sums = [
            self._plane_sum(plane, current, delivered, number)
            for plane in planes
            if not delivered.keys().isdisjoint(plane.members)
        ]
        total = functools.reduce(operator.add, sums)
        absent = sum(self.counts(name) for name in self.labels) - counts_in(total, current)
        if np.any(absent):
            total = total + client_update(current, absent)
        return average(total, current)

    def _plane_sum(
        self,
        plane: PlaneOrder,
        current: Mapping[str, NDArray],
        delivered: Mapping[str, ClientUpdate],
        number: int,
    ) -> Vector:
        """What its satellites have summed, where one of them has it; else the same from what each has delivered."""
        present = [name for name in plane.members if name in delivered]
        counts = [self.counts(name, number - delivered[name].started) for name in present]
        sums = (delivered[name].plane_sum for name in present)
        summed = next((partial for partial in sums if partial is not None), None)
        if summed is None:
            weighted = zip(present, counts, strict=True)
            parts = [client_update(delivered[name].arrays, count) for name, count in weighted]
            return plane_sum(parts, ring=plane.ring and len(present) == len(plane.members))
        counted, wanted = counts_in(summed, current), functools.reduce(operator.add, counts)
        if counted.tolist() != wanted.tolist():
            raise AggregationError(
                f"the sum of {', '.join(present)} counts {counted[:1].tolist()} images, allowed: {wanted[:1].tolist()}"
            )
        return summed
