import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mission.text.plain_text import plain
from relay.wire import wire_pb2 as pb
from relay.wire.certificates import write_certificates
from relay.wire.frames import (
    Assembler,
    BundleReader,
    bundle_bytes,
    bundle_frames,
    check_finite,
    chunks,
    decode_chunk,
    decode_transfer_header,
    encode_chunk,
    encode_transfer_header,
)
from relay.wire.identity import NodeIdentity, node_folder
from relay.wire.manifest import (
    CODECS,
    BadManifest,
    CorruptChunk,
    DigestMismatch,
    LimitExceeded,
    Limits,
    Manifest,
    MessageKind,
    NotFinite,
    OutOfOrder,
    WireError,
    encoded_bytes,
)

LIMITS = Limits(chunk_bytes=64 << 10, transfer_bytes=1 << 20)


def describe(payload, **changes):
    fields = {
        "run": "run-1",
        "kind": MessageKind.FEATURES,
        "source": "sat-3",
        "destination": "ground",
        "dtype": "uint8",
        "shape": (memoryview(payload).nbytes,),
    }
    return Manifest.describe(payload, **{**fields, **changes})


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
attributes = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True),
    st.text(max_size=40).filter(lambda text: "\x00" not in text)
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=16,
)


@settings(deadline=None)
@given(
    st.binary(max_size=5000),
    names,
    names,
    attributes,
    st.integers(0, 2**32 - 1),
    st.sampled_from(MessageKind),
)
def test_a_manifest_reads_back_as_it_was_written(payload, source, destination, attributes, step, kind):
    manifest = describe(
        payload, source=source, destination=destination, attributes=attributes, step=step, kind=kind
    )
    assert Manifest.from_bytes(manifest.to_bytes(), LIMITS) == manifest


@settings(deadline=None)
@given(st.binary(max_size=5000), st.integers(1, 700))
def test_a_bundle_survives_its_frames_for_any_chunk_size(payload, chunk_bytes):
    manifest = describe(payload)
    reader = BundleReader(LIMITS)
    *before, last = bundle_frames(manifest, payload, chunk_bytes)
    assert all(reader.add(frame) is None for frame in before)
    bundle = reader.add(last)
    assert bundle.manifest == manifest
    assert bytes(bundle.payload) == payload


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"transfer_id": b"short"}, "transfer_id"),
        ({"transfer_id": bytes(16)}, "transfer_id"),
        ({"step": 8}, "transfer_id"),
        ({"digest": b""}, "digest"),
        ({"run": ""}, "run"),
        ({"source": "sat\n0"}, "source"),
        ({"destination": "x" * 65}, "destination"),
        ({"round": -1}, "round"),
        ({"step": 1 << 32}, "step"),
        ({"dtype": "object"}, "dtype"),
        ({"codec": "pickle"}, "codec"),
        ({"codec": "int8"}, "dtype"),
        ({"shape": (11,)}, "total_bytes"),
        ({"shape": (1,) * 7}, "shape"),
        ({"shape": (1 << 41,)}, "shape"),
        ({"total_bytes": 1 << 40}, "total_bytes"),
        ({"expiry_s": math.nan}, "expiry_s"),
        ({"attributes": {"x": math.inf}}, "attributes"),
        ({"attributes": {"x": b"bytes"}}, "attributes"),
        ({"attributes": {"Key": 1}}, "attributes"),
        ({"attributes": {"text": "y" * 257}}, "attributes"),
        ({"attributes": {f"k{i}": i for i in range(17)}}, "attributes"),
    ],
)
def test_a_manifest_that_contradicts_itself_cannot_exist_and_the_error_names_the_field(changes, named):
    with pytest.raises(BadManifest, match=named):
        dataclasses.replace(describe(b"0123456789"), **changes)


def test_a_peer_cannot_announce_more_than_the_limit_even_if_all_sizes_agree():
    terabyte = dataclasses.replace(describe(b"x"), shape=(1 << 30, 1 << 10), total_bytes=1 << 40)
    with pytest.raises(LimitExceeded, match="1099511627776"):
        Manifest.from_bytes(terabyte.to_bytes(), LIMITS)


