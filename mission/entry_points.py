"""What installed packages register under entry points of SkySplit: names, and objects, imported when they are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

SPACE_GROUND, INTRA_ORBIT, INTER_ORBIT = (
    "skysplit.space_ground",
    "skysplit.intra_orbit",
    "skysplit.inter_orbit",
)
ROUND_PLANNERS = "skysplit.round_planners"
PARTITIONS = "skysplit.partitions"
IMAGERY = "skysplit.imagery"
LINKS = "skysplit.links"
AGGREGATION = "skysplit.aggregation"
CODECS = "skysplit.codecs"
MODEL_FAMILIES = "skysplit.families"
HEADS = "skysplit.heads"
DECODERS = "skysplit.decoders"
TRACKERS = "skysplit.trackers"


class EntryPointError(ValueError):
    """A package registers something that cannot be used; the message names it."""


def registered_names(group: str) -> tuple[str, ...]:
    """Return the names under an entry-point group, sorted, each once."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def registered_object(group: str, name: str, ours: tuple[str, ...]) -> tuple[str, object]:
    """Return where what a package registers under a name is, as its entry point says, and the object itself.

    Raises:
        EntryPointError: There is none, its name is taken, or it cannot be imported.
    """
    entries = sorted({entry for entry in entry_points(group=group) if entry.name == name}, key=str)
    if not entries:
        known = ", ".join((*ours, *registered_names(group)))
        raise EntryPointError(f"entry point {group}: found none called {name!r}, allowed: {known}")
    if name in ours:
        raise EntryPointError(
            f"entry point {group}: {entries[0].value} is called {name!r}, as one of ours is; allowed: another name"
        )
    if len(entries) > 1:
        values = " and ".join(entry.value for entry in entries)
        raise EntryPointError(
            f"entry point {group}: {values} are both called {name!r}; allowed: different names"
        )
    return entries[0].value, _imported(group, entries[0])


def registered_function(group: str, name: str, ours: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Return the function that a package registers under a name.

    Raises:
        EntryPointError: See :func:`registered_object`; or what is registered is no function.
    """
    value, function = registered_object(group, name, ours)
    if not callable(function):
        raise EntryPointError(
            f"entry point {group}: {value} is a {type(function).__name__}; allowed: a function"
        )
    return function


def registered_class(group: str, name: str, kind: type, ours: tuple[str, ...] = ()) -> type[Any]:
    """Return the class that a package registers under a name.

    Raises:
        EntryPointError: See :func:`registered_object`; or what is registered is no subclass of ``kind``, or lacks
            a method.
    """
    value, registered = registered_object(group, name, ours)
    if not (isinstance(registered, type) and issubclass(registered, kind)):
        is_a = f"class {registered.__name__}" if isinstance(registered, type) else type(registered).__name__
        raise EntryPointError(
            f"entry point {group}: {value} is a {is_a}; allowed: a subclass of "
            f"{kind.__module__}.{kind.__qualname__}"
        )
    missing = ", ".join(sorted(getattr(registered, "__abstractmethods__", ())))
    if missing:
        raise EntryPointError(f"entry point {group}: {value} lacks {missing}; allowed: with it")
    return registered


def _imported(group: str, entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:  # whatever a package does on import
        raise EntryPointError(
            f"entry point {group}: {entry.value} cannot be imported: {type(error).__name__}: {error}"
        ) from error


@dataclass(frozen=True)
class OursOrRegistered:
    """A validator of a name: one of ours, or one that an installed package registers.

    Attributes:
        group: The entry-point group.
        ours: Our own names.
    """

    group: str
    ours: tuple[str, ...]

    def __call__(self, name: str) -> str:
        """Return the name.

        Raises:
            ValueError: It is neither; the message lists what is allowed.
        """
        if name not in self.ours and name not in registered_names(self.group):
            raise ValueError(self.allowed())
        return name

    def allowed(self) -> str:
        """Say what is allowed, the names that are registered now included."""
        names = dict.fromkeys((*self.ours, *registered_names(self.group)))
        return f"allowed: {', '.join(names)}, or a name that a package registers under {self.group}"
