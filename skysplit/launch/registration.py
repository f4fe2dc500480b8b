"""Tell a SuperLink which SuperNodes it may admit: a job that ends before satellites start, and may run again.

`python -m skysplit.launch.registration --folder FOLDER --superlink HOST:PORT`, where the folder holds
``ca.crt`` and a public key for each satellite, ``NAME.pub``. Each SuperNode is registered under the name of its
satellite, so that it can enrol as no other.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from skysplit.launch.flower_run import FlowerRunError, flower_environment, flwr_json
from skysplit.terminal import Terminal

_CONNECTION = "skysplit"
_AGAIN_S = 5.0
_THERE = "already in use"  # of Flower, for a key that it knows


def register_all(
    folder: Path, superlink: str, timeout_s: float, on_key: Callable[[str], None] = lambda sentence: None
) -> None:
    """Register every key of the folder; a SuperLink that is not up yet is asked again.

    Args:
        folder: With ``ca.crt`` and a public key for each satellite, ``*.pub``.
        superlink: ``host:port`` of its control API.
        timeout_s: For all of it.
        on_key: Called with a sentence for each key.

    Raises:
        skysplit.launch.flower_run.FlowerRunError: There is none, or the SuperLink refused one or does
            not answer in time.
    """
    keys = sorted(folder.glob("*.pub"))
    if not keys:
        raise FlowerRunError(f"{folder}: holds no *.pub")
    deadline_s = time.monotonic() + timeout_s
    with tempfile.TemporaryDirectory(prefix="skysplit-flower-") as home:
        (Path(home) / "config.toml").write_text(
            f'[superlink]\ndefault = "{_CONNECTION}"\n\n[superlink.{_CONNECTION}]\naddress = "{superlink}"\n'
            f"root-certificates = '{(folder / 'ca.crt').resolve()}'\n"
        )
        environment = flower_environment(Path(home))
        for key in keys:
            while True:
                try:
                    register = ("supernode", "register", str(key), _CONNECTION, "--name", key.stem)
                    flwr_json(environment, *register, "--format", "json")
                    on_key(f"{key.stem}: registered")
                    break
                except FlowerRunError as error:
                    if _THERE in str(error):
                        on_key(f"{key.stem}: was registered before")
                        break
                    if time.monotonic() > deadline_s:
                        raise
                time.sleep(_AGAIN_S)


def main() -> None:
    """Register, and exit with 1 and one error where that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m skysplit.launch.registration", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="with ca.crt and *.pub")
    parser.add_argument("--superlink", required=True, help="HOST:PORT of its control API")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds")
    arguments = parser.parse_args()
    console = Terminal(stderr=True, soft_wrap=True)
    try:
        register_all(arguments.folder, arguments.superlink, arguments.timeout, console.print)
    except FlowerRunError as error:
        console.print(f"error: {error}", style="red")
        raise SystemExit(1) from None


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
