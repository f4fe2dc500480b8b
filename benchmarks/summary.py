"""Hold every sentence of a comparison's summary against missions planned again, `python -m benchmarks.summary`.

    python -m benchmarks.summary [--scenarios 200] [--seed 1] [--progress FILE]

Draws scenarios of few satellites and two rounds: orbits, rates both ways, computers, image sizes, stations. Each is
compared, its summary is read back from the printed words, and every statement is held against planning: which mission
finishes first, whether the split pays, and for two of the numbers of each scenario the answer a tenth inside and a
tenth outside of the printed break-even. Bar: no statement fails. Exits 1 below it.

With ``--progress`` every scenario is written to a file of JSON lines when it is done; a run that finds its lines there
does not judge them again.  A line is of one seed and number, so delete the file after a change of the code.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import load_scenario
from server_app.planning.round_planner import rates_of, resources_of
from skysplit.planning_inputs import cases_of, costs_of, samples_of
from strategies.analysis.cases import (
    FEATURES_DOWN,
    IMAGES_DOWN,
    ONBOARD_HEAD,
    ONBOARD_LORA,
    SPLIT,
    headline_of,
)
from strategies.analysis.compare import compare
from strategies.analysis.mission_totals import World
from strategies.analysis.sensitivity import Knob, break_even_of, knobs_of, lengths_of, winner_of
from strategies.analysis.summary import summary_lines

NAMES = {
    "the split": SPLIT,
    "on-board lora": ONBOARD_LORA,
    "training the head on board": ONBOARD_HEAD,
    "bringing the images down": IMAGES_DOWN,
    "bringing features and labels down once": FEATURES_DOWN,
    "no mission": None,
}
ANSWER = re.compile(r"^(.*?) (pays|finishes first) here: ")
EDGE = re.compile(
    r"(below|above|at|from) ([\d.e+-]+)(?: (?:Mbit/s|TFLOP/s|kB))?(?: or fewer| on| \(planned to [\d.e+-]+\))? (.*?)"
    r" (?:finishes first|ends)"
)
STAYS = re.compile(r"(up|down) to ([\d.e+-]+)(?: (?:Mbit/s|TFLOP/s|kB))? the answer stays")
ASIDE = 1.1


def drawn(draw: random.Random) -> World:
    """A scenario with its headline cases."""
    planes, per_plane = draw.choice([(1, 3), (2, 2), (2, 3)])
    scenario = load_scenario(
        "demo",
        {
            "constellation.satellites": planes * per_plane,
            "constellation.planes": planes,
            "constellation.phasing": draw.randrange(planes),
            "constellation.train_spacing_deg": 15.0,
            "seed": draw.randrange(1000),
            "horizon_h": 24.0,
            "ground.setup_s": draw.choice([0.0, 10.0]),
            "links.sgl.down_mbps": draw.choice([2.0, 20.0, 200.0]),
            "links.sgl.up_mbps": draw.choice([0.25, 2.0, 50.0]),
            "links.intra_orbit.mbps": draw.choice([10.0, 200.0]),
            "compute.satellite_tflops": draw.choice([0.001, 0.01, 0.1]),
            "compute.ground_tflops": draw.choice([1.0, 20.0]),
            "planning.samples": draw.choice([32, 128]),
            "planning.image_bytes": draw.choice([3072.0, 60_000.0, 1_000_000.0]),
            "training.rounds": 2,
            "training.augment": draw.choice(["none", "dihedral", "token-dihedral"]),
        },
    )
    contacts = contact_plan_of(scenario, constellation_of(scenario))
    cases = cases_of(scenario, contacts, costs_of(scenario), samples_of(scenario, contacts))
    headline = tuple(case for case in cases if case.name in headline_of(cases))
    return World(contacts, headline, rates=rates_of(scenario), resources=resources_of(scenario))


def faults_of(world: World, draw: random.Random) -> tuple[list[str], int]:
    """Return the sentences of a scenario's summary that planning disproves, and the number of statements checked."""
    found = compare(world, (0.0,))
    lengths_s = {
        case["name"]: case["mission"]["length_s"] if case["mission"] else math.inf for case in found["cases"]
    }
    knobs = draw.sample(knobs_of(world), 2)
    task: dict[str, Any] = {"start_s": 0.0, "known": lengths_s}
    break_evens = [
        break_even_of(world, knob, above=above, **task) for knob in knobs for above in (False, True)
    ]
    said = summary_lines(
        found
        | {"break_evens": [break_even.to_json() for break_even in break_evens if break_even is not None]}
    )
    if winner_of(lengths_s) is None:
        return ([] if said[0].startswith("No answer") else [said[0]]), 1
    faults, first = [], winner_of(lengths_s)
    answer = ANSWER.match(said[0])
    if answer is None or NAMES[answer[1].lower()] != first or (answer[2] == "pays") != (first == SPLIT):
        faults.append(said[0])
    statements = 1
    for knob in knobs:
        for sentence in said:
            if sentence.lower().startswith(knob.title):
                wrong, held = _wrong(world, knob, sentence, first)
                faults += wrong
                statements += held
    return faults, statements


