"""A relay under attack: by strangers, by a certified outsider, by a neighbour with a certificate of its own.

Each attack is a generator that is under way at its `yield`. Meanwhile an honest neighbour, in a process of its own,
must be served within twice its time; the relay under attack must live, take at most 200 MB and 1024 descriptors, and
have let nothing in. All loops are bounded and everything is on the loopback.
"""

import contextlib
import dataclasses
import json
import math
import queue
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf.message import Message

from relay.client.message_link import dial
from relay.clock.timed_link import LinkSchedule, Network, Window
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.certificates import write_certificates
from relay.wire.frames import chunks, encode_chunk, encode_transfer_header
from relay.wire.identity import NodeIdentity, node_folder
from relay.wire.manifest import Limits, Manifest, MessageKind
from tests.relay.conftest import free_ports

LIMITS = Limits()
VICTIM, HONEST, HOSTILE, OUTSIDER = "ground", "sat-honest", "sat-hostile", "sat-outside"
FAR = tuple(f"sat-{index:02d}" for index in range(24))  # a constellation behind the victim, for routes
MOST_BYTES = 200e6
MOST_FILES = 1024
MANY = 1000
ATTEMPTS = 12  # of which one must do: others use this machine, too


class Attacker:
    """What a hostile node can do with its certificate, or without."""

    def __init__(self, address, certificates):
        self.address = address
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.certificates = certificates
        self.identity = certificates[HOSTILE]
        self.ending = contextlib.ExitStack()
        self.opened = set()
        self.step = 0

    def channel(self, identity="own"):
        identity = self.identity if identity == "own" else identity
        return self.ending.enter_context(dial(self.address, VICTIM, identity, LIMITS))

    def socket(self):
        connection = self.ending.enter_context(socket.socket())
        connection.settimeout(5)
        connection.connect((self.host, self.port))
        return connection

    def bundle(self, values=(1.0, 2.0), *, source=HOSTILE, destination=VICTIM, dtype="float32", **changes):
        payload = values if isinstance(values, bytes) else np.asarray(values, "<f4").tobytes()
        self.step += 1
        config = {
            "run": "hostile",
            "kind": MessageKind.FEATURES,
            "shape": (len(payload) // 4,),
            "step": self.step,
            **changes,
        }
        manifest = Manifest.describe(payload, source=source, destination=destination, dtype=dtype, **config)
        self.opened.add(manifest.transfer_id)
        return manifest, payload

    def transfer_header(self, manifest, base_offset=0, via=()):
        return encode_transfer_header(self.identity.sign(manifest), base_offset, via)

    def stream(self, frames, channel=None, timeout_s=60.0):
        call = (channel or self.channel()).stream_stream(
            service.path(service.PUT), response_deserializer=pb.Acknowledgement.FromString
        )(iter(frames), timeout=timeout_s)
        self.ending.callback(call.cancel)
        return call

    def put(self, frames, channel=None):
        """What comes back; an error of the stream is its last item."""
        call, answers = self.stream(frames, channel), []
        try:
            answers.extend(call)
        except grpc.RpcError as error:
            answers.append(error)
        return answers

    def unary(self, method, request: Message, answer=pb.Nothing, channel=None, timeout_s=60.0):
        ask = (channel or self.channel()).unary_unary(
            service.path(method),
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return ask(request, timeout=timeout_s)

    def keep_on(self, attack, most=20_000):
        """Repeat in a thread until the measurement is over, or often enough."""
        over = threading.Event()

        def run():
            for _ in range(most):
                if over.is_set():
                    return
                with contextlib.suppress(OSError, grpc.RpcError, ValueError):
                    attack()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.ending.callback(thread.join, 10)
        self.ending.callback(over.set)

    def endless(self, first, repeat, most=20_000, pause_s=0.0005):
        """Frames: the first ones, then one again and again until the measurement is over."""
        over = threading.Event()
        self.ending.callback(over.set)

        def frames():
            yield from first
            for _ in range(most):
                if over.wait(pause_s):
                    return
                yield repeat() if callable(repeat) else repeat

        return frames()

    def end(self):
        self.ending.close()
        with dial(self.address, VICTIM, self.identity, LIMITS) as channel:
            for transfer_id in self.opened:
                self.unary(service.CANCEL, pb.TransferId(transfer_id=transfer_id), channel=channel)


def refused(answers, text):
    """All of what a relay answered is a refusal, or the end of the stream, with this reason."""
    assert answers
    for answer in answers:
        found = answer.details() if isinstance(answer, grpc.RpcError) else answer.refusal.text
        assert text in found, found


def eventually(holds, timeout_s=60):
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


# Strangers, who have no certificate.


def a_thousand_connections_that_say_nothing(attacker):
    for _ in range(MANY):
        attacker.socket()
    yield


def a_thousand_connections_that_begin_a_handshake_and_stop(attacker):
    for _ in range(MANY):
        with contextlib.suppress(OSError):
            attacker.socket().sendall(b"\x16\x03\x01\x02\x00")
    yield


def connections_that_drip_a_byte_at_a_time(attacker):
    connections = [attacker.socket() for _ in range(100)]

    def drip():
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.send(b"\x16")
        time.sleep(0.05)

    attacker.keep_on(drip)
    yield


def connections_that_come_and_go(attacker):
    def come_and_go():
        with socket.create_connection((attacker.host, attacker.port), 5) as connection:
            connection.sendall(b"\x00" * 64)
        time.sleep(0.002)

    attacker.keep_on(come_and_go, 5000)
    yield


def plaintext(attacker):
    for _ in range(100):
        with contextlib.suppress(OSError):
            attacker.socket().sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(1000))
    yield
    with pytest.raises(grpc.RpcError) as caught:
        attacker.unary(service.STATUS, pb.Nothing(), channel=attacker.channel(None), timeout_s=2)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def handshakes_without_a_certificate(attacker):
    context = ssl.create_default_context(cafile=str(attacker.identity.folder / "ca.crt"))
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    refusals = []

    def shake():
        with (
            socket.create_connection((attacker.host, attacker.port), 5) as connection,
            contextlib.suppress(ConnectionError),
            context.wrap_socket(connection) as secure,
        ):
            try:
                refusals.append(not secure.recv(1000))
            except ssl.SSLError:  # in TLS 1.3 the server's refusal comes after the client's handshake
                refusals.append(True)
        time.sleep(0.005)

    attacker.keep_on(shake, 500)
    yield
    assert refusals
    assert all(refusals)


def a_certificate_of_another_authority(attacker):
    class Impostor:
        def channel_credentials(self):
            own, other = attacker.identity.folder, attacker.certificates["impostor"].folder
            files = (own / "ca.crt", other / "node.key", other / "node.crt")
            return grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))

    yield
    with pytest.raises(grpc.RpcError) as caught:
        attacker.unary(service.STATUS, pb.Nothing(), channel=attacker.channel(Impostor()), timeout_s=5)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


