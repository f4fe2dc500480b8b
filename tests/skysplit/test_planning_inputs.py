"""What planning starts from: sizes of published models, with and without torch."""

from __future__ import annotations

import sys

import pytest

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import ScenarioError, load_scenario
from skysplit.planning_inputs import cases_of, costs_of
from splitmodel.costs.published import published_profiles
from splitmodel.families import families


def test_a_published_model_is_planned_without_importing_what_brings_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dense = {"task.kind": "segmentation", "task.classes": ["clear", "cloud"]}
    patches = costs_of(load_scenario("paper", dense)).patches
    for name in ("learning.task", "splitmodel.families", "splitmodel.token_views"):  # import torch
        monkeypatch.setitem(sys.modules, name, None)
    assert costs_of(load_scenario("paper")).patches == patches
    with pytest.raises(ImportError):
        costs_of(load_scenario("paper", dense))


def test_what_a_task_has_not_is_refused_of_a_published_model_too() -> None:
    with pytest.raises(ScenarioError, match=r"split\.bottleneck: found 8 with classification"):
        costs_of(load_scenario("paper", {"split.bottleneck": 8}))


@pytest.mark.parametrize("mode", ["onboard-lora", "onboard-full", "downlink"])
def test_cases_where_the_ground_takes_each_step_have_its_views_whatever_the_scenarios_mode(mode: str) -> None:
    scenario = load_scenario("demo", {"planning.samples": 8, "training.rounds": 3})
    contacts = contact_plan_of(scenario, constellation_of(scenario))
    costs, samples = costs_of(scenario), [8] * len(contacts.satellites)

    def features_of(training: dict[str, str]) -> dict[str, list[float]]:
        cases = cases_of(load_scenario("demo", {"training.rounds": 3} | training), contacts, costs, samples)
        return {
            case.name: [workload.c1_bytes for workload in case.workloads]
            for case in cases
            if case.name in ("split", "features-down")
        }

    as_shipped = features_of({})
    assert as_shipped["features-down"][1] == 0.0
    assert features_of({"training.mode": mode}) == as_shipped
    assert features_of({"training.augment": "dihedral"})["features-down"][1] > 0.0


def test_published_models_have_the_token_views_of_their_family() -> None:
    for costs in published_profiles().values():
        if costs.family:
            assert costs.token_views == families()[costs.family].token_views, costs.name