def test_a_manifest_beyond_its_own_size_limit_is_not_even_parsed():
    with pytest.raises(LimitExceeded):
        decode_transfer_header(b"M" + bytes(LIMITS.manifest_bytes), LIMITS)
    with pytest.raises(LimitExceeded):
        Manifest.from_bytes(bytes(LIMITS.manifest_bytes + 1), LIMITS)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300), st.data())
def test_any_flipped_bit_of_a_chunk_is_noticed(payload, data):
    frame = bytearray(encode_chunk(bytes(16), 4096, payload))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError):
        decode_chunk(bytes(frame), LIMITS)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_wire_error_and_never_a_bundle(data):
    for frame in (b"M" + data, b"C" + data, b"" if data[:1] in (b"M", b"C", b"F") else data):
        with pytest.raises(WireError):
            BundleReader(LIMITS).add(frame)
    try:
        failure = BundleReader(LIMITS).add(b"F" + data)
    except WireError as error:
        assert "not readable" in str(error)
    else:
        assert failure is None or failure.error == plain(failure.error, 64)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_bundle_with_a_damaged_chunk_is_never_read(payload, data):
    manifest = describe(payload)
    header, *chunks = bundle_frames(manifest, payload, 100)
    place = data.draw(st.integers(0, len(chunks) - 1))
    cut = data.draw(st.integers(1, len(chunks[place]) - 1))
    chunks[place] = chunks[place][:cut] + data.draw(st.binary(max_size=40).filter(chunks[place][cut:].__ne__))
    reader = BundleReader(LIMITS)
    assert reader.add(header) is None
    assert [reader.add(chunk) for chunk in chunks[:place]] == [None] * place
    with pytest.raises(WireError):
        reader.add(chunks[place])


def test_a_truncated_chunk_and_one_over_the_limit_are_refused():
    frame = encode_chunk(bytes(16), 0, bytes(1000))
    with pytest.raises(CorruptChunk, match="announces 1000"):
        decode_chunk(frame[:-1], LIMITS)
    with pytest.raises(LimitExceeded):
        decode_chunk(encode_chunk(bytes(16), 0, bytes(LIMITS.chunk_bytes + 1)), LIMITS)


def frames_of(payload, chunk_bytes=100):
    manifest = describe(payload)
    return manifest, [decode_chunk(f, LIMITS) for f in chunks(manifest.transfer_id, payload, chunk_bytes)]


def test_a_gap_an_overlap_and_bytes_past_the_end_are_refused():
    manifest, pieces = frames_of(bytes(1000))
    assembler = Assembler(manifest)
    assembler.add(pieces[0])
    with pytest.raises(OutOfOrder, match="expected to start at 100"):
        assembler.add(pieces[2])
    with pytest.raises(OutOfOrder):
        assembler.add(pieces[0])
    for piece in pieces[1:]:
        assembler.add(piece)
    with pytest.raises(OutOfOrder):
        assembler.add(decode_chunk(encode_chunk(manifest.transfer_id, 1000, b"more"), LIMITS))
    with pytest.raises(OutOfOrder):
        assembler.add(decode_chunk(encode_chunk(manifest.transfer_id, 1000, b""), LIMITS))


def test_chunks_of_another_transfer_do_not_mix():
    manifest, _ = frames_of(bytes(1000))
    _, foreign = frames_of(b"z" * 1000)
    other = foreign[0]._replace(transfer_id=bytes(16))
    with pytest.raises(OutOfOrder):
        Assembler(manifest).add(other)


def test_a_payload_with_right_chunks_but_a_wrong_digest_is_refused():
    manifest, _ = frames_of(b"a" * 1000)
    assembler = Assembler(manifest)
    for frame in chunks(manifest.transfer_id, b"b" * 1000, 100):
        assembler.add(decode_chunk(frame, LIMITS))
    with pytest.raises(DigestMismatch):
        assembler.finish()


def test_pickle_bytes_are_nothing_but_bytes():
    hostile = b"cos\nsystem\n(S'exit 1'\ntR."
    reader = BundleReader(LIMITS)
    for frame in bundle_frames(describe(hostile), hostile, 100):
        bundle = reader.add(frame)
    assert bytes(bundle.payload) == hostile


