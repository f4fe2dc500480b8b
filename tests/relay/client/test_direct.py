import asyncio
import contextlib
import socket
import threading

import numpy as np
import pytest

from relay.client.direct import STREAMS_AT_ONCE, EndpointError, GroundEndpoint, GroundLink
from relay.client.message_link import BundleLink, LinkError, LinkLost, LinkRefused, LinkTimeout, RemoteError
from relay.wire.certificates import write_certificates
from relay.wire.frames import encode_chunk
from relay.wire.identity import NodeIdentity, node_folder
from relay.wire.manifest import Limits, Manifest, MessageKind
from tests.relay.conftest import hidden

SATELLITES = ("sat-0", "sat-1", "sat-2")


def features(values, source="sat-0", step=0, **changes):
    payload = np.asarray(values, "<f4").tobytes()
    manifest = Manifest.describe(
        payload,
        run="run",
        kind=MessageKind.FEATURES,
        source=source,
        destination="ground",
        dtype="float32",
        shape=(len(values),),
        step=step,
        **changes,
    )
    return manifest, payload


async def doubling(satellite, manifest, payload):
    return [hidden(manifest, 2 * np.frombuffer(payload, "<f4"))]


def values(bundle):
    return np.frombuffer(bundle.payload, "<f4").tolist()


def test_a_bundle_goes_up_and_the_answer_comes_down():
    with GroundEndpoint(doubling, SATELLITES) as ground, GroundLink(ground.address, "sat-0") as link:
        assert isinstance(link, BundleLink)
        link.send(*features([1.0, 2.5]))
        bundle = link.receive(60)
    assert bundle.manifest.kind is MessageKind.HIDDEN
    assert values(bundle) == [2.0, 5.0]


def test_a_tensor_of_many_chunks_and_an_empty_one_arrive_whole():
    limits = Limits(chunk_bytes=4096)
    large = np.arange(50_000, dtype="<f4")
    with (
        GroundEndpoint(doubling, SATELLITES, limits=limits) as ground,
        GroundLink(ground.address, "sat-0", limits=limits) as link,
    ):
        link.send(*features(large, step=1))
        link.send(*features([], step=2))
        assert values(link.receive(60)) == (2 * large).tolist()
        assert values(link.receive(60)) == []


