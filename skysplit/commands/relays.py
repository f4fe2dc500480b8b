"""`skysplit relay`, `skysplit status`, `skysplit certs` and `skysplit deploy`."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from mission.run_config import GROUND
from skysplit.commands.arguments import ScenarioArgument, SetOption, TextFormat, fail, read_scenario
from skysplit.deployment.expiry import RENEW, ending
from skysplit.deployment.relay_states import relay_files, relay_states
from skysplit.terminal import Terminal

_REFRESH_S = 1.0


def relay(
    file: Annotated[Path, typer.Argument(help="The relay's configuration, relay.json in a node's folder.")],
    command: Annotated[
        list[str] | None, typer.Argument(help="A command to run beside the relay; both end together.")
    ] = None,
) -> None:
    """Run the relay of one node, a satellite or the ground.

    Example: `skysplit relay nodes/sat-0-00/relay.json flower-supernode --superlink ground.example:8000 …`
    """
    from relay.__main__ import run

    try:
        status = run(file, command or ())
    except (OSError, ValueError, RuntimeError) as error:
        fail(str(error))
    raise typer.Exit(status)


def status(
    where: Annotated[
        Path,
        typer.Argument(help="Directory of an emulated run, a folder of nodes, or the folder of one node."),
    ],
    once: Annotated[
        bool, typer.Option("--once", help="Print the table once instead of keeping it up to date.")
    ] = False,
    output: Annotated[TextFormat, typer.Option("--format", help="JSON is printed once.")] = TextFormat.TABLE,
) -> None:
    """Show the relays on this machine, with links, queues, bytes and mission time.

    Example: `skysplit status runs/emulated`
    """
    files = relay_files(where)
    if not files and (where / "run.json").is_file():
        from mission.record import read_run, record_end

        with contextlib.suppress(OSError):  # of one who may only read it
            record_end(where)
        state = read_run(where)["state"]
        fail(f"{where}: no relays here; the run {'is a simulation' if state == 'running' else f'is {state}'}")
    if not files:
        fail(f"{where}: holds no relay.json; allowed: an emulated run under way, or a folder of nodes")
    if output is TextFormat.JSON:
        print(json.dumps(relay_states(files)))
        return
    for sentence in ending([file.parent for file in files]):
        Terminal(stderr=True).say(f"warning: {sentence}; {RENEW}", style="yellow")
    if once:
        Terminal().print(_table(files))
        return
    with Live(_table(files), console=Terminal(), refresh_per_second=2) as live:
        while True:
            time.sleep(_REFRESH_S)
            live.update(_table(files))


def _table(files: list[Path]) -> Table:
    table = Table(
        "node",
        "mission time, s",
        "queued",
        "queued, MB",
        "received, MB",
        "taken",
        "sent, MB",
        "links",
        "last_error",
    )
    for state in relay_states(files):
        if not state["answers"]:
            table.add_row(state["node"], "no answer", style="red")
            continue
        links = state["links"]
        table.add_row(
            state["node"],
            f"{state['mission_s']:.1f}" if state["mission_s"] >= 0 else "before launch",
            str(state["queued_transfers"]),
            f"{state['queued_bytes'] / 1e6:.2f}",
            f"{state['received_bytes'] / 1e6:.2f}",
            str(state["delivered_transfers"]),
            f"{sum(link['sent_bytes'] for link in links) / 1e6:.2f}",
            f"{sum(link['open'] for link in links)} of {len(links)} open",
            ", ".join(f"{link['peer']}: {link['last_error']}" for link in links if link["last_error"]),
        )
    return table


def certs(
    scenario: ScenarioArgument,
    out: Annotated[Path, typer.Option(help="Output folder, for the authority and one folder per node.")],
    settings: SetOption = None,
    superlink: Annotated[
        list[str] | None, typer.Option(help="Host name or address of the SuperLink. Repeatable.")
    ] = None,
    renew: Annotated[
        bool,
        typer.Option(
            "--renew", help="Issue new certificates for the existing keys and hosts, by the newest authority."
        ),
    ] = False,
    new_keys: Annotated[
        bool,
        typer.Option("--new-keys", help="Like --renew, with new keys. SuperNodes must be registered again."),
    ] = False,
    renew_authority: Annotated[
        bool,
        typer.Option(
            "--renew-authority",
            help="Create a new authority and trust it beside the present one; issue no certificate yet.",
        ),
    ] = False,
    revoked: Annotated[
        list[str] | None,
        typer.Option(
            "--revoke", metavar="NODE", help="Revoke the present certificate of a node. Repeatable."
        ),
    ] = None,
) -> None:
    """Make a mission's credentials: an authority, certificates for relays and SuperLink, a key per SuperNode.

    Example: `skysplit certs walker-72 --superlink ground.example --out credentials`
    """
    from mission.orbits import constellation_of
    from relay.wire.identity import node_folder
    from skysplit.deployment.certs import GATEWAY, SUPERLINK, write_credentials

    satellites = constellation_of(read_scenario(scenario, settings)).names
    folders = [*(node_folder(out, node) for node in (*satellites, GROUND)), out / SUPERLINK, out / GATEWAY]
    try:
        if renew_authority or revoked:
            missing = [folder.name for folder in folders if not folder.is_dir()]
            if missing:
                raise ValueError(f"{out} holds no credentials of {missing[0]}; make them first")
            _change_trust(out, folders, renew_authority, revoked or [])
            return
        hosts = superlink or ([] if (out / SUPERLINK).is_dir() else ["localhost", "127.0.0.1"])
        for sentence in write_credentials(out, satellites, GROUND, hosts, renew=renew, new_keys=new_keys):
            print(sentence)
    except (OSError, ValueError) as error:
        fail(str(error))
    print(
        f"{out}: credentials of {len(satellites)} satellites, the ground and the SuperLink; keep ca.key private"
    )


def _change_trust(out: Path, folders: list[Path], new_authority: bool, nodes: list[str]) -> None:
    """Renew the authority or revoke certificates, and say what to do next."""
    from relay.wire.certificates import renew_authority, revoke
    from relay.wire.identity import REVOKED

    if new_authority:
        renew_authority(out, folders)
        print(
            f"{out}: a new authority, trusted beside the one before it. Copy ca.crt to every node and operator; "
            "when all have it, run `skysplit certs … --renew` and copy the folders again"
        )
    if nodes:
        revoke(out, nodes, folders)
        print(
            f"{out}: revoked the certificates of {', '.join(nodes)}. Copy {REVOKED} into every node's folder; running "
            "relays follow it. `flwr supernode unregister` shuts their SuperNodes out"
        )


def deploy(
    scenario: ScenarioArgument,
    out: Annotated[Path, typer.Option(help="Output folder; existing credentials in it are kept.")],
    settings: SetOption = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE=HOST:PORT",
            help="Address at which others reach a node or the superlink. Repeatable.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; connect to every address of the deployment from this machine."
        ),
    ] = False,
) -> None:
    """Write one folder per node, Compose files, systemd units and a kustomize base; see docs/tutorial-tls.md.

    Example: `skysplit deploy walker-12 --at superlink=ground.example:8000 --out deployment`

    Use the same command with `--check` when everything runs.
    """
    from skysplit.deployment.deploy import write_deployment

    elsewhere = dict(word.partition("=")[::2] for word in at or [])
    try:
        if check:
            _check(out, elsewhere)
            return
        satellites = write_deployment(read_scenario(scenario, settings), out, elsewhere, print)
    except ValueError as error:
        fail(str(error) if str(error).startswith("constellation") else f"--at: {error}")
    print(f"{out}: {len(satellites)} satellites, the ground and the SuperLink; keep ca.key private")


def _check(out: Path, elsewhere: dict[str, str]) -> None:
    """Dial the addresses of a deployment; exit with 1 where one cannot be reached."""
    from skysplit.deployment.reachability import dial_all

    addresses: dict[str, str] = {}
    for file in sorted(out.glob("*/relay.json")):
        addresses |= json.loads(file.read_text(encoding="utf-8"))["peers"]
    if not addresses:
        fail(f"{out}: holds no deployment; write it first")
    states = dial_all(dict(sorted(addresses.items())) | elsewhere, out / "ca.crt")
    table = Table("node", "address", "answers", "last error")
    for state in states:
        answers = "no" if state.seconds is None else f"{1000 * state.seconds:.0f} ms"
        table.add_row(
            state.node, state.address, answers, state.last_error, style="red" if state.last_error else ""
        )
    Terminal().print(table)
    lost = [state.node for state in states if state.last_error]
    if lost:
        fail(
            f"{len(lost)} of {len(states)} addresses cannot be reached from this machine; the first is {lost[0]}"
        )
