"""Contact windows: as Orekit's and skyfield's, and how much faster than whom.

    SKYSPLIT_DATA=… python -m benchmarks.contacts

Peers (never part of the product): skyfield, brahe, lox-space, sgp4-predict.  All times are medians of one run on one
machine, ratios are peer ÷ ours.  brahe needs minutes for 1584 satellites: it gets every sixteenth of them, its time
is multiplied by sixteen, which is fair because it works pair by pair.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.time import Time

from benchmarks import orbit_peers as peers
from benchmarks.measure import Bars, side_by_side
from benchmarks.orbit_cases import (
    HORIZON_S,
    MASK_DEG,
    REFERENCE_EPOCH,
    STATIONS,
    TLE_FOLDER,
    thirty_stations,
    walker_case,
)
from orbit.constellation import from_file
from orbit.search import contacts

EPOCH = Time(REFERENCE_EPOCH)
OREKIT = Path(__file__).parent.parent / "tests" / "orbit" / "orekit_windows.json"
TLE_EPOCH = Time("2024-01-12T12:00:00")
SHARE_OF_BRAHE = 16
SKYFIELD_S, FRAMES_DEG = 0.5, 0.0002


def against_orekit(bars: Bars) -> None:
    for pattern, windows in json.loads(OREKIT.read_text())["windows"].items():
        reference = np.array(windows)
        reference = reference[np.lexsort(reference.T[2::-1])]
        passes = contacts.find_passes(walker_case(pattern), STATIONS, epoch=EPOCH, horizon_s=HORIZON_S)
        pairs = np.stack([passes["satellite"], passes["station"]], axis=1)
        same = len(passes) == len(reference) and (pairs == reference[:, :2]).all()
        bars.at_least(f"{pattern}: windows of Orekit found, none extra", float(same), 1, f"{len(reference)}")
        if same:
            off_s = np.abs(
                np.concatenate([passes["start_s"] - reference[:, 2], passes["end_s"] - reference[:, 3]])
            )
            for name, value, bar in (
                ("median", np.median(off_s), 0.001),
                ("p95", np.percentile(off_s, 95), 0.002),
                ("max", off_s.max(), 0.05),
            ):
                bars.at_most(f"{pattern}: |ΔAOS|, |ΔLOS| {name} [s]", float(value), bar)


def against_skyfield(bars: Bars) -> None:
    """Real satellites, every eighth, a day: the same windows as skyfield's, within its half-second tolerance.

    ``find_events`` halves an interval until it is shorter than half a second and returns its later end, so a time of
    skyfield's is up to 0.5 s late.  Its frames differ from ours by up to 0.0002°; where a pass grazes the mask, that
    moves a time by some hundredths of a second more.  So a time of ours agrees when it lies within 0.5 s of
    skyfield's, or when skyfield's own elevation at that very time is the mask to 0.0002°.  How many need the second
    half of the rule is printed.
    """
    from skyfield.api import EarthSatellite, load, wgs84

    if not TLE_FOLDER.is_dir():
        bars.note("real constellations against skyfield", "skipped", "SKYSPLIT_DATA is not set")
        return
    scale = load.timescale(builtin=True)
    begin, end = scale.from_astropy(TLE_EPOCH), scale.tt_jd(scale.from_astropy(TLE_EPOCH).tt + 1)
    for name in ("planet", "iridium-NEXT", "spire", "oneweb"):
        some = from_file(TLE_FOLDER / f"{name}.txt")
        some = some.take(np.arange(0, len(some), 8))
        passes = contacts.find_passes(some, STATIONS, epoch=TLE_EPOCH, horizon_s=86400.0)
        worst_s, worst_deg, differing, later, apart = 0.0, 0.0, 0, 0, 0
        for number, model in enumerate(some.elements.satrecs()):
            satellite = EarthSatellite.from_satrec(model, scale)
            for place, s in enumerate(STATIONS):
                here = wgs84.latlon(s.lat_deg, s.lon_deg, s.height_m)
                times, events = satellite.find_events(here, begin, end, altitude_degrees=MASK_DEG)
                at_s = (times - begin) * 86400
                ours = passes[(passes["satellite"] == number) & (passes["station"] == place)]
                for event, field, cut in ((0, "start_s", "open_start"), (2, "end_s", "open_end")):
                    found, theirs = ours[field][~ours[cut]], at_s[events == event]
                    if len(found) != len(theirs):
                        differing += 1
                    elif len(found):
                        off_s = np.abs(found - theirs)
                        worst_s = max(worst_s, float(off_s.max()))
                        then = scale.tt_jd(begin.whole, begin.tt_fraction + found / 86400)
                        elevation_deg = (satellite - here).at(then).altaz()[0].degrees
                        off_deg = np.abs(elevation_deg - MASK_DEG)
                        worst_deg = max(worst_deg, float(off_deg.max()))
                        later += int(np.count_nonzero(off_s > SKYFIELD_S))
                        apart += int(np.count_nonzero((off_s > SKYFIELD_S) & (off_deg > FRAMES_DEG)))
        windows = f"{len(passes)} windows"
        bars.at_most(f"{name}: pairs with other windows than skyfield's", float(differing), 0, windows)
        bars.at_most(f"{name}: times off skyfield's by > 0.5 s and off the mask", float(apart), 0)
        bars.note(f"{name}: times off skyfield's by > 0.5 s, on its mask", later - apart)
        bars.note(f"{name}: largest difference of a time [s]", worst_s)
        bars.note(f"{name}: skyfield's elevation at our times off the mask [°]", worst_deg, "at most")


def speed_on_72(bars: Bars) -> None:
    shell = walker_case("72/6/1")
    ours = peers.ours(shell, STATIONS)
    bars.note("72/6/1 × 10 stations × 24 h: windows of ours", ours())
    for name, bar, runs in (("skyfield", 20, 1), ("brahe", 15, 3), ("lox", 8, 3), ("sgp4_predict", 1.2, 9)):
        theirs = getattr(peers, name)(shell, STATIONS)
        found = theirs() if runs > 1 else "as many"
        took = side_by_side({"ours": ours, name: theirs}, runs)
        detail = f"{took[name]:.3g} s ÷ {took['ours']:.3g} s, {found} windows"
        bars.at_least(f"72/6/1: {name} ÷ ours", took[name] / took["ours"], bar, detail)
    plain = peers.ours(shell, STATIONS, compiled=False)
    plain()
    took = side_by_side({"ours": ours, "plain": plain}, 9)
    detail = f"{took['plain']:.3g} s ÷ {took['ours']:.3g} s"
    bars.at_most("72/6/1: numpy alone ÷ compiled", took["plain"] / took["ours"], 2.5, detail)


def speed_on_1584(bars: Bars) -> None:
    shell, stations = walker_case("1584/72/39"), thirty_stations()
    jobs = {
        "ours": peers.ours(shell, stations),
        "J2": peers.ours(shell.propagated_by("j2"), stations),
        "sgp4-predict": peers.sgp4_predict(shell, stations),
        "brahe": peers.brahe(shell.take(slice(0, None, SHARE_OF_BRAHE)), stations),
    }
    bars.note("1584/72/39 × 30 stations × 24 h: windows of ours", jobs["ours"]())
    took = side_by_side(jobs, 3)
    took["brahe"] *= SHARE_OF_BRAHE
    for name, bar in (("sgp4-predict", 2.5), ("brahe", 50)):
        detail = f"{took[name]:.3g} s ÷ {took['ours']:.3g} s"
        bars.at_least(f"1584: {name} ÷ ours", took[name] / took["ours"], bar, detail)
    bars.at_most("1584: J2 ÷ SGP4", took["J2"] / took["ours"], 0.35, f"{took['J2']:.3g} s")


MEMORY_SCRIPT = """
import pathlib, resource, sys
from benchmarks.contacts import EPOCH, contacts, thirty_stations, walker_case
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
contacts.find_passes(walker_case("24/4/1"), thirty_stations(), epoch=EPOCH, horizon_s=600.0)
before = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
passes = contacts.find_passes(walker_case("1584/72/39"), thirty_stations(), epoch=EPOCH, horizon_s=float(sys.argv[1]))
print(peak(), peak() - before - passes.nbytes / 2**20)
"""
COMPILE_SCRIPT = """
import time
from benchmarks import orbit_peers as peers
from benchmarks.orbit_cases import STATIONS, walker_case
job = peers.ours(walker_case("24/4/1"), STATIONS, compiled=True)
before = time.perf_counter(); job(); print(time.perf_counter() - before)
"""


def memory_and_first_call(bars: Bars) -> None:
    def run(script: str, *arguments: str, **environment: str) -> list[float]:
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return [float(word) for word in done.stdout.split()]

    bars.at_most("1584, a day: peak memory [MB]", run(MEMORY_SCRIPT, "86400")[0], 700)
    bars.at_most("1584, a week: memory beside the result [MB]", run(MEMORY_SCRIPT, "604800")[1], 300)
    with tempfile.TemporaryDirectory() as folder:
        bars.note(
            "first call on a machine, with compilation [s]", run(COMPILE_SCRIPT, NUMBA_CACHE_DIR=folder)[0]
        )
        bars.note(
            "first call in a process, from the cache [s]", run(COMPILE_SCRIPT, NUMBA_CACHE_DIR=folder)[0]
        )


def main() -> None:
    bars = Bars("contacts")
    against_orekit(bars)
    against_skyfield(bars)
    speed_on_72(bars)
    speed_on_1584(bars)
    memory_and_first_call(bars)
    bars.finish()


if __name__ == "__main__":
    main()
