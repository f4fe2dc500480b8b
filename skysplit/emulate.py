"""A scenario as processes or containers: SuperLink, SuperNodes and relays, tensors going from relay to relay."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import server_app
from mission.briefing import GROUND
from mission.orbits import constellation_of, contact_plan_of
from mission.schema import Scenario
from skysplit.compose import NODE, USER, Host, addresses_of, compose_file, named_by
from skysplit.containers import Containers, build_image
from skysplit.flower_run import SuperLink, flower_environment, run_app, superlink
from skysplit.node_folders import RELAY_FILE, write_node_folders
from skysplit.processes import Processes, free_ports


def emulate_in_processes(
    scenario: Scenario,
    run_config: Mapping[str, Any],
    directory: Path,
    on_progress: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Run a scenario in real time over real relays and return the ``result`` of its ``run.json``.

    Args:
        scenario: The resolved scenario.
        run_config: What Flower is told, see ``[tool.flwr.app.config]``: the scenario's file, or a run to resume.
        directory: The run directory; the logs of all processes go to ``logs`` in it.
        on_progress: Called with ``run.json`` as it changes.

    Raises:
        skysplit.flower_run.FlowerRunError: The run failed.
        skysplit.processes.ProcessError: A relay or a SuperNode ended.
    """
    satellites = _satellites(scenario, on_progress)
    on_progress({"phase": "starting nodes"})
    # A socket file's path must be short, so the nodes do not live in the run directory.
    with (
        tempfile.TemporaryDirectory(prefix="skysplit-") as folder,
        Processes(directory / "logs") as processes,
        superlink(processes) as link,
    ):
        relays = _start_relays(processes, Path(folder), satellites)
        _start_supernodes(processes, link, relays, satellites)
        told = {**run_config, "relay": str(relays[GROUND])}
        return run_app(link, told, directory, on_progress)["result"]


def emulate_in_containers(
    scenario: Scenario,
    run_config: Mapping[str, Any],
    directory: Path,
    on_progress: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """The same with a container for each node, by Docker Compose; see :func:`emulate_in_processes`.

    Raises:
        skysplit.flower_run.FlowerRunError: The run failed.
        skysplit.containers.ContainerError: There is no Docker here, or a container ended.
    """
    satellites = _satellites(scenario, on_progress)
    on_progress({"phase": "building the image"})
    build_image(Path(server_app.__file__).resolve().parent.parent)
    on_progress({"phase": "starting containers"})
    with tempfile.TemporaryDirectory(prefix="skysplit-") as folder, tempfile.TemporaryDirectory() as home:
        files = write_node_folders(Path(folder), satellites, addresses_of(satellites), listen="0.0.0.0")
        directory.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            _give_away([*(file.parent for file in files.values()), directory], USER)
        [port] = free_ports(1)
        paths, variables = named_by(scenario)
        paths += tuple(Path(run_config[key]) for key in ("scenario",) if key in run_config)
        nodes = {node: file.parent for node, file in files.items()}
        host = Host(nodes, directory, port, paths, variables)
        with Containers(Path(folder), compose_file(satellites, host), directory / "logs") as containers:
            link = SuperLink.at(port, Path(home), containers)
            told = {**run_config, "relay": f"{NODE}/{RELAY_FILE}"}
            return run_app(link, told, directory, on_progress)["result"]


def _satellites(scenario: Scenario, on_progress: Callable[[Mapping[str, Any]], None]) -> tuple[str, ...]:
    """The scenario's satellites; that they have contacts is found out before anything is started."""
    constellation = constellation_of(scenario)
    on_progress({"phase": "contact plan"})
    contact_plan_of(scenario, constellation)
    return constellation.names


def _give_away(folders: Sequence[Path], user: int) -> None:
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user)


def _start_relays(processes: Processes, folder: Path, satellites: tuple[str, ...]) -> dict[str, Path]:
    nodes = (*satellites, GROUND)
    ports = dict(zip(nodes, free_ports(len(nodes)), strict=True))
    addresses = {node: f"127.0.0.1:{port}" for node, port in ports.items()}
    files = write_node_folders(folder, satellites, addresses, listen="127.0.0.1")
    environment = flower_environment(folder)
    for node, file in files.items():
        processes.start(f"relay-{node}", [sys.executable, "-m", "relay", str(file)], environment)
    for node, port in ports.items():
        processes.wait_until_listening(f"relay-{node}", port)
    return files


def _start_supernodes(
    processes: Processes, link: SuperLink, relays: Mapping[str, Path], satellites: tuple[str, ...]
) -> None:
    for index, (name, port) in enumerate(zip(satellites, free_ports(len(satellites)), strict=True)):
        home = relays[name].parent / "flower"
        home.mkdir()
        node_config = (
            f"partition-id={index} num-partitions={len(satellites)} relay={json.dumps(str(relays[name]))}"
        )
        command = ["flower-supernode", "--insecure", "--superlink", link.address, "--port", str(port)]
        environment = flower_environment(home) | {"OMP_NUM_THREADS": "1"}
        processes.start(f"supernode-{name}", [*command, "--node-config", node_config], environment)
