"""Every link of an emulation, planned beside measured."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from report.charts.link_use import Use, link_uses, links_table, read_transfer_records
from report.totals import by_round, read_rounds


def plan_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "plan.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_links_of_a_run_add_up_to_its_plan_and_its_transfer_records(emulated_run: Path) -> None:
    rounds = by_round(read_rounds(emulated_run)).to_pylist()
    uses = link_uses(
        plan_of(emulated_run),
        read_transfer_records(emulated_run),
        {row["round"]: row["start_s"] for row in rounds},
    )
    planned, measured = defaultdict(int), defaultdict(int)
    for use in uses:
        assert use.planned
        planned[use.round, use.link] += use.planned.all_bytes
        if use.measured:
            measured[use.round, use.link] += use.measured.all_bytes
    for row in rounds:
        for link in ("downlink", "uplink"):
            assert planned[row["round"], link] == pytest.approx(
                row[f"{link}_bytes"], abs=len(plan_of(emulated_run))
            )
    passed = pq.read_table(emulated_run / "transfer_records.parquet").to_pylist()
    assert sum(measured.values()) == sum(row["bytes"] for row in passed)


def test_a_use_is_from_the_first_byte_to_the_last_and_words_of_wire_and_plan_meet() -> None:
    def row(kind: str, start_s: float, end_s: float, size: int, **where: str) -> dict:
        return {"round": 2, "kind": kind, "start_s": start_s, "end_s": end_s, "bytes": size, **where}

    down = {"link": "downlink", "node": "sat-1", "peer": "Kiruna"}
    up = {"link": "uplink", "node": "Kiruna", "peer": "sat-1"}
    planned = [
        row("session", 99.0, 140.0, 0, **down),  # holds the antenna, carries nothing
        row("features", 100.0, 104.0, 1000, **down), row("reduce", 130.0, 131.0, 50, **down),
        row("hidden", 105.0, 106.0, 70, **up), row("features", 90.0, 91.0, 9, link="intra_isl", node="a", peer="b"),
    ]  # fmt: skip
    seen = {"link": "downlink", "peer": "sat-1"}
    passed = [row("samples", 100.5, 100.6, 8, **seen), row("features", 101.0, 104.5, 1000, **seen)]
    passed += [
        row("kind of tomorrow", 110.0, 112.5, 5, **seen),
        row("hidden", 95.0, 96.0, 50, link="uplink", peer="sat-2"),
        row("head", 95.0, 96.0, 20, link="uplink", peer="sat-2"),  # planned with what it crosses with
        row("features", 91.0, 93.0, 9, link="intra_isl", node="b", peer="a"),  # seen by who received it
    ]
    uses = {(use.link, use.ends): use for use in link_uses(planned, passed, {2: 90.0})}
    assert uses.keys() == {
        ("downlink", "sat-1"),
        ("uplink", "sat-1"),
        ("uplink", "sat-2"),
        ("intra_isl", "a → b"),
    }
    assert uses["downlink", "sat-1"].planned == Use({"features": 1000, "weights": 50}, 10.0, end_s=41.0)
    assert uses["downlink", "sat-1"].measured == Use(
        {"features": 1008, "kind of tomorrow": 5}, 10.5, end_s=22.5
    )
    assert uses["uplink", "sat-1"].measured is uses["uplink", "sat-2"].planned is None
    assert uses["intra_isl", "a → b"].planned == Use({"features": 9}, 0.0, end_s=1.0)
    assert uses["intra_isl", "a → b"].measured == Use({"features": 9}, 1.0, end_s=3.0)
    [together] = [use for use in link_uses(planned, passed, {2: 90.0}, together=True) if use.link == "uplink"]
    assert together.planned == Use({"hidden": 70}, 15.0, end_s=16.0)
    assert together.measured == Use({"hidden": 70}, 5.0, end_s=6.0)


def test_the_table_has_every_class_what_crossed_it_and_every_link(emulated_run: Path) -> None:
    start_s = {row["round"]: row["start_s"] for row in by_round(read_rounds(emulated_run)).to_pylist()}
    uses = link_uses(plan_of(emulated_run), read_transfer_records(emulated_run), start_s)
    markup = re.sub(r"<td [^>]*>", "<td>", links_table(uses))
    for use in uses:
        assert f"<td>{use.ends}</td>" in markup
    assert markup.count("<td>down to the ground</td>") == 1 + len(
        {use.ends for use in uses if use.link == "downlink"}
    )
    assert "<td>weights</td>" in markup  # planned, though they go another way
    assert "<td>+0.2</td>" in markup  # every transfer is a quarter of a second late
