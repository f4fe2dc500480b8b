"""`skysplit doctor`: what this machine lacks for SkySplit, and what to do about it."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated

import psutil
import typer
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from mission.orbits import cache_directory
from relay.wire.certificates import WARN_DAYS
from skysplit.commands.arguments import TextFormat
from skysplit.deployment.expiry import RENEW, ending
from skysplit.launch.mark import end_marked, launcher_lives, marked
from skysplit.launch.processes import ProcessError, free_ports
from skysplit.shared_machine import others_with_accounts
from skysplit.terminal import Terminal

_LOCAL_SUPERLINK_PORTS = (
    39091,
    39093,
)  # where plain `flwr run` looks for a SuperLink, and adopts what answers
_NEEDED_BYTES = 3e9  # the ground segment and two satellites with torch loaded


class State(StrEnum):
    """The weight of a finding."""

    OK = "ok"
    NOTE = "note"  # something works less well, or not at all, which a run does not need
    FAULT = "fault"  # no run works


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: What was looked at.
        state: How it weighs.
        found: What is there.
        fix: What to do; empty where nothing is to be done.
    """

    check: str
    state: State
    _: KW_ONLY
    found: str
    fix: str = ""


def doctor(
    output: Annotated[TextFormat, typer.Option("--format", help="Format of the output.")] = TextFormat.TABLE,
    clean: Annotated[
        bool, typer.Option("--clean", help="First end processes left by runs whose command was killed.")
    ] = False,
) -> None:
    """Check this machine: versions, memory, ports, stale SuperLinks, data, Docker, GPU – each with the fix.

    Exits with status 1 if something prevents a run.

    Example: `skysplit doctor --format json`
    """
    if clean:
        for process in end_marked(_orphaned):
            Terminal(stderr=True).print(f"ended {process}", markup=False, highlight=False)
    findings = [check() for check in CHECKS]
    if output is TextFormat.JSON:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table("check", "", box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("found", "fix"):
            table.add_column(heading, overflow="fold")  # a path whole, in several lines
        for result in findings:
            style = {State.OK: "green", State.NOTE: "yellow", State.FAULT: "red"}[result.state]
            table.add_row(result.check, Text(result.state, style), result.found, result.fix)
        Terminal().print(table)
    if any(finding.state is State.FAULT for finding in findings):
        raise typer.Exit(1)


def python_version() -> Finding:
    """Whether this Python is one that SkySplit is made for."""
    allowed = SpecifierSet(metadata.metadata("skysplit")["Requires-Python"])
    version = ".".join(map(str, sys.version_info[:3]))
    if version in allowed:
        return Finding("Python", State.OK, found=version)
    return Finding(
        "Python", State.FAULT, found=version, fix=f"make a virtual environment with Python {allowed}"
    )


def packages() -> Finding:
    """Whether every package that SkySplit needs is installed, in a version that it allows."""
    wrong = list(_wrong_packages(metadata.requires("skysplit") or []))
    if wrong:
        return Finding("packages", State.FAULT, found="; ".join(wrong), fix="pip install --upgrade skysplit")
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("skysplit", "flwr", "torch", "transformers")
    )
    return Finding("packages", State.OK, found=versions)


def memory() -> Finding:
    """Whether a run fits into the memory that is free now."""
    free_bytes = psutil.virtual_memory().available
    free = f"{free_bytes / 1e9:.1f} GB free"
    if free_bytes < _NEEDED_BYTES:
        return Finding(
            "memory", State.NOTE, found=free, fix="end other programs, or skysplit run --max-concurrency 1"
        )
    return Finding("memory", State.OK, found=free)


def cache() -> Finding:
    """Whether contact plans can be kept between runs."""
    try:
        directory = cache_directory()
        with tempfile.TemporaryFile(dir=directory):
            return Finding("cache", State.OK, found=str(directory))
    except OSError as error:
        return Finding(
            "cache",
            State.FAULT,
            found=str(error),
            fix="set XDG_CACHE_HOME to a folder that can be written to",
        )


def port() -> Finding:
    """Whether programs of this machine can talk to each other over TCP."""
    try:
        [number] = free_ports(1)
        with (
            socket.create_server(("127.0.0.1", number)),
            socket.create_connection(("127.0.0.1", number), 2.0),
        ):
            return Finding("loopback", State.OK, found=f"port {number} is free and answers")
    except (OSError, ProcessError) as error:
        return Finding("loopback", State.FAULT, found=str(error), fix="allow TCP on 127.0.0.1")


def carry_over() -> Finding:
    """Whether processes are left of runs whose command was killed; a watchdog ends them within seconds."""
    pids = [str(process.pid) for process in marked(_orphaned)]
    if pids:
        remains = f"{len(pids)} processes of a run whose command was killed: {' '.join(pids[:5])}"
        return Finding("left over", State.NOTE, found=remains, fix="skysplit doctor --clean")
    return Finding("left over", State.OK, found="nothing of earlier runs")


