"""A node's computer on mission time: computing takes what the plan says, however long this machine needs for it.

Mission time stands while an application is at work. What it has computed meanwhile is done so many seconds after it
was woken, or after what it had computed before; until then its results wait in the relay.
"""

from __future__ import annotations

import math

from relay.clock.paced_clock import PacedClock


class Computer:
    """The computer of one node.

    Its application counts the seconds that its work takes by the plan's rates, from 0 when it comes.

    Args:
        clock: Of the node.

    Attributes:
        free_s: Mission time at which all that has been computed is done.
        computed_s: How much that is, by the application's count.
    """

    def __init__(self, clock: PacedClock) -> None:
        self.free_s = -math.inf
        self._clock = clock
        self._woken_s = clock.now_s
        self.computed_s = 0.0

    @property
    def computes(self) -> bool:
        """Return whether reported work is still in progress at the current mission time."""
        return self.free_s > self._clock.now_s

    def begin(self) -> None:
        """Have another process as its application, whose count begins at 0."""
        self.computed_s = 0.0
        self.wake()

    def wake(self) -> None:
        """Have something to do from now on, after nothing."""
        self._woken_s = self._clock.now_s

    def done_s(self, computed_s: float) -> float:
        """Return the mission time at which this much is done by the application's count.

        Raises:
            ValueError: That is no time.
        """
        if not (math.isfinite(computed_s) and computed_s >= 0.0):
            raise ValueError(f"computed for {computed_s} s; allowed: 0 or more")
        if computed_s > self.computed_s:
            self.free_s = max(self.free_s, self._woken_s) + computed_s - self.computed_s
            self.computed_s = computed_s
        return self.free_s - (self.computed_s - computed_s)
