"""All that a mission needs on other machines: a folder per node, a Compose file, a kustomize base."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from mission.orbits import constellation_of
from mission.schema import Scenario
from skysplit.certs import SUPERLINK
from skysplit.compose import FLEET_PORT, Host, addresses_of, compose_file, named_by, state_overlay
from skysplit.kubernetes import kustomization, manifests
from skysplit.node_folders import write_node_folders


def write_deployment(scenario: Scenario, out: Path, elsewhere: Mapping[str, str]) -> tuple[str, ...]:
    """Write the deployment of a scenario and return the names of its satellites.

    Args:
        scenario: The resolved scenario.
        out: Made if needed; credentials that are there already are kept.
        elsewhere: ``host:port`` of relays that are not reached by their Compose or Kubernetes service, and
            under the name ``superlink`` the host by which the SuperLink is dialled besides.

    Raises:
        ValueError: ``elsewhere`` names no node of the mission.
    """
    satellites = constellation_of(scenario).names
    addresses = addresses_of(satellites)
    unknown = elsewhere.keys() - addresses.keys() - {SUPERLINK}
    if unknown:
        raise ValueError(f"found {', '.join(sorted(unknown))}; allowed: {SUPERLINK}, {', '.join(addresses)}")
    out = out.resolve()
    hosts = [SUPERLINK, "localhost", "127.0.0.1"]
    if SUPERLINK in elsewhere:
        hosts.append(elsewhere[SUPERLINK].partition(":")[0])
    relays = {**addresses, **{node: address for node, address in elsewhere.items() if node != SUPERLINK}}
    folders = write_node_folders(out, satellites, relays, listen="0.0.0.0", superlink_hosts=hosts)
    for folder in ("runs", "state"):
        (out / folder).mkdir(exist_ok=True)
    readable, environment = named_by(scenario)
    host = Host(folders, out / SUPERLINK, out / "runs", FLEET_PORT, readable, environment)
    _write(out / "compose.yaml", yaml.safe_dump(compose_file(satellites, host), sort_keys=False))
    _write(out / "compose.state.yaml", yaml.safe_dump(state_overlay(out / "state"), sort_keys=False))
    _write(out / "kubernetes.yaml", yaml.safe_dump_all(manifests(satellites), sort_keys=False))
    base = kustomization(satellites, folders, out)
    _write(out / "kustomization.yaml", yaml.safe_dump(base, sort_keys=False))
    _write(
        out / "config.toml",
        f'[superlink]\ndefault = "{SUPERLINK}"\n\n[superlink.{SUPERLINK}]\n'
        f'address = "{elsewhere.get(SUPERLINK, f"127.0.0.1:{FLEET_PORT}")}"\n'
        f"root-certificates = {json.dumps(str(out / 'ca.crt'))}\n",
    )
    return satellites


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
