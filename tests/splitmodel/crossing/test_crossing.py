"""Scaled, a codec that quantises errs little on every channel; codecs that do not quantise are left alone."""

from __future__ import annotations

import pytest
import torch

from splitmodel.crossing import codecs
from splitmodel.crossing.scaling import Moments, Scaling, SplitScaling
from splitmodel.crossing.tensors import Crossing, decode, encode

GENERATOR = torch.Generator().manual_seed(5)
SIZES = torch.logspace(-2, 1, 64)  # deviations of the channels, a thousandfold apart
FEATURES = torch.randn(8, 5, 64, generator=GENERATOR) * SIZES + 3.0
POOLED = torch.randn(16, 64, generator=GENERATOR) * SIZES - 1.0
SCALING = SplitScaling(Scaling.of(Moments.of(FEATURES)), Scaling.of(Moments.of(POOLED)))
CASES = {
    Crossing.FEATURES: FEATURES,
    Crossing.POOLED: POOLED,
    Crossing.GRADIENT_OF_POOLED: torch.randn(16, 64, generator=GENERATOR) / SIZES,
}


@pytest.mark.parametrize("crossing", Crossing)
def test_int8_errs_by_a_few_percent_of_each_channel_s_own_size(crossing: Crossing) -> None:
    tensor = CASES[crossing]
    size_D = tensor.flatten(0, -2).std(0)

    def error(scaling: SplitScaling | None) -> float:
        back = decode(encode(tensor, "int8", crossing, scaling), "int8", tensor.shape, crossing, scaling)
        return float(((back - tensor).flatten(0, -2).abs().amax(0) / size_D).max())

    assert error(SCALING) < 0.04
    assert error(None) > 0.3


@pytest.mark.parametrize("codec", ["fp32", "bf16", "fp16"])
def test_other_codecs_carry_the_tensor_as_it_is(codec: str) -> None:
    payload = encode(FEATURES, codec, Crossing.FEATURES, SCALING)
    assert bytes(payload) == bytes(codecs.encode(FEATURES, codec))
    back = decode(payload, codec, FEATURES.shape, Crossing.FEATURES, SCALING)
    assert torch.equal(back, codecs.decode(payload, codec, FEATURES.shape))


def test_moments_of_parts_add_up_to_those_of_the_whole() -> None:
    parts = Moments.of(FEATURES[:3]) + Moments.of(FEATURES[3:])
    found, whole = Scaling.of(parts), torch.std_mean(FEATURES.flatten(0, -2), dim=0)
    torch.testing.assert_close((found.deviation_D, found.mean_D), whole)


def test_a_channel_that_never_changes_is_centred_and_not_blown_up() -> None:
    values = torch.full((4, 2), 7.0)
    scaling = Scaling.of(Moments.of(values))
    assert scaling.standardise(values).abs().max() == 0
    with pytest.raises(ValueError, match="two rows or more; found 1"):
        Scaling.of(Moments.of(values[:1]))