# One that the authority certified, but that is no node of the plan; a neighbour that may not do what it tries.


def an_outsider_with_a_certificate(attacker):
    channel = attacker.channel(attacker.certificates[OUTSIDER])
    yield
    for method, request in ((service.STATUS, pb.Nothing()), (service.CANCEL, pb.TransferId())):
        with pytest.raises(grpc.RpcError, match="not a node of this mission"):
            attacker.unary(method, request, channel=channel)


def a_neighbour_that_wants_to_begin_a_round(attacker):
    network = Network((VICTIM, HONEST, HOSTILE, *FAR), {}).to_json()
    yield
    for method, request in (
        (service.START_ROUND, pb.RoundStart(start_s=1e9, network=network)),
        (service.ENROLMENT, pb.Nothing()),
    ):
        with pytest.raises(grpc.RpcError, match="cannot begin a round"):
            attacker.unary(method, request)


def a_neighbour_that_wants_the_bundles_of_the_application(attacker):
    fetch = attacker.channel().stream_stream(
        service.path(service.FETCH), request_serializer=pb.FetchRequest.SerializeToString
    )
    yield
    with pytest.raises(grpc.RpcError, match="these bundles are for"):
        list(fetch(iter([pb.FetchRequest()]), timeout=60))


def a_call_without_a_deadline(attacker):
    ask = attacker.channel().unary_unary(service.path(service.STATUS))
    yield
    with pytest.raises(grpc.RpcError, match="needs a deadline"):
        ask(b"")


