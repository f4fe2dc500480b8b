"""A count of bytes and seconds from what `plan` and `contacts` print, against what the plan says of itself."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.plan_count import count, disagreements
from skysplit.cli import app

SMALL = (
    "constellation.satellites=12", "constellation.planes=2", "constellation.altitude_km=1150", "horizon_h=12",
    "planning.samples=64",
)  # fmt: skip
RATES = {"satellite_flops": 0.5e12, "ground_flops": 300e12}


def printed(*words: str, settings: tuple[str, ...] = ()) -> Any:
    sets = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    done = CliRunner().invoke(app, [*words, "--format", "json", *sets])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def contacts() -> list[dict[str, Any]]:
    return printed("contacts", "paper")["contacts"]


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("strategy.inter_orbit=none",),
        ("training.mode=head",),
        ("training.mode=downlink",),
        ("training.labels=ground",),
        ("training.mode=onboard-lora",),
        ("training.mode=onboard-full", "strategy.inter_orbit=none"),
    ],
    ids=lambda settings: " ".join(settings) or "lora",
)
def test_bytes_and_seconds_of_a_plan_agree_with_the_count_within_one_per_cent(contacts, settings) -> None:
    plan = printed("plan", "paper", settings=settings)
    counted = count(plan, contacts, **RATES)
    assert disagreements(plan, counted) == []
    assert counted["ground_compute_s"] + counted["onboard_compute_s"] > 0.0
    moved = ("downlink_bytes", "uplink_bytes", "isl_bytes")
    assert sum(counted[name] for name in moved) > 0.0


def test_a_plan_that_says_less_than_it_moves_is_noticed(contacts) -> None:
    plan = printed("plan", "paper")
    plan["downlink_bytes"] = round(0.98 * plan["downlink_bytes"])
    [said] = disagreements(plan, count(plan, contacts, **RATES))
    assert said.startswith("downlink_bytes: the plan says ")


def test_what_links_and_computers_cannot_do_is_noticed(contacts) -> None:
    plan = printed("plan", "paper")
    with pytest.raises(ValueError, match="lies in no contact"):
        count(plan, [contact for contact in contacts if contact["kind"] != "uplink"], **RATES)
    heavy = copy.deepcopy(plan)
    for row in heavy["activities"]:
        row["bytes"] *= 50 if row["link"] == "downlink" else 1
    with pytest.raises(ValueError, match="s of work between"):
        count(heavy, contacts, **RATES)
    with pytest.raises(ValueError, match="s of work between"):
        count(plan, contacts, satellite_flops=RATES["satellite_flops"], ground_flops=1e11)
