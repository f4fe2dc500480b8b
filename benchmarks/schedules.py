"""Published schedules beside the split, one table: a round, its bound, a mission, and bytes over every kind of link.

    python -m benchmarks.schedules > docs/benchmark.md

Every schedule is planned for one shell with one model, and each plan is checked: a violation ends the command with an
error.  Standard output is the page; progress goes to standard error.
"""

from __future__ import annotations

import sys
from typing import Any

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import load_scenario
from mission.text.quantities import spoken_bytes, spoken_time
from server_app.planning.round_planner import rates_of, resources_of
from skysplit.planning_inputs import cases_of, costs_of, samples_of
from strategies.analysis.cases import IMAGES_DOWN, ONBOARD_LORA, SPLIT
from strategies.analysis.compare import compare, even_starts
from strategies.analysis.mission_totals import Case, World, asynchronous_mission
from strategies.analysis.schedules import PUBLISHED

SCENARIO = "walker-72"
KEYS = {"planning.profile": "DOFA-base", "planning.samples": 64, "training.rounds": 4, "horizon_h": 96.0}
STARTS = 4
BESIDE = (SPLIT, ONBOARD_LORA, IMAGES_DOWN)
_HEAD = """# Schedules of papers, on one engine

`python -m benchmarks.schedules > docs/benchmark.md` makes this page. Satellites, stations and rates are those
of `{scenario}`, the model is {model} with {samples} images on each of {satellites} satellites; a round is the
median of {starts} start times over the horizon, a mission has {rounds} rounds. Every plan has passed the
checker. What is approximated of each schedule is in [conformance](conformance.md).

A schedule without rounds has ended a round when as many updates are averaged as there are members, whoever they come
from, and all have the average.

| schedule | a round | lower bound | mission | down | up | between satellites |
|---|---|---|---|---|---|---|
"""
_WITHOUT_ROUNDS = """
## Without rounds

What the missions above are made of, from the first start. An update is *stale* by the averages that were made between
the one that it was trained from and its own.

| schedule | updates | averages | stale in the mean | at most | updates of a member, least to most |
|---|---|---|---|---|---|
"""
_TAIL = """
Published schedules train the whole model on board (`sfl-leo`: its first quarter) and move all of its weights, as
their papers do with far smaller models. With a foundation model, moving them takes most of the time. The rows below
them train an adapter, or a model on the ground. Lengths are of rounds: how many rounds each needs for an accuracy is
not in them. `skysplit compare SCENARIO --schedules --curve RUN` sets the accuracies of a run beside every row.
"""


def main() -> None:
    """Print the page."""
    scenario = load_scenario(SCENARIO, KEYS)
    contacts = contact_plan_of(scenario, constellation_of(scenario))
    costs, samples = costs_of(scenario), samples_of(scenario, contacts)
    names = [schedule.name for schedule in PUBLISHED]
    cases = [
        case
        for case in cases_of(scenario, contacts, costs, samples, schedules=True)
        if case.name in (*names, *BESIDE)
    ]
    cases.sort(key=lambda case: [*names, *BESIDE].index(case.name))
    world = World(contacts, tuple(cases), rates=rates_of(scenario), resources=resources_of(scenario))
    found = compare(
        world, even_starts(contacts, STARTS), processes=2,
        progress=lambda part: print(f"\r{100 * part:.0f} %", end="", file=sys.stderr),
    )  # fmt: skip
    print(file=sys.stderr)
    facts = {
        "scenario": SCENARIO, "model": costs.name, "samples": samples[0], "satellites": len(samples),
        "starts": STARTS, "rounds": scenario.training.rounds,
    }  # fmt: skip
    print(_HEAD.format(**facts) + "\n".join(map(_row, found["cases"])))
    without = [_row_without_rounds(world, case) for case in cases if case.asynchronous is not None]
    print(_WITHOUT_ROUNDS + "\n".join(without) + "\n" + _TAIL, end="")


def _row(case: dict[str, Any]) -> str:
    mission = case["mission"]
    cells = [
        f"`{case['name']}`: {case['title']}",
        spoken_time(case["median_s"]) if case["starts"] else "–",
        spoken_time(case["bound_s"]) if case["starts"] else "–",
        spoken_time(mission["length_s"]) if mission else "not within the horizon",
        *(spoken_bytes(mission[f"{link}_bytes"]) if mission else "–" for link in ("down", "up", "isl")),
    ]
    return f"| {' | '.join(cells)} |"


def _row_without_rounds(world: World, case: Case) -> str:
    mission = asynchronous_mission(world, case, 0.0)
    stale, each = mission.staleness, mission.per_member
    cells = [
        f"`{case.name}`", str(len(mission.updates)), str(len(mission.averaged_s)), f"{stale.mean():.2f}",
        str(stale.max()), f"{each.min()} to {each.max()}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
