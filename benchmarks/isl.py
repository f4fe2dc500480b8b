"""Inter-satellite links: windows of all pairs against lox-space, line-of-sight bitmaps against our own contacts.

python -m benchmarks.isl
"""

from __future__ import annotations

import numpy as np
from astropy.time import Time

from benchmarks import orbit_peers as peers
from benchmarks.measure import Bars, seconds
from benchmarks.orbit_cases import HORIZON_S, REFERENCE_EPOCH, thirty_stations, walker_case
from orbit.constellation import Constellation, from_elements
from orbit.elements import read_tle
from orbit.intersatellite import all_pairs, find_links, grid_neighbours, plane_neighbours, sight_bitmaps

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
    ours_s, windows = seconds(lambda: len(links_of(shell, pairs, 0.0)), 5)
    theirs_s, found = seconds(peers.lox(shell, (), links=True), 3)
    bars.at_least(
        "72/6/1, all pairs: lox ÷ ours",
        theirs_s / ours_s,
        15,
        f"{theirs_s:.3g} s ÷ {ours_s:.3g} s, {found} and {windows} windows",
    )

    large, steps = walker_case("1584/72/39"), np.arange(0, HORIZON_S + 1, 60.0)
    sight_bitmaps(small, epoch=EPOCH, seconds=steps[:2])
    contacts_s, _ = seconds(peers.ours(large, thirty_stations()), 3)
    bitmaps_s, bits = seconds(lambda: sight_bitmaps(large, epoch=EPOCH, seconds=steps), 3)
    bars.at_most(
        "1584, line of sight of all, 1441 steps ÷ our contacts",
        bitmaps_s / contacts_s,
        1.5,
        f"{bitmaps_s:.3g} s ÷ {contacts_s:.3g} s, {bits.nbytes / 1e6:.0f} MB",
    )
    grid = np.concatenate([plane_neighbours(large), grid_neighbours(large)])
    grid_s, found_links = seconds(lambda: len(links_of(large, grid, 80.0)), 3)
    bars.note("1584, +grid [s]", grid_s, f"{len(grid)} links, {found_links} windows")
    bars.finish()


if __name__ == "__main__":
    main()