def superlinks() -> Finding:
    """Whether a SuperLink is left of an earlier `flwr run`, which the next one would adopt with its settings."""
    running = [process.pid for process in psutil.process_iter() if _is_superlink(process)]
    if running:
        pids = " ".join(map(str, running))
        return Finding(
            "SuperLink",
            State.NOTE,
            found=f"running: {pids}",
            fix=f"if nobody uses it: kill {pids} (plain flwr run would adopt it)",
        )
    taken = [str(number) for number in _LOCAL_SUPERLINK_PORTS if _answers(number)]
    if taken:
        return Finding(
            "SuperLink", State.NOTE, found=f"port {', '.join(taken)} is taken",
            fix="plain flwr run: set FLWR_LOCAL_CONTROL_API_PORT and FLWR_LOCAL_SUPERLINK_HTTP_API_PORT",
        )  # fmt: skip
    return Finding("SuperLink", State.OK, found="none left running")


def data() -> Finding:
    """Whether the folder that scenarios with real data name is there."""
    named = os.environ.get("SKYSPLIT_DATA", "")
    if not named:
        return Finding(
            "data", State.NOTE, found="SKYSPLIT_DATA is not set; synthetic scenes work without it",
            fix="export SKYSPLIT_DATA=FOLDER with tle/, images, models",
        )  # fmt: skip
    try:
        entries = sorted(os.listdir(Path(named).expanduser()))
    except OSError as error:
        return Finding(
            "data",
            State.FAULT,
            found=str(error),
            fix="set SKYSPLIT_DATA to an existing folder, or unset it",
        )
    return Finding("data", State.OK, found=f"{named}: {', '.join(entries[:6]) or 'empty'}")


def accounts() -> Finding:
    """Whether others have accounts here, to whom a run is open while it lasts."""
    names = others_with_accounts()
    if names:
        fix = "run on a machine, in a container or in a network namespace of your own"
        others = f"{', '.join(names[:5])}: can run code as you while a run lasts (Flower's SuperLink has no password)"
        return Finding("accounts", State.NOTE, found=others, fix=fix)
    return Finding("accounts", State.OK, found="no other accounts can log in")


def certificates() -> Finding:
    """Whether certificates of a deployment end soon: in the folder of FLWR_HOME, and in ./deployment."""
    places = [Path("deployment")]
    if os.environ.get("FLWR_HOME"):
        places.append(Path(os.environ["FLWR_HOME"]).expanduser())
    with_authority = [place for place in places if (place / "ca.crt").is_file()]
    if not with_authority:
        return Finding("certificates", State.OK, found="no deployment here")
    folders = [folder for place in with_authority for folder in (place, *place.iterdir()) if folder.is_dir()]
    sentences = list(ending(folders))
    if not sentences:
        return Finding(
            "certificates",
            State.OK,
            found=f"{', '.join(map(str, with_authority))}: all are good for {WARN_DAYS} days",
        )
    return Finding("certificates", State.NOTE, found="; ".join(sentences), fix=RENEW)


def docker() -> Finding:
    """Whether the emulation in containers can run."""
    from skysplit.launch.containers import ContainerError, compose_tool

    try:
        return Finding("Docker", State.OK, found=" ".join(compose_tool()))
    except (ContainerError, OSError) as error:
        failure = str(error).splitlines()[0]
        fix = "install and start Docker with Compose, for skysplit emulate --backend compose only"
        return Finding("Docker", State.NOTE, found=failure, fix=fix)


def accelerator() -> Finding:
    """Report the device on which the backbone will compute."""
    import torch

    from server_app.backbone.executor import choose_device

    device = choose_device("auto")
    if device.type == "cuda":
        return Finding("GPU", State.OK, found=torch.cuda.get_device_name(device))
    if device.type != "cpu":
        return Finding("GPU", State.OK, found=str(device))
    fix = "" if not _has_nvidia() else "install the CUDA build of torch"
    return Finding("GPU", State.NOTE, found=f"none: the backbone runs on {os.cpu_count()} cores", fix=fix)


CHECKS: tuple[Callable[[], Finding], ...] = (
    python_version,
    packages,
    memory,
    cache,
    port,
    carry_over,
    superlinks,
    data,
    accounts,
    certificates,
    docker,
    accelerator,
)


def _wrong_packages(requirements: list[str]) -> Iterator[str]:
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement.name} is not installed"
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} {version}, allowed {requirement.specifier}"


def _orphaned(mark: str) -> bool:
    return not launcher_lives(mark)


def _is_superlink(process: psutil.Process) -> bool:
    try:
        return any(Path(word).name == "flower-superlink" for word in process.cmdline()[:3])
    except psutil.Error:  # ended meanwhile, or another user's
        return False


def _answers(number: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", number)) == 0


def _has_nvidia() -> bool:
    return Path("/proc/driver/nvidia/version").exists()