def test_a_stream_that_starts_with_a_chunk_or_interrupts_a_bundle_is_refused():
    manifest = describe(bytes(1000))
    signed = encode_transfer_header(pb.SignedManifest(manifest=manifest.to_bytes()))
    with pytest.raises(OutOfOrder, match="before its manifest"):
        BundleReader(LIMITS).add(encode_chunk(manifest.transfer_id, 0, b"x"))
    reader = BundleReader(LIMITS)
    reader.add(signed)
    with pytest.raises(OutOfOrder, match="1 bundles are not complete"):
        reader.add(signed)


def bfloat16(values):
    return (np.asarray(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()


def half(values):
    return np.asarray(values, "<f2").tobytes()


def single(values):
    return np.asarray(values, "<f4").tobytes()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("dtype", "codec", "encode"),
    [
        ("float32", "raw", single),
        ("float16", "raw", half),
        ("bfloat16", "raw", bfloat16),
        ("float32", "fp32", single),
        ("float32", "fp16", half),
        ("float32", "bf16", bfloat16),
    ],
)
def test_nan_and_infinity_are_refused_and_finite_values_pass(dtype, codec, encode, bad):
    good = encode([0.0, -1.5, 65504.0 if dtype == "float16" else 1e4])
    check_finite(describe(good, dtype=dtype, codec=codec, shape=(3,)), good)
    hostile = encode([0.0, bad, 1.0])
    with pytest.raises(NotFinite, match="FEATURES of sat-3"):
        check_finite(describe(hostile, dtype=dtype, codec=codec, shape=(3,)), hostile)


@pytest.mark.parametrize("codec", ["int8", "int4"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_scales_of_block_codecs_must_be_finite_and_not_negative(codec, bad):
    values = CODECS[codec].block * 2
    body = b"\xff" * (values * CODECS[codec].bits // 8)
    good = bfloat16([0.5, 2.0]) + body
    check_finite(describe(good, dtype="float32", codec=codec, shape=(values,)), good)
    hostile = bfloat16([0.5, bad]) + body
    with pytest.raises(NotFinite):
        check_finite(describe(hostile, dtype="float32", codec=codec, shape=(values,)), hostile)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_the_wire_and_the_split_model_agree_on_every_codec(codec):
    torch = pytest.importorskip("torch")
    codecs = pytest.importorskip("splitmodel.crossing.codecs", reason="the split model is not here")
    for shape in [(1,), (64,), (65,), (3, 7), (2, 5, 33), (4, 64, 192)]:
        values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        payload = codecs.encode(values, codec)
        assert encoded_bytes("float32", shape, codec) == memoryview(payload).nbytes
        check_finite(describe(payload, dtype="float32", codec=codec, shape=shape), payload)


def test_the_same_step_sent_again_is_the_same_transfer_and_another_step_is_not():
    first, again = describe(b"a", step=3), describe(b"a", step=3)
    assert first.transfer_id == again.transfer_id
    assert describe(b"a", step=4).transfer_id != first.transfer_id
    assert describe(b"a", step=3, attributes={"view": 1}).transfer_id != first.transfer_id
    ours = describe(b"a", attributes={"flag": True, "loss": np.float64(0.5)})
    assert Manifest.from_bytes(ours.to_bytes(), LIMITS) == ours


@pytest.mark.parametrize("size", [0, 1, 1000, 1001, 5000])
def test_the_bytes_of_a_bundle_are_those_of_its_frames(size):
    payload = bytes(size)
    described = {"run": "run", "source": "sat", "destination": "ground", "dtype": "uint8", "shape": (size,)}
    manifest = Manifest.describe(payload, kind=MessageKind.FEATURES, **described)
    assert bundle_bytes(manifest, 1000) == sum(map(len, bundle_frames(manifest, payload, 1000)))


def test_the_bytes_of_a_seal_are_those_that_it_adds(tmp_path):
    write_certificates(tmp_path, ["sat"])
    identity = NodeIdentity.load(node_folder(tmp_path, "sat"))
    described = {"run": "run", "source": "sat", "destination": "ground", "dtype": "uint8", "shape": (0,)}
    manifest = Manifest.describe(b"", kind=MessageKind.FEATURES, **described)
    signed = len(encode_transfer_header(identity.sign(manifest)))
    counted = bundle_bytes(manifest, 1000, signature_bytes=identity.signature_bytes)
    assert signed <= counted <= signed + 4
