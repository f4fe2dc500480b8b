"""One relay as a process: `python -m relay NODE.json [COMMAND …]`.

The file names everything a relay is told (see `settings.RelayFile`). The process says where it listens, in one line on
standard output, and ends on SIGTERM or SIGINT. A command runs beside it, as a container's SuperNode does; when either
ends, so does the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import signal
from collections.abc import Sequence
from pathlib import Path

import uvloop

from relay.node.relay_node import RelayNode
from relay.node.settings import RelaySettings, read_relay_file
from relay.operation.logs import log_to_stderr
from relay.operation.metrics import serve_metrics
from relay.wire.identity import NodeIdentity
from relay.wire.listening import host_port, raise_files_limit

TIMEOUT_S = 8.0  # for the command to end: less than a container engine has with us
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h


async def serve(settings: RelaySettings, identity: NodeIdentity | None, command: Sequence[str]) -> int:
    """Run a relay until the process is told to end, or the command beside it ends; returns its exit status."""
    over = asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(ending, over.set)
    node = RelayNode(settings, identity=identity)
    log_to_stderr(settings.name, node.clock)
    await node.start()
    metrics = settings.metrics_port and serve_metrics(node, settings.metrics_host, settings.metrics_port)
    print(f"{settings.name} listens on {host_port(settings.host, node.port)}", flush=True)
    try:
        return await _beside(command, over) if command else int(not await over.wait())
    finally:
        if metrics:
            metrics.shutdown()
        await node.stop()


async def _beside(command: Sequence[str], over: asyncio.Event) -> int:
    process = await asyncio.create_subprocess_exec(*command)
    asked, ended = asyncio.create_task(over.wait()), asyncio.create_task(process.wait())
    await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if ended.done():
        print(f"{command[0]} ended with exit status {ended.result()}", flush=True)
        return ended.result()
    process.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.shield(ended)
    if not ended.done():
        process.kill()
    await ended
    return 0


def keep_memory() -> None:
    """Tell glibc to keep freed chunk buffers: giving them back and faulting them in costs more than TLS does."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 1 << 30), (M_ARENA_MAX, 1)):
            mallopt(parameter, value)


def run(file: Path, command: Sequence[str]) -> int:
    """Run the relay of a file, and a command beside it, until told to end; returns the exit status.

    Raises ValueError, OSError or RuntimeError with one sentence on what is wrong.
    """
    keep_memory()
    settings, identity = read_relay_file(file)
    raise_files_limit(len(settings.network.nodes))
    return uvloop.run(serve(settings, identity, command))


def main() -> None:
    """Run the relay that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m relay", description="One relay of the emulation.")
    parser.add_argument("file", type=Path, help="what the relay is told: a JSON file")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run beside it")
    arguments = parser.parse_args()
    try:
        raise SystemExit(run(arguments.file, arguments.command))
    except (OSError, ValueError, RuntimeError) as error:
        raise SystemExit(f"skysplit relay: {error}") from None


if __name__ == "__main__":
    main()
