"""Parameters of a test in all combinations, of which so many run at once that every pair of values is among them."""

import itertools
from collections.abc import Iterable, Mapping

import pytest


def every_pair(names: str, *axes: Mapping[str, object] | Iterable[object]) -> pytest.MarkDecorator:
    """Parametrize with all combinations of three axes; those that no pair of values needs are slow.

    A combination runs where the sum of its places is a multiple of the length of the shortest axis: whichever values
    two axes have, the third has one that makes it so.
    """
    named = [
        dict(axis) if isinstance(axis, Mapping) else {str(value): value for value in axis} for axis in axes
    ]
    fewest = min(map(len, named))
    combinations = []
    for chosen in itertools.product(*(enumerate(axis.items()) for axis in named)):
        places, items = zip(*chosen, strict=True)
        marks = pytest.mark.slow if sum(places) % fewest else ()
        labels, values = zip(*items, strict=True)
        combinations.append(pytest.param(*values, id="-".join(labels), marks=marks))
    return pytest.mark.parametrize(names, combinations)
