"""Test that plans are true: replay them, check them, and break them to see that the checker notices.

    python -m benchmarks.truth [--worlds 300] [--pairs 1000] [--starts 2] [--seed 15]
        [--scenarios demo walker-12 eurosat paper planet walker-72]
    python -m benchmarks.truth --only 83 96

Bars: in every drawn world and shipped scenario the replay, which takes from a plan its decisions alone, ends within 1 %
of it; the checker finds nothing; every named mutation, and every drawn one, of plans of all modes is found; of so many
pairs of rounds the one that asks for less, or is given more, is never later (by 0.1 %).  Plans of
shipped scenarios take the adapter and mode of their file, and the on-board baselines beside.  ``--only`` flies the
drawn worlds of these numbers and nothing else.  Exits 1 below a bar.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.plan_mutations import MUTATIONS, random_mutations
from benchmarks.plan_replay import ReplayError, replay
from benchmarks.planner_inversions import ALIKE, easier, makespan_s
from benchmarks.planner_worlds import LADDER, RATES, RESOURCES, WORLD, Drawn, draw, make_workload
from benchmarks.real_data import paths_of
from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import load_scenario
from server_app.planning.round_planner import rates_of, resources_of, strategy_config_of
from server_app.planning.workloads import MissionWorkloads, mode_of, variant_of
from skysplit.planning_inputs import costs_of, samples_of
from strategies.analysis.compare import even_starts
from strategies.checker.check import check_plan
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError, PayloadTooLargeError
from strategies.problem.plan import Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.workload import Mode, StrategyConfig

SEED = 15
WITHIN = 0.01
SCENARIOS = ("demo", "walker-12", "eurosat", "paper", "planet", "walker-72")
DRAWN_MUTATIONS = 20  # of each plan


@dataclass
class Tally:
    """Count the results for one kind of plan; ``missed`` lists the bars that were not reached."""

    plans: int = 0
    unplanned: int = 0
    deviations: list[float] = field(default_factory=list)
    violations: int = 0
    missed: list[str] = field(default_factory=list)

    def judge(self, where: str, drawn: Drawn, start_s: float) -> Plan | None:
        """Plan, check and fly a round."""
        task = (drawn.world, drawn.workload, drawn.rates, drawn.resources)
        try:
            plan = plan_round(drawn.problem(start_s), drawn.strategy_config)
        except (NoRouteError, PayloadTooLargeError) as error:
            self.unplanned += 1
            print(f"{where}: no plan ({error})", flush=True)
            return None
        self.plans += 1
        found = check_plan(plan, drawn.problem(start_s))
        self.violations += len(found)
        if found:
            self.missed.append(f"{where}: {len(found)} violations, {found[0]}")
        try:
            flown = replay(plan, *task)
        except ReplayError as error:
            self.missed.append(f"{where}: cannot be flown, {error}")
            return plan
        deviation = (flown.end_s - plan.end_s) / plan.makespan_s
        self.deviations.append(deviation)
        if abs(deviation) > WITHIN:
            self.missed.append(f"{where}: planned {plan.makespan_s:.2f} s, flown {100 * deviation:+.2f} %")
        return plan

    def figures(self) -> dict[str, Any]:
        """As JSON values."""
        off = np.abs(self.deviations) if self.deviations else np.zeros(1)
        return {
            "plans": self.plans,
            "unplanned": self.unplanned,
            "worst_deviation": float(off.max()),
            "latest": float(np.max(self.deviations, initial=0.0)),
            "soonest": float(np.min(self.deviations, initial=0.0)),
            "within_1_percent": int((off <= WITHIN).sum()) if self.deviations else 0,
            "violations": self.violations,
        }


def worlds(numbers: Iterable[int], seed: int) -> Tally:
    """Drawn worlds of every mode, adapter, head and strategy."""
    tally = Tally()
    for number in numbers:
        drawn = draw(np.random.default_rng([seed, number]))
        names, mode = drawn.strategy_config, drawn.workload.mode
        where = f"world {number} ({mode}, {names.intra_orbit}, {names.space_ground}, {names.inter_orbit})"
        tally.judge(where, drawn, 0.0)
    return tally


def scenarios(names: list[str], starts: int) -> Tally:
    """Shipped scenarios as they are, with a shared adapter and one for each, and their on-board baselines."""
    tally = Tally()
    for name in names:
        for adapter in ("shared", "per-satellite"):
            training = {"training.adapter": adapter}
            if adapter == "per-satellite":  # heads are shared in steps of a shared adapter alone
                training["training.head"] = "per-satellite"
            scenario = load_scenario(name, {**paths_of(name), **training})
            world = contact_plan_of(scenario, constellation_of(scenario))
            costs, samples = costs_of(scenario), samples_of(scenario, world)
            modes = [mode_of(scenario)]
            modes += [Mode.ONBOARD_LORA, Mode.DOWNLINK] if adapter == "shared" else []
            for mode in dict.fromkeys(modes):
                workloads = MissionWorkloads(scenario, costs, samples=samples)
                work = workloads.of_round(variant_of(scenario, mode))
                case = Drawn(
                    world,
                    work,
                    rates=rates_of(scenario),
                    resources=resources_of(scenario),
                    strategy_config=strategy_config_of(scenario),
                )
                for start_s in even_starts(world, starts):
                    begun = time.perf_counter()
                    plan = tally.judge(f"{name}, {adapter}, {mode}, from {start_s:.0f} s", case, start_s)
                    if plan is not None:
                        off = 100 * tally.deviations[-1] if tally.deviations else np.nan
                        length_s = time.perf_counter() - begun
                        print(
                            f"{name:10s} {adapter:14s} {mode:13s} from {start_s:7.0f} s: {plan.makespan_s:9.2f} s, "
                            f"flown {off:+.3f} % ({length_s:.1f} s)", flush=True,
                        )  # fmt: skip
    return tally


def inversions(pairs: int) -> tuple[dict[str, Any], list[str]]:
    """Pairs of rounds: with less to move, faster links, one more contact or station, a richer strategy."""
    missed: list[str] = []
    compared, worst = 0, 0.0
    for number in itertools.count():
        if compared >= pairs:
            break
        rng = np.random.default_rng([SEED, 1, number])
        drawn = draw(rng)
        length_s = makespan_s(drawn)
        if np.isinf(length_s):
            continue
        for name, other in itertools.islice(easier(drawn, rng).items(), pairs - compared):
            compared += 1
            later = makespan_s(other) / length_s - 1.0
            worst = max(worst, later)
            if later > ALIKE:
                missed.append(
                    f"inversion, world {number} ({drawn.workload.mode}), {name}: {100 * later:+.2f} %"
                )
                print(missed[-1], flush=True)
    return {"pairs": compared, "inversions": len(missed), "worst": worst}, missed


def mutations() -> tuple[dict[str, Any], list[str]]:
    """Every named and some drawn mutations of plans of every mode."""
    gather = StrategyConfig.parse("all-gather", "topology-aware", "none")
    plans = {
        "lora": (make_workload(6, 96), LADDER["e"]),
        "lora, own windows": (make_workload(6, 96), LADDER["b"]),
        "shared": (
            make_workload(6, 96, shared_adapter=True, satellites_per_step=3, gradient_delay=1),
            LADDER["d"],
        ),
        "share": (make_workload(6, 96, onboard_share=True), LADDER["e"]),
        "copies": (make_workload(6, 96), gather),
        "head": (make_workload(6, 96, mode="head"), LADDER["e"]),
        "downlink": (make_workload(6, 96, mode="downlink"), LADDER["e"]),
        "onboard-lora": (make_workload(6, 96, mode="onboard-lora"), LADDER["d"]),
        "onboard-full": (make_workload(6, 96, mode="onboard-full"), LADDER["e"]),
    }
    rng = np.random.default_rng(SEED)
    missed, applied = [], set()
    tried = found = 0
    for name, (work, strategy_config) in plans.items():
        plan = plan_round(PlanningProblem(WORLD, work, rates=RATES, resources=RESOURCES), strategy_config)
        broken = [(one.name, one.change(plan, WORLD)) for one in MUTATIONS]
        applied |= {what for what, one in broken if one is not None}
        drawn = itertools.islice(random_mutations(plan, WORLD, rng), DRAWN_MUTATIONS)
        for what, one in itertools.chain(broken, drawn):
            if one is None:
                continue
            tried += 1
            if check_plan(
                one, PlanningProblem(WORLD, work, rates=RATES, resources=RESOURCES, start_s=one.start_s)
            ):
                found += 1
            else:
                missed.append(f"{name}: {what} is not noticed")
    missed += [f"{one.name} applies to no plan" for one in MUTATIONS if one.name not in applied]
    return {"named": len(MUTATIONS), "applied": len(applied), "tried": tried, "found": found}, missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=1000, help="of rounds, one of which asks for less")
    parser.add_argument("--starts", type=int, default=2, help="of each scenario")
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS))
    parser.add_argument("--seed", type=int, default=SEED, help="of the drawn worlds")
    parser.add_argument(
        "--only", type=int, nargs="+", help="numbers of drawn worlds to fly, and nothing else"
    )
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"benchmark": "truth"}
    missed: list[str] = []
    if arguments.only is None:
        figures["mutations"], missed = mutations()
        broken = figures["mutations"]
        print(
            f"mutations: {broken['found']} of {broken['tried']} found, "
            f"{broken['applied']} of {broken['named']} named ones applied"
        )
        figures["pairs"], later = inversions(arguments.pairs)
        missed += later
        print("pairs", json.dumps(figures["pairs"]), flush=True)
    tallies = {"worlds": worlds(arguments.only or range(arguments.worlds), arguments.seed)}
    if arguments.only is None:
        tallies["scenarios"] = scenarios(arguments.scenarios, arguments.starts)
    for name, tally in tallies.items():
        figures[name] = tally.figures()
        missed += tally.missed
        print(name, json.dumps(figures[name]), flush=True)
    for line in missed:
        print("MISSED", line)
    print(json.dumps({**figures, "missed": missed}))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
