"""Before the epoch all nodes are wired to the ground: enrolment is no part of the mission."""

from __future__ import annotations

from collections.abc import Iterable

from relay.clock.timed_link import LinkSchedule, Network, Window

START_S = -30 * 86_400.0
RATE_BPS = 1e9


def pre_launch_network(satellites: Iterable[str], ground: str) -> Network:
    """Every satellite wired to the ground, until the epoch."""
    satellites = tuple(satellites)
    wire = LinkSchedule((Window(START_S, 0.0, rate_bps=RATE_BPS, owlt_s=0.0),))
    pairs = [(name, ground) for name in satellites] + [(ground, name) for name in satellites]
    return Network((*satellites, ground), dict.fromkeys(pairs, wire))
