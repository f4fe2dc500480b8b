"""Run every ``bash`` block of Markdown pages, as a reader would, and stop where one fails:

    python tests/walk_pages.py                       # README, quick start, all tutorials and how-to pages
    python tests/walk_pages.py docs/tutorial-*.md

A page's blocks run one after another in a clean clone of this repository – what is committed, and nothing else – with
the packages of this environment in place of those that ``make`` would install. The clone, and the environment in it,
lie in a folder with a space in its name, and every proxy variable names a port that nothing listens on, so that a
block which reaches for the network or loses a path at its space fails here. A block below ``<!-- not run: WHY -->``
is passed over, saying so, and one below ``<!-- needs Docker -->`` where no Docker engine answers; where one does, it
keeps the proxies of this machine, since it builds an image. Whatever a page leaves running is ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from uuid import uuid4

import psutil

from skysplit.launch.containers import ContainerError, compose_tool

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/quick-start.md", "docs/tutorial-*.md", "docs/how-to-*.md")
_MARK = "SKYSPLIT_WALK"
_BLOCK_TIMEOUT_S = 1800.0
_DEAD_PROXY = "http://127.0.0.1:9"
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")
_BLOCK = re.compile(
    r"(?:<!-- (?:not run: (?P<why>[^\n]*?)|(?P<docker>needs Docker)) -->\n)?^```bash\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def pages() -> list[Path]:
    """All pages that are walked."""
    return [page for pattern in PAGES for page in sorted(ROOT.glob(pattern))]


@dataclass(frozen=True)
class Block:
    """A ``bash`` block of a page.

    Attributes:
        code: What to run.
        not_run: Why it is passed over; ``None`` where it is run.
        builds_image: It needs the network, by way of Docker.
    """

    code: str
    not_run: str | None
    builds_image: bool


def blocks(text: str) -> Iterator[Block]:
    """The ``bash`` blocks of a page, in order."""
    for found in _BLOCK.finditer(text):
        needs_docker = found["docker"] is not None
        yield Block(found["code"], _no_docker() if needs_docker else found["why"], needs_docker)


def _no_docker() -> str | None:
    """Why no containers can be had here (``None`` where they can)."""
    try:
        compose_tool()
    except ContainerError as error:
        return str(error).splitlines()[0]
    return None


def walk(page: Path) -> int:
    """Run a page's blocks. Returns 0, or the exit status of the first that fails."""
    with tempfile.TemporaryDirectory(prefix="skysplit walk ", ignore_cleanup_errors=True) as folder:
        clone = Path(folder) / "SkySplit"
        clone_into(clone)
        environment = environment_of(clone)
        try:
            for block in blocks(page.read_text(encoding="utf-8")):
                if block.not_run is not None:
                    print(f"{page.name}: not run, {block.not_run}", flush=True)
                    continue
                print(f"{page.name}:\n{block.code}", flush=True)
                status = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", block.code],
                    cwd=clone,
                    env=environment if block.builds_image else behind_dead_proxy(environment),
                    timeout=_BLOCK_TIMEOUT_S,
                    check=False,
                ).returncode
                if status:
                    print(f"{page.name}: this block failed with exit status {status}", file=sys.stderr)
                    return status
        finally:
            _end_all_of(environment[_MARK])
    return 0


def clone_into(clone: Path) -> None:
    """Make a clean clone of this repository with an environment that has the packages of this one."""
    subprocess.run(["git", "clone", "-q", "--depth=1", ROOT.as_uri(), clone], check=True)
    _make_environment(clone / ".venv")


def _make_environment(folder: Path) -> None:
    """Make a virtual environment with the packages of this one, and their commands as pip writes them for its path."""
    venv.create(folder, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    packages.rmdir()
    packages.symlink_to(sysconfig.get_path("purelib"))
    for command in entry_points(group="console_scripts"):
        script = folder / "bin" / command.name
        script.write_text(
            f"#!/bin/sh\n'''exec' \"{folder}/bin/python\" \"$0\" \"$@\"\n' '''\n"
            f"import sys\nfrom {command.module} import {command.attr.partition('.')[0]}\n"
            f"if __name__ == '__main__':\n    sys.exit({command.attr}())\n"
        )
        script.chmod(0o755)


def environment_of(clone: Path) -> Mapping[str, str]:
    """This environment's commands on the clone's code; ``make`` installs nothing, Flower keeps to a home of its own."""
    return os.environ | {
        _MARK: str(uuid4()),
        "PATH": f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(clone),
        "MAKEFLAGS": "ENVIRONMENT=",
        "FLWR_HOME": str(clone.parent / "flower"),
    }


def behind_dead_proxy(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with a dead proxy for all schemes, in both spellings, and no host exempt from it."""
    proxies = {spelt: _DEAD_PROXY for name in _PROXIES for spelt in (name, name.upper())}
    return {name: value for name, value in environment.items() if name.lower() != "no_proxy"} | proxies


def _end_all_of(mark: str) -> None:
    """End the processes with this mark in their environment: plain ``flwr run`` leaves a SuperLink."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == mark:
                process.kill()


def main(chosen: Sequence[str]) -> int:
    """Walk the chosen pages, or all, to the first that fails."""
    if not os.geteuid():
        print("walked as root, who may do what a reader may not: walk as an ordinary user", file=sys.stderr)
    return next(filter(None, map(walk, map(Path, chosen) if chosen else pages())), 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, which ends what was started
    sys.exit(main(sys.argv[1:]))
