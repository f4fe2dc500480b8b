"""Inter-satellite links: windows of all pairs against lox-space, line-of-sight bitmaps against our own contacts.

python -m benchmarks.isl
"""

from __future__ import annotations

import numpy as np
from astropy.time import Time

from benchmarks import orbit_peers as peers
from benchmarks.measure import Bars, seconds, side_by_side
from benchmarks.orbit_cases import HORIZON_S, REFERENCE_EPOCH, thirty_stations, walker_case
from orbit.constellation import Constellation, from_elements
from orbit.motion.elements import read_tle
from orbit.search.intersatellite import (
    all_pairs,
    find_links,
    grid_neighbours,
    plane_neighbours,
    sight_bitmaps,
)

EPOCH = Time(REFERENCE_EPOCH)


def links_of(shell: Constellation, pairs: np.ndarray, grazing_altitude_km: float) -> np.ndarray:
    return find_links(shell, pairs, epoch=EPOCH, horizon_s=HORIZON_S, grazing_altitude_km=grazing_altitude_km)


def as_a_tle_says(shell: Constellation) -> Constellation:
    """The constellation with the digits that lox is given."""
    text = "\n".join(line for lines in peers.tle_lines(shell) for line in lines)
    return from_elements(shell.names, read_tle(text)[1])


def main() -> None:
    bars = Bars("isl")
    small = as_a_tle_says(walker_case("24/4/1"))
    ours = len(links_of(small, all_pairs(small), 0.0))
    theirs = peers.lox(small, (), links=True)()
    bars.at_most(
        "24/4/1, all pairs, R = 6378.137 km: windows beside lox's",
        float(abs(ours - theirs)),
        0,
        f"{ours}, {theirs}",
    )

    shell = walker_case("72/6/1")
    pairs = all_pairs(shell)
    links_of(shell, pairs, 0.0)
    jobs = {"ours": lambda: len(links_of(shell, pairs, 0.0)), "lox": peers.lox(shell, (), links=True)}
    found = {name: job() for name, job in jobs.items()}
    took = side_by_side(jobs, 5)
    detail = f"{took['lox']:.3g} s ÷ {took['ours']:.3g} s, {found['lox']} and {found['ours']} windows"
    bars.at_least("72/6/1, all pairs: lox ÷ ours", took["lox"] / took["ours"], 15, detail)

    large, steps = walker_case("1584/72/39"), np.arange(0, HORIZON_S + 1, 60.0)
    sight_bitmaps(small, epoch=EPOCH, seconds=steps[:2])
    jobs = {
        "contacts": peers.ours(large, thirty_stations()),
        "bitmaps": lambda: sight_bitmaps(large, epoch=EPOCH, seconds=steps).nbytes,
    }
    took = side_by_side(jobs, 3)
    detail = f"{took['bitmaps']:.3g} s ÷ {took['contacts']:.3g} s"
    name = "1584, line of sight of all, 1441 steps ÷ our contacts"
    bars.at_most(name, took["bitmaps"] / took["contacts"], 1.5, detail)
    grid = np.concatenate([plane_neighbours(large), grid_neighbours(large)])
    grid_s, found_links = seconds(lambda: len(links_of(large, grid, 80.0)), 3)
    bars.note("1584, +grid [s]", grid_s, f"{len(grid)} links, {found_links} windows")
    bars.finish()


if __name__ == "__main__":
    main()
