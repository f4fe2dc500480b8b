"""A release over relays: it is used when it is whole, whoever dies on the way, and is taken back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from relay.clock.timed_link import Window
from relay.release.carrier import ReleaseReceiver, ReleaseSender
from relay.release.manifest import ReleaseError, ReleaseManifest, manifest_of, read_chunk
from relay.release.store import ReleaseStore
from relay.wire.certificates import write_certificates
from relay.wire.identity import NodeIdentity, node_folder

CHUNK = 50_000
SATELLITES = ("sat-0", "sat-1")
# The ground sees sat-0 alone, which passes on what is for sat-1.
PATH = ((SATELLITES[0], "ground"), SATELLITES)


def trained(folder: Path, seed: int) -> ReleaseManifest:
    files = {
        "head.safetensors": bytes([seed]) * 120_000,
        "adapter/a.bin": bytes(range(256)) * 300,
        "empty": b"",
    }
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return manifest_of(folder, files, CHUNK)


class OnBoard(threading.Thread):
    """A satellite that serves until a release is in use, over a link that may be cut after so many messages."""

    def __init__(self, relays, name: str, folder: Path, dies_after: int = 0, identity=None) -> None:
        super().__init__(daemon=True)
        self.relays, self.name_, self.store = relays, name, ReleaseStore(folder / name)
        self.dies_after, self.identity, self.used = dies_after, identity, ""
        self.start()

    def run(self) -> None:
        try:
            with self.relays.link(self.name_) as link:
                if self.dies_after:
                    link.receive = self._dying(link.receive)
                receiver = ReleaseReceiver(
                    link, self.name_, store=self.store, ground="ground", identity=self.identity
                )
                self.used = receiver.serve(60)
        except ConnectionAbortedError:
            pass

    def _dying(self, receive):
        taken = []

        def die_after(timeout_s):
            bundle = receive(timeout_s)
            taken.append(bundle)
            if len(taken) > self.dies_after:
                raise ConnectionAbortedError
            return bundle

        return die_after


def deliver(relays, folder: Path, manifest: ReleaseManifest, attempt: int, identity=None) -> None:
    with relays.link("ground") as link:
        sender = ReleaseSender(link, "ground", identity=identity, attempt=attempt)
        sender.deliver(folder, manifest, SATELLITES, timeout_s=60)


def test_every_satellite_uses_what_was_trained_and_rolls_back(fleet, tmp_path) -> None:
    relays = fleet(fleet.both_ways(*PATH))
    first, second = (trained(tmp_path / name, seed) for seed, name in enumerate(("first", "second")))
    for attempt, (name, manifest) in enumerate((("first", first), ("second", second))):
        boards = [OnBoard(relays, satellite, tmp_path / "boards") for satellite in SATELLITES]
        deliver(relays, tmp_path / name, manifest, attempt)
        for board in boards:
            board.join(60)
            assert board.used == board.store.current == manifest.release
            place = board.store.path(manifest.release)
            for file in manifest.files:
                assert (place / file.path).read_bytes() == (tmp_path / name / file.path).read_bytes()
    boards = [OnBoard(relays, satellite, tmp_path / "boards") for satellite in SATELLITES]
    with relays.link("ground") as link:
        used = ReleaseSender(link, "ground", attempt=2).roll_back(SATELLITES, timeout_s=60)
    assert used == dict.fromkeys(SATELLITES, first.release)
    for board in boards:
        board.join(60)
        assert board.store.current == first.release


def test_a_satellite_that_dies_in_the_middle_goes_on_with_what_it_lacks(fleet, tmp_path) -> None:
    relays = fleet(fleet.both_ways(*PATH))
    manifest = trained(tmp_path / "final", 7)
    dying = OnBoard(relays, "sat-0", tmp_path / "boards", dies_after=2)  # the manifest and a chunk
    other = OnBoard(relays, "sat-1", tmp_path / "boards")
    ground = threading.Thread(target=deliver, args=(relays, tmp_path / "final", manifest, 0), daemon=True)
    ground.start()
    dying.join(60)
    assert dying.store.current == ""
    assert len(dying.store.missing(manifest)) == manifest.chunks - 1
    again = OnBoard(relays, "sat-0", tmp_path / "boards")
    for thread in (again, other, ground):
        thread.join(60)
    assert again.used == other.used == manifest.release


def test_a_ground_that_dies_sends_in_its_next_attempt_what_is_missing(fleet, tmp_path) -> None:
    relays = fleet(fleet.both_ways(*PATH))
    manifest = trained(tmp_path / "final", 7)
    for name in SATELLITES:  # all but the last chunk came in an earlier attempt
        store = ReleaseStore(tmp_path / "boards" / name)
        for number in range(manifest.chunks - 1):
            store.receive(manifest, number, read_chunk(tmp_path / "final", manifest, number))
    boards = [OnBoard(relays, satellite, tmp_path / "boards") for satellite in SATELLITES]
    deliver(relays, tmp_path / "final", manifest, 5)
    for board in boards:
        board.join(60)
        assert board.used == manifest.release
    # The manifest and a chunk for each of the two.
    assert relays.status("sat-0").delivered_transfers + relays.status("sat-1").delivered_transfers == 4


def test_a_release_waits_for_the_next_pass(fleet, tmp_path) -> None:
    passes = (Window(0.0, 0.4, 1e6, 0.0), Window(900.0, 1e4, 1e8, 0.0))
    links = {("sat-0", "ground"): passes, ("ground", "sat-0"): passes}
    relays = fleet({**links, **fleet.both_ways(SATELLITES)}, time_authority="ground")
    manifest = trained(tmp_path / "final", 3)
    boards = [OnBoard(relays, satellite, tmp_path / "boards") for satellite in SATELLITES]
    deliver(relays, tmp_path / "final", manifest, 0)
    for board in boards:
        board.join(60)
        assert board.used == manifest.release
    assert relays.status("ground").mission_s > 900.0


def test_a_release_that_the_ground_has_not_signed_is_refused(fleet, tmp_path) -> None:
    write_certificates(tmp_path / "certificates", ("ground", *SATELLITES))
    identities = {
        name: NodeIdentity.load(node_folder(tmp_path / "certificates", name))
        for name in ("ground", *SATELLITES)
    }
    relays = fleet(fleet.both_ways(*PATH), identities=identities)
    manifest = trained(tmp_path / "final", 3)
    boards = [OnBoard(relays, name, tmp_path / "boards", identity=identities[name]) for name in SATELLITES]
    with pytest.raises(ReleaseError, match=r"sat-\d: .*release manifest of ground"):
        deliver(relays, tmp_path / "final", manifest, 0)  # in an unsigned manifest
    deliver(relays, tmp_path / "final", manifest, 1, identities["ground"])
    for board in boards:
        board.join(60)
        assert board.used == manifest.release
