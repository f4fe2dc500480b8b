"""All that a mission needs on other machines: a folder per node, a Compose file, a kustomize base."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from mission.orbits import constellation_of
from mission.schema import Scenario
from skysplit.deployment.addresses import split_address
from skysplit.deployment.certs import GATEWAY, REGISTRATION, SUPERLINK, SUPERNODE_PUBLIC_KEY
from skysplit.deployment.compose import (
    CONTROL_PORT,
    FLEET_PORT,
    USER,
    Host,
    addresses_of,
    compose_file,
    compose_files_by_host,
    give_away,
    named_by,
    registration_overlay,
    service_name,
    state_overlay,
)
from skysplit.deployment.kubernetes import kustomization, manifests, registration_job
from skysplit.deployment.node_folders import write_node_folders
from skysplit.deployment.systemd import units


def write_deployment(
    scenario: Scenario,
    out: Path,
    elsewhere: Mapping[str, str],
    on_change: Callable[[str], None] = lambda sentence: None,
) -> tuple[str, ...]:
    """Write the deployment of a scenario and return the names of its satellites.

    Args:
        scenario: The resolved scenario.
        out: Made if needed; credentials that are there already are kept.
        elsewhere: ``host:port`` of relays that are not reached by their Compose or Kubernetes service, and
            under the name ``superlink`` where satellites reach the gateway before the SuperLink.
        on_change: Called with a sentence on each thing that has changed for others since an earlier deployment.

    Raises:
        ValueError: ``elsewhere`` names no node of the mission, or what is no ``host:port``.
    """
    satellites = constellation_of(scenario).names
    addresses = addresses_of(satellites)
    for node, address in elsewhere.items():
        split_address(address, node)
    fleet_port = split_address(elsewhere[SUPERLINK])[1] if SUPERLINK in elsewhere else FLEET_PORT
    unknown = elsewhere.keys() - addresses.keys() - {SUPERLINK}
    if unknown:
        raise ValueError(f"found {', '.join(sorted(unknown))}; allowed: {SUPERLINK}, {', '.join(addresses)}")
    out = out.resolve()
    hosts = ["localhost", "127.0.0.1", "::1"]
    if SUPERLINK in elsewhere:
        hosts.append(split_address(elsewhere[SUPERLINK])[0])
    relays = {**addresses, **{node: address for node, address in elsewhere.items() if node != SUPERLINK}}
    folders = write_node_folders(
        out, satellites, relays, listen="::", superlink_hosts=hosts, on_change=on_change
    )
    for folder in ("runs", "state"):
        (out / folder).mkdir(exist_ok=True)
    readable, environment = named_by(scenario)
    host = Host(
        folders,
        out / SUPERLINK,
        run_directory=out / "runs",
        superlink_port=CONTROL_PORT,
        gateway=out / GATEWAY,
        fleet_port=fleet_port,
        readable=readable,
        environment=environment,
    )
    if os.getuid() == 0:  # containers do not run as root, and keys are for their owner only
        give_away([*folders.values(), out / SUPERLINK, out / GATEWAY, out / "runs", out / "state"], USER)
    collect_public_keys(
        out / REGISTRATION,
        out / "ca.crt",
        {service_name(satellites, name): folders[name] / SUPERNODE_PUBLIC_KEY for name in satellites},
    )
    _write_files(out, satellites, host, elsewhere)
    return satellites


def _write_files(out: Path, satellites: tuple[str, ...], host: Host, elsewhere: Mapping[str, str]) -> None:
    """Write what Compose, systemd, Kubernetes and Flower read."""
    _write(out / "compose.yaml", yaml.safe_dump(compose_file(satellites, host), sort_keys=False))
    _write(out / "compose.state.yaml", yaml.safe_dump(state_overlay(out / "state"), sort_keys=False))
    overlay = registration_overlay(satellites, out / REGISTRATION)
    _write(out / "compose.register.yaml", yaml.safe_dump(overlay, sort_keys=False))
    per_host = compose_files_by_host(satellites, host, elsewhere)
    for name, services in per_host.items():
        _write(out / f"compose.{name}.yaml", yaml.safe_dump(services, sort_keys=False))
    (out / "systemd").mkdir(exist_ok=True)
    gateway = elsewhere.get(SUPERLINK, f"127.0.0.1:{host.fleet_port}")
    for name, text in units(satellites, gateway, host.fleet_port).items():
        _write(out / "systemd" / name, text)
    _write(out / "kubernetes.yaml", yaml.safe_dump_all(manifests(satellites), sort_keys=False))
    _write(out / "registration.yaml", yaml.safe_dump(registration_job(), sort_keys=False))
    base = kustomization(satellites, host.nodes, out)
    _write(out / "kustomization.yaml", yaml.safe_dump(base, sort_keys=False))
    _write(
        out / "config.toml",
        f'[superlink]\ndefault = "{SUPERLINK}"\n\n[superlink.{SUPERLINK}]\n'
        f'address = "127.0.0.1:{CONTROL_PORT}"\n'
        f"root-certificates = {json.dumps(str(out / 'ca.crt'))}\n",
    )


def collect_public_keys(folder: Path, authority: Path, public_keys: dict[str, Path]) -> None:
    """Write the folder: the authority's certificate, and the satellites' public keys by name."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.pub"):
        old.unlink()
    shutil.copy(authority, folder / "ca.crt")
    for name, key in public_keys.items():
        shutil.copy(key, folder / f"{name}.pub")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
