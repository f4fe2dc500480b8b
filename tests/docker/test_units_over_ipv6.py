"""The systemd units of a deployment, run as they are written, on two hosts that reach each other over IPv6 only.

The hosts are network namespaces that this test makes and removes; it needs root, and is skipped where they cannot be
had. What systemd would do is done here: folders are copied to where units look, and each `ExecStart` is run in its
`WorkingDirectory` with its `Environment`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from mission.record import read_run
from mission.scenario import load_scenario
from skysplit.deployment.deploy import write_deployment
from skysplit.launch.processes import Processes

pytestmark = pytest.mark.slow
SCENARIO = "walker-12"  # whose links are fast: mission time runs as fast as the clock while anything crosses
SETTINGS = {
    "constellation.satellites": 3,
    "constellation.planes": 1,
    "constellation.phasing": 0,
    "training.rounds": 1,
}
GROUND, SPACE = "2001:db8::1", "2001:db8::2"
ADDRESSES = {
    "superlink": f"[{GROUND}]:8000",
    "ground": f"[{GROUND}]:50051",
    **{f"sat-0-0{index}": f"[{SPACE}]:{50051 + index}" for index in range(3)},
}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces, each with IPv4 on its loopback alone."""
    names = tuple(f"skysplit-{uuid4().hex[:6]}" for _ in range(2))
    try:
        for name in names:
            if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
                pytest.skip("no network namespace can be had here")
        ends = [f"v{name[-6:]}" for name in names]
        _ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", ends[1], "netns", names[1])
        for name, end, address in zip(names, ends, (GROUND, SPACE), strict=True):
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", end, "up")
            _ip("-n", name, "-6", "address", "add", f"{address}/64", "dev", end, "nodad")
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def test_units_carry_a_round_over_ipv6(hosts: tuple[str, str], tmp_path: Path) -> None:
    deployment, installed = tmp_path / "deployment", tmp_path / "lib"
    write_deployment(load_scenario(SCENARIO, SETTINGS), deployment, ADDRESSES)
    nodes = {"sat-0-00": "satellite-0", "sat-0-01": "satellite-1", "sat-0-02": "satellite-2"}
    for node in ("superlink", "gateway", "ground", "registration", *nodes):
        shutil.copytree(deployment / node, installed / nodes.get(node, node))
    with Processes(tmp_path / "logs") as processes:

        def start(service: str, host: str) -> None:
            command, environment = _of_unit(deployment, service, installed)
            processes.start(service, ["ip", "netns", "exec", host, *command], environment)

        start("superlink", hosts[0])
        command, environment = _of_unit(deployment, "registration", installed)
        subprocess.run(["ip", "netns", "exec", hosts[0], *command], env=environment, check=True, timeout=120)
        start("gateway", hosts[0])
        start("ground", hosts[0])
        for service in nodes.values():
            start(service, hosts[1])
        settings = " ".join(f"{key}={value}" for key, value in SETTINGS.items())
        places = f'relay="{installed / "ground" / "relay.json"}" out="{tmp_path / "run"}"'
        command = [
            *("ip", "netns", "exec", hosts[0], f"{sysconfig.get_path('scripts')}/flwr"),
            *(
                "run",
                str(ROOT),
                "superlink",
                "--stream",
                "--run-config",
                f'scenario="{SCENARIO}" {places} {settings}',
            ),
        ]
        done = subprocess.run(
            command,
            env={**environment, "FLWR_HOME": str(deployment)},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = read_run(tmp_path / "run")
    assert run["state"] == "completed"
    assert run["result"]["rounds"] == 1


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _of_unit(deployment: Path, service: str, installed: Path) -> tuple[list[str], dict[str, str]]:
    """The command of a service's unit, and its environment, with folders and programs where they are here."""
    text = (deployment / "systemd" / f"skysplit-{service}.service").read_text()
    text = text.replace("/var/lib/skysplit", str(installed)).replace(
        "/opt/skysplit/bin", sysconfig.get_path("scripts")
    )
    [command] = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    [folder] = re.findall(r"^WorkingDirectory=(.*)$", text, re.MULTILINE)
    settings = [
        word for line in re.findall(r"^Environment=(.*)$", text, re.MULTILINE) for word in line.split()
    ]
    kept = {key: value for key, value in os.environ.items() if key in ("PYTHONPATH", "TMPDIR")}
    environment = kept | dict(word.split("=", 1) for word in settings)
    return ["env", "--chdir", folder, *shlex.split(command)], environment
