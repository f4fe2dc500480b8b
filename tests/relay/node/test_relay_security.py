import dataclasses
import stat

import grpc
import numpy as np
import pytest

from relay.client.message_link import LinkError, LinkRefused, LinkTimeout, dial
from relay.client.relay_link import RelayLink
from relay.clock.timed_link import Window
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.certificates import write_certificates
from relay.wire.frames import chunks, encode_chunk, encode_transfer_header
from relay.wire.identity import IdentityError, NodeIdentity, node_folder
from relay.wire.manifest import Limits

NODES = ("sat-0", "sat-1", "sat-2", "ground")
LIMITS = Limits()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    write_certificates(directory, [*NODES, "sat-9"])
    return {name: NodeIdentity.load(node_folder(directory, name)) for name in (*NODES, "sat-9")}


@pytest.fixture
def relays(fleet, certificates):
    """sat-0 and sat-1 may send to the ground now, sat-2 only much later; sat-9 is certified but not in the plan."""
    links = fleet.both_ways(("sat-0", "ground"), ("sat-1", "ground"), ("sat-0", "sat-1"))
    later = fleet.both_ways(("sat-2", "ground"), windows=(Window(5e4, 6e4, rate_bps=1e9, owlt_s=0.0),))
    return fleet(
        {**links, **later}, identities=certificates, quota_bytes=1 << 20, neighbour_quota_bytes=1 << 20
    )


def put(relays, frames, *, as_node, identity, to="ground"):
    """What a relay answers to these frames; raises grpc.RpcError if it ends the stream."""
    channel = dial(relays.addresses[to], to, identity, LIMITS)
    with channel:
        call = channel.stream_stream(
            service.path(service.PUT), response_deserializer=pb.Acknowledgement.FromString
        )
        return list(call(iter(frames), timeout=60, metadata=[(service.NODE_KEY, as_node)]))


def bundle(fleet_tensor, identity, *, source="sat-0", values=(1.0, 2.0), **changes):
    manifest, payload = fleet_tensor(values, source, "ground", **changes)
    return identity.sign(manifest), manifest, payload


def frames_of(signed, manifest, payload):
    return [encode_transfer_header(signed), *chunks(manifest.transfer_id, payload, LIMITS.chunk_bytes)]


def nothing_arrived(relays):
    with relays.link("ground") as ground, pytest.raises(LinkTimeout):
        ground.receive(0.2)


def test_an_honest_bundle_of_a_neighbour_is_taken(fleet, relays, certificates):
    honest = bundle(fleet.tensor, certificates["sat-0"])
    answers = put(relays, frames_of(*honest), as_node="sat-0", identity=certificates["sat-0"])
    assert answers[-1].next_offset == honest[1].total_bytes
    with relays.link("ground") as ground:
        assert bytes(ground.receive(60).payload) == honest[2]


def test_without_a_certificate_and_in_plaintext_nobody_gets_in(fleet, relays, certificates):
    honest = frames_of(*bundle(fleet.tensor, certificates["sat-0"]))
    with pytest.raises(grpc.RpcError) as caught:
        put(relays, honest, as_node="sat-0", identity=None)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

    class Anonymous:
        def channel_credentials(self):
            return grpc.ssl_channel_credentials((certificates["sat-0"].folder / "ca.crt").read_bytes())

    with pytest.raises(grpc.RpcError) as caught:
        put(relays, honest, as_node="sat-0", identity=Anonymous())
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    nothing_arrived(relays)


def test_a_certified_node_that_is_not_in_the_plan_is_refused(fleet, relays, certificates):
    honest = frames_of(*bundle(fleet.tensor, certificates["sat-0"]))
    with pytest.raises(grpc.RpcError, match="not a node of this mission"):
        put(relays, honest, as_node="sat-0", identity=certificates["sat-9"])


