"""Aggregation rules of other packages: what makes the next round's weights of the mean that satellites deliver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from numpy.typing import NDArray

from mission.entry_points import AGGREGATION, EntryPointError, registered_class
from mission.schema import SERVER_OPTIMIZERS
from strategies.aggregation.averages import AggregationError


class AggregationRule(ABC):
    """Make the next round's weights from the satellites' mean: the base class of rules of other packages.

    Attributes:
        learning_rate: ``training.server_learning_rate``.
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    @abstractmethod
    def step(
        self, round_number: int, sent: Mapping[str, NDArray], mean: Mapping[str, NDArray]
    ) -> Mapping[str, NDArray]:
        """Return the next round's weights, by name and in the shapes of ``mean``.

        Args:
            round_number: From 1.
            sent: What the satellites started from.
            mean: What they came to: a mean by images and age, over planes that delivered, the present weights for the
                others.
        """

    def state(self) -> Mapping[str, NDArray]:
        """Return what the rule remembers of earlier rounds, by name: it is kept in checkpoints."""
        return {}

    def load_state(self, state: Mapping[str, NDArray]) -> None:
        """Take over what :meth:`state` gave, when a run is resumed."""
        del state


def aggregation_rule(name: str) -> type[AggregationRule]:
    """Return the rule that a package registers under ``skysplit.aggregation``.

    Raises:
        AggregationError: There is none of that name, or it cannot be used.
    """
    try:
        return registered_class(AGGREGATION, name, AggregationRule, SERVER_OPTIMIZERS)
    except EntryPointError as error:
        raise AggregationError(str(error)) from error


def require_usable_rule(name: str) -> None:
    """Raise AggregationError unless the rule is one of ours, or one of another package that can be used."""
    if name not in SERVER_OPTIMIZERS:
        aggregation_rule(name)
