"""What the lower bound asks of the sessions of a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class FlowNeeds:
    """The needs of each group; arrays of shape ``(groups,)`` where nothing else is said.

    ``features`` samples of ``feature_bits`` come down, through any session, by ``features_until_s``;
    ``embedded(time_s)`` of them can have been computed on board by each of some times, shape ``(groups,
    times)``.  ``answers`` of ``up_bits`` go up and are answered by ``down_bits`` through the same session by
    ``answers_until_s``; while one is on its way its session is held for ``held_s`` at least, divided by how
    many may be on their way at once.  The ground spends ``ground_s`` on each feature that arrives and
    ``other_ground_s`` on the rest, until ``ground_until_s``. ``aboard_share`` is the part of a group's
    samples that may be trained on board, and so needs nothing of all this. ``features_of`` and
    ``answers_of``, shape ``(satellites,)``, say whose they are, where links between satellites have to carry
    each by itself; None where they need not, as weights that are summed up on their way.
    """

    features: np.ndarray
    feature_bits: float
    _: KW_ONLY
    features_until_s: np.ndarray
    embedded: Callable[[np.ndarray], np.ndarray] | None
    answers: np.ndarray
    up_bits: float
    down_bits: float
    answers_until_s: np.ndarray
    held_s: np.ndarray
    ground_s: np.ndarray
    other_ground_s: np.ndarray
    ground_until_s: float
    aboard_share: np.ndarray
    features_of: np.ndarray | None = None
    answers_of: np.ndarray | None = None
