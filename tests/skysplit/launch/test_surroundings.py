"""Proxies, folders and quotes that a machine happens to have make no difference to a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from flwr.common.config import parse_config_args
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from PIL import Image

from mission.scenario import ScenarioError, absolute_paths, given_path, load_scenario
from relay.client.message_link import dial
from relay.wire.manifest import Limits
from skysplit.commands import runs
from skysplit.deployment.node_folders import supernode_command
from skysplit.launch.flower_run import flower_environment
from skysplit.launch.processes import past_proxies

DEAD = "http://127.0.0.1:1"


def test_this_machine_is_dialled_past_a_proxy_and_others_are_not() -> None:
    assert past_proxies({"PATH": "/bin"}) == {"PATH": "/bin"}
    for name in ("http_proxy", "HTTPS_PROXY", "grpc_proxy"):
        found = past_proxies({name: DEAD, "NO_PROXY": "intra.example,localhost", "no_grpc_proxy": "a"})
        assert found["no_proxy"] == found["NO_PROXY"] == "intra.example,localhost,127.0.0.1,::1"
        assert found["no_grpc_proxy"] == "a,localhost,127.0.0.1,::1"
        assert found[name] == DEAD


def test_flowers_commands_have_the_exception_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", DEAD)
    monkeypatch.delenv("no_proxy", raising=False)
    assert "127.0.0.1" in flower_environment(tmp_path)["no_proxy"]


def test_a_satellite_reaches_the_ground_of_its_machine_behind_a_dead_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, DEAD)
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    try:
        request = health_pb2.HealthCheckRequest()
        with dial(f"127.0.0.1:{port}", "ground", None, Limits()) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError):
            health_pb2_grpc.HealthStub(channel).Check(request, timeout=60)  # so that the proxy is one
    finally:
        server.stop(None)


def test_paths_are_those_of_the_folder_in_which_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my images"
    for name, grey in (("dark", 0), ("light", 255)):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (32, 32), (grey,) * 3).save(folder / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    settings = ["data.source=folder", "data.path=my images"]
    resolved, run_config, directory = runs._new_launch("demo", settings, Path("my runs/first"))
    assert run_config["data.path"] == resolved.data.path == str(folder)
    assert run_config["out"] == str(directory) == str(tmp_path / "my runs" / "first")
    monkeypatch.chdir("/")
    assert given_path(resolved.data.path, "data.path") == folder
    with pytest.raises(ScenarioError, match="data.path: found 'my images', but there is no such .* in /"):
        given_path("my images", "data.path")


def test_what_is_no_relative_path_stays_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("$SKYSPLIT_DATA/images", "~/images", "/somewhere", "not/there"):
        assert absolute_paths(load_scenario("demo", {"data.source": "folder", "data.path": path})) == {}


def test_a_nodes_folder_may_have_spaces_and_an_apostrophe_in_its_name() -> None:
    folder = "/home/Ana's files/sat 1"
    words = supernode_command(folder, "127.0.0.1:1", 0, 1)
    config = parse_config_args([words[words.index("--node-config") + 1]])
    assert config["relay"] == f"{folder}/relay.json"
    json.dumps(config)


def test_a_watchdog_runs_in_a_folder_with_a_space(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    code = "from skysplit.launch.launcher import Launch; Launch().end()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "a b",
        env={**os.environ, "http_proxy": DEAD},
        check=False,
    )
    assert done.returncode == 0


def test_a_loopback_without_ipv4_is_named() -> None:
    ipv6_only = "ip link set lo up && ip address del 127.0.0.1/8 dev lo"
    alone = ["unshare", "--map-root-user", "--net", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*alone, ipv6_only], check=False).returncode:
        pytest.skip("no network namespace can be had here")
    code = "from skysplit.launch.processes import free_ports; free_ports(1)"
    done = subprocess.run(
        [*alone, f'{ipv6_only} && exec "$0" "$@"', sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ProcessError: cannot listen on 127.0.0.1 " in done.stderr.splitlines()[-1]
