"""The emulation as containers: a Compose file for any scenario, each node with its own container and address."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from mission.run_config import GROUND
from mission.schema import Scenario
from skysplit.deployment.addresses import split_address
from skysplit.deployment.certs import GATEWAY, REGISTRATION, SUPERLINK
from skysplit.deployment.node_folders import (
    RESTARTS,
    gateway_command,
    superexec_command,
    superlink_options,
    supernode_command,
)

IMAGE = "skysplit"
RELAY_PORT = 50051
FLEET_PORT = 8000  # of the gateway, and of the SuperLink in its own container
CONTROL_PORT = 8001  # of the SuperLink on the operator's machine, on the loopback
NODE = "/node"  # where a container finds its node's folder
STATE = "/state"  # where the SuperLink's container finds its database
USER = 10001  # of the image
_FILE_NAME = re.compile(r"[^\w.-]")  # what an address may have and a file's name should not
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True)
class Host:
    """Resources that containers share with the machine they run on.

    Attributes:
        nodes: Each node's folder.
        superlink: The SuperLink's folder.
        run_directory: Written by the ground.
        readable: Files and folders that the scenario names, at the same path inside.
        environment: Variables in which the scenario's paths are given.
        superlink_port: Where the SuperLink is reached on this machine, and from nowhere else.
        gateway: The gateway's folder.
        fleet_port: Where satellites on other machines reach the gateway; 0: all are on this one.
    """

    nodes: Mapping[str, Path]
    superlink: Path
    _: KW_ONLY
    run_directory: Path
    superlink_port: int
    gateway: Path
    fleet_port: int = 0
    readable: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def service_name(satellites: tuple[str, ...], node: str) -> str:
    """The Compose service of a node, which is its host name, too: a satellite's name need not be a valid one."""
    return (
        GROUND if node == GROUND else f"satellite-{satellites.index(node):0{len(str(len(satellites) - 1))}d}"
    )


def addresses_of(satellites: tuple[str, ...]) -> dict[str, str]:
    """``host:port`` of every node's relay."""
    return {node: f"{service_name(satellites, node)}:{RELAY_PORT}" for node in (*satellites, GROUND)}


def named_by(scenario: Scenario) -> tuple[tuple[Path, ...], dict[str, str]]:
    """The paths of a scenario as they are on this machine, and the variables that they are given in."""
    pairs = scenario.links.inter_orbit.pairs
    named = (
        scenario.data.path,
        scenario.model.path,
        scenario.constellation.path,
        scenario.contacts.path,
        pairs if isinstance(pairs, str) and pairs != "same-slot" else "",
    )
    texts = [text for text in named if text]
    variables = {name for text in texts for name in _VARIABLE.findall(text)}
    paths = tuple(Path(os.path.expandvars(text)).expanduser().resolve() for text in texts)
    return paths, {name: os.environ[name] for name in sorted(variables) if name in os.environ}


def compose_file(satellites: tuple[str, ...], host: Host) -> dict[str, Any]:
    """Services of a mission: the SuperLink, the gateway before it, the ground, and every satellite.

    The keys are those that both docker-compose 1.29 and Compose 2 read.
    """
    superlink, gateway = f"{SUPERLINK}:{FLEET_PORT}", f"{GATEWAY}:{FLEET_PORT}"
    services = {
        SUPERLINK: _service(
            _superlink_command(),
            volumes=[f"{host.superlink}:{NODE}:ro"],
            ports=[f"127.0.0.1:{host.superlink_port}:{FLEET_PORT}"],
            healthcheck=_listens(),
            mem_limit="1g",
            networks=["control"],
        ),
        GATEWAY: _service(
            gateway_command(NODE, superlink, FLEET_PORT),
            volumes=[f"{host.gateway}:{NODE}:ro"],
            ports=[f"{host.fleet_port}:{FLEET_PORT}"] if host.fleet_port else [],
            depends_on={SUPERLINK: {"condition": "service_healthy"}},
            healthcheck=_listens(),
            mem_limit="512m",
            networks=["control", "fleet"],
        ),
    }
    services[GROUND] = _node(host, GROUND, superexec_command(NODE, superlink), [SUPERLINK], mem_limit="4g")
    services[GROUND]["networks"] = ["control", "fleet"]
    services[GROUND]["volumes"].append(f"{host.run_directory}:{host.run_directory}")
    for index, name in enumerate(satellites):
        supernode = supernode_command(NODE, gateway, index, len(satellites))
        service = _node(host, name, supernode, [GATEWAY, GROUND], mem_limit="2g")
        service["networks"] = ["fleet"]
        service["environment"]["OMP_NUM_THREADS"] = "1"
        service["restart"] = (
            f"on-failure:{RESTARTS}"  # goes on in mid-round; with the ground, a run has to be resumed
        )
        services[service_name(satellites, name)] = service
    # Who reaches the SuperLink reaches its control API: satellites do not.
    return {"services": services, "networks": {"control": {}, "fleet": {}}}