def metadata_beyond_all_measure(attacker):
    ask = attacker.channel().unary_unary(service.path(service.STATUS))
    yield
    with pytest.raises(grpc.RpcError) as caught:
        ask(b"", timeout=60, metadata=[("x", "y" * 60_000)])
    assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


# A neighbour with a certificate of its own, who opens what it should not.


def honest_manifest(attacker, step):
    """One that the honest neighbour has signed, and a relay on its way may hold."""
    manifest, payload = attacker.bundle(np.arange(1000.0), source=HONEST, run="mixed", step=step)
    attacker.opened.discard(manifest.transfer_id)
    return attacker.certificates[HONEST].sign(manifest), manifest, payload


def honest_put(attacker, signed, manifest, payload, channel):
    return attacker.put(
        [encode_transfer_header(signed), *chunks(manifest.transfer_id, payload, 1000)], channel
    )


def writing_into_a_transfer_whose_header_was_refused(attacker):
    channel = attacker.channel(attacker.certificates[HONEST])
    signed, manifest, payload = honest_manifest(attacker, 1)
    half = [
        encode_transfer_header(signed),
        encode_chunk(manifest.transfer_id, 0, payload[:2000], answer=True),
    ]
    assert attacker.put(half, channel)[-1].next_offset == 2000
    garbage = encode_chunk(manifest.transfer_id, 2000, bytes(2000), answer=True)
    forged = pb.SignedManifest(
        manifest=signed.manifest, signature=b"x", certificate=attacker.identity.sign(manifest).certificate
    )
    refused(attacker.put([encode_transfer_header(forged), garbage]), "signed by sat-hostile")
    refused(attacker.put([garbage]), "which was not opened")
    yield
    assert honest_put(attacker, signed, manifest, payload, channel)[-1].next_offset == len(payload)
    attacker.unary(service.CANCEL, pb.TransferId(transfer_id=manifest.transfer_id), channel=channel)


def mixing_wrong_bytes_into_a_transfer_of_which_it_holds_the_signed_manifest(attacker):
    channel = attacker.channel(attacker.certificates[HONEST])
    signed, manifest, payload = honest_manifest(attacker, 2)
    yield
    whole = [encode_transfer_header(signed), encode_chunk(manifest.transfer_id, 0, payload)]
    half = [
        encode_transfer_header(signed),
        encode_chunk(manifest.transfer_id, 0, payload[:2000], answer=True),
    ]
    for _ in range(3):
        attacker.put(half, channel)
        garbage = encode_chunk(manifest.transfer_id, 0, bytes(len(payload)))
        attacker.put([encode_transfer_header(signed), garbage])
    deadline_s = time.monotonic() + 60
    while (answers := attacker.put(whole, channel))[-1].next_offset < len(payload):
        assert answers[-1].temporary, answers
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    attacker.unary(service.CANCEL, pb.TransferId(transfer_id=manifest.transfer_id), channel=channel)


def a_manifest_without_a_signature(attacker):
    manifest, payload = attacker.bundle()
    frames = [
        encode_transfer_header(pb.SignedManifest(manifest=manifest.to_bytes())),
        encode_chunk(manifest.transfer_id, 0, payload),
    ]
    yield
    refused(attacker.put(frames), "no readable certificate")