def test_satellites_are_served_at_the_same_time_and_each_in_its_own_order():
    all_here = asyncio.Barrier(len(SATELLITES))

    async def together(satellite, manifest, payload):
        await all_here.wait()  # passes only if the handler runs for all satellites at once
        return [hidden(manifest, [manifest.step])]

    def fly(name, answers):
        with GroundLink(ground.address, name) as link:
            for step in range(3):
                link.send(*features([0.0], source=name, step=step))
            answers[name] = [values(link.receive(60)) for _ in range(3)]

    answers = {}
    with GroundEndpoint(together, SATELLITES) as ground:
        threads = [threading.Thread(target=fly, args=(name, answers)) for name in SATELLITES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert answers == {name: [[0.0], [1.0], [2.0]] for name in SATELLITES}


def test_what_the_handler_raises_is_raised_at_the_satellite_and_the_link_goes_on():
    async def picky(satellite, manifest, payload):
        if manifest.step == 0:
            raise KeyError("no adapter for this satellite")
        return await doubling(satellite, manifest, payload)

    with GroundEndpoint(picky, SATELLITES) as ground, GroundLink(ground.address, "sat-0") as link:
        refused, payload = features([1.0])
        link.send(refused, payload)
        with pytest.raises(RemoteError, match=r"KeyError.*no adapter for this satellite") as caught:
            link.receive(60)
        assert caught.value.transfer_id == refused.transfer_id
        link.send(*features([1.0], step=1))
        assert values(link.receive(60)) == [2.0]


def test_a_bundle_sent_again_over_a_new_link_gets_the_same_answer_without_asking_the_model():
    calls = []

    async def counting(satellite, manifest, payload):
        calls.append(manifest.step)
        return [hidden(manifest, [len(calls)])]

    with GroundEndpoint(counting, SATELLITES) as ground:
        for _ in range(2):
            with GroundLink(ground.address, "sat-0") as link:
                link.send(*features([1.0], step=7))
                assert values(link.receive(60)) == [1.0]
    assert calls == [7]


def test_a_transfer_id_with_other_contents_is_a_conflict():
    with GroundEndpoint(doubling, SATELLITES) as ground, GroundLink(ground.address, "sat-0") as link:
        link.send(*features([1.0]))
        link.receive(60)
        link.send(*features([9.0]))
        with pytest.raises(RemoteError, match=r"Conflict.*other contents"):
            link.receive(60)


@pytest.mark.parametrize("name", ["sat-9", ""])
def test_a_satellite_that_is_not_of_the_mission_is_refused(name):
    with (
        GroundEndpoint(doubling, SATELLITES) as ground,
        GroundLink(ground.address, name) as link,
        pytest.raises(LinkRefused, match="not a satellite of this mission"),
    ):
        link.receive(60)


def test_a_bundle_in_the_name_of_another_satellite_ends_the_stream():
    with GroundEndpoint(doubling, SATELLITES) as ground, GroundLink(ground.address, "sat-0") as link:
        link.send(*features([1.0], source="sat-1"))
        with pytest.raises(RemoteError, match="sat-0 sends a bundle of sat-1"):
            link.receive(60)
        with pytest.raises(LinkRefused):
            link.receive(60)
        with pytest.raises(LinkRefused):
            link.send(*features([1.0], step=1))


def test_nan_and_corrupt_chunks_are_refused_before_the_handler_sees_them():
    seen = []

    async def recording(satellite, manifest, payload):
        seen.append(manifest)
        return []

    with GroundEndpoint(recording, SATELLITES) as ground:
        with GroundLink(ground.address, "sat-0") as link:
            link.send(*features([1.0, np.nan]))
            with pytest.raises(RemoteError, match="NotFinite"):
                link.receive(60)
        with GroundLink(ground.address, "sat-0") as link:
            frame = bytearray(encode_chunk(bytes(16), 0, b"abcd"))
            frame[-1] ^= 1
            link._outgoing.put(bytes(frame))
            with pytest.raises(RemoteError, match=r"OutOfOrder|CorruptChunk"):
                link.receive(60)
    assert seen == []


def test_waiting_for_a_bundle_ends_at_the_deadline_and_the_link_stays_usable():
    with GroundEndpoint(doubling, SATELLITES) as ground, GroundLink(ground.address, "sat-0") as link:
        with pytest.raises(LinkTimeout, match=r"within 0\.05 s"):
            link.receive(0.05)
        link.send(*features([3.0]))
        assert values(link.receive(60)) == [6.0]


def test_a_ground_that_stops_is_noticed_by_sender_and_receiver():
    with GroundEndpoint(doubling, SATELLITES) as ground, GroundLink(ground.address, "sat-0") as link:
        link.send(*features([1.0]))
        link.receive(60)
        ground.stop()
        with pytest.raises(LinkLost):
            link.receive(60)
        with pytest.raises(LinkLost):
            link.send(*features([1.0], step=1))


def test_no_ground_at_all_is_a_clear_error():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with GroundLink(address, "sat-0") as link, pytest.raises(LinkLost, match="cannot be reached"):
        link.receive(60)


def test_a_port_in_use_is_a_clear_error_before_anything_starts():
    with GroundEndpoint(doubling, SATELLITES) as ground:
        port = int(ground.address.rpartition(":")[2])
        with pytest.raises(EndpointError, match=f"127.0.0.1:{port}: the port is in use"):
            GroundEndpoint(doubling, SATELLITES, port=port).start()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    write_certificates(directory, ["ground", *SATELLITES])
    return lambda node: NodeIdentity.load(node_folder(directory, node))


def test_with_certificates_the_name_is_the_one_certified_not_the_one_stated(certificates):
    async def naming(satellite, manifest, payload):
        return [hidden(manifest, [SATELLITES.index(satellite)])]

    with (
        GroundEndpoint(naming, SATELLITES, identity=certificates("ground")) as ground,
        GroundLink(ground.address, "sat-0", identity=certificates("sat-2")) as link,
    ):
        link.send(*features([1.0], source="sat-2"))
        assert values(link.receive(60)) == [2.0]
        link.send(*features([1.0], source="sat-0"))
        with pytest.raises(RemoteError, match="sat-2 sends a bundle of sat-0"):
            link.receive(60)


def test_plaintext_and_a_certificate_of_another_authority_do_not_get_in(certificates, tmp_path):
    write_certificates(tmp_path, ["sat-0"])
    foreign = NodeIdentity.load(node_folder(tmp_path, "sat-0"))
    with GroundEndpoint(doubling, SATELLITES, identity=certificates("ground")) as ground:
        for identity in (None, foreign):
            with GroundLink(ground.address, "sat-0", identity=identity) as link, pytest.raises(LinkLost):
                link.receive(60)


def test_a_satellite_does_not_talk_to_a_server_that_is_not_the_ground(certificates):
    with (
        GroundEndpoint(doubling, SATELLITES, identity=certificates("sat-1")) as impostor,
        GroundLink(impostor.address, "sat-0", identity=certificates("sat-0")) as link,
        pytest.raises(LinkLost),
    ):
        link.receive(60)


@pytest.mark.parametrize(
    "guess", ["", "the secret of the ru", "the secret of the run ", "THE SECRET OF THE RUN"]
)
def test_who_does_not_know_the_secret_of_the_run_is_not_answered_under_any_name(guess):
    with (
        GroundEndpoint(doubling, ["sat-0"], secret="the secret of the run") as endpoint,
        GroundLink(endpoint.address, "sat-0", secret=guess) as stranger,
        pytest.raises(LinkRefused, match="does not know the secret"),
    ):
        stranger.receive(60)


def test_satellites_of_the_run_know_its_secret_and_one_has_few_streams_at_once():
    with (
        GroundEndpoint(doubling, ["sat-0", "sat-1"], secret="s3") as endpoint,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(STREAMS_AT_ONCE):
            link = stack.enter_context(GroundLink(endpoint.address, "sat-0", secret="s3"))
            link.send(*features([1.0]))
            link.receive(60)
        one_more = stack.enter_context(GroundLink(endpoint.address, "sat-0", secret="s3"))
        with pytest.raises(LinkError, match="all it may have"):
            one_more.receive(60)
        other = stack.enter_context(GroundLink(endpoint.address, "sat-1", secret="s3"))
        with pytest.raises(LinkTimeout):
            other.receive(0.2)
