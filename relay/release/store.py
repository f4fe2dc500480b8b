"""Releases on board: chunks as they come, in any order; then activation in one step, and the way back.

    ROOT/incoming/RELEASE/   files as far as they have come, and received.bin, a byte per chunk
    ROOT/expected            the manifest of the release that comes
    ROOT/releases/RELEASE/   whole and verified
    ROOT/current             names the release in use, ROOT/previous the one before

Whatever interrupts it, power included, either name is the old one or the new one, never half of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from relay.release.manifest import ReleaseError, ReleaseManifest, overlaps

_RECEIVED = "received.bin"
_FILES = "files"


@dataclass(frozen=True)
class ReleaseStore:
    """The releases of one satellite, below a folder of its own."""

    root: Path

    @property
    def current(self) -> str:
        """The release in use; empty before the first."""
        return self._named("current")

    @property
    def previous(self) -> str:
        """The release to which :meth:`roll_back` goes; empty without one."""
        return self._named("previous")

    def path(self, release: str) -> Path:
        """The folder of a release that is whole."""
        return self.root / "releases" / release

    @property
    def expected(self) -> ReleaseManifest | None:
        """The release whose chunks come, by the last manifest that came; ``None`` before the first."""
        path = self.root / "expected"
        return ReleaseManifest.from_bytes(path.read_bytes()) if path.exists() else None

    def expect(self, manifest: ReleaseManifest) -> None:
        """Take chunks from now on for those of this release."""
        _replace(self.root / "expected", manifest.to_bytes())

    def missing(self, manifest: ReleaseManifest) -> list[int]:
        """Chunks that have not come yet, in order: with these a transfer resumes."""
        if self.path(manifest.release).is_dir():
            return []
        received = self._received(manifest)
        return [number for number, came in enumerate(received) if not came]

    def receive(self, manifest: ReleaseManifest, number: int, data: bytes) -> None:
        """Store a chunk; one that comes again changes nothing.

        The chunk is on disk before it counts, so that what a loss of power takes is sent again.

        Raises:
            ReleaseError: There is no such chunk, or it has another length.
        """
        first = number * manifest.chunk_bytes
        length = min(manifest.chunk_bytes, manifest.size - first)
        if not (0 <= number < manifest.chunks and len(data) == length):
            raise ReleaseError(
                f"chunk {number}: found {len(data)} bytes; allowed: chunks 0 to {manifest.chunks - 1} of "
                f"{manifest.chunk_bytes} bytes, the last one of what is left"
            )
        received = self._received(manifest)
        if self.path(manifest.release).is_dir() or received[number]:
            return
        folder, at = self._incoming(manifest), 0
        for file, begin, until in overlaps(manifest.files, first, first + length):
            place = folder / _FILES / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("r+b" if place.exists() else "w+b") as opened:
                opened.seek(begin)
                opened.write(data[at : at + until - begin])
                opened.flush()
                os.fsync(opened.fileno())
            at += until - begin
        received[number] = 1
        _replace(folder / _RECEIVED, bytes(received))

    def activate(self, manifest: ReleaseManifest) -> None:
        """Use a release from now on, once all of it has come and every file has the digest of its manifest.

        A file that has another is dropped, so that its chunks are missing again.

        Raises:
            ReleaseError: Chunks are missing, or a file differs; the release in use stays.
        """
        release = manifest.release
        if not self.path(release).is_dir():
            left = self.missing(manifest)
            if left:
                raise ReleaseError(
                    f"release {release[:12]}: {len(left)} of {manifest.chunks} chunks are missing"
                )
            folder = self._incoming(manifest)
            self._require_digests(manifest, folder)
            self.path(release).parent.mkdir(parents=True, exist_ok=True)
            (folder / _FILES).rename(self.path(release))
            shutil.rmtree(folder)
        if self.current != release:
            if self.current:
                _replace(self.root / "previous", self.current.encode())
            _replace(self.root / "current", release.encode())

    def roll_back(self) -> str:
        """Use the release of before again, and return its name; once more, and the later one is back.

        Raises:
            ReleaseError: There is none.
        """
        current, previous = self.current, self.previous
        if not previous or not self.path(previous).is_dir():
            raise ReleaseError("roll back: found no earlier release; allowed after a second activation")
        _replace(self.root / "current", previous.encode())
        _replace(self.root / "previous", current.encode())
        return previous

    def _require_digests(self, manifest: ReleaseManifest, folder: Path) -> None:
        received, offset, wrong = self._received(manifest), 0, []
        for file in manifest.files:
            place = folder / _FILES / file.path
            if not file.size:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            with place.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            if digest != file.sha256:
                wrong.append(file.path)
                first, last = offset // manifest.chunk_bytes, (offset + file.size - 1) // manifest.chunk_bytes
                received[first : last + 1] = bytes(last + 1 - first)
            offset += file.size
        if wrong:
            _replace(folder / _RECEIVED, bytes(received))
            raise ReleaseError(
                f"release {manifest.release[:12]}: {', '.join(wrong)} differ from the manifest; their chunks are "
                "missing again"
            )

    def _incoming(self, manifest: ReleaseManifest) -> Path:
        folder = self.root / "incoming" / manifest.release
        (folder / _FILES).mkdir(parents=True, exist_ok=True)
        return folder

    def _received(self, manifest: ReleaseManifest) -> bytearray:
        path = self.root / "incoming" / manifest.release / _RECEIVED
        known = path.read_bytes() if path.exists() else b""
        return bytearray(known if len(known) == manifest.chunks else bytes(manifest.chunks))

    def _named(self, which: str) -> str:
        path = self.root / which
        return path.read_text(encoding="utf-8") if path.exists() else ""


def _replace(path: Path, content: bytes) -> None:
    """Write a file under another name, on disk, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    with scratch.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    scratch.replace(path)
