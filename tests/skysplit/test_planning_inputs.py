"""What planning starts from: sizes of published models, with and without torch."""

from __future__ import annotations

import sys

import pytest

from mission.scenario import ScenarioError, load_scenario
from skysplit.planning_inputs import costs_of


def test_a_published_model_is_planned_without_importing_what_brings_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dense = {"task.kind": "segmentation", "task.classes": ["clear", "cloud"]}
    patches = costs_of(load_scenario("paper", dense)).patches
    monkeypatch.setitem(sys.modules, "learning.task", None)  # imports torch
    assert costs_of(load_scenario("paper")).patches == patches
    with pytest.raises(ImportError):
        costs_of(load_scenario("paper", dense))


def test_what_a_task_has_not_is_refused_of_a_published_model_too() -> None:
    with pytest.raises(ScenarioError, match=r"split\.bottleneck: found 8 with classification"):
        costs_of(load_scenario("paper", {"split.bottleneck": 8}))
