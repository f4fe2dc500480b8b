"""Names that installed packages register under entry points of SkySplit; nothing of theirs is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points

SPACE_GROUND, INTRA_ORBIT, INTER_ORBIT = (
    "skysplit.space_ground",
    "skysplit.intra_orbit",
    "skysplit.inter_orbit",
)


def registered_names(group: str) -> tuple[str, ...]:
    """Return the names under an entry-point group, sorted, each once."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


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
