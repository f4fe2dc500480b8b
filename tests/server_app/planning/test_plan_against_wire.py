"""What is planned to cross between space and ground is what does: counted frame by frame where it is sent."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_missions import SMALL

from client_app.local_round import LocalRound
from mission.record import RunRecord, read_run
from mission.scenario import load_scenario
from relay.client import direct
from relay.wire.frames import bundle_frames
from relay.wire.manifest import Buffer, Manifest, MessageKind
from server_app.run import ServerRun
from server_app.server_app import fine_tune

RUN = "run-13407807929942597099"  # as Flower names them
AGREES = {"rel": 0.02}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, str]]:
    """Bytes of all frames by round and direction, of the enrolment without what only measures (its later steps)."""
    found: Counter[tuple[int, str]] = Counter()
    lock = threading.Lock()

    def counted(manifest: Manifest, payload: Buffer, chunk_bytes: int) -> Iterator[bytes]:
        for frame in bundle_frames(manifest, payload, chunk_bytes):
            if manifest.round or not manifest.step:
                with lock:
                    found[manifest.round, "up" if manifest.source == "ground" else "down"] += len(frame)
            yield frame

    monkeypatch.setattr(direct, "bundle_frames", counted)
    return found


@pytest.fixture
def averaged(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Bytes of the weights that a satellite delivers, by round."""
    found: Counter[int] = Counter()
    replied = LocalRound.reply

    def counted(local: LocalRound) -> Any:
        reply = replied(local)
        if "arrays" in reply.content:
            arrays = reply.content.array_records["arrays"]
            found[local.task.number] = sum(array.numpy().nbytes for array in arrays.values())
        return reply

    monkeypatch.setattr(LocalRound, "reply", counted)
    return found


def planned(directory: Path) -> dict[tuple[int, str, bool], float]:
    """Bytes over space-ground links by round, direction, and whether they are weights or what the split exchanges."""
    found: Counter[tuple[int, str, bool]] = Counter()
    for row in map(json.loads, (directory / "plan.jsonl").read_text().splitlines()):
        if row["link"] in ("downlink", "uplink"):
            key = row["round"], row["link"].removesuffix("link"), row["kind"] in ("reduce", "update")
            found[key] += row["bytes"]
    return found


def message_bytes(weights_bytes: int) -> int:
    """A message of so many bytes of fp32 weights."""
    described = {"run": RUN, "source": "sat-0-00", "destination": "ground", "round": 1}
    values = {"dtype": "float32", "shape": (weights_bytes // 4,), "codec": "fp32"}
    manifest = Manifest.describe(bytes(weights_bytes), kind=MessageKind.AGGREGATE, **described, **values)
    return sum(map(len, bundle_frames(manifest, bytes(weights_bytes), 1 << 20)))


MODES = {
    "lora, adapter and head per satellite": {"training.adapter": "per-satellite"},
    "lora, shared adapter": {"training.head": "per-satellite"},
    "lora, all shared": {"training.head": "shared"},
    "lora, nothing kept": {"crossings.cache_gb": 0.0},
    "lora, two epochs in a round": {"training.local_epochs": 2, "training.augment": "none"},
    "lora, room for some": {"crossings.cache_gb": 30 * 1100 / 1e9, "training.augment": "none"},
    "lora, token views": {"training.augment": "token-dihedral"},
    "lora, token views, room for some": {
        "training.augment": "token-dihedral",
        "crossings.cache_gb": 30 * 1100 / 1e9,
    },
    "lora, token views, two epochs in a round": {
        "training.augment": "token-dihedral",
        "training.local_epochs": 2,
        "training.adapter": "per-satellite",
    },
    "labels on the ground, frozen, token views": {
        "training.labels": "ground",
        "training.augment": "token-dihedral",
        "training.mode": "head",
    },
    "lora, micro-batches": {"training.micro_batches": 2, "training.head": "shared"},
    "lora, exact": {"crossings.features": "fp32", "crossings.hidden": "fp32", "crossings.gradients": "fp32"},
    "head": {"training.mode": "head"},
    "head, no views": {"training.mode": "head", "training.augment": "none"},
    "labels on the ground": {"training.labels": "ground"},
    "labels on the ground, frozen": {"training.labels": "ground", "training.mode": "head"},
    "downlink": {"training.mode": "downlink", "planning.image_bytes": 32 * 32 * 3},
}


# Those between two others of this list, as far as bytes go; exact bytes are those of test_emulated_mission.py, too.
BETWEEN = {
    "head, no views",
    "labels on the ground, frozen",
    "lora, all shared",
    "lora, exact",
    "lora, token views",
    "lora, token views, room for some",
    "lora, two epochs in a round",
}


@pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=pytest.mark.slow) if mode in BETWEEN else mode for mode in MODES]
)
def test_bytes_planned_over_space_ground_links_are_bytes_sent(
    grid_of: Callable[[int, int], Any],
    bare_run: None,
    tmp_path: Path,
    sent: Counter[tuple[int, str]],
    averaged: Counter[int],
    mode: str,
) -> None:
    scenario = load_scenario("walker-12", SMALL | {"training.batch_size": 8} | MODES[mode])
    record = RunRecord(tmp_path / "run", scenario, command="")
    fine_tune(grid_of(4, 4), ServerRun(record, RUN, max_concurrency=4))
    plan = planned(record.directory)
    if scenario.training.on_ground:
        # Each batch that is given away is acknowledged: 200 bytes, which no plan has.
        acknowledged = [sent.pop((number, "up"), 0) for number in (1, 2)]
        assert max(acknowledged) <= 250 * 5 * 4 * 4  # at most in passes × batches × satellites
    for number, way in ((number, way) for number in (0, 1, 2) for way in ("down", "up")):
        assert plan[number, way, False] == pytest.approx(sent[number, way], **AGREES), (number, way)
    assert sum(size for key, size in plan.items() if not key[2]) == pytest.approx(
        sum(sent.values()), **AGREES
    )
    rows = [json.loads(line) for line in (record.directory / "plan.jsonl").read_text().splitlines()]
    weights = [row for row in rows if row["round"] and row["kind"] in ("reduce", "update")]
    assert bool(weights) == (not scenario.training.shares_head)
    if scenario.training.on_ground:
        assert {(row["round"], row["kind"]) for row in weights} == {(2, "update")}  # the head, in the end
    for row in weights:
        assert row["bytes"] == pytest.approx(message_bytes(averaged[row["round"]]), **AGREES)
    facts = read_run(record.directory)["enrolment"]
    assert facts["split_up_bytes"] == sent[0, "down"]
    assert facts["split_down_bytes"] == sent[0, "up"]
