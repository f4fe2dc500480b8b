"""A relay's log: a JSON object a line, with mission time beside wall time."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from relay.clock.paced_clock import PacedClock


class MissionFormatter(logging.Formatter):
    """Formats records of one node as JSON."""

    def __init__(self, node: str, clock: PacedClock) -> None:
        super().__init__()
        self._node = node
        self._clock = clock

    def format(self, record: logging.LogRecord) -> str:
        """One record as a line of JSON."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "mission_s": round(self._clock.now_s, 3),
            "node": self._node,
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def log_to_stderr(node: str, clock: PacedClock) -> None:
    """Send the log of this process to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(MissionFormatter(node, clock))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
