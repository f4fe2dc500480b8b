"""A partition of another package: the page's example is registered, shares images out, and breaks no rule unnoticed."""

from __future__ import annotations

import re
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from client_app.partitions import PartitionError, shares_of
from mission import entry_points as named
from mission.scenario import ScenarioError, load_scenario

PAGE = Path(__file__).parents[2] / "docs" / "how-to-own-strategy.md"
LABELS, PLANES = np.arange(60) % 6, (0, 0, 1, 1)
SATELLITES = ("a", "b", "c", "d")


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A package that registers ``by_plane`` of the page."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    code = next(block for block in blocks if "by_plane" in block)
    module = types.ModuleType("theirs")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "theirs", module)
    point = EntryPoint("by-plane", "theirs:by_plane", named.PARTITIONS)
    monkeypatch.setattr(named, "entry_points", lambda group: [point] if group == named.PARTITIONS else [])
    return module


def shares(seed: int = 1) -> list[Any]:
    data = load_scenario("demo", {"data.partition": "by-plane"}).data
    return shares_of(data, SimpleNamespace(labels=LABELS), PLANES, SATELLITES, seed)  # type: ignore[arg-type]


def test_the_example_of_the_page_gives_every_image_once_and_each_class_to_one_plane(
    theirs: types.ModuleType,
) -> None:
    found = shares()
    assert sorted(np.concatenate(found).tolist()) == list(range(60))
    classes = [set(LABELS[share].tolist()) for share in found]
    assert classes[0] == classes[1] == {0, 2, 4}
    assert classes[2] == classes[3] == {1, 3, 5}
    assert all((first == again).all() for first, again in zip(found, shares(), strict=True))
    assert any((first != other).any() for first, other in zip(found, shares(seed=2), strict=True))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda **given: [range(60), [], [], []], "by-plane leaves satellite 1 .* without a sample"),
        (lambda **given: [range(15)] * 4, "gave 60 samples, allowed: each of 60 once"),
        (lambda **given: [range(30), range(30, 59), [], []], "gave 59 samples, allowed: each of 60 once"),
        (lambda **given: [range(60)], "gave 1 shares, allowed: one for each of 4 satellites"),
        (lambda labels: [], "failed: TypeError"),
        ("text", "theirs:by_plane is a str; allowed: a function"),
    ],
)
def test_what_breaks_the_rules_is_one_error_that_names_the_partition(
    theirs: types.ModuleType, function: Any, message: str
) -> None:
    theirs.by_plane = function  # type: ignore[attr-defined]
    with pytest.raises(PartitionError, match=message):
        shares()


def test_a_partition_that_is_not_installed_is_one_error() -> None:
    with pytest.raises(ScenarioError, match=r"data\.partition: found 'by-plane', allowed: iid, dirichlet"):
        load_scenario("demo", {"data.partition": "by-plane"})