def test_a_neighbour_may_not_send_while_its_contact_is_closed(fleet, relays, certificates):
    honest = frames_of(*bundle(fleet.tensor, certificates["sat-2"], source="sat-2"))
    with pytest.raises(grpc.RpcError, match="no contact from sat-2 to ground"):
        put(relays, honest, as_node="sat-0", identity=certificates["sat-2"])
    with pytest.raises(grpc.RpcError, match="sat-2 never has a contact to sat-0"):
        put(relays, honest, as_node="sat-0", identity=certificates["sat-2"], to="sat-0")


def test_a_bundle_in_the_name_of_another_satellite_is_refused(fleet, relays, certificates):
    forged = bundle(fleet.tensor, certificates["sat-1"], source="sat-0")
    answers = put(relays, frames_of(*forged), as_node="sat-1", identity=certificates["sat-1"])
    assert "manifest of sat-0 is signed by sat-1" in answers[0].refusal.text
    unsigned = pb.SignedManifest(manifest=forged[1].to_bytes())
    answers = put(relays, frames_of(unsigned, *forged[1:]), as_node="sat-1", identity=certificates["sat-1"])
    assert answers[0].refusal.error == "IdentityError"
    nothing_arrived(relays)


def test_a_manifest_changed_under_its_signature_is_refused(fleet, relays, certificates):
    signed, manifest, payload = bundle(fleet.tensor, certificates["sat-0"])
    signed.manifest = dataclasses.replace(manifest, expiry_s=99.0).to_bytes()
    answers = put(
        relays, frames_of(signed, manifest, payload), as_node="sat-1", identity=certificates["sat-1"]
    )
    assert "signature does not match" in answers[0].refusal.text


@pytest.mark.parametrize("start", range(0, 420, 7))
def test_a_made_up_certificate_is_an_identity_error_whatever_is_wrong_with_it(fleet, certificates, start):
    signed, manifest, _ = bundle(fleet.tensor, certificates["sat-0"])
    for bit in range(8):
        certificate = bytearray(signed.certificate)
        certificate[start] ^= 1 << bit
        forged = pb.SignedManifest(
            manifest=signed.manifest, signature=signed.signature, certificate=bytes(certificate)
        )
        with pytest.raises(IdentityError):
            certificates["ground"].verify(forged, manifest.source)


def test_a_replayed_bundle_is_acknowledged_and_ignored(fleet, relays, certificates):
    honest = frames_of(*bundle(fleet.tensor, certificates["sat-0"]))
    put(relays, honest, as_node="sat-0", identity=certificates["sat-0"])
    with relays.link("ground") as ground:
        ground.receive(60)
    for thief in ("sat-0", "sat-1"):  # whoever recorded it
        answers = put(relays, honest, as_node=thief, identity=certificates[thief])
        assert answers[0].next_offset == 8
        assert not answers[0].HasField("refusal")
    nothing_arrived(relays)
    assert relays.status("ground").delivered_transfers == 1


def test_a_lie_about_size_ends_the_stream_before_anything_is_stored(fleet, relays, certificates):
    identity = certificates["sat-0"]
    _, manifest, _ = bundle(fleet.tensor, identity)
    lie = pb.Manifest.FromString(manifest.to_bytes())
    lie.total_bytes = 1 << 40
    huge = pb.Manifest.FromString(manifest.to_bytes())
    huge.total_bytes, huge.shape[:] = 1 << 40, [1 << 38]
    for message in (lie, huge):
        signed = pb.SignedManifest(manifest=message.SerializeToString())
        with pytest.raises(grpc.RpcError) as caught:
            put(relays, [encode_transfer_header(signed)], as_node="sat-0", identity=identity)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert relays.status("ground").queued_transfers == 0
    assert list((relays.folder / "ground").glob("*.part")) == []


def test_more_than_the_quota_is_refused_when_it_is_announced(fleet, relays, certificates):
    identity = certificates["sat-0"]
    signed, *_ = bundle(fleet.tensor, identity, values=np.zeros(300_000))
    answers = put(relays, [encode_transfer_header(signed)], as_node="sat-0", identity=identity)
    assert "never hold" in answers[0].refusal.text


