"""Where the split finishes before on-board LoRA: satellites' computers over the downlink, for three models.

    python -m benchmarks.where_it_pays --picture docs/images/where-it-pays.svg

The setting is that of `paper` with two of its six planes.

For every model and downlink it looks for the rate of the satellites' computers at which whole missions of both take
equally long. Every mission is planned with all its rounds, each of its plans checked: the rate is moved to where the
lengths so far, taken as a constant and a part that is inversely proportional to the rate, would meet, and the missions
are planned again. The uplink keeps its ratio to the downlink. Exits 1 where the lengths at a place that was found are
more than 5 % apart.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mission.orbits import constellation_of, contact_plan_of
from mission.record import write_text
from mission.scenario import load_scenario
from mission.schema import Scenario
from server_app.planning.round_planner import rates_of, resources_of
from skysplit.planning_inputs import cases_of, costs_of, samples_of
from strategies.analysis.cases import ONBOARD_LORA, SPLIT
from strategies.analysis.mission_totals import World, plan_mission
from strategies.problem.workload import ComputeRates

MODELS = {
    "DOFA-base": "ViT-B, 86 M (DOFA-base)",
    "Prithvi-EO-2.0-300M (T1)": "ViT-L, 300 M (Prithvi-EO-2.0)",
    "Prithvi-EO-2.0-600M (T1)": "ViT-H, 600 M (Prithvi-EO-2.0)",
}
DOWN_MBPS = (10.0, 50.0, 250.0, 1250.0)
SETTING = {"constellation.satellites": 24, "constellation.planes": 2}
_COLOURS, _DASHES = ("#4477aa", "#228833", "#ee6677"), ("", "7 4", "2 4")
_LABEL_HEIGHT = 36.0
_ALIKE = 0.05  # so near to each other two missions take equally long
_TRIALS = 5


@dataclass(frozen=True)
class Place:
    """Where both missions take equally long.

    Attributes:
        model: A published profile.
        down_mbps: Of each antenna.
        tflops: Of each satellite's computer, sustained; below it the split finishes first.
        split_s: How long the split's mission takes there.
        onboard_s: How long that of on-board LoRA takes.
    """

    model: str
    down_mbps: float
    tflops: float
    split_s: float
    onboard_s: float

    @property
    def apart(self) -> float:
        """By what part of the shorter mission the other is longer."""
        return max(self.split_s, self.onboard_s) / min(self.split_s, self.onboard_s) - 1.0


def lengths_of(scenario: Scenario) -> Callable[[str, float], float]:
    """A function of a case's name and the satellites' TFLOP/s that plans the mission and gives its seconds."""
    contacts = contact_plan_of(scenario, constellation_of(scenario))
    costs, samples = costs_of(scenario), samples_of(scenario, contacts)
    cases = {case.name: case for case in cases_of(scenario, contacts, costs, samples)}
    resources, ground_flops = resources_of(scenario), rates_of(scenario).ground_flops

    def length_s(name: str, tflops: float) -> float:
        rates = ComputeRates(tflops * 1e12, ground_flops)
        case = cases[name]
        world = World(contacts, (case,), rates=rates, resources=resources)
        return plan_mission(world, case, 0.0).length_s

    return length_s


def place_of(model: str, down_mbps: float, length_s: Callable[[str, float], float], tflops: float) -> Place:
    """Find the rate at which both missions take equally long, from a first guess on."""
    split_s = onboard_s = 0.0
    for _ in range(_TRIALS):
        split_s, onboard_s = length_s(SPLIT, tflops), length_s(ONBOARD_LORA, tflops)
        if abs(split_s - onboard_s) <= 0.5 * _ALIKE * min(split_s, onboard_s):
            break
        other = 2.0 * tflops if onboard_s > split_s else tflops / 2.0
        other_s = length_s(ONBOARD_LORA, other)
        computing = (onboard_s - other_s) / (1.0 / tflops - 1.0 / other)
        constant_s = onboard_s - computing / tflops
        if split_s <= constant_s:  # on-board LoRA is not over sooner, however fast satellites compute
            tflops *= 4.0
        else:
            tflops = computing / (split_s - constant_s)
    return Place(model, down_mbps, tflops, split_s, onboard_s)


def places_of(models: Sequence[str], down_mbps: Sequence[float]) -> list[Place]:
    """A place for every model and downlink."""
    base = load_scenario("paper", SETTING)
    ratio = base.links.sgl.up_mbps / base.links.sgl.down_mbps
    found = []
    for model in models:
        tflops = base.compute.satellite_tflops
        for rate in down_mbps:
            keys = SETTING | {
                "planning.profile": model,
                "links.sgl.down_mbps": rate,
                "links.sgl.up_mbps": ratio * rate,
            }
            place = place_of(model, rate, lengths_of(load_scenario("paper", keys)), tflops)
            tflops = place.tflops
            print(
                f"{model:28s} {rate:8.0f} Mbit/s {place.tflops:8.3f} TFLOP/s: "
                f"split {place.split_s / 60:8.1f} min, on-board LoRA {place.onboard_s / 60:8.1f} min",
                flush=True,
            )
            found.append(place)
    return found


def picture(places: Sequence[Place], titles: Mapping[str, str], conditions: str) -> str:
    """An SVG: below a model's line the split finishes first; in the colours of a dark page where that is wanted."""
    left, top, width, height = 78.0, 44.0, 430.0, 280.0
    rates = sorted({place.down_mbps for place in places})
    tflops = [place.tflops for place in places]
    x_low, x_high = math.log10(rates[0]), math.log10(rates[-1])
    y_low, y_high = math.log10(min(tflops) / 2.0), math.log10(max(tflops) * 2.0)

    def x(rate: float) -> float:
        return left + width * (math.log10(rate) - x_low) / (x_high - x_low)

    def y(value: float) -> float:
        return top + height * (y_high - math.log10(value)) / (y_high - y_low)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 390" font-family="sans-serif" font-size="13">',
        "<title>Where the split finishes before on-board LoRA</title>",
        "<style>.page{fill:#fff}.ink{fill:#1b1b1f}.dim{fill:#666}.grid{stroke:#ddd}.frame{stroke:#888;fill:none}"
        "@media(prefers-color-scheme:dark){.page{fill:#1b1b1f}.ink{fill:#eee}.dim{fill:#aaa}.grid{stroke:#3a3a40}}</style>",
        '<rect class="page" width="700" height="390" rx="8"/>',
        f'<text class="ink" x="{left:g}" y="26">Below a line the split finishes first, above it on-board LoRA.</text>',
    ]
    for rate in rates:
        parts.append(
            f'<path class="grid" d="M{x(rate):.1f} {top:g}v{height:g}"/><text class="dim" x="{x(rate):.1f}" '
            f'y="{top + height + 18:g}" text-anchor="middle">{rate:g}</text>'
        )
    for value in _round_values(10.0**y_low, 10.0**y_high):
        parts.append(
            f'<path class="grid" d="M{left:g} {y(value):.1f}h{width:g}"/><text class="dim" x="{left - 8:g}" '
            f'y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    parts.append(f'<rect class="frame" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}"/>')
    lines = []
    for (model, title), colour, dash in zip(titles.items(), _COLOURS, _DASHES, strict=False):
        mine = sorted((place for place in places if place.model == model), key=lambda place: place.down_mbps)
        if mine:
            lines.append((title, colour, dash, [(x(one.down_mbps), y(one.tflops)) for one in mine]))
    label_y = -math.inf
    for title, colour, dash, points in sorted(lines, key=lambda line: line[3][-1][1]):
        drawn = " ".join(f"{at:.1f},{height_at:.1f}" for at, height_at in points)
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>'
        )
        parts += [f'<circle cx="{at:.1f}" cy="{on:.1f}" r="3.5" fill="{colour}"/>' for at, on in points]
        label_y = max(points[-1][1] + 4.0, label_y + _LABEL_HEIGHT)
        name, _, what = title.rstrip(")").partition(" (")
        place = f'x="{left + width + 12:g}"'
        parts.append(
            f'<text {place} y="{label_y:.1f}" fill="{colour}" font-weight="bold">{name}</text>'
            f'<text class="dim" {place} y="{label_y + 15:.1f}" font-size="11">{what}</text>'
        )
    middle = left + width / 2.0
    parts += [
        f'<text class="ink" x="{middle:g}" y="{top + height + 38:g}" text-anchor="middle">'
        "downlink of each antenna, Mbit/s</text>",
        f'<text class="ink" transform="translate(22 {top + height / 2:g}) rotate(-90)" text-anchor="middle">'
        "computer of each satellite, TFLOP/s sustained</text>",
        f'<text class="dim" x="{left:g}" y="{top + height + 58:g}" font-size="11">{conditions}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _round_values(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two values."""
    return [
        factor * 10.0**power
        for power in range(-9, 9)
        for factor in (1.0, 2.0, 5.0)
        if low <= factor * 10.0**power <= high
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--downlinks", nargs="+", type=float, default=list(DOWN_MBPS), metavar="MBPS")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg")
    chosen = parser.parse_args()
    places = places_of(chosen.models, chosen.downlinks)
    scenario = load_scenario("paper", SETTING)
    conditions = (
        f"{scenario.constellation.satellites} satellites in {scenario.constellation.planes} planes, "
        f"{len(scenario.ground.stations)} stations, "
        f"{scenario.training.rounds} rounds of {scenario.planning.samples} images each, "
        f"{scenario.compute.ground_tflops:g} TFLOP/s on the ground"
    )
    if chosen.picture:
        titles = {model: MODELS.get(model, model) for model in chosen.models}
        write_text(chosen.picture, picture(places, titles, conditions))
    worst = max(place.apart for place in places)
    print(f"missions at a place are at most {100 * worst:.1f} % apart; bar: {100 * _ALIKE:g} %")
    print(json.dumps({"benchmark": "where_it_pays", "places": [vars(place) for place in places]}))
    sys.exit(worst > _ALIKE)


if __name__ == "__main__":
    main()
