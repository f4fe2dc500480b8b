"""Run every ``bash`` block of Markdown pages, as a reader would, and stop where one fails:

    python tests/walk_pages.py README.md docs/quick-start.md docs/tutorial-*.md

A page's blocks run one after another in a folder of their own, with this environment's commands. A block below
``<!-- not run: WHY -->`` is passed over, saying so.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^\n]*?) -->\n)?^```bash\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(text: str) -> Iterator[tuple[str, str | None]]:
    """The ``bash`` blocks of a page: what to run, and why not (``None`` where it is run)."""
    for found in _BLOCK.finditer(text):
        yield found["code"], found["why"]


def walk(pages: Sequence[Path]) -> int:
    """Run the pages' blocks. Returns 0, or the exit status of the first that fails."""
    scripts = sysconfig.get_path("scripts")
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"}
    for page in pages:
        with tempfile.TemporaryDirectory(prefix="skysplit-walk-") as folder:
            for code, why in blocks(page.read_text(encoding="utf-8")):
                if why is not None:
                    print(f"{page}: not run, {why}", flush=True)
                    continue
                print(f"{page}:\n{code}", flush=True)
                command = ["bash", "-euo", "pipefail", "-c", code]
                status = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
                if status:
                    print(f"{page}: this block failed with exit status {status}", file=sys.stderr)
                    return status
    return 0


if __name__ == "__main__":
    sys.exit(walk([Path(word) for word in sys.argv[1:]]))
