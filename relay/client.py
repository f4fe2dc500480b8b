"""What training code holds of the wire: a `ParcelLink`, whichever way its parcels travel.

In a simulated run it is a `direct.GroundLink` to the ground station; in the emulation a `RelayLink` to the
node's own relay. Training code sends and receives, and never learns which of the two it uses.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from relay.wire import Buffer, Manifest, Parcel


class LinkError(Exception):
    """A parcel could not be sent or received."""


class LinkTimeout(LinkError, TimeoutError):
    """Nothing came, or nothing could be sent, before the deadline."""


class LinkLost(LinkError, ConnectionError):
    """The other end is gone; a new link may send the same parcels again, which counts them once."""


class LinkRefused(LinkError, PermissionError):
    """The other end does not accept who we are or what we sent; trying again does not help."""


class RemoteError(LinkError):
    """The other end failed on a parcel. `error` is the name of its error's class."""

    def __init__(self, error: str, text: str, transfer_id: bytes) -> None:
        super().__init__(f"{error} at the other end: {text}")
        self.error = error
        self.text = text
        self.transfer_id = transfer_id


@runtime_checkable
class ParcelLink(Protocol):
    """A synchronous two-way link for parcels, closed by leaving its `with` block."""

    def send(self, manifest: Manifest, payload: Buffer) -> None:
        """Hand a parcel over, in order; sending the same transfer again is harmless.

        Raises LinkTimeout, LinkLost, LinkRefused.
        """
        ...

    def receive(self, timeout_s: float) -> Parcel:
        """The next parcel addressed to this end, checked against its manifest.

        Raises LinkTimeout, LinkLost, LinkRefused, RemoteError, or WireError for a parcel that is not what its
        manifest says.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