def test_nan_is_refused_at_the_destination(fleet, relays, certificates):
    hostile = bundle(fleet.tensor, certificates["sat-0"], values=(1.0, np.nan))
    answers = put(relays, frames_of(*hostile), as_node="sat-0", identity=certificates["sat-0"])
    assert answers[-1].refusal.error == "NotFinite"
    nothing_arrived(relays)


def test_other_bytes_than_were_signed_are_refused(fleet, relays, certificates):
    signed, manifest, _ = bundle(fleet.tensor, certificates["sat-0"])
    swapped = np.asarray([9.0, 9.0], "<f4").tobytes()
    answers = put(
        relays, frames_of(signed, manifest, swapped), as_node="sat-1", identity=certificates["sat-1"]
    )
    assert answers[-1].refusal.error == "DigestMismatch"
    nothing_arrived(relays)


def test_a_corrupt_chunk_is_asked_for_again(fleet, relays, certificates):
    signed, manifest, payload = bundle(fleet.tensor, certificates["sat-0"], values=np.arange(1000.0))
    transfer_header, _, second = encode_transfer_header(signed), *chunks(manifest.transfer_id, payload, 2000)
    first = encode_chunk(manifest.transfer_id, 0, payload[:2000], answer=True)
    corrupt = bytearray(second)
    corrupt[-1] ^= 1
    answers = put(
        relays,
        [transfer_header, first, bytes(corrupt), second],
        as_node="sat-0",
        identity=certificates["sat-0"],
    )
    assert [(a.next_offset, a.rewind) for a in answers] == [
        (2000, False),
        (2000, True),
        (4000, False),
    ]


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"garbage"],
        [b"M" + b"\xff" * 100],
        [encode_chunk(bytes(16), 0, b"never opened")],
        [b"M" + bytes(9000)],
    ],
)
def test_what_no_honest_peer_sends_ends_the_stream(relays, certificates, frames):
    with pytest.raises(grpc.RpcError) as caught:
        put(relays, frames, as_node="sat-0", identity=certificates["sat-0"])
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_frame_beyond_the_message_limit_is_refused_by_the_transport(relays, certificates):
    generous = Limits(chunk_bytes=16 << 20)
    channel = dial(relays.addresses["ground"], "ground", certificates["sat-0"], generous)
    with channel:
        call = channel.stream_stream(service.path(service.PUT))(iter([bytes(8 << 20)]), timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_call_without_a_deadline_is_refused(relays, certificates):
    with dial(relays.addresses["ground"], "ground", certificates["sat-0"], LIMITS) as channel:
        call = channel.stream_stream(service.path(service.PUT))(iter([]))
        with pytest.raises(grpc.RpcError, match="needs a deadline"):
            list(call)


def test_only_the_nodes_own_application_may_fetch_its_bundles(relays, certificates):
    channel = dial(relays.addresses["ground"], "ground", certificates["sat-0"], LIMITS)
    with channel:
        call = channel.stream_stream(
            service.path(service.FETCH), request_serializer=pb.FetchRequest.SerializeToString
        )(iter([pb.FetchRequest()]), timeout=60)
        with pytest.raises(grpc.RpcError, match="these bundles are for ground"):
            list(call)


def test_only_who_sent_a_transfer_may_cancel_it(fleet, relays, certificates):
    identity = certificates["sat-0"]
    signed, manifest, _ = bundle(fleet.tensor, identity)
    put(relays, [encode_transfer_header(signed)], as_node="sat-0", identity=identity)

    def cancel(name):
        channel = dial(relays.addresses["ground"], "ground", certificates[name], LIMITS)
        with channel:
            channel.unary_unary(
                service.path(service.CANCEL),
                request_serializer=pb.TransferId.SerializeToString,
                response_deserializer=pb.Nothing.FromString,
            )(pb.TransferId(transfer_id=manifest.transfer_id), timeout=60)

    cancel("sat-1")
    assert relays.status("ground").queued_transfers == 1
    cancel("sat-0")
    assert relays.status("ground").queued_transfers == 0


def test_bundles_travel_over_mutually_authenticated_hops(fleet, relays):
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        satellite.send(*fleet.tensor(np.arange(1000.0), "sat-0", "ground"))
        assert np.frombuffer(ground.receive(60).payload, "<f4").tolist() == list(range(1000))


def test_new_certificates_are_taken_up_without_a_restart(fleet, tmp_path):
    directory = tmp_path / "certificates"
    write_certificates(directory, ["sat-0", "ground"])

    def load():
        return {name: NodeIdentity.load(node_folder(directory, name)) for name in ("sat-0", "ground")}

    relays = fleet(fleet.both_ways(("sat-0", "ground")), identities=load())
    write_certificates(directory, ["sat-0", "ground"], renew=True)
    relays.identities = load()
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        satellite.send(*fleet.tensor([1.0], "sat-0", "ground"))
        assert ground.receive(60).manifest.source == "sat-0"


def test_keys_are_for_their_owner_only_and_a_key_others_can_read_is_refused(tmp_path):
    write_certificates(tmp_path, ["ISS (ZARYA)"])
    folder = node_folder(tmp_path, "ISS (ZARYA)")
    for key in (tmp_path / "ca.key", folder / "node.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert NodeIdentity.load(folder).name == "ISS (ZARYA)"
    (folder / "node.key").chmod(0o644)
    with pytest.raises(IdentityError, match="others may read"):
        NodeIdentity.load(folder)
    with pytest.raises(IdentityError, match=r"no ca\.crt"):
        NodeIdentity.load(tmp_path / "nobody")


def test_a_relay_does_not_start_with_the_certificate_of_another_node(fleet, certificates):
    swapped = {"sat-0": certificates["ground"], "ground": certificates["sat-0"]}
    with pytest.raises(IdentityError, match="relay sat-0 is given the certificate of ground"):
        fleet(fleet.both_ways(("sat-0", "ground")), identities=swapped)


def test_the_own_application_needs_no_tls_over_the_socket_file_but_still_signs(fleet, relays, certificates):
    local = {name: relays.nodes[name].local_address for name in ("sat-0", "ground")}
    assert stat.S_IMODE((relays.folder / "ground").stat().st_mode) == 0o700
    with (
        RelayLink(local["sat-0"], "sat-0", identity=certificates["sat-0"]) as satellite,
        RelayLink(local["ground"], "ground", identity=certificates["ground"]) as ground,
    ):
        satellite.send(*fleet.tensor([1.0], "sat-0", "ground"))
        assert ground.receive(60).manifest.source == "sat-0"
    with (
        RelayLink(local["sat-0"], "sat-0") as unsigned,
        pytest.raises(LinkRefused, match="no readable certificate"),
    ):
        unsigned.send(*fleet.tensor([1.0], "sat-0", "ground", step=1))


def test_an_application_without_the_nodes_certificate_gets_nothing(fleet, relays, certificates):
    relays.identities = {**certificates, "ground": certificates["sat-1"]}
    with relays.link("ground") as thief, pytest.raises(LinkError, match="these bundles are for ground"):
        thief.receive(60)


def test_nobody_can_take_the_transfer_id_of_another_satellite_before_it_comes(fleet, relays, certificates):
    _, honest, _ = bundle(fleet.tensor, certificates["sat-0"])
    _, manifest, _ = bundle(fleet.tensor, certificates["sat-1"], source="sat-1", values=(7.0, 7.0))
    squatting = pb.Manifest.FromString(manifest.to_bytes())
    squatting.transfer_id = honest.transfer_id
    signed = pb.SignedManifest(manifest=squatting.SerializeToString())
    with pytest.raises(grpc.RpcError, match="transfer_id"):
        put(relays, [encode_transfer_header(signed)], as_node="sat-1", identity=certificates["sat-1"])