def give_away(folders: Iterable[Path], user: int) -> None:
    """Make a user the owner of folders and of all in them, so that it can read keys of mode 0600."""
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user, follow_symlinks=False)


def state_overlay(folder: Path) -> dict[str, Any]:
    """Return an overlay of the Compose file that makes the SuperLink keep SuperNodes and runs in a folder of the
    host."""
    command = [*_superlink_command(), "--database", f"{STATE}/superlink.db"]
    return {"services": {"superlink": {"command": command, "volumes": [f"{folder}:{STATE}"]}}}


def registration_overlay(satellites: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Return an overlay of the Compose file that registers all SuperNodes before the first satellite starts, and then
    ends."""
    words = [
        "python",
        "-m",
        "skysplit.launch.registration",
        "--folder",
        NODE,
        "--superlink",
        f"{SUPERLINK}:{FLEET_PORT}",
    ]
    job = _service(
        words,
        volumes=[f"{folder}:{NODE}:ro"],
        depends_on={SUPERLINK: {"condition": "service_healthy"}},
        mem_limit="1g",
        networks=["control"],
        restart="no",
    )
    done = {"depends_on": {REGISTRATION: {"condition": "service_completed_successfully"}}}
    return {"services": {REGISTRATION: job} | {service_name(satellites, name): done for name in satellites}}


def compose_files_by_host(
    satellites: tuple[str, ...], host: Host, elsewhere: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """A Compose file for each host that nodes are reached at, with those nodes and the ports that others dial.

    Args:
        satellites: Their names.
        host: What the containers share with the machine they run on.
        elsewhere: ``host:port`` of relays, and under ``superlink`` of the gateway, whose host has the SuperLink, too.
    """
    whole = compose_file(satellites, host)
    servers = (SUPERLINK, GATEWAY)
    hosts = {
        service_name(satellites, node): split_address(address, node)
        for node, address in elsewhere.items()
        if node != SUPERLINK
    }
    placed = {name: names[0] for name, names in hosts.items()}
    if SUPERLINK in elsewhere:
        placed |= dict.fromkeys(servers, split_address(elsewhere[SUPERLINK])[0])
    files: dict[str, dict[str, Any]] = {}
    for place in sorted(set(placed.values())):
        services = {}
        for name in (name for name in whole["services"] if placed.get(name) == place):
            service = copy.deepcopy(whole["services"][name])
            after = {k: v for k, v in service.get("depends_on", {}).items() if placed.get(k) == place}
            service["depends_on"] = after
            if name in hosts:
                service["ports"] = [f"{hosts[name][1]}:{hosts[name][1]}"]
            if SUPERLINK in elsewhere and placed.get(GATEWAY) != place:
                gateway = f"{GATEWAY}:{FLEET_PORT}"
                words = [elsewhere[SUPERLINK] if word == gateway else word for word in service["command"]]
                service["command"] = words
            if not after:
                del service["depends_on"]
            services[name] = service
        files[_FILE_NAME.sub("_", place)] = {"services": services, "networks": whole["networks"]}
    return files


def _superlink_command() -> list[str]:
    options = ("--isolation", "process", "--host", "0.0.0.0")
    return ["flower-superlink", *options, *superlink_options(NODE)]


def _node(host: Host, node: str, command: list[str], after: list[str], *, mem_limit: str) -> dict[str, Any]:
    """A relay and, beside it, what takes part in Flower."""
    return _service(
        ["python", "-m", "relay", f"{NODE}/relay.json", *command],
        volumes=[f"{host.nodes[node]}:{NODE}", *(f"{path}:{path}:ro" for path in host.readable)],
        environment=dict(host.environment),
        depends_on={name: {"condition": "service_healthy"} for name in after},
        healthcheck=_healthcheck(["python", "-m", "relay.operation.health", f"{NODE}/relay.json"]),
        mem_limit=mem_limit,
    )


def _service(command: list[str], **settings: Any) -> dict[str, Any]:
    user = os.getuid() or USER  # whoever starts it owns what it writes, unless that is root
    return {
        "image": IMAGE,
        "command": [word.replace("$", "$$") for word in command],
        "user": f"{user}:{os.getgid() if user != USER else USER}",
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp", f"/home/skysplit:uid={user},mode=1777"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": 512,
        **settings,
    }


def _listens() -> dict[str, Any]:
    code = f"import socket; socket.create_connection(('127.0.0.1', {FLEET_PORT}), 2)"
    return _healthcheck(["python", "-c", code])


def _healthcheck(command: list[str]) -> dict[str, Any]:
    # Each check starts a Python: nine of them every few seconds would take half of a small machine from the mission.
    return {"test": ["CMD", *command], "interval": "20s", "timeout": "10s", "retries": 12}
