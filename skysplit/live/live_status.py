"""What a run does at this moment, as markup for its live page: the phase, who has answered, relays, an error."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mission.record import read_run
from mission.text.plain_text import plain
from mission.text.quantities import spoken_bytes, spoken_time
from report.charts.link_use import CROSSED
from report.page import table
from skysplit.deployment.relay_states import relay_files, relay_states

_NAMED = 6  # of those who are awaited
_NEWEST = 12  # transfers


def live_status(directory: Path) -> str:
    """Return the markup for now; empty where a run has not begun."""
    try:
        run = read_run(directory)
    except FileNotFoundError:
        return ""
    files = relay_files(directory) if run["state"] == "running" else []
    states = relay_states(files)
    return _moment(run) + _transfers(states) + _relays(states)


def _moment(run: Mapping[str, Any]) -> str:
    """The phase or the round, with a bar that moves as satellites answer; of a failed run its error."""
    if run["state"] != "running":
        error = run.get("result", {}).get("error", "")
        return (
            f'<p role="alert" class="error">The run has failed: {html.escape(plain(error, 2000))}</p>'
            if error
            else ""
        )
    rounds = run["scenario"]["training"]["rounds"]
    over = int(run.get("progress", {}).get("round", 0))
    satellites, awaited = len(run.get("satellites", ())), list(run.get("awaited", ()))
    phase = run.get("phase", "starting")
    says = f"round {over + 1} of {rounds}" if over and over < rounds else phase
    done = float(over)
    if awaited and satellites:
        done += 1.0 - len(awaited) / satellites
        some = ", ".join(awaited[:_NAMED]) + (
            f" and {len(awaited) - _NAMED} more" if len(awaited) > _NAMED else ""
        )
        says += f": {satellites - len(awaited)} of {satellites} satellites have answered, awaited: {some}"
    return (
        f"<p>{html.escape(plain(says))}</p>"
        f'<progress aria-label="rounds" max="{rounds}" value="{min(done, rounds):.3f}"></progress>'
    )


def _transfers(states: Sequence[Mapping[str, Any]]) -> str:
    """A table of transfers over all links: those that arrive, then the newest that have, the last first; empty without.

    Both ends of a link know of a transfer; it is shown as its receiver has it, or its sender where that
    does not answer. Only the receiver knows how much of it has come.
    """
    answering = {state["node"]: state for state in states if state["answers"]}
    arriving = [transfer for state in answering.values() for transfer in state["arriving_transfers"]]
    passed = [
        transfer
        for state in answering.values()
        for transfer in state["newest_transfers"]
        if transfer["to"] == state["node"] or transfer["to"] not in answering
    ]
    if not arriving and not passed:
        return ""
    newest = sorted(passed, key=lambda transfer: transfer["end_s"], reverse=True)[:_NEWEST]
    head = ["until", "from", "to", "what", "round, step", "size", "took"]
    rows = [
        _transfer(transfer, "arrives", f"{spoken_bytes(transfer['arrived_bytes'])} of ")
        for transfer in arriving
    ]
    rows += [_transfer(transfer, spoken_time(transfer["end_s"]), "") for transfer in newest]
    return (
        f"<details open><summary>Newest transfers</summary>{table(head, rows, 'Newest transfers')}</details>"
    )


def _transfer(transfer: Mapping[str, Any], until: str, arrived: str) -> list[str]:
    return [
        until, transfer["from"], transfer["to"], CROSSED.get(transfer["kind"], transfer["kind"]),
        f"{transfer['round']}, {transfer['step']}", f"{arrived}{spoken_bytes(transfer['bytes'])}",
        _took(transfer["end_s"] - transfer["start_s"]),
    ]  # fmt: skip


def _took(seconds: float) -> str:
    """Return a length in ms below a second; mission time that begins to stand may go a moment back."""
    return spoken_time(seconds) if seconds >= 1.0 else f"{max(0.0, 1000.0 * seconds):.1f} ms"


def _relays(states: Sequence[Mapping[str, Any]]) -> str:
    """A table of the relays, a row each; empty where there are none."""
    if not states:
        return ""
    head = ["relay", "mission time", "links open", "queued", "received", "delivered", "sent", "error"]
    return (
        f"<details open><summary>Relays</summary>{table(head, map(_relay, states), 'Relays now')}</details>"
    )


def _relay(state: Mapping[str, Any]) -> list[str]:
    if not state["answers"]:
        return [state["node"], "no answer", *[""] * 6]
    links = state["links"]
    return [
        state["node"],
        spoken_time(state["mission_s"]) if state["mission_s"] >= 0 else "before the launch",
        f"{sum(link['open'] for link in links)} of {len(links)}",
        f"{state['queued_transfers']} ({spoken_bytes(state['queued_bytes'])})",
        spoken_bytes(state["received_bytes"]),
        str(state["delivered_transfers"]),
        spoken_bytes(sum(link["sent_bytes"] for link in links)),
        ", ".join(f"{link['peer']}: {plain(link['last_error'])}" for link in links if link["last_error"]),
    ]
