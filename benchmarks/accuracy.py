"""Measure the accuracy of fine-tuning over the split: `python -m benchmarks.accuracy` (hours on two cores).

EuroSAT, a class of each image (`skysplit run eurosat`), accuracy:
    shared: `lora` with one adapter and one head on the ground, Dirichlet 0.5, codecs as shipped; mean of the seeds at
        least 89.5 %
    true-views: the same with pixels that are turned on board, so that each view crosses; shared, whose tokens the
        ground turns, is at most 0.5 points below
    averaged: shared with a head on each satellite, averaged after every round; without a bar
    exact: shared with fp32 crossings; shared is at most 0.5 points below
    per-satellite: an adapter each, averaged, two local epochs; mean at least 86 %
    skewed: shared under Dirichlet 0.1; mean at least 85 %
    head: the backbone frozen; mean at least 84 %
    downlink: centralised training on all images, no split; shared is at most 0.5 points below
    labels-on-the-ground: features and labels cross once, the ground trains alone
    labels-on-the-ground-head: the same with the backbone frozen
    onboard-head, onboard-lora, onboard-lora-truncated (the last block), onboard-full: no split
The last five are baselines without a bar.

Clouds of three sensors, a class of each pixel (`skysplit run clouds`), mean IoU:
    clouds: six bands, states of patches in fp16; mean at least 0.745
    clouds-downlink: the same steps in one place; clouds is at most 0.01 below
    clouds-rgb: the visible bands alone
    clouds-true-views: each view crosses; clouds is at most 0.005 below
    clouds-convolution: the convolutional decoder
    clouds-int8, clouds-int4: states coarser
    clouds-narrow: a bottleneck of 224 values a patch, int4: an eighth of the fp16 states; at most 0.01 below
    clouds-narrower: 64 values, int4
    clouds-S2, clouds-L7, clouds-L5: one sensor's satellites alone; clouds is at least as good on its test tiles

Paths are those of SKYSPLIT_DATA. Beside the score: bytes of the states that return for an image, medians of mission
time, of what came down to the ground and went up, and of the wall. `--cases shared,head --seeds 7` runs a part of it.
Ends with a line of JSON; the exit status is 1 if a bar of a case that ran is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.real_data import paths_of
from mission.record import read_run
from mission.scenario import scenario_from_json
from report.totals import read_rounds
from skysplit.planning_inputs import costs_of
from splitmodel.crossing.codec_sizes import encoded_bytes

AVERAGED = {"training.head": "per-satellite"}  # only the split with one adapter shares a head
EXACT = {"crossings.features": "fp32", "crossings.hidden": "fp32", "crossings.gradients": "fp32"}
CASES: dict[str, dict[str, str]] = {
    "shared": {},
    "true-views": {"training.augment": "dihedral"},
    "averaged": AVERAGED,
    "exact": EXACT,
    "per-satellite": {**AVERAGED, "training.adapter": "per-satellite", "training.local_epochs": "2"},
    "skewed": {"data.alpha": "0.1"},
    "head": {**AVERAGED, "training.mode": "head"},
    "onboard-head": {**AVERAGED, "training.mode": "onboard-head"},
    "onboard-lora": {**AVERAGED, "training.mode": "onboard-lora"},
    "onboard-lora-truncated": {**AVERAGED, "training.mode": "onboard-lora", "training.adapted_blocks": "1"},
    "onboard-full": {**AVERAGED, "training.mode": "onboard-full"},
    "labels-on-the-ground": {**AVERAGED, "training.labels": "ground"},
    "labels-on-the-ground-head": {**AVERAGED, "training.labels": "ground", "training.mode": "head"},
    "downlink": {**AVERAGED, "training.mode": "downlink"},
}
IN_ONE_PLACE = {  # steps as large as those of three satellites
    "training.mode": "downlink",
    "training.head": "per-satellite",
    "training.satellites_per_step": "1",
    "training.batch_size": "15",
    "training.learning_rate": "3.5e-3",
    "training.head_learning_rate": "3.5e-3",
}
ALONE = {"constellation.satellites": "4", "constellation.planes": "1", "constellation.phasing": "0"}
CASES |= {
    "clouds": {},
    "clouds-downlink": IN_ONE_PLACE,
    "clouds-rgb": {"model.bands": '["Blue", "Green", "Red"]'},
    "clouds-true-views": {"training.augment": "dihedral"},
    "clouds-convolution": {"task.decoder": "convolution"},
    "clouds-int8": {"crossings.hidden": "int8"},
    "clouds-int4": {"crossings.hidden": "int4"},
    "clouds-narrow": {"split.bottleneck": "224", "crossings.hidden": "int4"},
    "clouds-narrower": {"split.bottleneck": "64", "crossings.hidden": "int4"},
    "clouds-S2": ALONE,
    "clouds-L7": ALONE,
    "clouds-L5": ALONE,
}
SENSORS = ("S2", "L7", "L5")
BARS = {"shared": 0.895, "per-satellite": 0.86, "skewed": 0.85, "head": 0.84, "clouds": 0.745}
COSTS = {  # what the second loses to the first, and what it may
    ("exact", "shared"): ("int8 costs", 0.005),
    ("downlink", "shared"): ("federation costs", 0.005),
    ("true-views", "shared"): ("token views cost", 0.005),
    ("clouds-true-views", "clouds"): ("token views cost", 0.005),
    ("clouds-downlink", "clouds"): ("federation costs", 0.01),
    ("clouds", "clouds-narrow"): ("an eighth of the states costs", 0.01),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--seeds", nargs="+", default=["7", "8", "9"])
    arguments = parser.parse_args()
    seeds = [int(seed) for word in arguments.seeds for seed in word.split(",")]
    means: dict[str, float] = {}
    of_sensors: dict[str, dict[str, float]] = {}
    rows = []
    print(
        f"{'case':25} {'mean':>7} {'std':>6} {'states':>9} {'mission':>9} {'down':>9} {'up':>9} {'wall':>7}   "
        f"of seeds {seeds}"
    )
    for name in arguments.cases.split(","):
        results = [flown(name, seed) for seed in seeds]
        scores = [result["test_score"] for result in results]
        means[name] = statistics.mean(scores)
        of_sensors[name] = {
            sensor: statistics.mean(result["scores"]["by_group"][sensor] for result in results)
            for sensor in results[0]["scores"]["by_group"]
        }
        deviation = statistics.stdev(scores) if len(seeds) > 1 else 0.0
        state_bytes, mission_s, down_bytes, up_bytes, wall_s = (
            statistics.median(result[key] for result in results)
            for key in ("state_bytes", "mission_time_s", "downlink_bytes", "uplink_bytes", "wall_time_s")
        )
        met = means[name] >= BARS.get(name, 0.0)
        bar = f"≥ {BARS[name]:.1%} {'met' if met else 'MISSED'}" if name in BARS else ""
        by_sensor = ", ".join(f"{sensor} {score:.3f}" for sensor, score in of_sensors[name].items())
        medians = (
            f"{state_bytes:7.0f} B {mission_s / 3600:7.2f} h {down_bytes / 1e6:6.0f} MB {up_bytes / 1e6:6.0f} MB "
            f"{wall_s:5.0f} s"
        )
        print(f"{name:25} {means[name]:7.2%} {deviation:6.2%} {medians}   {bar} {by_sensor}", flush=True)
        rows.append(
            {
                "name": name,
                "scores": scores,
                "mean": means[name],
                "by_sensor": of_sensors[name],
                "state_bytes": state_bytes,
                "mission_s": mission_s,
                "downlink_bytes": down_bytes,
                "uplink_bytes": up_bytes,
                "wall_s": wall_s,
                "met": met,
            }
        )
    for (whole, cheaper), (what, at_most) in COSTS.items():
        if {whole, cheaper} <= means.keys():
            cost = means[whole] - means[cheaper]
            met = cost <= at_most
            print(f"{what} {cost:+.2%}   ≤ {at_most:.1%} {'met' if met else 'MISSED'}")
            rows.append({"name": what, "cost": cost, "met": met})
    for sensor in SENSORS:
        alone = f"clouds-{sensor}"
        if {alone, "clouds"} <= means.keys():
            gain = of_sensors["clouds"][sensor] - of_sensors[alone][sensor]
            met = gain >= 0.0
            print(f"the others' sensors give {sensor} {gain:+.2%}   ≥ 0 {'met' if met else 'MISSED'}")
            rows.append({"name": f"others give {sensor}", "gain": gain, "met": met})
    print(json.dumps({"benchmark": "accuracy", "cases": rows}))
    return 0 if all(row["met"] for row in rows) else 1


def flown(name: str, seed: int) -> dict[str, Any]:
    """The result of one run, ``downlink_bytes`` and ``uplink_bytes`` of its enrolment and all its rounds, and
    ``state_bytes`` of what returns for an image."""
    scenario = "clouds" if name.partition("-")[0] == "clouds" else "eurosat"
    with tempfile.TemporaryDirectory() as scratch:
        paths = paths_of(scenario)
        sensor = name.removeprefix("clouds-")
        if sensor in SENSORS:
            paths["data.path"] = str(_of_sensor(Path(paths["data.path"]), sensor, Path(scratch)))
        settings = [
            f"--set={key}={value}" for key, value in {**paths, **CASES[name], "seed": str(seed)}.items()
        ]
        directory = Path(scratch) / "run"
        words = [
            f"{sysconfig.get_path('scripts')}/skysplit",
            "run",
            scenario,
            *settings,
            "--out",
            str(directory),
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}\n{done.stderr}")
        run, rounds = read_run(directory), read_rounds(directory)
        links = {
            key: run["enrolment"][key] + sum(rounds[key].to_pylist())
            for key in ("downlink_bytes", "uplink_bytes")
        }
        return run["result"] | links | {"state_bytes": _state_bytes(run)}


def _state_bytes(run: dict[str, Any]) -> int:
    """Return the bytes sent back to a satellite for one image in a step, 0 in modes without a split."""
    scenario = scenario_from_json(json.dumps(run["scenario"]))
    if scenario.training.mode not in ("head", "lora") or scenario.training.on_ground:
        return 0
    return encoded_bytes((1, *costs_of(scenario).state_shape), scenario.crossings.hidden)


def _of_sensor(tiles: Path, sensor: str, scratch: Path) -> Path:
    """A folder of links to one sensor's tiles."""
    root = scratch / sensor
    for file in tiles.glob(f"*/*/{sensor}_*.tif"):
        link = root / file.relative_to(tiles)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    (root / "manifest.csv").write_text(
        "\n".join(
            line
            for number, line in enumerate((tiles / "manifest.csv").read_text().splitlines())
            if not number or line.split(",")[2] == sensor
        )
        + "\n"
    )
    return root


if __name__ == "__main__":
    sys.exit(main())
