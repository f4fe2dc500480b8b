"""A scenario as processes or containers: SuperLink, SuperNodes and relays, tensors going from relay to relay."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import server_app
from mission.run_config import GROUND
from mission.schema import Scenario
from relay.wire.identity import node_folder
from relay.wire.service import SOCKET
from skysplit.deployment.certs import GATEWAY, SUPERLINK, SUPERNODE_PUBLIC_KEY
from skysplit.deployment.compose import NODE, USER, Host, addresses_of, compose_file, give_away, named_by
from skysplit.deployment.node_folders import (
    RELAY_FILE,
    RESTARTS,
    superlink_options,
    supernode_command,
    write_node_folders,
)
from skysplit.launch.containers import Containers, build_image
from skysplit.launch.flower_run import (
    SuperLink,
    flower_environment,
    register_supernodes,
    run_app,
    start_superlink,
)
from skysplit.launch.processes import Processes, free_ports
from skysplit.launch.satellites import satellites_of

_LOOPBACK = "127.0.0.1"
_SOCKET_PATH_BYTES = 107  # on Linux


def emulate_in_processes(
    scenario: Scenario,
    run_config: Mapping[str, Any],
    directory: Path,
    on_progress: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Run a scenario over real relays and return the ``result`` of its ``run.json``.

    Args:
        scenario: The resolved scenario.
        run_config: What Flower is told, see ``[tool.flwr.app.config]``: the scenario's file, or a run to resume.
        directory: The run directory; the logs of all processes go to ``logs`` in it.
        on_progress: Called with ``run.json`` as it changes.

    Raises:
        skysplit.launch.flower_run.FlowerRunError: The run failed.
        skysplit.launch.processes.ProcessError: A relay or a SuperNode ended.
    """
    satellites = satellites_of(scenario, on_progress)
    on_progress({"phase": "starting nodes"})
    nodes = (*satellites, GROUND)
    ports = dict(zip(nodes, free_ports(len(nodes)), strict=True))
    with node_folders(directory, nodes) as base, Processes(directory / "logs") as processes:
        processes.launch.remove_if_killed(base)
        addresses = {node: f"{_LOOPBACK}:{port}" for node, port in ports.items()}
        folders = write_node_folders(
            base, satellites, addresses, listen=_LOOPBACK, superlink_hosts=["localhost", _LOOPBACK]
        )
        start_relays(processes, folders, ports)
        secured = superlink_options(str(base / SUPERLINK))
        link = start_superlink(processes, *secured, authority=base / "ca.crt")
        _start_supernodes(processes, link, {name: folders[name] for name in satellites})
        config = {**run_config, "relay": str(folders[GROUND] / RELAY_FILE)}
        return run_app(link, config, directory, on_progress)["result"]


def emulate_in_containers(
    scenario: Scenario,
    run_config: Mapping[str, Any],
    directory: Path,
    on_progress: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """The same with a container for each node, by Docker Compose; see :func:`emulate_in_processes`.

    Raises:
        skysplit.launch.flower_run.FlowerRunError: The run failed.
        skysplit.launch.containers.ContainerError: There is no Docker here, or a container ended.
    """
    satellites = satellites_of(scenario, on_progress)
    on_progress({"phase": "building the image"})
    build_image(Path(server_app.__file__).resolve().parent.parent)
    on_progress({"phase": "starting containers"})
    with node_folders(directory, (*satellites, GROUND)) as base, tempfile.TemporaryDirectory() as home:
        hosts = ["superlink", "localhost", _LOOPBACK]
        nodes = write_node_folders(
            base, satellites, addresses_of(satellites), listen="0.0.0.0", superlink_hosts=hosts
        )
        if os.getuid() == 0:
            give_away([*nodes.values(), base / SUPERLINK, base / GATEWAY, directory], USER)
        [port] = free_ports(1)
        paths, variables = named_by(scenario)
        paths += tuple(Path(run_config[key]) for key in ("scenario",) if key in run_config)
        host = Host(
            nodes,
            base / SUPERLINK,
            run_directory=directory,
            superlink_port=port,
            gateway=base / GATEWAY,
            fleet_port=0,
            readable=paths,
            environment=variables,
        )
        with Containers(base, compose_file(satellites, host), logs=directory / "logs") as containers:
            link = SuperLink.at(port, Path(home), containers, base / "ca.crt")
            containers.start(SUPERLINK)
            register_supernodes(link, [nodes[name] / SUPERNODE_PUBLIC_KEY for name in satellites])
            containers.start()
            config = {**run_config, "relay": f"{NODE}/{RELAY_FILE}"}
            return run_app(link, config, directory, on_progress)["result"]


@contextlib.contextmanager
def node_folders(directory: Path, nodes: Iterable[str]) -> Iterator[Path]:
    """A folder for the nodes as long as the block lasts, which the run directory points to for `skysplit status`.

    It is not in there because a socket file's path must be short.
    """
    directory.mkdir(parents=True, exist_ok=True)
    pointer = directory / "nodes"
    pointer.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="skysplit-") as folder:
        longest = max((str(node_folder(Path(folder), node) / "spool" / SOCKET) for node in nodes), key=len)
        if len(os.fsencode(longest)) > _SOCKET_PATH_BYTES:
            raise ValueError(
                f"TMPDIR: found {tempfile.gettempdir()}, too long for the path of a relay's socket: {longest} has "
                f"{len(os.fsencode(longest))} bytes, allowed are {_SOCKET_PATH_BYTES}"
            )
        pointer.symlink_to(folder)
        try:
            yield Path(folder)
        finally:
            pointer.unlink(missing_ok=True)


def start_relays(processes: Processes, folders: Mapping[str, Path], ports: Mapping[str, int]) -> None:
    """Start the relay of each node from its folder, and wait until all listen."""
    for node, folder in folders.items():
        command = [sys.executable, "-m", "relay", str(folder / RELAY_FILE)]
        # With the ground's relay the round's timetable is lost.
        processes.start(f"relay-{node}", command, os.environ, restarts=0 if node == GROUND else RESTARTS)
    for node, port in ports.items():
        processes.wait_until_listening(f"relay-{node}", port)


def _start_supernodes(processes: Processes, link: SuperLink, folders: Mapping[str, Path]) -> None:
    register_supernodes(link, [folder / SUPERNODE_PUBLIC_KEY for folder in folders.values()])
    ports = free_ports(len(folders))  # of the API for their own ClientApps
    for index, (name, folder) in enumerate(folders.items()):
        home = folder / "flower"
        home.mkdir()
        command = supernode_command(str(folder), link.address, index, len(folders))
        environment = flower_environment(home) | {"OMP_NUM_THREADS": "1"}
        command += ["--port", str(ports[index])]
        processes.start(f"supernode-{name}", command, environment, restarts=RESTARTS)
