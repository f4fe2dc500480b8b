"""A scenario as a simulated Flower run: what to tell `flwr run`, and how many satellites compute at once."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mission.schema import Scenario
from skysplit.launch.flower_run import RayNotStarted, has_begun, run_app, run_so_far, start_superlink
from skysplit.launch.processes import Processes
from skysplit.launch.satellites import satellites_of

# A satellite's process with torch and transformers loaded takes about so much memory that it shares with no other.
_PROCESS_BYTES = 700e6
# Of a run so short a process costs more than it saves: 13 s of CPU time until it has imported what it needs, where a
# satellite that is suspended and resumed takes 0.1 s. Rounds times local epochs.
_SHORT_EPOCHS = 10
_CLUSTER_S = 5.0
_STARTS = 3  # attempts: Ray gives its agents 15 s to start, which a busy machine can exceed
_SOCKET_PATH_BYTES = 107  # on Linux; Ray refuses longer ones
_RAY_SOCKET_BYTES = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")


def simulate(
    scenario: Scenario,
    run_config: Mapping[str, Any],
    directory: Path,
    max_concurrency: int | None,
    on_progress: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Run a scenario under Flower's simulation and return the ``result`` of its ``run.json``.

    Args:
        scenario: The resolved scenario.
        run_config: What Flower is told, see ``[tool.flwr.app.config]``: the scenario's file, or a run to resume.
        directory: The run directory.
        max_concurrency: Satellites that compute at the same time; ``None`` chooses.
        on_progress: Called with ``run.json`` as it changes.

    Raises:
        ValueError: More at once than Flower serves.
        skysplit.launch.flower_run.FlowerRunError: The run failed.
        skysplit.launch.processes.ProcessError: The SuperLink did not start, or was lost.
    """
    if max_concurrency is not None and not 1 <= max_concurrency <= _most_served():
        raise ValueError(
            f"satellites at once: found {max_concurrency}, allowed is 1 to {_most_served()}; Flower's "
            "simulation serves four more than there are cores, 32 at most"
        )
    satellites = len(satellites_of(scenario, on_progress))
    together = min(satellites, max_concurrency or _chosen_concurrency(scenario))
    nodes = f"num-supernodes={satellites} client-resources-num-cpus=1"
    if not os.environ.get("RAY_ADDRESS"):  # a cluster that runs already has the cores that it has
        nodes += f" init-args-num-cpus={together}"
    config = {**run_config, "max-concurrency": together}
    before, starts = run_so_far(directory), 0
    while True:
        starts += 1
        try:
            with (
                tempfile.TemporaryDirectory(prefix="skysplit-") as logs,
                Processes(Path(logs)) as processes,
            ):
                link = start_superlink(processes, "--simulation")
                return run_app(link, config, directory, on_progress, "--federation-config", nodes)["result"]
        except RayNotStarted:
            if starts == _STARTS or has_begun(run_so_far(directory), before):
                raise
        if not before:
            for name in ("run.json", "plan.jsonl"):  # of an enrolment that Ray's end cut off
                (directory / name).unlink(missing_ok=True)
        on_progress(
            {"phase": "starting Flower again: Ray did not start within its 15 s on this busy machine"}
        )


def require_ray() -> None:
    """Raise ValueError where Ray would look in vain for its cluster, or could not make its sockets."""
    cluster = os.environ.get("RAY_ADDRESS", "")
    host, colon, port = cluster.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CLUSTER_S).close()
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"RAY_ADDRESS: found {cluster}, where nothing answers ({error}); start that cluster, or unset it"
            ) from None
    if not cluster:
        folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
        most = _SOCKET_PATH_BYTES - _RAY_SOCKET_BYTES
        if len(os.fsencode(folder)) > most:
            raise ValueError(
                f"{'RAY_TMPDIR' if os.environ.get('RAY_TMPDIR') else 'TMPDIR'}: found {folder}, too long for the "
                f"paths of Ray's sockets; allowed are {most} bytes"
            )


def most_at_once() -> int:
    """Return the number of satellites that Flower serves at once, limited to half of the free memory."""
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(2, min(_most_served(), int(free_bytes / 2 / _PROCESS_BYTES)))


def _chosen_concurrency(scenario: Scenario) -> int:
    """Return the number of satellites at once where nobody names it: in a short run no more than there are cores."""
    epochs = scenario.training.rounds * scenario.training.local_epochs
    if epochs > _SHORT_EPOCHS:
        return most_at_once()
    return min(most_at_once(), max(2, os.cpu_count() or 1))


def _most_served() -> int:
    """How many satellites Flower serves at once at most: it has a pool of Python's default size for messages."""
    return min(32, (os.cpu_count() or 1) + 4)
