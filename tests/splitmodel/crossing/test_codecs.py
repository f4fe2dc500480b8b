"""What a codec promises: exact sizes, bounded errors, and no way in for bytes that it did not write."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from splitmodel.crossing.codec import CodecError
from splitmodel.crossing.codec_sizes import SIZES, encoded_bytes
from splitmodel.crossing.codecs import decode, encode, from_rows, to_rows

BLOCKS = {"int8": (64, 127), "int4": (32, 7)}
shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=40)
codecs = st.sampled_from(sorted(SIZES))
few = settings(max_examples=40)


@st.composite
def tensors(draw: st.DrawFn, largest: float = 2.0**126) -> Tensor:
    """Values over many magnitudes, zeros and subnormals among them."""
    values = st.floats(-largest, largest, width=32) | st.floats(-1, 1, width=32) | st.just(0.0)
    return torch.from_numpy(draw(hnp.arrays(np.float32, draw(shapes), elements=values)))


@few
@given(tensor=tensors(largest=60000), codec=codecs)
def test_encoded_bytes_is_exact_and_shape_and_dtype_come_back(tensor: Tensor, codec: str) -> None:
    buffer = encode(tensor, codec)
    assert buffer.nbytes == encoded_bytes(tensor.shape, codec)
    back = decode(buffer, codec, tensor.shape)
    assert back.shape == tensor.shape
    assert back.dtype == torch.float32


@few
@given(tensor=tensors())
def test_fp32_is_bit_exact(tensor: Tensor) -> None:
    back = decode(encode(tensor, "fp32"), "fp32", tensor.shape)
    assert back.numpy().tobytes() == tensor.numpy().tobytes()


@few
@given(tensor=tensors(largest=60000))
def test_16_bit_codecs_round_each_element_to_its_nearest(tensor: Tensor) -> None:
    bf16 = decode(encode(tensor, "bf16"), "bf16", tensor.shape)
    fp16 = decode(encode(tensor, "fp16"), "fp16", tensor.shape)
    assert torch.all((bf16 - tensor).abs() <= 2**-8 * tensor.abs() + 1e-38)
    assert torch.all((fp16 - tensor).abs() <= torch.clamp(2**-11 * tensor.abs(), min=2**-25))


@pytest.mark.parametrize("codec", BLOCKS)
@few
@given(tensor=tensors())
def test_block_codecs_err_by_half_a_step_of_their_own_block(codec: str, tensor: Tensor) -> None:
    size, steps = BLOCKS[codec]
    back = decode(encode(tensor, codec), codec, tensor.shape).double().view(-1)
    assume(tensor.numel())
    rows = tensor.double().view(len(tensor) if tensor.ndim > 1 else 1, -1)
    for row, again in zip(rows, back.view_as(rows), strict=True):
        for start in range(0, len(row), size):
            block = row[start : start + size]
            bound = (
                0.504 * float(block.abs().max()) / steps + 2e-36
            )  # the last term: scales below 1e-38 are 0
            assert float((again[start : start + size] - block).abs().max()) <= bound


@few
@given(tensor=tensors(largest=60000), codec=codecs, data=st.data())
def test_rows_are_cut_apart_and_put_together_while_encoded(
    tensor: Tensor, codec: str, data: st.DataObject
) -> None:
    assume(tensor.numel())
    tensor = tensor.view(len(tensor), -1)
    rows = to_rows(encode(tensor, codec), codec, tensor.shape)
    order = data.draw(st.permutations(range(len(tensor))))
    buffer = from_rows(rows[order], codec, tensor.shape[1])
    assert torch.equal(
        decode(buffer, codec, tensor.shape), decode(encode(tensor, codec), codec, tensor.shape)[order]
    )


@few
@given(shape=hnp.array_shapes(max_dims=3, min_side=0, max_side=8), codec=codecs, data=st.data())
def test_arbitrary_bytes_decode_to_finite_values_or_a_codec_error(
    shape: tuple[int, ...], codec: str, data: st.DataObject
) -> None:
    exact = encoded_bytes(shape, codec)
    length = data.draw(st.just(exact) | st.integers(0, 300))
    buffer = data.draw(st.binary(min_size=length, max_size=length))
    try:
        back = decode(buffer, codec, shape)
    except CodecError:
        return
    assert length == exact
    assert torch.isfinite(back).all()


@pytest.mark.parametrize("codec", SIZES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_before_they_are_sent(codec: str, bad: float) -> None:
    with pytest.raises(CodecError, match="finite"):
        encode(torch.tensor([1.0, bad]), codec)


@pytest.mark.parametrize(
    ("codec", "buffer", "shape", "message"),
    [
        ("fp64", b"", (0,), "found none called 'fp64', allowed: fp32"),
        ("fp32", bytes(7), (2,), r"fp32 of shape \(2,\) takes 8 bytes; found 7"),
        ("int8", bytes(64), (64,), "takes 66 bytes; found 64"),
        ("int4", bytes(10), (10**15, 10**15), "takes .* bytes; found 10"),
        ("fp32", bytes(4), (-1, -1), "whole numbers from 0"),
        ("fp16", b"\x00\x7c", (1,), "fp16: a value is not finite"),
        ("bf16", b"\xc0\x7f", (1,), "bf16: a value is not finite"),
        ("int8", b"\xc0\x7f" + bytes(64), (64,), "scale is negative, not finite"),
        ("int8", b"\x80\xbf" + bytes(64), (64,), "scale is negative"),
        ("int4", b"\x80\x7f" + bytes(16), (32,), "scale is negative, not finite"),
        ("int4", b"\x7f\x7f" + bytes(16), (32,), "too large"),
    ],
)
def test_hostile_bytes_are_refused(codec: str, buffer: bytes, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        decode(buffer, codec, shape)


def test_fp16_refuses_what_it_would_turn_into_infinity() -> None:
    with pytest.raises(CodecError, match="fp16 carries finite values up to 65504; found 1 to 70000"):
        encode(torch.tensor([1.0, 7e4]), "fp16")


def test_a_decoded_tensor_does_not_share_memory_with_the_buffer() -> None:
    buffer = bytearray(encode(torch.ones(4), "fp32"))
    back = decode(buffer, "fp32", (4,))
    buffer[:] = bytes(16)
    assert torch.equal(back, torch.ones(4))


@pytest.mark.parametrize(("codec", "ratio"), [("fp16", 2.0), ("bf16", 2.0), ("int8", 3.87), ("int4", 7.11)])
def test_compression_of_a_vit_b_batch(codec: str, ratio: float) -> None:
    shape = (32, 197, 768)
    assert encoded_bytes(shape, "fp32") / encoded_bytes(shape, codec) == pytest.approx(ratio, abs=0.01)


def test_relative_errors_with_two_outlier_channels() -> None:
    features = torch.randn(4, 64, 192, generator=torch.Generator().manual_seed(0))
    features[..., :2] *= 40
    plain = features[..., 2:]
    errors = {}
    for codec in SIZES:
        back = decode(encode(features, codec), codec, features.shape)
        errors[codec] = float((back - features).norm() / features.norm())
    assert errors["fp16"] < 3e-4 < errors["bf16"] < 2e-3 < errors["int8"] < 2e-2 < errors["int4"] < 0.15
    assert plain.abs().max() < 6  # the outliers were where they were meant to be
