"""A folder per node of an emulation: all that it may know, and the commands that run it from there, anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mission.run_config import GROUND
from relay.node.pre_launch import START_S, pre_launch_network
from relay.wire.identity import node_folder
from skysplit.deployment.certs import SUPERNODE_KEY, write_credentials

RELAY_FILE = "relay.json"
RESTARTS = 20  # of what runs on a satellite; Flower admits no successor of a killed SuperNode for a minute


def write_node_folders(
    directory: Path,
    satellites: Sequence[str],
    addresses: Mapping[str, str],
    *,
    listen: str,
    superlink_hosts: Iterable[str],
    on_change: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Path]:
    """Write the folders of the ground and of all satellites, with credentials that are not there yet.

    Args:
        directory: Where; keeps the authority's key, which no node needs.
        satellites: Their names.
        addresses: ``host:port`` at which others reach each node's relay.
        listen: Address of a node's own that its relay listens on.
        superlink_hosts: Names and addresses by which the SuperLink is dialled.
        on_change: Called with a sentence on each thing that has changed for others.

    Returns:
        Each node's folder.
    """
    nodes = (*satellites, GROUND)
    for sentence in write_credentials(directory, satellites, GROUND, superlink_hosts):
        on_change(sentence)
    network = pre_launch_network(satellites, GROUND).to_json()
    folders = {}
    for node in nodes:
        folder = folders[node] = node_folder(directory, node)
        (folder / "network.json").write_text(network)
        settings = {
            "name": node,
            "network": "network.json",
            "peers": {peer: address for peer, address in addresses.items() if peer != node},
            "folder": "spool",
            "host": listen,
            "port": int(addresses[node].rpartition(":")[2]),
            "identity": ".",
            "time_authority": GROUND,
            "start_s": START_S,
        }
        (folder / RELAY_FILE).write_text(json.dumps(settings, indent=2) + "\n")
    return folders


def superlink_options(folder: str) -> list[str]:
    """Return options of ``flower-superlink`` for the credentials in a folder: TLS, and only SuperNodes that it
    knows."""
    return [
        *("--ssl-ca-certfile", f"{folder}/ca.crt"),
        *("--ssl-certfile", f"{folder}/server.crt"),
        *("--ssl-keyfile", f"{folder}/server.key"),
        "--enable-supernode-auth",
    ]


def gateway_command(folder: str, superlink: str, port: int) -> list[str]:
    """Return the command of the gateway in front of the SuperLink, which satellites connect to."""
    return [
        *("python", "-m", "skysplit.deployment.fleet_gateway", "--folder", folder),
        *("--superlink", superlink, "--port", str(port)),
    ]


def superexec_command(folder: str, superlink: str) -> list[str]:
    """Return the command that runs the ServerApp beside the ground's relay."""
    return ["flower-superexec", "--root-certificates", f"{folder}/ca.crt", "--runtime-api-address", superlink]


def supernode_command(folder: str, superlink: str, index: int, satellites: int) -> list[str]:
    """Return the command that runs the ClientApp beside a satellite's relay."""
    config = {"partition-id": index, "num-partitions": satellites, "relay": f"{folder}/{RELAY_FILE}"}
    return [
        *("flower-supernode", "--superlink", superlink, "--root-certificates", f"{folder}/ca.crt"),
        *("--auth-supernode-private-key", f"{folder}/{SUPERNODE_KEY}"),
        *("--node-config", " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())),
    ]
