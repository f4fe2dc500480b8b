"""Earliest-arrival routes: the answers of aiodtnsim (SABR's Dijkstra) on 300 queries.

    python -m benchmarks.routing

aiodtnsim ships a package called ``test`` and stays out of this environment; its answers and its time are those of
``benchmarks.make_sabr_routes``.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.measure import Bars, seconds
from benchmarks.routing_cases import queries, random_plan
from orbit.routing import earliest_arrival

REFERENCE = Path(__file__).parent.parent / "tests" / "orbit" / "sabr_arrivals.json"
TOLERANCE_S = 0.002  # aiodtnsim lets one hop fewer win over a millisecond


def main() -> None:
    bars = Bars("routing")
    plan, reference = random_plan(), json.loads(REFERENCE.read_text())

    def answer() -> list[float]:
        return [
            earliest_arrival(plan, source, target, start_s=start_s, size_bytes=size_bytes).arrive_s
            for source, target, start_s, size_bytes in queries()
        ]

    ours_s, arrivals = seconds(answer, 3)
    equal = sum(abs(a - b) <= TOLERANCE_S for a, b in zip(arrivals, reference["arrivals_s"], strict=True))
    bars.at_least("arrivals equal to aiodtnsim's, of 300", float(equal), 300, reference["source"])
    bars.note(
        "time a query [ms]",
        ours_s / 300 * 1e3,
        f"aiodtnsim {reference['seconds'] / 300 * 1e3:.3g} ms when the reference was made",
    )
    bars.finish()


if __name__ == "__main__":
    main()
