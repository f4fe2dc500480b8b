"""One relay as a process: `python -m relay NODE.json`.

The file names everything a relay is told (see `settings.RelayFile`). The process says where
it listens, in one line on standard output, and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import signal
from pathlib import Path

from relay.identity import NodeIdentity
from relay.node import RelayNode
from relay.settings import RelaySettings, read_relay_file

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h


async def serve(settings: RelaySettings, identity: NodeIdentity | None) -> None:
    """Run a relay until the process is told to end."""
    over = asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(ending, over.set)
    node = RelayNode(settings, identity=identity)
    await node.start()
    print(f"{settings.name} listens on {settings.host}:{node.port}", flush=True)
    await over.wait()
    await node.stop()


def keep_memory() -> None:
    """Tell glibc to keep freed chunk buffers: giving them back and faulting them in costs more than TLS does."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 1 << 30), (M_ARENA_MAX, 1)):
            mallopt(parameter, value)


def main() -> None:
    keep_memory()
    parser = argparse.ArgumentParser(prog="python -m relay", description="One relay of the emulation.")
    parser.add_argument("file", type=Path, help="what the relay is told: a JSON file")
    path = parser.parse_args().file
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        settings, identity = read_relay_file(path)
        asyncio.run(serve(settings, identity))
    except (OSError, ValueError, RuntimeError) as error:
        raise SystemExit(f"skysplit relay: {error}") from None


if __name__ == "__main__":
    main()
