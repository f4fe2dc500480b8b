"""The mission clock: seconds after the scenario's epoch."""

from __future__ import annotations

from datetime import datetime, timedelta


class VirtualClock:
    """Mission time that only the plan advances; nobody sleeps.

    Args:
        epoch: Start of mission time, an aware UTC datetime.
        now_s: Where to start, seconds after the epoch.

    Attributes:
        departed_s: When the last round began, as measured; ``None`` where nothing is measured.
    """

    departed_s: float | None = None

    def __init__(self, epoch: datetime, now_s: float = 0.0) -> None:
        self.epoch = epoch
        self.now_s = now_s

    def advance_to(self, instant_s: float) -> None:
        """Move to a later instant, seconds after the epoch.

        Raises:
            ValueError: The instant lies in the past; mission time never runs backwards.
        """
        if instant_s < self.now_s:
            raise ValueError(f"mission time cannot run back from {self.now_s} s to {instant_s} s")
        self.now_s = instant_s

    def utc(self) -> datetime:
        """The current instant as UTC."""
        return self.epoch + timedelta(seconds=self.now_s)
