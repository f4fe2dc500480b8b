"""Strategies of other packages: found by their entry points, imported when they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from mission.entry_points import (
    ROUND_PLANNERS,
    EntryPointError,
    registered_class,
    registered_function,
    registered_names,
)
from strategies.problem.workload import OUR_PLANNER

_Strategy = TypeVar("_Strategy")


class StrategyError(ValueError):
    """A strategy that a package registers cannot be used, or decides what is not possible; the message names it."""


def strategies_of(group: str, kind: type[_Strategy], ours: tuple[str, ...]) -> Mapping[str, type[_Strategy]]:
    """Return all classes that packages register under a group, by name.

    Args:
        group: The entry-point group.
        kind: The base class that each has.
        ours: Names that are taken.

    Raises:
        StrategyError: One cannot be imported, is no subclass of ``kind``, or has a name that is taken.
    """
    return {name: loaded(group, name, kind, ours) for name in registered_names(group)}


def loaded(group: str, name: str, kind: type[_Strategy], ours: tuple[str, ...]) -> type[_Strategy]:
    """Return the class that a package registers under a name.

    Raises:
        StrategyError: There is none, or it is not allowed; see :func:`strategies_of`.
    """
    try:
        return registered_class(group, name, kind, ours)
    except EntryPointError as error:
        raise StrategyError(str(error)) from error


def registered_planner(name: str) -> Callable[..., object]:
    """Return the round planner that a package registers: a function of a problem and a strategy config.

    Raises:
        StrategyError: There is none, or it cannot be used.
    """
    try:
        return registered_function(ROUND_PLANNERS, name, (OUR_PLANNER,))
    except EntryPointError as error:
        raise StrategyError(str(error)) from error


_INTEGERS = (int, np.integer)


def chosen_of(
    choose: Callable[[], Sequence[int]], allowed: Iterable[int], words: str, names: str
) -> list[int]:
    """Return what a strategy chooses, as a list of indices.

    Args:
        choose: Asks the strategy.
        allowed: Indices that it may choose.
        words: Which strategy it is and when it was asked, with ``{}`` for what it did.
        names: What the allowed indices are called where it sees them.

    Raises:
        StrategyError: It fails, or chooses something else.
    """
    try:
        chosen = list(choose())
    except Exception as error:  # whatever a package's code does
        raise StrategyError(f"{words.format('failed')}: {type(error).__name__}: {error}") from error
    known = {int(index) for index in allowed}
    for index in chosen:
        if not isinstance(index, _INTEGERS) or int(index) not in known:
            raise StrategyError(f"{words.format(f'chose {index!r}')}; allowed: indices of {names}")
    return [int(index) for index in chosen]