def _wrong(world: World, knob: Knob, sentence: str, first: str | None) -> tuple[list[str], int]:
    """Which of a sentence's statements missions planned again do not bear out."""

    def answer(value: float) -> str | None:
        return winner_of(lengths_of(knob.change(world, value), 0.0))

    wrong, held = [], 0
    for word, number, name in EDGE.findall(sentence):
        break_even, above = float(number), word in ("above", "from")
        inside, outside = (
            (break_even / ASIDE, break_even * ASIDE) if above else (break_even * ASIDE, break_even / ASIDE)
        )
        if knob.most:
            inside, outside = (break_even - 1 if above else break_even + 1), break_even
        held += 1
        if answer(inside) != first or answer(outside) != NAMES[name.lower()]:
            wrong.append(f"{sentence} [{inside:.3g}: {answer(inside)}, {outside:.3g}: {answer(outside)}]")
    for _, number in STAYS.findall(sentence):
        held += 1
        if answer(float(number)) != first:
            wrong.append(f"{sentence} [{number}: {answer(float(number))}]")
    return wrong, held


def judged_before(progress: Path | None, seed: int) -> dict[int, dict[str, Any]]:
    """The scenarios of this seed that a progress file has, by number."""
    if progress is None or not progress.exists():
        return {}
    lines = [json.loads(line) for line in progress.read_text().splitlines()]
    return {line["number"]: line for line in lines if line["seed"] == seed}


def judge(number: int, seed: int) -> dict[str, Any]:
    """Draw one scenario and hold its summary against planning."""
    draw = random.Random(f"{seed} {number}")
    begun_s = time.process_time()
    faults, statements = faults_of(drawn(draw), draw)
    cpu_s = round(time.process_time() - begun_s, 2)
    return {"seed": seed, "number": number, "statements": statements, "faults": faults, "cpu_s": cpu_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--progress", type=Path, help="file of JSON lines: continue from it, add to it")
    arguments = parser.parse_args()
    known = judged_before(arguments.progress, arguments.seed)
    results = []
    for number in range(arguments.scenarios):
        if number not in known:
            known[number] = judge(number, arguments.seed)
            if arguments.progress is not None:
                with arguments.progress.open("a") as file:
                    file.write(json.dumps(known[number]) + "\n")
        results.append(known[number])
        for fault in known[number]["faults"]:
            print(f"{number}: {fault}", flush=True)
        if (number + 1) % 20 == 0:
            print(_so_far(results), flush=True)
    good = sum(not result["faults"] for result in results)
    met = good == arguments.scenarios
    statements = sum(result["statements"] for result in results)
    cpu_s = statistics.mean(result["cpu_s"] for result in results)
    print(f"{_so_far(results)} without contradiction, {cpu_s:.1f} s CPU each: {'met' if met else 'MISSED'}")
    figures = {"good": good, "scenarios": arguments.scenarios, "statements": statements, "cpu_s_each": cpu_s}
    print(json.dumps({"benchmark": "summary", **figures}))
    sys.exit(not met)


def _so_far(results: list[dict[str, Any]]) -> str:
    good, statements = (
        sum(not result["faults"] for result in results),
        sum(result["statements"] for result in results),
    )
    return f"{good} of {len(results)} scenarios, {statements} statements"


if __name__ == "__main__":
    main()
