"""The Compose file of any scenario, and the emulation in real containers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file

from mission.record import read_run
from mission.scenario import load_scenario
from skysplit.deployment.compose import Host, addresses_of, compose_file, named_by, service_name
from skysplit.deployment.node_folders import write_node_folders
from skysplit.launch.containers import ContainerError, compose_tool

SATELLITES = ("FLOCK 4P-1", "sat/2", "sat-3")


@pytest.fixture
def services(tmp_path: Path) -> dict:
    folders = write_node_folders(
        tmp_path, SATELLITES, addresses_of(SATELLITES), listen="0.0.0.0", superlink_hosts=["superlink"]
    )
    host = Host(
        folders,
        tmp_path / "superlink",
        run_directory=tmp_path / "run",
        superlink_port=8123,
        gateway=tmp_path / "gateway",
    )
    return yaml.safe_load(yaml.safe_dump(compose_file(SATELLITES, host)))["services"]


def test_every_satellite_has_a_container_that_others_reach_by_name(services: dict) -> None:
    assert set(services) == {"superlink", "gateway", "ground", "satellite-0", "satellite-1", "satellite-2"}
    assert addresses_of(SATELLITES)["FLOCK 4P-1"] == "satellite-0:50051"
    many = tuple(f"sat-{index}" for index in range(12))
    assert service_name(many, "sat-3") == "satellite-03"


def test_containers_are_confined_and_start_by_health(services: dict) -> None:
    for name, service in services.items():
        assert service["user"].split(":")[0] != "0"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["mem_limit"]
        assert service.get("restart") == ("on-failure:20" if name.startswith("satellite") else None)
        after = set(service.get("depends_on", {}))
        expected = {"superlink": set(), "gateway": {"superlink"}, "ground": {"superlink"}}
        assert after == expected.get(name, {"gateway", "ground"})


def test_a_node_sees_its_own_credentials_and_nobody_else_s(services: dict, tmp_path: Path) -> None:
    folders = {
        name: [volume.split(":")[0] for volume in service.get("volumes", []) if ":/node" in volume]
        for name, service in services.items()
    }
    assert len({folder for [folder] in folders.values()}) == 6
    for name, [folder] in folders.items():
        secrets = {path.name for path in Path(folder).glob("*.key")}
        if name in ("superlink", "gateway"):
            assert secrets == {"server.key"}
        else:
            assert secrets == {"node.key"} | ({"supernode.key"} if name != "ground" else set())
        assert all((Path(folder) / secret).stat().st_mode & 0o777 == 0o600 for secret in secrets)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_scenario_s_files_are_seen_where_it_names_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMAGES", str(tmp_path))
    scenario = load_scenario("walker-12", {"data.source": "folder", "data.path": "$IMAGES/tiles"})
    assert named_by(scenario) == ((tmp_path / "tiles",), {"IMAGES": str(tmp_path)})
    assert named_by(load_scenario("walker-12")) == ((), {})
    links = {"links.inter_orbit.topology": "grid", "links.inter_orbit.pairs": "$IMAGES/grid.csv"}
    given = load_scenario("walker-12", {"contacts.path": "$IMAGES/plan.csv", **links})
    assert named_by(given)[0] == (tmp_path / "plan.csv", tmp_path / "grid.csv")
    assert named_by(load_scenario("walker-12", {**links, "links.inter_orbit.pairs": "same-slot"})) == ((), {})


# ------------------------------------------------------------------------------------------- real containers


def skysplit(*words: str) -> str:
    """Run a command of ours and return what it prints."""
    done = subprocess.run(
        [f"{sysconfig.get_path('scripts')}/skysplit", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def mission() -> list[str]:
    """EuroSAT and a real foundation model where they are present, else what ships with SkySplit."""
    settings = {
        "constellation.satellites": 6,
        "constellation.planes": 2,
        "constellation.train_spacing_deg": 20,
        "data.alpha": 5,
        "training.rounds": 2,
        "training.head": "per-satellite",  # so that planes are summed over their relays
        "crossings.features": "fp32",
        "crossings.hidden": "fp32",
        "crossings.gradients": "fp32",
        # Slow enough that the links set the time, which two cores for nine containers do not keep to; and features of
        # new views cross in the second round, too, which would be over in a second without them.
        "links.sgl.down_mbps": 5,
        "training.augment": "dihedral",
    }
    name = "walker-12"
    if "SKYSPLIT_DATA" in os.environ and Path(os.environ["SKYSPLIT_DATA"]).is_dir():
        name = "eurosat"
        settings["data.path"] = "$SKYSPLIT_DATA/eurosat-dev/dev.parquet"
        settings["model.path"] = "$SKYSPLIT_DATA/galileo-nano-rgb-p8"
    else:
        settings |= {"links.sgl.up_mbps": 50, "links.intra_orbit.mbps": 200}
    return [name, *(f"--set={key}={value}" for key, value in settings.items())]


@pytest.fixture
def docker() -> None:
    try:
        compose_tool()
    except ContainerError as error:
        pytest.skip(f"no containers here: {error}")


@pytest.mark.compose
def test_containers_learn_a_round_as_the_simulation_does_and_end_in_the_planned_time(
    docker: None, mission: list[str], tmp_path: Path
) -> None:
    emulated, simulated = tmp_path / "emulated", tmp_path / "simulated"
    config = skysplit("emulate", *mission, "--backend", "compose", "--out", str(emulated))
    assert "measured, s" in config
    skysplit("run", *mission, "--out", str(simulated))

    # The same sums in the same order; torch may share them out differently over another number of cores, and AdamW
    # carries a difference in the last bit on. Who shares a step of the next round follows from when that begins,
    # on a busy machine some tenths of a second after the plan: its weights are others, as good.
    for name in ("head.safetensors", "adapter/adapter_model.safetensors"):
        one, other = (
            load_file(path / "checkpoints" / "round-00001" / name) for path in (emulated, simulated)
        )
        assert one.keys() == other.keys()
        for key, tensor in one.items():
            torch.testing.assert_close(tensor, other[key], rtol=1e-4, atol=1e-5)

    scores = [read_run(path)["result"]["test_score"] for path in (emulated, simulated)]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)

    rows = pq.read_table(emulated / "rounds.parquet").to_pylist()
    assert [row["satellite"] for row in rows] == [
        row["satellite"] for row in pq.read_table(simulated / "rounds.parquet").to_pylist()
    ]
    for number in (1, 2):
        times = [
            (row["end_s"] - row["start_s"], row["measured_end_s"] - row["measured_start_s"])
            for row in rows
            if row["round"] == number
        ]
        planned_s, measured_s = (max(column) for column in zip(*times, strict=True))
        # Links and geometry make it no shorter; what software takes for messages, a little longer: 5 % where nothing
        # else runs.
        assert 0.95 * planned_s < measured_s < 1.2 * planned_s, number
    tool = "docker" if shutil.which("docker") else "docker-compose"
    left = subprocess.run([tool, "ps", "-q", "--filter", "name=skysplit-"], capture_output=True, text=True)
    assert left.stdout == ""
