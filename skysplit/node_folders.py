"""A folder per node of an emulation: all that its relay and its application may know, ready to run anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mission.briefing import GROUND
from relay.bench import START_S, bench_network
from relay.identity import node_folder, write_certificates

RELAY_FILE = "relay.json"


def write_node_folders(
    directory: Path, satellites: Sequence[str], addresses: Mapping[str, str], *, listen: str
) -> dict[str, Path]:
    """Write the folders of the ground and of all satellites, with certificates under one authority.

    Args:
        directory: Where; keeps the authority's key, which no node needs.
        satellites: Their names.
        addresses: ``host:port`` at which others reach each node's relay.
        listen: Address of a node's own that its relay listens on.

    Returns:
        Each node's relay file.
    """
    nodes = (*satellites, GROUND)
    write_certificates(directory, nodes)
    network = bench_network(satellites, GROUND).to_json()
    files = {}
    for node in nodes:
        folder = node_folder(directory, node)
        (folder / "network.json").write_text(network)
        told = {
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
        files[node] = folder / RELAY_FILE
        files[node].write_text(json.dumps(told, indent=2) + "\n")
    return files
