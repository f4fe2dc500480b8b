"""The nodes of a mission as systemd units, for machines without containers: a unit per node, any number on a machine.

Flower's commands exit with 0 when they are told to end and with 1 for every error: what fails is started again until it
has failed twenty times within ten minutes, and what is stopped stays stopped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mission.run_config import GROUND
from skysplit.deployment.certs import GATEWAY, REGISTRATION, SUPERLINK
from skysplit.deployment.compose import CONTROL_PORT, service_name
from skysplit.deployment.node_folders import (
    RELAY_FILE,
    gateway_command,
    superexec_command,
    superlink_options,
    supernode_command,
)

_STATE = "/var/lib/skysplit"  # where a node's folder is copied to, under the name of its service
_PROGRAMS = "/opt/skysplit/bin"  # of the virtual environment
# First loopback port of the SuperNodes' APIs for their own ClientApps; each SuperNode takes the next one.
_RUNTIME_PORT = 21000
_SAFE = re.compile(r"[\w@+=:,./-]+")


def units(satellites: tuple[str, ...], gateway: str, fleet_port: int) -> dict[str, str]:
    """Return the text of every unit by its file name.

    Args:
        satellites: Their names.
        gateway: ``host:port`` at which satellites reach the gateway.
        fleet_port: On which it listens.
    """
    control = f"127.0.0.1:{CONTROL_PORT}"
    home = f"{_STATE}/{SUPERLINK}"
    listens = [
        *("flower-superlink", "--isolation", "process", "--host", "127.0.0.1", "--port", str(CONTROL_PORT)),
        *superlink_options(home),
        *("--database", f"{home}/superlink.db"),
    ]
    commands: dict[str, list[str]] = {
        SUPERLINK: listens,
        GATEWAY: gateway_command(f"{_STATE}/{GATEWAY}", control, fleet_port),
        GROUND: _beside_relay(GROUND, superexec_command(f"{_STATE}/{GROUND}", control)),
    }
    for index, satellite in enumerate(satellites):
        name = service_name(satellites, satellite)
        supernode = supernode_command(f"{_STATE}/{name}", gateway, index, len(satellites))
        # On Flower's default port only one SuperNode per machine could start.
        commands[name] = _beside_relay(name, [*supernode, "--port", str(_RUNTIME_PORT + index)])
    after = {GATEWAY: [SUPERLINK], GROUND: [SUPERLINK], REGISTRATION: [SUPERLINK]}
    services = {
        unit_name(name): _service(name, words, after.get(name, [])) for name, words in commands.items()
    }
    words = [
        *("python", "-m", "skysplit.launch.registration"),
        *("--folder", f"{_STATE}/{REGISTRATION}", "--superlink", control),
    ]
    return services | {unit_name(REGISTRATION): _job(REGISTRATION, words, after[REGISTRATION])}


def unit_name(node: str) -> str:
    """Return the file name of a node's unit, by the name of its service."""
    return f"skysplit-{node}.service"


def _beside_relay(name: str, command: list[str]) -> list[str]:
    return ["python", "-m", "relay", f"{_STATE}/{name}/{RELAY_FILE}", *command]


def _service(name: str, words: list[str], after: list[str]) -> str:
    restarts = {"Restart": "on-failure", "RestartSec": "5"}
    return _unit(name, words, after, {"Type": "exec", **restarts, "TimeoutStopSec": "30"})


def _job(name: str, words: list[str], after: list[str]) -> str:
    return _unit(name, words, after, {"Type": "oneshot", "RemainAfterExit": "yes"})


def _unit(name: str, words: list[str], after: list[str], service: Mapping[str, str]) -> str:
    others = " ".join(map(unit_name, after))
    lines = [
        "[Unit]",
        f"Description=SkySplit: {name}",
        "Wants=network-online.target",
        f"After=network-online.target {others}".rstrip(),
        *([f"Requires={others}"] if others else []),
        "StartLimitIntervalSec=600",
        "StartLimitBurst=20",
        "",
        "[Service]",
        *(f"{key}={value}" for key, value in service.items()),
        "User=skysplit",
        f"StateDirectory=skysplit/{name}",
        "StateDirectoryMode=0700",
        f"WorkingDirectory={_STATE}/{name}",
        f"Environment=PATH={_PROGRAMS}:/usr/bin:/bin HOME={_STATE}/{name} FLWR_HOME={_STATE}/{name}/flower",
        "Environment=FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1",
        f"ExecStart={' '.join([f'{_PROGRAMS}/{words[0]}', *map(quoted, words[1:])])}",
        "LimitNOFILE=65536",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def quoted(word: str) -> str:
    """Return a word of a command line as ``systemd.service(5)`` reads it back."""
    escaped = word.replace("%", "%%").replace("$", "$$")
    if _SAFE.fullmatch(word):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'
