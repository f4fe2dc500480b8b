"""The contact plan and the queries on which our routing and aiodtnsim's answer."""

from __future__ import annotations

import numpy as np
from astropy.time import Time

from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node

SATELLITES, STATIONS, QUERIES = 40, 5, 300
HORIZON_S = 21600.0


def random_plan(seed: int = 20261123) -> ContactPlan:
    """A sparse plan of short contacts: 45 nodes, 220 links, gaps of half an hour, all from the seed."""
    rng = np.random.default_rng(seed)
    nodes = [Node(f"satellite {k}", "satellite", plane=k // 8, slot=k % 8) for k in range(SATELLITES)]
    nodes += [Node(f"station {k}", "station") for k in range(STATIONS)]
    rows = []
    pairs = {(int(a), int(b)) for a, b in rng.integers(0, len(nodes), (300, 2))}
    for a, b in sorted(pairs):
        if a == b or min(a, b) >= SATELLITES:
            continue
        kind = (
            LinkKind.UPLINK
            if a >= SATELLITES
            else LinkKind.DOWNLINK
            if b >= SATELLITES
            else LinkKind.INTER_ISL
        )
        rate_bps, owlt_s = rng.uniform(1e6, 1e8), rng.uniform(0.002, 0.02)
        start_s = rng.uniform(0, 1800)
        while start_s < HORIZON_S - 10:
            end_s = min(start_s + rng.uniform(10, 600), HORIZON_S)
            rows.append(
                (a, b, kind, start_s, end_s, rate_bps, owlt_s, np.nan, np.nan, False, end_s == HORIZON_S)
            )
            start_s = end_s + rng.uniform(60, 3600)
    return ContactPlan(Time("2026-03-01"), HORIZON_S, nodes=tuple(nodes), contacts=np.array(rows, CONTACT))


def queries(seed: int = 734) -> list[tuple[int, int, float, float]]:
    """(source, target, start_s, size_bytes) of the queries; every other one of size 0."""
    rng = np.random.default_rng(seed)
    asked = []
    while len(asked) < QUERIES:
        source, target = (int(node) for node in rng.integers(0, SATELLITES + STATIONS, 2))
        if source != target:
            size = 0.0 if len(asked) % 2 else float(np.round(10 ** rng.uniform(5, 8.7)))
            asked.append((source, target, float(np.round(rng.uniform(0, HORIZON_S * 0.7), 3)), size))
    return asked