def a_manifest_in_the_name_of_another(attacker):
    manifest, payload = attacker.bundle(source=HONEST)
    yield
    refused(
        attacker.put([attacker.transfer_header(manifest), encode_chunk(manifest.transfer_id, 0, payload)]),
        "signed by sat-hostile",
    )


def the_transfer_id_of_another(attacker):
    _, theirs, _ = honest_manifest(attacker, 3)
    manifest, _ = attacker.bundle()
    squatting = pb.Manifest.FromString(manifest.to_bytes())
    squatting.transfer_id = theirs.transfer_id
    yield
    refused(
        attacker.put([encode_transfer_header(pb.SignedManifest(manifest=squatting.SerializeToString()))]),
        "transfer_id",
    )


def taking_back_what_another_sends(attacker):
    channel = attacker.channel(attacker.certificates[HONEST])
    signed, manifest, payload = honest_manifest(attacker, 4)
    attacker.put(
        [encode_transfer_header(signed), encode_chunk(manifest.transfer_id, 0, payload[:2000], answer=True)],
        channel,
    )
    attacker.unary(service.CANCEL, pb.TransferId(transfer_id=manifest.transfer_id))
    yield
    rest = [encode_transfer_header(signed), encode_chunk(manifest.transfer_id, 2000, payload[2000:])]
    assert attacker.put(rest, channel)[-1].next_offset == len(payload)
    attacker.unary(service.CANCEL, pb.TransferId(transfer_id=manifest.transfer_id), channel=channel)


# One that makes things grow.


def more_transfers_than_a_neighbour_may_have(attacker):
    """Half of one value, which stay; then such as never come, with manifests as large as can be."""

    def frames():
        for index in range(500):
            manifest, payload = attacker.bundle([1.0], destination=FAR[index % len(FAR)])
            yield attacker.transfer_header(manifest)
            yield encode_chunk(manifest.transfer_id, 0, payload)

    attributes = {f"a{index}": "𝄞" * 110 for index in range(16)}
    answers = attacker.put(frames())
    refusals = attacker.put(
        attacker.transfer_header(attacker.bundle([1.0], attributes=attributes)[0]) for _ in range(700)
    )
    yield
    assert not any(answer.HasField("refusal") for answer in answers)
    refused(refusals, "the spool is full for now")
    assert len(refusals) >= 150  # all but what one neighbour may have


def promises_of_more_than_the_disk_holds(attacker):
    def promise():
        manifest, _ = attacker.bundle([0.0])
        config = pb.Manifest.FromString(manifest.to_bytes())
        config.shape[0], config.total_bytes = 64 << 20, 256 << 20
        return encode_transfer_header(_signed(attacker.identity, config))

    answers = attacker.put(promise() for _ in range(100))
    yield
    refused(answers, "the spool is full for now")
    assert len(answers) == 100 - 8


def a_promise_of_a_terabyte(attacker):
    manifest, _ = attacker.bundle([0.0])
    config = pb.Manifest.FromString(manifest.to_bytes())
    config.shape[0], config.total_bytes = 250_000_000_000, 1_000_000_000_000
    yield
    refused(attacker.put([encode_transfer_header(_signed(attacker.identity, config))]), "at most")


