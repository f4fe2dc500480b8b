"""Enrolment: a Flower node for every satellite, and what each has on board, before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from mission.run_config import RunConfig

_NODES_TIMEOUT_S = 120.0


class FederationError(RuntimeError):
    """Satellites are missing, cannot train, or failed in a round."""


@dataclass(frozen=True)
class EnrolledClients:
    """The satellites that take part, in the order of the constellation.

    Attributes:
        nodes: Flower node id by satellite name.
        samples: Training images by satellite name.
        labels: How many of them are of each class, by satellite name; where they are not of one class each, of all.
        sensors: How many of them are of each sensor, by satellite name; empty where no column names it.
        target_moments: Number, sums and sums of squares of the targets, by satellite name, where they are numbers.
        no_data: Share of the values of its images that was not measured, by satellite name.
    """

    nodes: Mapping[str, int]
    samples: Mapping[str, int]
    _: KW_ONLY
    labels: Mapping[str, Sequence[int]]
    no_data: Mapping[str, float]
    sensors: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    target_moments: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def names(self) -> dict[int, str]:
        """Satellite by Flower node id."""
        return {node: name for name, node in self.nodes.items()}


def enrol(grid: Grid, run_config: RunConfig, *, timeout_s: float = 600.0) -> EnrolledClients:
    """Find a node for every satellite and have each check its images and model.

    Args:
        grid: Flower's nodes.
        run_config: Sent to every node.
        timeout_s: For the answers.

    Raises:
        FederationError: Too few nodes, two nodes for one satellite, a node that is registered as another satellite, or
            a satellite that cannot train; the first such satellite is named with its reason.
    """
    nodes, answers = _ask(grid, run_config, "enrolment", timeout_s)
    return EnrolledClients(
        nodes=nodes,
        samples={name: sum(answer["labels"]) for name, answer in answers.items()},
        labels={name: answer["labels"] for name, answer in answers.items()},
        no_data={name: answer["no-data"] for name, answer in answers.items()},
        sensors={
            name: dict(zip(answer["sensors"], answer["sensor-images"], strict=True))
            for name, answer in answers.items()
        },
        target_moments={
            name: answer["target-moments"] for name, answer in answers.items() if "target-moments" in answer
        },
    )


def band_statistics(grid: Grid, run_config: RunConfig, *, timeout_s: float = 600.0) -> list[list[float]]:
    """Have every satellite compute count, mean and sum of squares of the bands of its own images.

    Args:
        grid: Flower's nodes.
        run_config: Sent to every node.
        timeout_s: For the answers.

    Returns:
        Of each satellite, in the order of the constellation, as ``splitmodel.imagery.statistics`` writes them.

    Raises:
        FederationError: As :func:`enrol`.
    """
    _, answers = _ask(grid, run_config, "statistics", timeout_s)
    return [list(answer["bands"]) for answer in answers.values()]


def _ask(
    grid: Grid, run_config: RunConfig, question: str, timeout_s: float
) -> tuple[dict[str, int], dict[str, Any]]:
    """Ask every satellite; nodes and answers by satellite, in the order of the constellation."""
    satellites = run_config.satellites
    content = RecordDict({"config": ConfigRecord(run_config.to_config())})
    registered = _wait_for_nodes(grid, satellites)
    messages = [Message(content, node, f"{MessageType.QUERY}.{question}") for node in registered]
    replies = list(grid.send_and_receive(messages, timeout=timeout_s))
    nodes: dict[str, int] = {}
    answers: dict[str, ConfigRecord] = {}
    for reply in replies:
        if reply.has_error():
            raise FederationError(f"a satellite could not be asked for its data: {reply.error.reason}")
        answer = reply.content.config_records["config"]
        if answer.get("spare", False):
            continue
        name = satellites[int(answer["satellite"])]  # type: ignore[arg-type]
        own_name = registered[reply.metadata.src_node_id]
        if own_name in satellites and own_name != name:
            raise FederationError(
                f"the SuperNode that is registered as {own_name} has the partition-id of {name}; allowed: its own, "
                f"{satellites.index(own_name)}"
            )
        if "error" in answer:
            raise FederationError(f"{name} cannot train: {answer['error']!s}")
        if name in nodes:
            raise FederationError(f"two nodes have the partition-id of {name}")
        nodes[name], answers[name] = reply.metadata.src_node_id, answer
    missing = [name for name in satellites if name not in nodes]
    if missing:
        raise FederationError(
            f"no answer from {len(missing)} of {len(satellites)} satellites within {timeout_s:g} s "
            f"(training.enrolment_timeout_s), the first is {missing[0]}"
        )
    return {name: nodes[name] for name in satellites}, {name: answers[name] for name in satellites}


def _wait_for_nodes(grid: Grid, satellites: Sequence[str]) -> dict[int, str]:
    """Return the name that each node is registered under, "" without one, once there are enough of them."""
    deadline = time.monotonic() + _NODES_TIMEOUT_S
    while True:
        registered = {node.node_id: node.name for node in grid.get_nodes()}
        if len(registered) >= len(satellites):
            return dict(sorted(registered.items()))
        if time.monotonic() > deadline:
            raise FederationError(_too_few(satellites, list(registered.values())))
        time.sleep(0.5)


def _too_few(satellites: Sequence[str], registered: Sequence[str]) -> str:
    wanted, count = len(satellites), len(registered)
    missing = [name for name in satellites if name not in registered]
    if len(missing) + count == wanted:  # each node is registered under the name of its satellite
        return f"the scenario has {wanted} satellites, Flower has nodes of {count}; without one: {', '.join(missing)}"
    return (
        f"the scenario has {wanted} satellites, Flower has {count} nodes; allowed: at least one node a satellite, e.g. "
        f'--federation-config "num-supernodes={wanted} client-resources-num-cpus=1"'
    )
