"""What `skysplit deploy` writes to run on hosts: units, a Compose file per host, the registration; and the check."""

from __future__ import annotations

import configparser
import re
import shlex
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mission.scenario import load_scenario
from skysplit.cli import app
from skysplit.deployment.deploy import write_deployment
from skysplit.deployment.reachability import dial_all
from skysplit.deployment.systemd import quoted
from skysplit.launch import registration
from skysplit.launch.flower_run import FlowerRunError

SCENARIO = load_scenario("walker-12", {"constellation.satellites": 4})
AT = {
    "superlink": "ground.example:8000",
    "ground": "ground.example:50051",
    "sat-0-00": "edge.example:50051",
    "sat-0-01": "edge.example:50052",
    "sat-1-00": "[2001:db8::7]:50051",
    "sat-1-01": "[2001:db8::7]:50052",
}
FLWR = """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as file:
    file.write(" ".join(sys.argv[1:4]) + "\\n")
asked = (here / "asked").read_text().splitlines()
if len(asked) == 1:
    print(json.dumps({"success": False, "error-message": "Connection refused"})), sys.exit(1)
if "satellite-1" in sys.argv[3]:
    print(json.dumps({"success": False, "error-message": "Public key already in use."})), sys.exit(1)
print(json.dumps({"success": True}))
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("deployment")
    write_deployment(SCENARIO, out, AT)
    return out


def unit(deployment: Path, node: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(deployment / "systemd" / f"skysplit-{node}.service")
    return parser


def words_of(found: configparser.ConfigParser) -> list[str]:
    return shlex.split(found["Service"]["ExecStart"].replace("%%", "%").replace("$$", "$"))


def test_every_node_and_the_registration_have_a_unit(deployment: Path) -> None:
    nodes = ["superlink", "gateway", "ground", "registration", *(f"satellite-{index}" for index in range(4))]
    assert {path.name for path in (deployment / "systemd").iterdir()} == {
        f"skysplit-{node}.service" for node in nodes
    }
    for node in nodes:
        service = unit(deployment, node)["Service"]
        assert service["User"] == "skysplit"
        assert words_of(unit(deployment, node))[0].startswith("/")
        if node == "registration":
            assert (service["Type"], service["RemainAfterExit"]) == ("oneshot", "yes")
        else:
            assert (
                service["Restart"] == "on-failure"
            )  # Flower ends with 0 when it is told to, and 1 on every error
    assert unit(deployment, "ground")["Unit"]["Requires"] == "skysplit-superlink.service"


def test_satellites_dial_the_gateway_and_only_the_ground_s_machine_dials_the_superlink(
    deployment: Path,
) -> None:
    supernode = words_of(unit(deployment, "satellite-2"))
    assert supernode[supernode.index("--superlink") + 1] == AT["superlink"]
    assert 'partition-id=2 num-partitions=4 relay="/var/lib/skysplit/satellite-2/relay.json"' in supernode
    superlink = words_of(unit(deployment, "superlink"))
    assert superlink[superlink.index("--host") + 1] == "127.0.0.1"
    assert superlink[superlink.index("--database") + 1] == "/var/lib/skysplit/superlink/superlink.db"
    port = superlink[superlink.index("--port") + 1]
    for node in ("gateway", "ground", "registration"):
        assert f"127.0.0.1:{port}" in words_of(unit(deployment, node))


def test_systemd_reads_every_word_back(deployment: Path) -> None:
    for word in ("plain", "a b", 'key="v w"', "50%", "$HOME", "back\\slash", "it's"):
        assert shlex.split(quoted(word))[0].replace("%%", "%").replace("$$", "$") == word
    if not Path("/usr/bin/systemd-analyze").exists():
        pytest.skip("no systemd-analyze here; its words were read back")
    files = sorted((deployment / "systemd").iterdir())
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    assert not re.search(r"Unknown|Failed to parse|Invalid", done.stderr)


def test_each_host_has_its_nodes_with_the_ports_that_others_dial(deployment: Path) -> None:
    def services(host: str) -> dict:
        return yaml.safe_load((deployment / f"compose.{host}.yaml").read_text())["services"]

    ground, edge, far = services("ground.example"), services("edge.example"), services("2001_db8__7")
    assert set(ground) == {"superlink", "gateway", "ground"}
    assert set(edge) == {"satellite-0", "satellite-1"}
    assert set(far) == {"satellite-2", "satellite-3"}
    assert edge["satellite-1"]["ports"] == ["50052:50052"]
    assert AT["superlink"] in edge["satellite-0"]["command"]
    assert "gateway:8000" not in edge["satellite-0"]["command"]
    assert "depends_on" not in edge["satellite-0"]
    assert ground["gateway"]["ports"] == ["8000:8000"]
    assert ground["gateway"]["depends_on"]


def test_satellites_of_compose_and_kubernetes_wait_for_the_registration(deployment: Path) -> None:
    overlay = yaml.safe_load((deployment / "compose.register.yaml").read_text())["services"]
    assert "-m skysplit.launch.registration" in " ".join(overlay["registration"]["command"])
    for index in range(4):
        waits = overlay[f"satellite-{index}"]["depends_on"]["registration"]["condition"]
        assert waits == "service_completed_successfully"
    job = yaml.safe_load((deployment / "registration.yaml").read_text())
    base = yaml.safe_load((deployment / "kustomization.yaml").read_text())
    assert job["kind"] == "Job"
    assert "registration.yaml" in base["resources"]
    [keys] = base["configMapGenerator"]
    assert len(keys["files"]) == 5
    assert all((deployment / file).is_file() for file in keys["files"])
    assert not [file for file in keys["files"] if file.endswith(".key")]
    policies = list(yaml.safe_load_all((deployment / "kubernetes.yaml").read_text()))
    [superlink] = [found for found in policies if found["metadata"]["name"] == "skysplit-superlink"]
    [rule] = superlink["spec"]["ingress"]
    roles = rule["from"][0]["podSelector"]["matchExpressions"][0]["values"]
    assert job["spec"]["template"]["metadata"]["labels"]["skysplit/role"] in roles


def test_the_superlink_of_kubernetes_keeps_its_database_on_a_volume(deployment: Path) -> None:
    found = list(yaml.safe_load_all((deployment / "kubernetes.yaml").read_text()))
    [pod] = [
        one["spec"]["template"]["spec"]
        for one in found
        if one["kind"] == "Deployment" and one["metadata"]["name"] == "superlink"
    ]
    command = pod["containers"][0]["command"]
    folder = str(Path(command[command.index("--database") + 1]).parent)
    [mount] = [one for one in pod["containers"][0]["volumeMounts"] if one["mountPath"] == folder]
    assert {"name": mount["name"], "persistentVolumeClaim": {"claimName": "state"}} in pod["volumes"]


def test_the_registration_waits_for_the_superlink_and_may_run_again(
    deployment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flwr = tmp_path / "flwr"
    flwr.write_text(f"#!{sys.executable}\n{FLWR}")
    flwr.chmod(stat.S_IRWXU)
    environment = {"PATH": str(tmp_path)}
    monkeypatch.setattr(registration, "flower_environment", lambda home: environment)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(registration, "_AGAIN_S", 0.0)
    config: list[str] = []
    registration.register_all(deployment / "registration", "127.0.0.1:1", 60.0, config.append)
    assert config == [
        "satellite-0: registered", "satellite-1: was registered before", "satellite-2: registered",
        "satellite-3: registered",
    ]  # fmt: skip
    assert len((tmp_path / "asked").read_text().splitlines()) == 5  # one of them twice
    (tmp_path / "asked").unlink()
    with pytest.raises(FlowerRunError, match="Connection refused"):
        registration.register_all(deployment / "registration", "127.0.0.1:1", 0.0)
    with pytest.raises(FlowerRunError, match=r"holds no \*\.pub"):
        registration.register_all(tmp_path, "127.0.0.1:1", 0.0)


@pytest.fixture
def listening(deployment: Path) -> Iterator[dict[str, str]]:
    """Addresses at which nodes of the deployment answer with their certificates, and one that only listens."""
    servers, addresses = [], {}
    for node in ("sat-0-00", "ground", "mute"):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        addresses[node] = f"127.0.0.1:{server.getsockname()[1]}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if node != "mute":
            context.load_cert_chain(deployment / node / "node.crt", deployment / node / "node.key")

        def serve(
            server: socket.socket = server, context: ssl.SSLContext = context, node: str = node
        ) -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    if node == "mute":
                        connection.sendall(b"SSH-2.0\r\n")
                        connection.close()
                    else:
                        with context.wrap_socket(connection, server_side=True) as secured:
                            secured.recv(1)
                except OSError:
                    if server.fileno() < 0:
                        return

        threading.Thread(target=serve, daemon=True).start()
    yield addresses
    for server in servers:
        server.close()


def test_the_check_says_of_every_address_who_answers(deployment: Path, listening: dict[str, str]) -> None:
    asked = {
        "sat-0-00": listening["sat-0-00"],
        "sat-0-01": listening["ground"],  # another node's
        "ground": listening["mute"],
        "sat-1-00": "127.0.0.1:1",
        "sat-1-01": "nowhere.invalid:50051",
    }
    found = {one.node: one for one in dial_all(asked, deployment / "ca.crt")}
    assert found["sat-0-00"].last_error == ""
    assert found["sat-0-00"].seconds is not None
    assert found["sat-0-01"].last_error.startswith("somebody else answers")
    assert found["ground"].last_error.startswith("no TLS")
    assert "refused" in found["sat-1-00"].last_error
    assert found["sat-1-01"].last_error.startswith("the name is not known here")


def test_deploy_check_dials_what_is_there_and_writes_nothing(
    tmp_path: Path, listening: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = CliRunner().invoke(app, ["deploy", "walker-12", "--out", str(tmp_path), "--check"])
    assert shown.exit_code == 1
    assert "holds no deployment" in shown.output
    here = dict.fromkeys(AT, "127.0.0.1:1")
    write_deployment(SCENARIO, tmp_path / "out", here)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    shown = CliRunner().invoke(app, ["deploy", "walker-12", "--out", str(tmp_path / "out"), "--check"])
    assert shown.exit_code == 1
    assert "5 of 5 addresses cannot be reached from this machine; the first is ground" in shown.output
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