def _signed(identity, manifest):
    """Signed as it is, sane or not."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    data = manifest.SerializeToString()
    some = identity.sign(
        Manifest.describe(
            b"", run="x", kind=MessageKind.HIDDEN, source="x", destination="y", dtype="uint8", shape=(0,)
        )
    )
    return pb.SignedManifest(
        manifest=data,
        signature=identity.key.sign(data, ec.ECDSA(hashes.SHA256())),
        certificate=some.certificate,
    )


def announcing_and_taking_back_for_ever(attacker):
    channel = attacker.channel()
    attacker.put(
        (attacker.transfer_header(attacker.bundle([1.0], destination=FAR[0])[0]) for _ in range(300)), channel
    )

    def again():
        manifest, _ = attacker.bundle([1.0], destination=FAR[1])
        attacker.put([attacker.transfer_header(manifest)], channel)
        attacker.unary(service.CANCEL, pb.TransferId(transfer_id=manifest.transfer_id), channel=channel)

    attacker.keep_on(again, 2000)
    yield


def transfers_that_each_need_a_route_of_their_own(attacker):
    def frames():
        for index in range(300):
            size = 1000 + index
            manifest, _ = attacker.bundle(np.zeros(size), destination=FAR[index % len(FAR)])
            via = [FAR[(index + k * k) % len(FAR)] for k in range(index % 20)]
            yield attacker.transfer_header(manifest, via=via)

    attacker.put(frames())
    yield


def a_way_over_nodes_that_are_none(attacker):
    manifest, _ = attacker.bundle()
    yield
    refused(
        attacker.put([attacker.transfer_header(manifest, via=["\x1b[2J", "[/]"])]),
        "a node of another mission",
    )


def a_beginning_behind_the_end(attacker):
    manifest, _ = attacker.bundle(destination=FAR[0])
    yield
    refused(attacker.put([attacker.transfer_header(manifest, base_offset=1 << 60)]), "past its end")


def more_streams_than_a_neighbour_needs(attacker):
    channels = [attacker.channel() for _ in range(4)]
    over = threading.Event()
    attacker.ending.callback(over.set)

    def wait():
        over.wait(60)
        yield from ()

    calls = [attacker.stream(wait(), channel) for channel in channels for _ in range(16)]
    eventually(lambda: sum(call.done() for call in calls) >= len(calls) - 8)
    yield
    ended = [call for call in calls if call.done()]
    assert len(ended) >= len(calls) - 8
    assert {call.code() for call in ended} == {grpc.StatusCode.RESOURCE_EXHAUSTED}


def hundreds_of_connections_with_a_certificate(attacker):
    channels = [attacker.channel() for _ in range(200)]
    for channel in channels:
        with contextlib.suppress(grpc.RpcError):
            attacker.unary(service.STATUS, pb.Nothing(), pb.NodeStatus, channel=channel)
    yield


def calls_that_are_cancelled_as_soon_as_they_begin(attacker):
    channel = attacker.channel()
    ask = channel.unary_unary(service.path(service.STATUS))

    def reset():
        ask.future(b"", timeout=5).cancel()
        time.sleep(0.001)

    attacker.keep_on(reset)
    yield


def asking_how_it_is_again_and_again(attacker):
    channel = attacker.channel()

    def ask():
        attacker.unary(service.STATUS, pb.Nothing(), pb.NodeStatus, channel=channel)

    attacker.keep_on(ask)
    yield


def answers_that_nobody_reads(attacker):
    asked = Counter()

    def frames(stream):
        manifest, _ = attacker.bundle([1.0], source=HONEST)
        transfer_header = attacker.transfer_header(manifest)
        for _ in range(2000):
            asked[stream] += 1
            yield transfer_header  # each is refused, in some 200 bytes

    for stream in range(4):
        attacker.stream(frames(stream))
    eventually(lambda: min(asked[stream] for stream in range(4)) > 100)
    yield


# One that sends what no honest peer sends.


def a_frame_that_is_none(attacker):
    yield
    for frame in (b"", b"X", b"\x80\x04\x95pickle", b"M" + b"\xff" * 50, b"F"):
        refused(attacker.put([frame]), "BadManifest")


def a_message_of_eight_megabytes(attacker):
    yield
    (answer,) = attacker.put([b"C" + bytes(8 << 20)])
    assert answer.code() in (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
    )


def chunks_whose_checksum_is_wrong(attacker):
    transfer_headers = [attacker.transfer_header(attacker.bundle(np.zeros(100))[0]) for _ in range(200)]
    wrong = b"C" + bytes(200)
    answers = attacker.put([*transfer_headers, *[wrong] * 200])
    few = attacker.put([transfer_headers[0], *[wrong] * 200])
    yield
    refused(answers[-1:], "CorruptChunk")
    refused(few[-1:], "CorruptChunk")
    assert len(answers) + len(few) < 100


def empty_chunks_without_end(attacker):
    manifest, _ = attacker.bundle(np.zeros(1000))
    empty = encode_chunk(manifest.transfer_id, 0, b"", answer=True)
    call = attacker.stream(attacker.endless([attacker.transfer_header(manifest)], empty))
    attacker.keep_on(lambda: next(call))
    yield


def chunks_with_a_gap_without_end(attacker):
    manifest, _ = attacker.bundle(np.zeros(1000))
    gap = encode_chunk(manifest.transfer_id, 2000, bytes(100))
    call = attacker.stream(attacker.endless([attacker.transfer_header(manifest)], gap))
    attacker.keep_on(lambda: next(call))
    yield


def the_same_bytes_again_and_again(attacker):
    manifest, payload = attacker.bundle(np.zeros(50_000))
    same = encode_chunk(manifest.transfer_id, 0, payload[:100_000])
    call = attacker.stream(attacker.endless([attacker.transfer_header(manifest)], same, pause_s=0.002))
    attacker.keep_on(lambda: next(call))
    attacker.ending.callback(call.cancel)  # before its thread is waited for, which nothing answers
    yield


def a_payload_that_is_not_the_one_announced(attacker):
    manifest, _ = attacker.bundle(np.zeros(250_000))
    frames = [attacker.transfer_header(manifest), *chunks(manifest.transfer_id, b"\x01" * 1_000_000, 500_000)]
    yield
    for _ in range(3):
        refused(attacker.put(frames), "not the payload announced")


def an_infinite_value_at_the_end_of_much(attacker):
    values = np.zeros(32 << 20, "<f4")  # 128 MiB: the check must not take as much
    values[-1] = np.inf
    manifest, payload = attacker.bundle(values.tobytes())
    answers = attacker.put(
        [attacker.transfer_header(manifest), *chunks(manifest.transfer_id, payload, 1 << 20)]
    )
    yield
    refused(answers[-1:], "NaN, infinite values")


def values_that_become_infinite_once_they_are_used(attacker):
    yield
    scale = np.array(3e38, "<f4").view("<u4") >> 16
    for changes in (
        {"values": np.array([3e38], "<f4").tobytes()},
        {"values": np.array([np.nan, 1.0], "<f4").tobytes()},
        {"values": np.uint16(scale).tobytes() + bytes([127] * 64), "codec": "int8", "shape": (64,)},
        {"values": np.uint16(scale).tobytes() + bytes([0x77] * 16), "codec": "int4", "shape": (32,)},
        {"values": np.uint16(0x7F00).tobytes(), "codec": "bf16", "shape": (1,)},
        {"values": np.uint16(0x8001).tobytes() + bytes(64), "codec": "int8", "shape": (64,)},
        {"values": np.array([1e300], "<f8").tobytes(), "dtype": "float64", "shape": (1,)},
    ):
        manifest, payload = attacker.bundle(**changes)
        refused(
            attacker.put(
                [attacker.transfer_header(manifest), encode_chunk(manifest.transfer_id, 0, payload)]
            ),
            "NaN, infinite",
        )


def what_expired_before_it_was_sent(attacker):
    yield
    for expiry_s in (-1e308, -math.inf):
        manifest, payload = attacker.bundle(expiry_s=expiry_s)
        refused(
            attacker.put(
                [attacker.transfer_header(manifest), encode_chunk(manifest.transfer_id, 0, payload)]
            ),
            "expired",
        )
    manifest, _ = attacker.bundle()
    config = pb.Manifest.FromString(manifest.to_bytes())
    config.expiry_s = math.nan
    refused(attacker.put([encode_transfer_header(_signed(attacker.identity, config))]), "expiry_s")


def a_false_report_of_mission_time(attacker):
    before = attacker.unary(service.STATUS, pb.Nothing(), pb.NodeStatus).mission_s
    clock = attacker.channel().stream_stream(
        service.path(service.CLOCK),
        request_serializer=pb.ClockReport.SerializeToString,
        response_deserializer=pb.ClockTime.FromString,
    )
    probes = queue.SimpleQueue()
    reports = iter(probes.get, None)
    call = clock(reports, timeout=30)
    attacker.ending.callback(probes.put, None)
    attacker.ending.callback(call.cancel)
    began_s = time.monotonic()

    def lie():
        config = next(call)
        probes.put(
            pb.ClockReport(probe=config.probe, wake_s=before + 864_000.0, round_start=config.round_start)
        )

    attacker.keep_on(lie, 500)
    yield
    after = attacker.unary(service.STATUS, pb.Nothing(), pb.NodeStatus).mission_s
    assert after - before < 5 * (time.monotonic() - began_s) + 5.0


ATTACKS = (
    a_thousand_connections_that_say_nothing,
    a_thousand_connections_that_begin_a_handshake_and_stop,
    connections_that_drip_a_byte_at_a_time,
    connections_that_come_and_go,
    plaintext,
    handshakes_without_a_certificate,
    a_certificate_of_another_authority,
    an_outsider_with_a_certificate,
    a_neighbour_that_wants_to_begin_a_round,
    a_neighbour_that_wants_the_bundles_of_the_application,
    a_call_without_a_deadline,
    metadata_beyond_all_measure,
    writing_into_a_transfer_whose_header_was_refused,
    mixing_wrong_bytes_into_a_transfer_of_which_it_holds_the_signed_manifest,
    a_manifest_without_a_signature,
    a_manifest_in_the_name_of_another,
    the_transfer_id_of_another,
    taking_back_what_another_sends,
    more_transfers_than_a_neighbour_may_have,
    promises_of_more_than_the_disk_holds,
    a_promise_of_a_terabyte,
    announcing_and_taking_back_for_ever,
    transfers_that_each_need_a_route_of_their_own,
    a_way_over_nodes_that_are_none,
    a_beginning_behind_the_end,
    more_streams_than_a_neighbour_needs,
    hundreds_of_connections_with_a_certificate,
    calls_that_are_cancelled_as_soon_as_they_begin,
    asking_how_it_is_again_and_again,
    answers_that_nobody_reads,
    a_frame_that_is_none,
    a_message_of_eight_megabytes,
    chunks_whose_checksum_is_wrong,
    empty_chunks_without_end,
    chunks_with_a_gap_without_end,
    the_same_bytes_again_and_again,
    a_payload_that_is_not_the_one_announced,
    an_infinite_value_at_the_end_of_much,
    values_that_become_infinite_once_they_are_used,
    what_expired_before_it_was_sent,
    a_false_report_of_mission_time,
)
# Half a handshake takes a descriptor until gRPC gives it up; meanwhile whoever is connected is served.
HELD = {a_thousand_connections_that_begin_a_handshake_and_stop}
# These are over before anything is measured, and what they leave stays: measuring again is cheaper than the attack.
STAYING = {
    more_transfers_than_a_neighbour_may_have,
    transfers_that_each_need_a_route_of_their_own,
}


@dataclasses.dataclass
class Victim:
    process: subprocess.Popen
    neighbour: subprocess.Popen
    address: str
    certificates: dict
    best_s: dict = dataclasses.field(default_factory=dict)  # alone, by order: the shortest so far

    def alone_s(self, order, *, anew):
        """Return the time of the honest neighbour alone: measured ``anew``, or else the shortest so far."""
        if anew or order not in self.best_s:
            now_s = self.honest_s(order)
            self.best_s[order] = min(now_s, self.best_s.get(order, now_s))
            return now_s
        return self.best_s[order]

    def honest_s(self, order, repeats=3):
        """How long the honest neighbour takes, as the median of a few."""
        times_s = []
        for _ in range(repeats):
            self.neighbour.stdin.write(order + "\n")
            self.neighbour.stdin.flush()
            answer = self.neighbour.stdout.readline().strip()
            assert answer, "the honest neighbour has died"
            assert not answer.startswith("failed"), answer
            times_s.append(float(answer))
        return statistics.median(times_s)


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("victim")
    nodes = (VICTIM, HONEST, HOSTILE, *FAR)
    always = LinkSchedule((Window(0.0, 1e5, rate_bps=1e9, owlt_s=0.0),))
    later = LinkSchedule(
        (Window(5e4, 6e4, rate_bps=1e7, owlt_s=0.01), Window(8e5, 9e5, rate_bps=1e7, owlt_s=0.01))
    )
    links = {(a, b): always for a in (HONEST, HOSTILE) for b in (VICTIM,)}
    links |= {(b, a): always for a, b in links}
    links |= {(VICTIM, name): later for name in FAR}
    links |= {(a, b): later for a in FAR for b in FAR if a != b}
    (folder / "network.json").write_text(Network(nodes, links).to_json())
    write_certificates(folder / "certificates", [*nodes, OUTSIDER])
    write_certificates(folder / "others", [HOSTILE])
    identities = {
        name: NodeIdentity.load(node_folder(folder / "certificates", name)) for name in (*nodes, OUTSIDER)
    }
    identities["impostor"] = NodeIdentity.load(node_folder(folder / "others", HOSTILE))
    ports = dict(zip(nodes, free_ports(len(nodes)), strict=True))
    config = {
        "name": VICTIM,
        "network": "network.json",
        "peers": {name: f"127.0.0.1:{port}" for name, port in ports.items() if name != VICTIM},
        "folder": "spool",
        "port": ports[VICTIM],
        "identity": str(identities[VICTIM].folder),
        "time_authority": VICTIM,
    }
    (folder / "relay.json").write_text(json.dumps(config))
    address = f"127.0.0.1:{ports[VICTIM]}"
    with contextlib.ExitStack() as stack:

        def start(*command, **pipes):
            process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, **pipes)
            stack.callback(process.wait, 20)
            stack.callback(process.kill)
            return process

        log = stack.enter_context((folder / "victim.log").open("w"))
        process = start("-m", "relay", str(folder / "relay.json"), stderr=log)
        assert process.stdout.readline().startswith(f"{VICTIM} listens on")
        script = str(Path(__file__).with_name("honest_neighbour.py"))
        neighbour = start(
            script, address, str(identities[HONEST].folder), VICTIM, HONEST, stdin=subprocess.PIPE
        )
        started = Victim(process, neighbour, address, identities)
        for order in ("held", "fresh"):
            started.honest_s(order)  # what is first is slow
        yield started


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_honest_neighbour_is_served_within_twice_its_time_during(attack, victim):
    order = "held" if attack in HELD else "fresh"
    for attempt in range(ATTEMPTS):
        alone_s = victim.alone_s(order, anew=attempt > 0)
        attacker = Attacker(victim.address, victim.certificates)
        pending_updates = attack(attacker)
        try:
            next(pending_updates)
            attacked_s = victim.honest_s(order)
            for _ in range(ATTEMPTS if attack in STAYING else 0):
                if attacked_s <= 2 * alone_s:
                    break
                attacked_s = victim.honest_s(order)
            with pytest.raises(StopIteration):
                next(pending_updates)
        finally:
            attacker.end()
        print(f"{attack.__name__}: {alone_s:.3f} s alone, {attacked_s:.3f} s attacked")
        if attacked_s <= 2 * alone_s:
            break
    assert attacked_s <= 2 * alone_s, f"{attacked_s:.3f} s instead of {alone_s:.3f} s"
    assert victim.process.poll() is None
    process = psutil.Process(victim.process.pid)
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak_bytes = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    assert peak_bytes <= MOST_BYTES
    assert process.num_fds() <= MOST_FILES


def test_the_matrix_has_thirty_attacks_and_more():
    assert len(set(ATTACKS)) >= 30
