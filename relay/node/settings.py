"""What a relay is told when it starts: a file, by which the node's application finds it, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from relay.clock.timed_link import Network
from relay.node.outgoing import Faults, Outage
from relay.wire import service
from relay.wire.identity import NodeIdentity
from relay.wire.manifest import Limits

Seconds = Annotated[float, Field(ge=0.0)]


@dataclass(frozen=True)
class RelaySettings:
    """The settings with which a relay starts.

    `peers` are the addresses of the nodes it may ever send to; `time_authority` is the node whose clock all
    follow: this one's own name where this is it.
    """

    name: str
    network: Network
    _: KW_ONLY
    peers: Mapping[str, str]
    folder: Path
    host: str = "127.0.0.1"
    port: int = 0
    time_authority: str | None = None
    start_s: float = 0.0  # mission time when it starts
    metrics_port: int = 0  # for Prometheus; none if 0
    metrics_host: str = "127.0.0.1"
    quota_bytes: int = 4 << 30
    neighbour_quota_bytes: int = 2 << 30
    quota_transfers: int = 4096
    neighbour_quota_transfers: int = 1024
    promise_s: float = (
        3600.0  # wall time for which room is kept for bytes that do not come; 1/60 when it is short
    )
    limits: Limits = field(default_factory=Limits)
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        if self.name not in self.network.nodes:
            raise ValueError(f"relay {self.name!r} is not a node of the contact plan")
        missing = [peer for peer in self.network.neighbours(self.name) if peer not in self.peers]
        if missing:
            raise ValueError(f"relay {self.name}: no address for its neighbours {', '.join(missing)}")
        if self.time_authority not in (None, self.name, *self.peers):
            raise ValueError(f"relay {self.name}: no address for the time authority {self.time_authority}")


class OutageEntry(BaseModel):
    """A time in which a link is out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    target: str
    start_s: Seconds
    end_s: Seconds


class RelayFile(BaseModel):
    """The file of a relay's settings; paths are relative to the file."""

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
    metrics_port: int = Field(0, ge=0, le=65535, description="figures for Prometheus; 0: none")
    metrics_host: str = Field(
        "127.0.0.1", description="address they are served on, to whoever asks, without TLS"
    )
    quota_bytes: int = Field(4 << 30, gt=0, description="room of the spool")
    neighbour_quota_bytes: int = Field(2 << 30, gt=0, description="of which one neighbour may take")
    quota_transfers: int = Field(4096, gt=0, le=1 << 16, description="transfers that the spool may hold")
    neighbour_quota_transfers: int = Field(
        1024, gt=0, le=1 << 16, description="of which one neighbour may bring"
    )
    loss: float = Field(0.0, ge=0.0, lt=1.0, description="chunks lost at random, as a fraction")
    loss_seed: int = 0
    outages: tuple[OutageEntry, ...] = Field((), description="times in which links are down against the plan")


class LocalRelay(NamedTuple):
    """A node's own relay, as its application reaches it."""

    node: str
    address: str
    identity: NodeIdentity | None
    folder: Path  # the relay's, where the application may keep what outlives a process
    peers: Mapping[str, str]  # host:port of the relays that it may dial


def local_relay(path: Path) -> LocalRelay:
    """The relay that was started from this file on this machine. Raises as `read_relay_file`."""
    file = _read(path)
    folder = path.parent / file.folder
    return LocalRelay(
        file.name,
        service.local_address(folder),
        identity=_identity(path, file),
        folder=folder,
        peers=file.peers,
    )


def read_relay_file(path: Path) -> tuple[RelaySettings, NodeIdentity | None]:
    """Raises ValueError that names file, key, what was found and what is allowed; OSError for a missing file."""
    file = _read(path)
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
        metrics_port=file.metrics_port,
        metrics_host=file.metrics_host,
        quota_bytes=file.quota_bytes,
        neighbour_quota_bytes=file.neighbour_quota_bytes,
        quota_transfers=file.quota_transfers,
        neighbour_quota_transfers=file.neighbour_quota_transfers,
        faults=Faults(
            file.loss, tuple(Outage(**dict(outage)) for outage in file.outages), seed=file.loss_seed
        ),
    )
    return settings, _identity(path, file)


def _read(path: Path) -> RelayFile:
    try:
        return RelayFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(the file)"
        raise ValueError(f"{path}: {key}: {first['msg']}, found {first['input']!r:.80}") from None


def _identity(path: Path, file: RelayFile) -> NodeIdentity | None:
    return NodeIdentity.load(path.parent / file.identity) if file.identity else None
