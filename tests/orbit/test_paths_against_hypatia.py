"""Kuiper-630 as a scenario, against the paths and round trips that Hypatia publishes.

Kassing et al., "Exploring the Internet from space with Hypatia" (IMC 2020); repository snkas/hypatia, commit 0ac531c,
`satgenpy/tests/data_to_match/kuiper_630`: shortest paths between three cities every 0.1 s over 200 s.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from mission.orbits import constellation_of, contact_plan_of, epoch_of, stations_of
from mission.scenario import load_scenario
from orbit.search.ephemeris import ephemeris, ephemeris_step_s

LIGHT_KM_S = 299792.458
# Stations see 1260 km far; links stay 80 km above a sphere of 6378.135 km.
SCENARIO = """
epoch = "2000-01-01T00:00:00Z"
horizon_h = 0.06
constellation = { satellites = 1156, planes = 34, phasing = 0, half_slot_shift = true, inclination_deg = 51.9, \
mean_motion_rev_day = 14.80 }
links.intra_orbit.max_range_km = 5016.591
links.inter_orbit = { pairs = "same-slot", max_range_km = 5016.591 }
[[ground.stations]]
name = "Manila"
lat_deg = 14.6042
lon_deg = 120.9822
mask_deg = 0
max_range_km = 1260
[[ground.stations]]
name = "Dalian"
lat_deg = 38.913811
lon_deg = 121.602322
mask_deg = 0
max_range_km = 1260
[[ground.stations]]
name = "Saint Petersburg"
lat_deg = 59.929858
lon_deg = 30.326228
mask_deg = 0
max_range_km = 1260
"""
# From when on [s] which satellites carry, of 34 a plane; none where there is no path.
PATHS = {
    ("Manila", "Dalian"): {
        0.0: "184-183-217",
        18.0: "218-217",
        27.6: "648-649-650-616",
        74.3: "218-217-216-250",
        125.9: "647-648-649-650-616",
        128.7: "647-648-649-615",
    },
    ("Manila", "Saint Petersburg"): {
        0.0: "184-183-182-181-180-179-178-144",
        3.3: "184-183-182-181-180-179-178-177",
        139.5: "184-183-182-181-180-179-178-144",
        150.1: "183-182-181-180-179-178-144",
        155.4: "",
        165.2: "183-182-181-180-179-178-177-143",
        178.8: "183-182-181-180-179-178-177-176",
    },
    ("Saint Petersburg", "Dalian"): {
        0.0: "144-178-212-246-280-281-282-283",
        3.3: "177-178-212-246-280-281-282-283",
        10.1: "177-178-212-246-247-248-249",
        128.7: "177-211-245-246-247-248-249",
        139.5: "144-178-212-246-247-248-249",
        155.4: "",
        165.2: "143-177-211-245-279-280-281-282",
        178.8: "176-177-211-245-279-280-281-282",
    },
}
ROUND_TRIPS_MS = {  # by time [s]
    ("Manila", "Dalian"): {
        0.0: 29.423137758, 40.0: 41.136549425, 80.0: 42.182027949, 120.0: 43.533574767, 150.0: 42.234037943,
        199.9: 41.279218544,
    },
    ("Manila", "Saint Petersburg"): {
        0.0: 76.846048722, 40.0: 74.221889014, 80.0: 72.998068821, 120.0: 72.756172955, 150.0: 74.043671167,
        199.9: 75.030271469,
    },
    ("Saint Petersburg", "Dalian"): {
        0.0: 63.203866535, 40.0: 60.433252903, 80.0: 59.142218268, 120.0: 58.741765507, 150.0: 59.818582336,
        199.9: 61.243595540,
    },
}  # fmt: skip
STEP_S = 0.1  # of Hypatia's search
# Hypatia turns the Earth by UTC, which was 0.36 s from UT1 then: 150 m at a station.
ROUND_TRIP_TOLERANCE_MS = 2e-3


class ShortestPaths:
    """Paths over the contacts that the scenario's plan has open."""

    def __init__(self, file: Path) -> None:
        scenario = load_scenario(str(file))
        constellation = constellation_of(scenario)
        self.plan = contact_plan_of(scenario, constellation)
        step_s = ephemeris_step_s(constellation, scenario.horizon_s, 0.1)
        steps = round(scenario.horizon_s / step_s)
        self.motion = ephemeris(constellation, epoch_of(scenario), steps, step_s=step_s)
        self.place_km = np.array([station.position_km for station in stations_of(scenario)])

    def at(self, time_s: float, first: str, last: str) -> tuple[str, float]:
        """The satellites of the shortest path, by number, and its round trip [ms]."""
        a, b = self.plan.index(first), self.plan.index(last)
        contacts = self.plan.during(time_s, time_s + 1e-6)
        others = [station for station in self.plan.stations if station not in (a, b)]
        contacts = contacts[~np.isin(contacts["source"], others) & ~np.isin(contacts["target"], others)]
        position = np.concatenate([self.motion.positions(np.array([time_s]))[:, 0], self.place_km])
        source, target = contacts["source"], contacts["target"]
        range_km = np.linalg.norm(position[source] - position[target], axis=1)
        count = len(position)
        graph = coo_array((range_km, (source, target)), shape=(count, count)).tocsr()
        distance_km, before = dijkstra(graph, indices=a, return_predecessors=True)
        if not np.isfinite(distance_km[b]):
            return "", np.inf
        path = [b]
        while path[-1] != a:
            path.append(int(before[path[-1]]))
        return "-".join(map(str, path[-2:0:-1])), 2e3 * distance_km[b] / LIGHT_KM_S


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> ShortestPaths:
    folder = tmp_path_factory.mktemp("kuiper")
    (folder / "kuiper.toml").write_text(SCENARIO)
    with pytest.MonkeyPatch.context() as patch:
        (folder / "astropy").mkdir()
        patch.setenv("XDG_CACHE_HOME", str(folder))
        return ShortestPaths(folder / "kuiper.toml")


@pytest.mark.parametrize("pair", PATHS, ids=" to ".join)
def test_paths_change_when_hypatia_says_and_to_what_it_says(paths: ShortestPaths, pair) -> None:
    changes = PATHS[pair]
    for (from_s, path), until_s in zip(changes.items(), [*list(changes)[1:], 200.0], strict=True):
        # A change is of one of its steps, ours may be of the one beside it.
        times = np.arange(from_s + STEP_S, until_s - STEP_S, 1.0).tolist()
        for time_s in (*times, until_s - 2 * STEP_S):
            assert paths.at(time_s, *pair)[0] == path


@pytest.mark.parametrize("pair", PATHS, ids=" to ".join)
def test_round_trips_are_those_of_hypatia(paths: ShortestPaths, pair) -> None:
    for time_s, round_trip_ms in ROUND_TRIPS_MS[pair].items():
        assert paths.at(time_s, *pair)[1] == pytest.approx(round_trip_ms, abs=ROUND_TRIP_TOLERANCE_MS)
