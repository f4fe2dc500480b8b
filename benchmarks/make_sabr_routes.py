"""Write tests/orbit/sabr_arrivals.json: earliest arrivals as aiodtnsim finds them, the reference of our routing.

    python -m benchmarks.make_sabr_routes

Needs ``aiodtnsim`` beside astropy and sgp4, in an environment of its own: it installs a top-level package ``test``
that shadows the standard library's.  Its Dijkstra knows no sizes, so a bundle of s bytes asks it on a plan whose
contacts close s/rate earlier and take s/rate longer; the last-byte arrival of its SABR (§ 3.2.6.6) along the path it
found has to say the same, or nothing is written.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from pathlib import Path

from aiodtnsim.simulation.cgr import sabr
from aiodtnsim.simulation.cgr.tvdijkstra import tvdijkstra
from tvgutil.contact_plan import SimplePredictedContactTuple
from tvgutil.tvg import TVG, from_contact_plan

from benchmarks.routing_cases import queries, random_plan

OUT = Path(__file__).parent.parent / "tests" / "orbit" / "sabr_arrivals.json"


def graph(size_bytes: float) -> tuple[TVG, dict]:
    """The plan as aiodtnsim takes it, for bundles of one size; and each contact as it was."""
    shrunk = {}
    for c in random_plan().contacts:
        takes_s = 8 * size_bytes / c["rate_bps"]
        whole = SimplePredictedContactTuple(
            f"n{c['source']}", f"n{c['target']}", float(c["start_s"]), float(c["end_s"]), float(c["rate_bps"]), 1.0,
            float(c["owlt_s"]),
        )  # fmt: skip
        if whole.end_time - takes_s > whole.start_time:
            part = whole._replace(end_time=whole.end_time - takes_s, delay=whole.delay + takes_s)
            shrunk[part] = whole
    return from_contact_plan(list(shrunk), contact_type=SimplePredictedContactTuple), shrunk


def main() -> None:
    assembler: list[float | None] = []
    spent_s = 0.0
    for source, target, start_s, size_bytes in queries():
        tvg, whole = graph(size_bytes)
        for node in (f"n{source}", f"n{target}"):
            tvg.vertices.setdefault(node, set())
        before = time.perf_counter()
        result = tvdijkstra(tvg, f"n{source}", f"n{target}", start_s, set(), set())
        spent_s += time.perf_counter() - before
        if not result.is_reachable(f"n{target}"):
            assembler.append(None)
            continue
        arrive_s = result.get_metrics(f"n{target}").eat
        path = [whole[contact] for contact in result.get_path(f"n{target}")[2]]
        first_s = max(start_s, path[0].start_time)
        by_sabr = sabr._get_last_byte_arrival_times(path, 8 * size_bytes, first_s)[-1]
        assert abs(by_sabr - arrive_s) < 1e-6, (by_sabr, arrive_s)
        assembler.append(round(arrive_s, 6))
    source_text = (
        f"aiodtnsim {version('aiodtnsim')}, tvdijkstra and SABR, made by benchmarks/make_sabr_routes.py"
    )
    OUT.write_text(
        json.dumps({"source": source_text, "seconds": round(spent_s, 4), "arrivals_s": assembler}, indent=1)
    )
    print(f"{len(assembler)} queries, {assembler.count(None)} without a route, {spent_s:.3f} s")


if __name__ == "__main__":
    main()
