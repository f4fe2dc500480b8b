"""Play a newcomer: in a fresh clone, from the README's first command to a saved answer about a mission of one's own.

    python tests/newcomer.py            # prints every command, what it printed and how long it took

The mission has 24 satellites and three stations by name. The bar: at most eight commands and ten minutes, on a machine
that does nothing else. Packages are those of this environment, in place of those that ``make`` would install first.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import walk_pages

MOST_COMMANDS = 8
LONGEST_S = 600.0
COMMANDS = (
    "make run",
    "skysplit doctor",
    "skysplit init ours.toml --satellites 24 --planes 4 --pattern star --altitude-km 600 --inclination-deg 97.8"
    " --station Svalbard --station 'Punta Arenas' --station Awarua --down-mbps 160 --up-mbps 1 --isl none"
    " --tflops 0.3 --model DOFA-base --bands 4 --bits 16 --images 200",
    "skysplit contacts ours.toml --summary",
    "skysplit plan ours.toml",
    "skysplit compare ours.toml --starts 1 --format html --out answer.html",
)
ANSWER = "answer.html"


@dataclass(frozen=True)
class Step:
    """A command that was played: its exit status, what it printed, and the seconds that it took."""

    command: str
    status: int
    output: str
    took_s: float


def play(commands: Sequence[str] = COMMANDS) -> tuple[list[Step], str]:
    """Run the commands in a fresh clone, up to the first that fails; return them and the page of the answer, if any."""
    steps: list[Step] = []
    with tempfile.TemporaryDirectory(prefix="skysplit newcomer ", ignore_cleanup_errors=True) as folder:
        clone = Path(folder) / "SkySplit"
        walk_pages.clone_into(clone)
        environment = walk_pages.behind_dead_proxy(walk_pages.environment_of(clone))
        for command in commands:
            began_s = time.monotonic()
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=clone,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            steps.append(Step(command, done.returncode, done.stdout, time.monotonic() - began_s))
            if done.returncode:
                break
        answer = clone / ANSWER
        return steps, answer.read_text(encoding="utf-8") if answer.exists() else ""


def main() -> int:
    """Print the transcript, and return 0 where the bar was held."""
    steps, answer = play()
    for step in steps:
        print(f"$ {step.command}\n{step.output.rstrip()}\n[{step.took_s:.0f} s, exit status {step.status}]\n")
    took_s = sum(step.took_s for step in steps)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    held = bool(answer) and len(steps) <= MOST_COMMANDS and took_s <= LONGEST_S
    saved = "was" if answer else "was not"
    print(
        f"{len(steps)} commands, {took_s / 60:.1f} min, {(used.ru_utime + used.ru_stime) / 60:.1f} min of one core; "
        f"the answer {saved} saved"
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
