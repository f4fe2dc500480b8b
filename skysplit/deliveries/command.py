"""`skysplit deliver`: the upload of a run's trained weights to each satellite."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from mission.text.quantities import spoken_bytes, spoken_time
from skysplit.commands.arguments import TextFormat, fail
from skysplit.commands.arguments import deliver as print_or_write
from skysplit.deliveries.planned import Content, PlannedDelivery, planned_delivery
from skysplit.terminal import Terminal, busy


def deliver(
    run: Annotated[Path, typer.Argument(help="Directory of a completed run.")],
    content: Annotated[
        Content, typer.Option(help="Part of final/ to upload: all that was trained, or one file of it.")
    ] = Content.ALL,
    at: Annotated[
        float | None,
        typer.Option(min=0.0, help="Start in seconds of mission time; the default is the end of the run."),
    ] = None,
    certs: Annotated[
        Path | None,
        typer.Option(help="The ground's certificate folder, to sign the manifest (`skysplit certs`)."),
    ] = None,
    emulate: Annotated[
        bool,
        typer.Option("--emulate", help="Carry out the delivery in real time, over a relay per satellite."),
    ] = False,
    roll_back: Annotated[
        bool,
        typer.Option("--roll-back", help="With --emulate: have satellites use what was delivered before."),
    ] = False,
    output: Annotated[TextFormat, typer.Option("--format", help="Format of the output.")] = TextFormat.TABLE,
    out: Annotated[Path | None, typer.Option(help="File to write, with --format json.")] = None,
) -> None:
    """Plan the upload of a run's trained weights to each satellite: passes, bytes, UTC, and a manifest with digests.

    Example: `skysplit deliver runs/first --content head`

    With `--emulate` the files go up over relays, to `delivered/` in the run directory. An interrupted delivery resumes.
    """
    if roll_back and not emulate:
        fail("--roll-back: found without --emulate, allowed with it")
    if out is not None and output is TextFormat.TABLE:
        fail("--out: found --format table, allowed: json")
    try:
        with busy("planning the delivery"):
            planned = planned_delivery(run, content=content, at_s=at)
            signed = _signed(planned, certs) if certs is not None else {}
    except (ValueError, FileNotFoundError) as error:
        fail(str(error))
    if emulate:
        _emulated(run, planned, roll_back, output, out)
        return
    if output is TextFormat.JSON:
        print_or_write(json.dumps({**planned.to_json(), **signed}), out)
        return
    _print(planned)


def _print(planned: PlannedDelivery) -> None:
    """Print the passes and when each satellite has everything."""
    delivery, console = planned.to_json(), Terminal()
    start_s = planned.delivery.start_s
    console.say(
        f"{spoken_bytes(delivery['bytes'])} are on board every satellite at {delivery['ends_utc']}, after "
        f"{spoken_time(delivery['length_s'])}: {len(delivery['passes'])} passes, "
        f"{spoken_bytes(delivery['uplink_bytes'])} up.",
        style="bold",
    )
    headings = ("satellite", "passes", "from the ground", "from its plane", "complete, UTC", "after")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for satellite in delivery["satellites"]:
        table.add_row(
            satellite["satellite"],
            str(satellite["passes"]),
            spoken_bytes(satellite["uplink_bytes"]),
            spoken_bytes(satellite["isl_bytes"]),
            satellite["delivered_utc"].replace("T", " ").removesuffix("Z"),
            spoken_time(satellite["delivered_s"] - start_s),
        )
    console.print_table(f"release {delivery['release'][:12]}", table)


def _emulated(
    run: Path, planned: PlannedDelivery, roll_back: bool, output: TextFormat, out: Path | None
) -> None:
    """Carry out the delivery, and say when each satellite has used it."""
    from relay.client.message_link import LinkError
    from skysplit.deliveries.emulated import emulate_delivery
    from skysplit.launch.processes import ProcessError

    words = Terminal(stderr=True, soft_wrap=True)
    try:
        carried = emulate_delivery(
            run, planned, roll_back=roll_back, on_progress=lambda phase: words.print(phase, highlight=False)
        )
    except (ValueError, LinkError, ProcessError) as error:
        fail(str(error))
    if output is TextFormat.JSON:
        print_or_write(json.dumps(carried.to_json()), out)
        return
    table, start_s = Table(box=box.SIMPLE_HEAD, pad_edge=False), planned.delivery.start_s
    for number, heading in enumerate(("satellite", "release", "in use after", "planned")):
        table.add_column(heading, justify="right" if number > 1 else "left", no_wrap=True)
    for name, release in carried.release.items():
        after_s = carried.used_s[name] - start_s
        planned_words = "–" if roll_back else spoken_time(carried.planned_s[name] - start_s)
        table.add_row(name, release[:12], spoken_time(after_s), planned_words)
    Terminal().print_table("rolled back" if roll_back else "delivered", table)


def _signed(planned: PlannedDelivery, certs: Path) -> dict[str, Any]:
    """The manifest with the ground's signature, in Base64."""
    from relay.release.manifest import signed_manifest
    from relay.wire.identity import NodeIdentity

    identity = NodeIdentity.load(certs)
    signed = signed_manifest(planned.manifest, identity)
    return {"signed_by": identity.name, "signed_manifest": base64.b64encode(signed).decode()}
