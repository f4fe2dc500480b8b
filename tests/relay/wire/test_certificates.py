"""Certificates: strict verifiers accept them, authorities overlap, revoked ones are out, and ends are told in time."""

import datetime
import os
import shutil
import ssl
import subprocess

import pytest
from cryptography import x509
from typer.testing import CliRunner

from relay.client.message_link import LinkError, LinkRefused
from relay.wire import certificates
from relay.wire.certificates import (
    days_left,
    hosts_of,
    renew_authority,
    revoke,
    write_certificates,
    write_server_certificate,
)
from relay.wire.identity import IdentityError, NodeIdentity, node_folder
from relay.wire.manifest import Manifest, MessageKind
from skysplit.cli import app
from skysplit.deployment.expiry import ending

NODES = ("sat-0", "ground")


def folders(directory):
    return [node_folder(directory, name) for name in NODES]


def identities(directory):
    return {name: NodeIdentity.load(node_folder(directory, name)) for name in NODES}


def some_manifest(source):
    return Manifest.describe(
        b"", run="r", kind=MessageKind.HIDDEN, source=source, destination="ground", dtype="uint8", shape=(0,)
    )


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
def test_openssl_accepts_every_certificate_by_the_letter_of_rfc_5280(tmp_path):
    write_certificates(tmp_path, NODES)
    write_server_certificate(tmp_path, tmp_path / "server", ["ground.example", "10.0.0.1", "2001:db8::1"])
    revoke(tmp_path, [], folders(tmp_path))
    files = [folder / "node.crt" for folder in folders(tmp_path)] + [tmp_path / "server" / "server.crt"]
    options = ["-x509_strict", "-crl_check", "-CRLfile", str(tmp_path / "revoked.crl")]
    command = ["openssl", "verify", *options, "-CAfile", str(tmp_path / "ca.crt"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_strict_tls_client_reaches_a_server_by_name_and_by_either_kind_of_address(tmp_path, host):
    write_server_certificate(tmp_path, tmp_path / "server", ["localhost", "127.0.0.1", "[::1]"])
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "server" / "server.crt", tmp_path / "server" / "server.key")
    dialling = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    dialling.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN  # as Python 3.13 has it
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    client = dialling.wrap_bio(to_client, to_server, server_hostname=host)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert()


def test_while_an_authority_is_renewed_every_node_trusts_every_other(tmp_path):
    write_certificates(tmp_path, NODES)
    before = identities(tmp_path)

    def all_trust_all(*groups):
        for group in groups:
            for other in groups:
                for name in NODES:
                    group["ground"].verify(other[name].sign(some_manifest(name)), name)

    renew_authority(tmp_path, folders(tmp_path))
    trusting = identities(tmp_path)  # the new authority beside the old, certificates as they were
    all_trust_all(before, trusting)
    write_certificates(tmp_path, NODES, renew=True)
    renewed = identities(tmp_path)
    all_trust_all(trusting, renewed)
    assert renewed["sat-0"].certificate.issuer != before["sat-0"].certificate.issuer
    assert renewed["sat-0"].key.private_numbers() == before["sat-0"].key.private_numbers()
    renew_authority(tmp_path, folders(tmp_path))  # once more: the first authority is no longer trusted
    with pytest.raises(IdentityError, match="not of this mission's authority"):
        identities(tmp_path)["ground"].verify(_Signed.by(before["sat-0"]), "sat-0")


class _Signed:
    """A manifest signed with a certificate that was read before the folder changed."""

    @staticmethod
    def by(identity):
        return identity.sign(some_manifest(identity.name))


def test_running_relays_follow_a_renewal_of_the_authority_in_two_steps(fleet, tmp_path):
    directory = tmp_path / "certificates"
    write_certificates(directory, NODES)
    relays = fleet(fleet.both_ways(NODES), identities=identities(directory))
    for step, change in enumerate(
        (
            lambda: renew_authority(directory, folders(directory)),
            lambda: write_certificates(directory, NODES, renew=True),
        )
    ):
        change()
        relays.identities = identities(directory)
        with relays.link("sat-0") as satellite, relays.link("ground") as ground:
            satellite.send(*fleet.tensor([1.0], "sat-0", "ground", step=step))
            assert ground.receive(60).manifest.step == step


def test_a_revoked_node_is_shut_out_by_relays_that_run(fleet, tmp_path):
    directory = tmp_path / "certificates"
    write_certificates(directory, NODES)
    relays = fleet(fleet.both_ways(NODES), identities=identities(directory))
    with relays.link("sat-0") as satellite:
        satellite.send(*fleet.tensor([1.0], "sat-0", "ground"))
    thief = identities(directory)["sat-0"]
    revoke(directory, ["sat-0"], folders(directory))
    with pytest.raises(IdentityError, match="the certificate of sat-0 is revoked"):
        identities(directory)["ground"].verify(thief.sign(some_manifest("sat-0")), "sat-0")
    with relays.link("sat-0") as satellite, pytest.raises((LinkRefused, LinkError), match="revoked"):
        satellite.send(*fleet.tensor([2.0], "sat-0", "ground", step=1))
    # A new certificate lets the node in again, and the key that was stolen is not the key of it.
    write_certificates(directory, NODES, renew=True)
    renewed = identities(directory)
    assert renewed["sat-0"].key.private_numbers() != thief.key.private_numbers()
    renewed["ground"].verify(renewed["sat-0"].sign(some_manifest("sat-0")), "sat-0")
    with pytest.raises(IdentityError, match="revoked"):
        renewed["ground"].verify(thief.sign(some_manifest("sat-0")), "sat-0")


def test_what_was_revoked_stays_revoked_when_more_are_and_when_the_authority_is_renewed(tmp_path):
    write_certificates(tmp_path, [*NODES, "sat-1"])
    first = NodeIdentity.load(node_folder(tmp_path, "sat-1"))
    revoke(tmp_path, ["sat-1"], folders(tmp_path))
    second = NodeIdentity.load(node_folder(tmp_path, "sat-0"))
    revoke(tmp_path, ["sat-0"], folders(tmp_path))
    renew_authority(tmp_path, folders(tmp_path))
    write_certificates(tmp_path, ["ground"], renew=True)
    revoke(tmp_path, ["ground"], folders(tmp_path))
    for revoked, name in ((first, "sat-1"), (second, "sat-0")):
        with pytest.raises(IdentityError, match="is revoked"):
            identities(tmp_path)["ground"].verify(revoked.sign(some_manifest(name)), name)
    with pytest.raises(ValueError, match="renew it first"):
        revoke(tmp_path, ["sat-0"], folders(tmp_path))


def test_a_list_that_somebody_else_signed_changes_nothing(tmp_path, caplog):
    write_certificates(tmp_path / "ours", NODES)
    write_certificates(tmp_path / "theirs", NODES)
    revoke(tmp_path / "theirs", ["sat-0"], [])
    ours = identities(tmp_path / "ours")
    shutil.copy(tmp_path / "theirs" / "revoked.crl", node_folder(tmp_path / "ours", "ground"))
    ours["ground"].verify(ours["sat-0"].sign(some_manifest("sat-0")), "sat-0")
    assert "no authority of this mission signed" in caplog.text
    with pytest.raises(IdentityError, match="no authority of this mission signed"):
        NodeIdentity.load(node_folder(tmp_path / "ours", "ground"))


def test_a_folder_in_the_middle_of_a_renewal_stays_as_it_was(tmp_path):
    write_certificates(tmp_path, NODES)
    ground = identities(tmp_path)["ground"]
    before = ground._files.pems
    write_certificates(tmp_path / "new", NODES)
    shutil.copy(tmp_path / "new" / "ground" / "node.key", tmp_path / "ground" / "node.key")
    ground.channel_credentials()
    assert ground._files.pems == before
    shutil.copy(tmp_path / "new" / "ground" / "node.crt", tmp_path / "ground" / "node.crt")
    ground.channel_credentials()
    assert ground._files.pems != before


def test_tls_is_given_a_new_configuration_only_when_files_have_changed(tmp_path, monkeypatch):
    """gRPC frees what handshakes in other threads still use when it gets one: each costs a risk of a crash."""
    given = []
    write_certificates(tmp_path, NODES)
    monkeypatch.setattr("grpc.dynamic_ssl_server_credentials", lambda first, fetch, **_: given.append(fetch))
    identities(tmp_path)["ground"].server_credentials()
    [fetch] = given
    assert [fetch(), fetch()] == [None, None]
    write_certificates(tmp_path, NODES, renew=True)
    assert fetch() is not None
    assert fetch() is None


@pytest.mark.parametrize(
    ("days", "says"),
    [(400, ""), (31, ""), (29, "ends in 29 days"), (0.2, "ends in 0 days"), (-3, "ended 3 days ago")],
)
def test_the_end_of_a_certificate_is_told_thirty_days_before(tmp_path, monkeypatch, days, says):
    monkeypatch.setattr(certificates, "_CLOCKS_DIFFER", datetime.timedelta(days=10))
    write_certificates(tmp_path, NODES, valid_days=days + 0.001)
    found = list(ending(folders(tmp_path)))
    assert days_left(tmp_path / "sat-0" / "node.crt") == pytest.approx(days, abs=0.01)
    assert [sentence.partition(": ")[2] for sentence in found] == ([says] * 2 if says else [])


def test_a_certificate_that_was_renewed_keeps_its_hosts_and_owner(tmp_path):
    write_server_certificate(tmp_path, tmp_path / "server", ["a.example", "::1"])
    assert hosts_of(tmp_path / "server" / "server.crt") == ("a.example", "::1")
    owner = (tmp_path / "server" / "server.key").stat()
    if os.geteuid() == 0:
        os.chown(tmp_path / "server" / "server.key", 10001, 10001)
        write_server_certificate(tmp_path, tmp_path / "server", ["a.example"])
        assert (tmp_path / "server" / "server.key").stat().st_uid == 10001
    assert owner.st_mode & 0o777 == 0o600


def test_the_command_renews_revokes_and_says_what_others_must_know(tmp_path):
    def certs(*words):
        few = ["--set", "constellation.satellites=2"]
        done = CliRunner().invoke(app, ["certs", "walker-12", *few, "--out", str(tmp_path), *words])
        return done.exit_code, done.stdout + done.stderr

    status, said = certs()
    assert status == 0, said
    status, said = certs("--new-keys")
    assert (status, said.count("register the new one")) == (0, 2), said
    assert "register" not in certs("--renew")[1]
    assert "trusted beside the one before it" in certs("--renew-authority")[1]
    assert len(x509.load_pem_x509_certificates((tmp_path / "sat-0-00" / "ca.crt").read_bytes())) == 2
    assert "renew it first" in certs("--revoke", "sat-0-00")[1]
    assert certs("--renew")[0] == 0
    status, said = certs("--revoke", "sat-0-00")
    assert (status, "revoked the certificates of sat-0-00" in said) == (0, True)
    assert (tmp_path / "ground" / "revoked.crl").exists()
    assert certs("--revoke", "nobody")[0] == 1
