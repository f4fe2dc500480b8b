"""A release goes up in chunks that resume, is used only whole, and can be taken back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.release.manifest import (
    ReleaseError,
    ReleaseFile,
    ReleaseManifest,
    manifest_of,
    read_chunk,
    signed_manifest,
    verified_manifest,
)
from relay.release.store import ReleaseStore
from relay.wire import wire_pb2 as pb
from relay.wire.certificates import write_certificates
from relay.wire.identity import IdentityError, NodeIdentity, node_folder

CHUNK = 7


def trained(folder: Path, files: dict[str, bytes]) -> ReleaseManifest:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return manifest_of(folder, files, CHUNK)


def send(store: ReleaseStore, folder: Path, manifest: ReleaseManifest, *numbers: int) -> None:
    for number in numbers or store.missing(manifest):
        store.receive(manifest, number, read_chunk(folder, manifest, number))


@pytest.fixture
def first(tmp_path) -> tuple[Path, ReleaseManifest]:
    folder = tmp_path / "first"
    return folder, trained(folder, {"head.safetensors": b"0123456789", "adapter/a.bin": b"abc", "empty": b""})


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(1, 30), st.randoms())
def test_chunks_in_any_order_and_twice_give_the_files_byte_for_byte(
    tmp_path_factory, contents, size, order
) -> None:
    folder, root = (tmp_path_factory.mktemp(name) for name in ("ground", "board"))
    files = {f"part-{index}/x": content for index, content in enumerate(contents)}
    trained(folder, files)
    manifest = manifest_of(folder, files, size)
    numbers = list(range(manifest.chunks)) * 2
    order.shuffle(numbers)
    store = ReleaseStore(root)
    if numbers:
        send(store, folder, manifest, *numbers)
    store.activate(manifest)
    place = store.path(store.current)
    assert {path: (place / path).read_bytes() for path in files} == files
    assert [file.sha256 for file in manifest.files] == [
        hashlib.sha256(files[file.path]).hexdigest() for file in manifest.files
    ]


def test_a_transfer_that_broke_off_resumes_with_what_is_missing_after_a_restart(first, tmp_path) -> None:
    folder, manifest = first
    send(ReleaseStore(tmp_path / "board"), folder, manifest, 1)
    again = ReleaseStore(tmp_path / "board")  # another process
    assert again.missing(manifest) == [0]
    with pytest.raises(ReleaseError, match="1 of 2 chunks are missing"):
        again.activate(manifest)
    assert again.current == ""
    send(again, folder, manifest)
    again.activate(manifest)
    assert again.current == manifest.release
    assert again.missing(manifest) == []


def test_a_file_that_differs_is_not_used_and_its_chunks_are_sent_again(first, tmp_path) -> None:
    folder, manifest = first
    store = ReleaseStore(tmp_path / "board")
    store.receive(manifest, 0, read_chunk(folder, manifest, 0)[::-1])
    send(store, folder, manifest, 1)
    with pytest.raises(ReleaseError, match=r"differ from the manifest"):
        store.activate(manifest)
    assert store.current == ""
    assert 0 in store.missing(manifest)
    send(store, folder, manifest)
    store.activate(manifest)
    assert store.current == manifest.release


def test_the_release_of_before_comes_back_and_the_later_one_too(first, tmp_path) -> None:
    folder, manifest = first
    store = ReleaseStore(tmp_path / "board")
    with pytest.raises(ReleaseError, match="no earlier release"):
        store.roll_back()
    later = trained(tmp_path / "later", {"head.safetensors": b"another head"})
    for source, release in ((folder, manifest), (tmp_path / "later", later)):
        send(store, source, release)
        store.activate(release)
    assert (store.current, store.previous) == (later.release, manifest.release)
    assert store.roll_back() == store.current == manifest.release
    assert store.roll_back() == store.current == later.release
    store.activate(later)  # which is in use: nothing changes
    assert store.previous == manifest.release


@pytest.mark.parametrize(("number", "data"), [(0, b"short"), (2, b"x" * CHUNK), (-1, b"x" * CHUNK)])
def test_a_chunk_that_is_none_of_the_release_is_refused(first, tmp_path, number, data) -> None:
    with pytest.raises(ReleaseError, match=r"allowed: chunks 0 to 1"):
        ReleaseStore(tmp_path / "board").receive(first[1], number, data)


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../b", ""])
def test_a_manifest_names_files_below_the_release_only(path) -> None:
    with pytest.raises(ReleaseError, match="allowed: different paths below the release"):
        ReleaseManifest((ReleaseFile(path, 1, sha256="0"),), CHUNK)


@pytest.mark.parametrize("data", [b"", b"skysplit release 1\n{", b"skysplit release 1\n[]", b'{"files": []}'])
def test_what_is_no_manifest_is_one_error(data) -> None:
    with pytest.raises(ReleaseError, match="release manifest"):
        ReleaseManifest.from_bytes(data)


def test_a_satellite_believes_the_ground_alone_and_no_changed_manifest(first, tmp_path) -> None:
    folder = tmp_path / "certificates"
    write_certificates(folder, ["sat-0", "ground"])
    ground, satellite = (NodeIdentity.load(node_folder(folder, name)) for name in ("ground", "sat-0"))
    signed = signed_manifest(first[1], ground)
    assert verified_manifest(signed, satellite, "ground") == first[1]
    with pytest.raises(IdentityError, match="signed by sat-0"):
        verified_manifest(signed_manifest(first[1], satellite), satellite, "ground")
    forged = pb.SignedManifest.FromString(signed)
    forged.manifest = forged.manifest.replace(b"head", b"hood")
    with pytest.raises(IdentityError, match="signature does not match"):
        verified_manifest(forged.SerializeToString(), satellite, "ground")
    with pytest.raises(IdentityError):
        verified_manifest(b"\xff\xff", satellite, "ground")
