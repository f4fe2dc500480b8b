"""What the privacy page says: a linear map turns what crosses the split back into images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from splitmodel.costs.leak import pixels_recovered
from splitmodel.crossing.codecs import decode, encode
from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.imagery import ImageSet, open_imagery
from splitmodel.parts import Embedding, load_embedding
from splitmodel.shipped import locate


@pytest.fixture(scope="module")
def embedding() -> Embedding:
    return load_embedding(locate("synthetic-vit", None), onboard_blocks=3)


@pytest.fixture(scope="module")
def pixels(embedding: Embedding) -> tuple[Tensor, Tensor]:
    """Of known images and of secret ones."""
    imagery = open_imagery("synthetic", None, seed=7, train_samples=300, test_samples=100)

    def read(images: ImageSet) -> Tensor:
        return embedding.preprocess(images.pixels_BCHW(np.arange(len(images))))

    return read(imagery.train), read(imagery.test)


@pytest.mark.parametrize(("codec", "at_least"), [("fp32", 0.98), ("int8", 0.98), ("int4", 0.93)])
def test_a_linear_map_fitted_on_other_images_recovers_the_pixels(
    embedding: Embedding, pixels: tuple[Tensor, Tensor], codec: str, at_least: float
) -> None:
    recovered = pixels_recovered(embedding, *pixels, codec)
    assert recovered[0] > at_least
    assert recovered == sorted(recovered, reverse=True)  # each block on board hides a little
    assert recovered[-1] < recovered[0] - 0.05
    assert recovered[0] == pytest.approx(
        by_least_squares(load_embedding(locate("synthetic-vit", None)), *pixels, codec)
    )
    assert recovered[-1] == pytest.approx(by_least_squares(embedding, *pixels, codec))


@torch.no_grad()
def by_least_squares(embedding: Embedding, known: Tensor, secret: Tensor, codec: str) -> float:
    """The same by LAPACK's least squares, on patches that are cut here."""

    def patches(images: Tensor) -> Tensor:
        return torch.nn.functional.unfold(images, 8, stride=8).mT

    features, others = embedding(known), embedding(secret)
    scaling = Scaling.of(Moments.of(features))  # both sides know it from enrolment

    def as_sent(features: Tensor) -> Tensor:
        if codec == "fp32":
            return features[:, 1:]
        coded = decode(bytes(encode(scaling.standardise(features), codec)), codec, features.shape)
        return scaling.restore(coded)[:, 1:]  # without the class token

    tokens, wanted = as_sent(features), patches(known)
    mean, token_mean = wanted.mean(0), tokens.mean(0)  # by place: the embedding adds a position
    fit = torch.linalg.lstsq((tokens - token_mean).flatten(0, 1), (wanted - mean).flatten(0, 1)).solution
    recovered, truth = (as_sent(others) - token_mean) @ fit + mean, patches(secret)
    unexplained = (recovered - truth).square().sum() / (truth - truth.mean((0, 1))).square().sum()
    return 1.0 - float(unexplained)
