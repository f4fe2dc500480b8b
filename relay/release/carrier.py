"""A release over relays: the ground sends its manifest, each satellite says what it lacks, gets it, and uses it.

    ground     manifest            →
    satellite  ← missing chunks, as numbers; or that the release is in use
    ground     chunks              →
    satellite  ← in use; or, where a file has another digest, missing chunks again

Relays keep every message on disk until its receiver has acknowledged it, and a satellite acknowledges a chunk when it
is on its own disk. So either end may die at any time: a satellite that comes back is given what it has not
acknowledged, and a ground that comes back sends the manifest again, under the number of another attempt, and hears
what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

import numpy as np

from relay.client.message_link import BundleLink
from relay.release.manifest import (
    ReleaseError,
    ReleaseManifest,
    read_chunk,
    signed_manifest,
    verified_manifest,
)
from relay.release.store import ReleaseStore
from relay.wire.identity import IdentityError, NodeIdentity
from relay.wire.manifest import Buffer, Bundle, Manifest, MessageKind

_SAYS, _RUN = "says", "release"
_MANIFEST, _CHUNK, _ROLL_BACK = "manifest", "chunk", "roll_back"
_MISSING, _IN_USE, _REFUSED = "missing", "in_use", "refused"


@dataclass(eq=False)
class ReleaseSender:
    """The ground's end of a delivery.

    Attributes:
        link: At the ground's relay.
        node: The ground's name.
        identity: Signs the manifest, where nodes have certificates.
        attempt: Another number for each process that sends a release, or rolls one back, so that relays do not take its
            messages for those of an earlier one.
    """

    link: BundleLink
    node: str
    _: KW_ONLY
    identity: NodeIdentity | None = None
    attempt: int = 0
    _sent: int = field(default=0, init=False)

    def deliver(
        self, folder: Path, manifest: ReleaseManifest, satellites: Sequence[str], *, timeout_s: float
    ) -> None:
        """Send the files below a folder to all satellites; return when each uses them.

        Raises:
            ReleaseError: A satellite refuses the release.
            relay.client.message_link.LinkTimeout: Nobody has answered for so many seconds of wall time.
        """
        content = manifest.to_bytes() if self.identity is None else signed_manifest(manifest, self.identity)
        for satellite in satellites:
            self._send(satellite, _MANIFEST, content)
        waited_for = set(satellites)
        while waited_for:
            satellite, says, payload = self._answer(timeout_s)
            if says == _MISSING:
                for number in np.frombuffer(payload, "<u4").tolist():
                    self._send(satellite, _CHUNK, read_chunk(folder, manifest, number), number=number)
            elif bytes(payload).decode() == manifest.release:
                waited_for.discard(satellite)
            self.link.acknowledge()

    def roll_back(self, satellites: Sequence[str], *, timeout_s: float) -> dict[str, str]:
        """Have satellites use the release of before again; return its name by satellite.

        Raises: As :meth:`deliver`.
        """
        for satellite in satellites:
            self._send(satellite, _ROLL_BACK, b"")
        used: dict[str, str] = {}
        while len(used) < len(satellites):
            satellite, says, payload = self._answer(timeout_s)
            if says == _IN_USE:
                used[satellite] = bytes(payload).decode()
            self.link.acknowledge()
        return used

    def _send(self, satellite: str, says: str, content: bytes, *, number: int = 0) -> None:
        self._sent += 1
        self.link.send(
            *_message(
                content, self.node, satellite, says=says, attempt=self.attempt, step=self._sent, number=number
            )
        )

    def _answer(self, timeout_s: float) -> tuple[str, str, Buffer]:
        """The next answer to this attempt: the satellite, what it says, and of what."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            manifest, payload = self.link.receive(max(0.0, deadline_s - time.monotonic()))
            if manifest.kind is not MessageKind.RELEASE or manifest.round != self.attempt:
                self.link.acknowledge()
                continue
            says = str(manifest.attributes[_SAYS])
            if says == _REFUSED:
                self.link.acknowledge()
                raise ReleaseError(f"{manifest.source}: {bytes(payload).decode()}")
            return manifest.source, says, payload


@dataclass(eq=False)
class ReleaseReceiver:
    """A satellite's end.

    Attributes:
        link: At the satellite's own relay.
        node: The satellite's name.
        store: Its releases.
        ground: Who alone may release.
        identity: Checks the ground's signature, where nodes have certificates.
    """

    link: BundleLink
    node: str
    _: KW_ONLY
    store: ReleaseStore
    ground: str
    identity: NodeIdentity | None = None
    _said: int = field(default=0, init=False)

    def serve(self, timeout_s: float) -> str:
        """Take what comes until a release is in use by it, or again; return its name.

        Raises:
            relay.client.message_link.LinkTimeout: Nothing has come for so many seconds of wall time.
        """
        while True:
            bundle = self.link.receive(timeout_s)
            used = self._taken(bundle)
            self.link.acknowledge()
            if used:
                return used

    def _taken(self, bundle: Bundle) -> str:
        """Take a message; the release that is in use by it, or "" where more is to come."""
        manifest, payload = bundle
        if manifest.kind is not MessageKind.RELEASE or manifest.source != self.ground:
            return ""
        says = manifest.attributes[_SAYS]
        try:
            if says == _ROLL_BACK:
                return self._in_use(manifest, self.store.roll_back())
            if says == _MANIFEST:
                release = self._verified(bytes(payload))
                self.store.expect(release)
                return self._activated(manifest, release, ask=True)
            expected = self.store.expected
            if expected is None:
                return ""
            self.store.receive(expected, int(manifest.attributes["number"]), bytes(payload))
            return self._activated(manifest, expected)
        except (ReleaseError, IdentityError) as error:
            self._say(manifest, _REFUSED, str(error).encode())
            return ""

    def _verified(self, content: bytes) -> ReleaseManifest:
        if self.identity is None:
            return ReleaseManifest.from_bytes(content)
        return verified_manifest(content, self.identity, self.ground)

    def _activated(self, heard: Manifest, release: ReleaseManifest, *, ask: bool = False) -> str:
        """Use a release that is whole; say what is missing where the ground asks, or what came is damaged."""
        missing = self.store.missing(release)
        if not missing:
            try:
                self.store.activate(release)
            except ReleaseError:
                missing, ask = self.store.missing(release), True
        if not missing:
            return self._in_use(heard, release.release)
        if ask:
            self._say(heard, _MISSING, np.array(missing, "<u4").tobytes())
        return ""

    def _in_use(self, heard: Manifest, release: str) -> str:
        self._say(heard, _IN_USE, release.encode())
        return release

    def _say(self, heard: Manifest, says: str, content: bytes) -> None:
        # The step of what is answered makes the answer one of its own, also where a process that died has answered.
        self._said += 1
        self.link.send(
            *_message(
                content,
                self.node,
                self.ground,
                says=says,
                attempt=heard.round,
                step=heard.step,
                number=self._said,
            )
        )


def _message(
    content: bytes, source: str, destination: str, *, says: str, attempt: int, step: int, number: int
) -> tuple[Manifest, bytes]:
    manifest = Manifest.describe(
        content,
        run=_RUN,
        kind=MessageKind.RELEASE,
        source=source,
        destination=destination,
        dtype="uint8",
        shape=(len(content),),
        round=attempt,
        step=step,
        attributes={_SAYS: says, "number": number},
    )
    return manifest, content
