"""Rounds through outages: what a tenth of the time out of service does to a round, planned anew and held up.

    python -m benchmarks.outages [SCENARIO]

Every station and every link between two satellites is out for a tenth of the time, in spells of a quarter of an hour
and of a minute. Printed are the length under a clear sky, the median, 5 % and 95 % over draws, and the median over the
clear sky: 1.5 at most is the bar. Beside it is the median of rounds planned with all outages known beforehand, which no
planning anew can beat by more than the planner is off: a round whose only pass is out waits for the next one,
whoever plans it. What has crossed when an outage interrupts a plan, samples, sums and averages, is not sent again.

The bar is that of ``demo``, whose rounds last longer than outages do and than it takes until one is noticed
(``uncertainty.notice_s``, 60 s).  A round of ``walker-12`` takes 11.5 s: one interruption makes six times that of it,
all but 11.6 s of which is the notice.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import load_scenario
from mission.text.quantities import spoken_time
from server_app.planning.round_planner import framing_of, problem_of, strategy_config_of
from server_app.planning.uncertainty import outage_model_of
from server_app.planning.workloads import MissionWorkloads, variant_of
from skysplit.planning_inputs import costs_of, samples_of
from strategies.planner.checked_plan import checked_plan
from strategies.problem.network import PlanningError
from strategies.uncertainty.draws import draw_facts, fly_draws

DRAWS = 20
KEYS = {
    "planning.samples": 16,
    "uncertainty.station_outage": 0.1,
    "uncertainty.station_outage_h": 0.25,
    "uncertainty.isl_outage": 0.1,
    "uncertainty.isl_outage_min": 1.0,
}
_BAR = 1.5


def main() -> None:
    """Print the figures; end with 1 where the bar is missed."""
    name = sys.argv[1] if len(sys.argv) > 1 else "demo"
    scenario = load_scenario(name, KEYS)
    contacts = contact_plan_of(scenario, constellation_of(scenario))
    costs, samples = costs_of(scenario), samples_of(scenario, contacts)
    workloads = MissionWorkloads(scenario, costs, samples=samples, framing=framing_of(contacts))
    problem = problem_of(scenario, contacts, workloads.of_round(variant_of(scenario)))
    strategy_config, model = strategy_config_of(scenario), outage_model_of(scenario)
    found = fly_draws(
        problem,
        strategy_config,
        model,
        DRAWS,
        progress=lambda part: print(f"\r{100 * part:.0f} %", end="", file=sys.stderr),
    ).to_json()
    print(f"\n{name}, {DRAWS} draws, every station and link out for 10 % of the time")
    for words, value in draw_facts(found):
        print(f"  {words:28} {value}")
    median_s = found["replanned"]["median_s"]
    ratio = float("inf") if median_s is None else median_s / found["clear_s"]
    print(f"  {'median ÷ clear sky':28} {ratio:.3f} (bar: {_BAR}), {spoken_time(found['clear_s'])} clear")
    known_s = []
    for number in range(DRAWS):
        open_then = model.draw(contacts, number).open_contacts(contacts)
        try:
            plan = checked_plan(dataclasses.replace(problem, contact_plan=open_then), strategy_config)
            known_s.append(plan.makespan_s)
        except PlanningError:
            known_s.append(float("inf"))
    foreseen_s = float(np.percentile(known_s, 50, method="inverted_cdf"))
    print(f"  {'all known ÷ clear sky':28} {foreseen_s / found['clear_s']:.3f}, {spoken_time(foreseen_s)}")
    if median_s is not None:
        print(f"  {'median ÷ all known':28} {median_s / foreseen_s:.3f}")
    if ratio > _BAR:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
