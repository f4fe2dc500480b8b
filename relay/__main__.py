"""One relay as a process: `python -m relay NODE.json`.

The file names everything a relay is told (see `RelayFile`); paths in it are relative to it. The process says where
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
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from relay.identity import NodeIdentity
from relay.link import Network
from relay.node import RelayNode, RelaySettings
from relay.outgoing import Faults, Outage

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
Seconds = Annotated[float, Field(ge=0.0)]


class OutageEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    target: str
    start_s: Seconds
    end_s: Seconds


class RelayFile(BaseModel):
    """The file a relay starts from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="this node, as the network names it")
    network: Path = Field(description="links and windows, as written by Network.to_json")
    peers: dict[str, str] = Field(description="host:port of every other node this one may dial")
    folder: Path = Field(description="its spool; made if needed")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(ge=0, le=65535, description="0 takes a free one")
    identity: Path | None = Field(None, description="folder with ca.crt, node.crt, node.key; none: no TLS")
    time_authority: str | None = Field(
        None, description="node whose mission time all follow; none: wall time"
    )
    start_s: float = Field(0.0, description="mission time when it starts")
    quota_bytes: int = Field(4 << 30, gt=0, description="room of the spool")
    neighbour_quota_bytes: int = Field(2 << 30, gt=0, description="of which one neighbour may take")
    loss: float = Field(0.0, ge=0.0, lt=1.0, description="chunks lost at random, as a fraction")
    loss_seed: int = 0
    outages: tuple[OutageEntry, ...] = Field((), description="times in which links are down against the plan")


def read_relay_file(path: Path) -> tuple[RelaySettings, NodeIdentity | None]:
    """Raises ValueError that names file, key, what was found and what is allowed; OSError for a missing file."""
    try:
        file = RelayFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(the file)"
        raise ValueError(f"{path}: {key}: {first['msg']}, found {first['input']!r:.80}") from None
    here = path.parent
    settings = RelaySettings(
        name=file.name,
        network=Network.from_json((here / file.network).read_text()),
        peers=file.peers,
        folder=here / file.folder,
        host=file.host,
        port=file.port,
        time_authority=file.time_authority,
        start_s=file.start_s,
        quota_bytes=file.quota_bytes,
        neighbour_quota_bytes=file.neighbour_quota_bytes,
        faults=Faults(file.loss, tuple(Outage(**dict(outage)) for outage in file.outages), file.loss_seed),
    )
    return settings, NodeIdentity.load(here / file.identity) if file.identity else None


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
