"""A scenario as processes on this machine: SuperLink, SuperNodes and relays, tensors going from relay to relay."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mission.briefing import GROUND
from mission.orbits import constellation_of, contact_plan_of
from mission.schema import Scenario
from skysplit.flower_run import SuperLink, flower_environment, run_app, superlink
from skysplit.node_folders import write_node_folders
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
    constellation = constellation_of(scenario)
    on_progress({"phase": "contact plan"})
    contact_plan_of(scenario, constellation)
    satellites = constellation.names
    on_progress({"phase": "starting nodes"})
    # A socket file's path must be short, so the nodes do not live in the run directory.
    with tempfile.TemporaryDirectory(prefix="skysplit-") as folder, superlink(directory / "logs") as link:
        relays = _start_relays(link.processes, Path(folder), satellites)
        _start_supernodes(link, relays, satellites)
        told = {**run_config, "relay": str(relays[GROUND])}
        return run_app(link, told, directory, on_progress)["result"]


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


def _start_supernodes(link: SuperLink, relays: Mapping[str, Path], satellites: tuple[str, ...]) -> None:
    for index, (name, port) in enumerate(zip(satellites, free_ports(len(satellites)), strict=True)):
        home = relays[name].parent / "flower"
        home.mkdir()
        node_config = (
            f"partition-id={index} num-partitions={len(satellites)} relay={json.dumps(str(relays[name]))}"
        )
        command = ["flower-supernode", "--insecure", "--superlink", link.address, "--port", str(port)]
        environment = flower_environment(home) | {"OMP_NUM_THREADS": "1"}
        link.processes.start(f"supernode-{name}", [*command, "--node-config", node_config], environment)
