"""``skysplit deliver``: what a run has trained, by the passes of its mission."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mission.record import RunRecord
from mission.scenario import load_scenario
from relay.release.manifest import manifest_of, read_chunk, verified_manifest
from relay.release.store import ReleaseStore
from relay.wire.certificates import write_certificates
from relay.wire.identity import NodeIdentity, node_folder
from skysplit.cli import app
from skysplit.deliveries.planned import CHUNK_BYTES

HEAD, ADAPTER = b"h" * 30_000, b"a" * 900_000
KEYS = {"links.sgl.up_mbps": 0.25, "horizon_h": 12.0}
MISSION_S = 5000.0


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "done"
    record = RunRecord(directory, load_scenario("demo", KEYS), command="skysplit run demo")
    (directory / "final" / "adapter").mkdir(parents=True)
    (directory / "final" / "head.safetensors").write_bytes(HEAD)
    (directory / "final" / "adapter" / "adapter_model.safetensors").write_bytes(ADAPTER)
    (directory / "final" / "README.md").write_text("# card")
    record.finish(mission_time_s=MISSION_S)
    return directory


def deliver(*words: str) -> dict:
    done = CliRunner().invoke(app, ["deliver", *words, "--format", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*words: str) -> str:
    done = CliRunner().invoke(app, ["deliver", *words])
    assert done.exit_code == 1
    assert done.stderr.count("error:") == 1
    return done.stderr.replace("\n", " ")


def test_an_onnx_file_goes_up_when_it_is_asked_for_and_not_beside_what_it_was_made_of(run, tmp_path) -> None:
    assert "allowed: head, adapter" in refused(str(run), "--content", "onnx")
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "final" / "model.onnx").write_bytes(b"o" * 70_000)
    assert deliver(str(tmp_path / "run"), "--content", "onnx")["bytes"] == 70_000
    assert deliver(str(tmp_path / "run"))["bytes"] == len(HEAD) + len(ADAPTER)


def test_every_satellite_has_every_byte_at_the_real_uplink(run) -> None:
    found = deliver(str(run))
    assert found["bytes"] == len(HEAD) + len(ADAPTER)
    assert {file["path"]: file["sha256"] for file in found["files"]} == {
        "adapter/adapter_model.safetensors": hashlib.sha256(ADAPTER).hexdigest(),
        "head.safetensors": hashlib.sha256(HEAD).hexdigest(),
    }
    assert len(found["satellites"]) == 12
    for one in found["satellites"]:
        assert one["uplink_bytes"] + one["isl_bytes"] == found["bytes"]
        assert one["delivered_s"] > MISSION_S
    for one in found["passes"]:
        sent = one["end_byte"] - one["first_byte"]
        assert sent * 8 / (one["end_s"] - one["data_s"]) == pytest.approx(0.25e6, rel=1e-3)
    assert found["length_s"] > len(ADAPTER) * 8 / 0.25e6


def test_a_head_alone_is_sooner_and_a_table_says_when(run) -> None:
    whole, head = deliver(str(run)), deliver(str(run), "--content", "head")
    assert [file["path"] for file in head["files"]] == ["head.safetensors"]
    assert head["length_s"] < whole["length_s"]
    shown = CliRunner().invoke(app, ["deliver", str(run), "--content", "head"]).stdout
    assert head["ends_utc"] in shown
    assert "sat-1-05" in shown


def test_the_manifest_is_signed_by_the_ground_where_it_has_a_certificate(run, tmp_path) -> None:
    write_certificates(tmp_path, ["sat-0-00", "ground"])
    found = deliver(str(run), "--certs", str(node_folder(tmp_path, "ground")))
    satellite = NodeIdentity.load(node_folder(tmp_path, "sat-0-00"))
    manifest = verified_manifest(base64.b64decode(found["signed_manifest"]), satellite, "ground")
    assert (manifest.release, manifest.size) == (found["release"], found["bytes"])


def test_what_cannot_be_delivered_is_one_error(run, tmp_path) -> None:
    assert "allowed: head, adapter" in refused(str(run), "--content", "model")
    assert "holds no run" in refused(str(tmp_path)) or "run.json" in refused(str(tmp_path))
    assert "allowed: json" in refused(str(run), "--out", str(tmp_path / "a.json"))
    begun = tmp_path / "begun"
    RunRecord(begun, load_scenario("demo", KEYS), command="skysplit run demo")
    assert "allowed: a completed one" in refused(str(begun))


@pytest.mark.flower
def test_a_delivery_over_relays_is_resumed_used_and_rolled_back(tmp_path) -> None:
    """Two satellites that the same station sees; relays are processes of their own."""
    keys = KEYS | {"constellation.satellites": 2, "constellation.planes": 1, "constellation.phasing": 0}
    run = tmp_path / "run"
    record = RunRecord(run, load_scenario("walker-12", keys | {"links.sgl.up_mbps": 20.0}), command="")
    (run / "final").mkdir()
    (run / "final" / "head.safetensors").write_bytes(HEAD)
    record.finish(mission_time_s=MISSION_S)
    first = deliver(str(run), "--emulate")
    planned = deliver(str(run))
    assert set(first["release"].values()) == {planned["release"]}
    for name, used_s in first["used_s"].items():
        place = run / "delivered" / name / "releases" / planned["release"]
        assert (place / "head.safetensors").read_bytes() == HEAD
        assert used_s >= MISSION_S
    (run / "final" / "head.safetensors").write_bytes(HEAD[::-1] + b"2")
    # Of the second release the only chunk is there already for one of them, as after an interrupted delivery.
    manifest = manifest_of(run / "final", ["head.safetensors"], CHUNK_BYTES)
    store = ReleaseStore(run / "delivered" / next(iter(first["release"])))
    store.receive(manifest, 0, read_chunk(run / "final", manifest, 0))
    assert set(deliver(str(run), "--emulate")["release"].values()) == {manifest.release}
    assert deliver(str(run), "--emulate", "--roll-back")["release"] == first["release"]
    assert store.current == planned["release"]


def test_rolling_back_is_done_over_relays(run) -> None:
    assert "--roll-back: found without --emulate" in refused(str(run), "--roll-back")
