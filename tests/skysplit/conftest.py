"""A run directory with real plans, made without training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, MetricRecord

from mission.orbits import constellation_of, contact_plan_of
from mission.record import RunRecord
from mission.run_config import GROUND
from mission.scenario import load_scenario, scenario_path
from orbit.files.contact_plan_files import save
from report.run_report import write_report
from server_app.planning.round_planner import RoundPlanner
from server_app.results.rounds import round_rows
from splitmodel.costs.published import published_profiles
from splitmodel.tasks import Score
from strategies.federated import RoundOutcome
from strategies.problem.plan import Plan

sys.path.insert(0, str(Path(__file__).parents[1] / "packages"))  # what tests of several rooms install

ROUNDS = 2
IMAGES = 24
ONE_PLANE = {
    "constellation.satellites": 6, "constellation.planes": 1, "constellation.phasing": 0, "horizon_h": 4.0,
}  # fmt: skip
LATE_S = 0.25  # of every transfer
ON_THE_WIRE = {
    "features": "features",
    "hidden": "hidden",
    "gradient": "grad_hidden",
}  # weights go another way


def reached(number: int) -> Score:
    """A score that rises from round to round."""
    right = 2 * number, 6 * number
    confusion = [[right[0], 20 - right[0]], [20 - right[1], right[1]]]
    accuracy = sum(right) / 40
    recalls = {"forest": right[0] / 20, "coast": right[1] / 20}
    return Score(
        1.5 / number, accuracy, accuracy=accuracy, by_class=recalls, confusion_KK=np.array(confusion)
    )


def transfer_records_of(number: int, plan: Plan) -> Iterator[dict[str, Any]]:
    """What relays would have seen of a plan: the ground its own links, satellites what they receive of each other."""
    for row in plan.to_rows():
        if row["link"] and row["kind"] in ON_THE_WIRE:
            sender, receiver = row["node"], row["peer"]
            node, peer = {"downlink": (GROUND, sender), "uplink": (GROUND, receiver)}.get(
                row["link"], (receiver, sender)
            )
            yield {
                "round": number, "link": row["link"], "satellite": row["satellite"], "bytes": row["bytes"],
                "node": node, "peer": peer,
                "kind": ON_THE_WIRE[row["kind"]], "step": 0, "micro_batch": 0,
                "start_s": row["start_s"] + LATE_S, "end_s": row["end_s"] + LATE_S,
            }  # fmt: skip


def record_run(directory: Path, *, measured: bool, **overrides: Any) -> Path:
    """The first rounds of walker-12 as planned, with reports such as satellites send."""
    keys = {"horizon_h": 2.0, "training.rounds": ROUNDS} | overrides
    scenario = load_scenario("walker-12", keys)
    constellation = constellation_of(scenario)
    contacts = contact_plan_of(scenario, constellation)
    record = RunRecord(directory, scenario, command=f"skysplit run {scenario_path('walker-12')} --out <here>")
    save(contacts, directory / "contacts.parquet")
    record.note(
        satellites=constellation.names,
        planes=constellation.plane.tolist(),
        samples=dict.fromkeys(constellation.names, IMAGES),
    )
    costs = next(iter(published_profiles().values()))
    planner = RoundPlanner(scenario, contacts, costs=costs, samples=[IMAGES] * len(constellation))
    labels = {name: [IMAGES - k % 3, k % 3] for k, name in enumerate(constellation.names)}
    start_s = 0.0
    for number in range(1, ROUNDS + 1):
        plan = planner(number, start_s)
        late = np.linspace(0.5, 2.0, len(constellation))
        reports = {
            name: MetricRecord(
                {"num-examples": IMAGES, "steps": 2, "bytes-up": 1000 * number, "bytes-down": 10 * number}
                | {"train-loss": 1.0 / number, "train-accuracy": 0.5}
                | ({"finished-s": float(plan.finish_s[k] + late[k])} if measured else {})
            )
            for k, name in enumerate(constellation.names)
        }
        record.add_activities({"round": number, **row} for row in plan.to_rows())
        if measured:
            record.add_transfer_records(transfer_records_of(number, plan))
        outcome = RoundOutcome(
            number,
            plan,
            reports=reports,
            rounds_late=dict.fromkeys(reports, 0),
            pending_updates={},
            arrays=ArrayRecord(),
        )
        record.add_round(
            round_rows(
                outcome,
                constellation,
                reached(number),
                {name: reached(number).accuracy_for(labels[name]) for name in labels},
                start_s if measured else None,
            )
        )
        start_s = plan.end_s
    record.finish(
        test_accuracy=0.8,
        test_loss=0.75,
        initial_test_accuracy=0.1,
        worst_satellite=constellation.names[0],
        worst_satellite_accuracy=0.6,
        mission_time_s=start_s,
        rounds=ROUNDS,
    )
    return directory


@pytest.fixture(scope="session")
def one_plane_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what plans a run's mission again, many times."""
    directory = tmp_path_factory.mktemp("runs") / "one-plane"
    return record_run(directory, measured=False, **ONE_PLANE)


@pytest.fixture(scope="session")
def simulated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a simulation: nothing measured."""
    return record_run(tmp_path_factory.mktemp("runs") / "simulated", measured=False)


@pytest.fixture(scope="session")
def emulated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an emulation: with the ends that satellites measured, and what passed the ground's relay."""
    return record_run(tmp_path_factory.mktemp("runs") / "emulated", measured=True)


@pytest.fixture(scope="session")
def simulated_page(simulated_run: Path) -> Path:
    """The report of a simulation, in its directory."""
    return write_report(simulated_run)


@pytest.fixture(scope="session")
def emulated_page(emulated_run: Path) -> Path:
    """The report of an emulation, in its directory."""
    return write_report(emulated_run)


@pytest.fixture
def own_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Install the example package of own parts; what it yields finds a head or a decoder of it by name."""
    from installed_example import install

    example = Path(__file__).parents[2] / "examples" / "own-parts"
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", example)))

    def found(find: Callable[[str], Any], name: str) -> Any:
        maker = find(name)
        assert maker is not None
        return maker

    yield found
    sys.modules.pop("own_head", None)
