"""What the privacy page says: a linear map turns what crosses the split back into images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from splitmodel.crossing.codecs import decode, encode
from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.imagery import ImageSet, open_imagery
from splitmodel.parts import SplitModel, load_split
from splitmodel.shipped import locate


def patches_and_features(model: SplitModel, images: ImageSet) -> tuple[Tensor, Tensor]:
    """Pixels by patch, shape (B, T, values of a patch), and the features of the images."""
    pixels = model.preprocess(images.pixels_BCHW(np.arange(len(images))))
    with torch.no_grad():
        features = model.embedding(pixels)
    count, channels, height, _ = pixels.shape
    side = int(features.shape[1] ** 0.5)
    cut = pixels.reshape(count, channels, side, height // side, side, height // side)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(count, side * side, -1), features


@pytest.mark.parametrize(("codec", "at_least"), [("fp32", 0.98), ("int8", 0.98), ("int4", 0.93)])
def test_a_linear_map_fitted_on_other_images_recovers_the_pixels(codec: str, at_least: float) -> None:
    imagery = open_imagery("synthetic", None, seed=7, train_samples=300, test_samples=100)
    model = load_split(locate("synthetic-vit", None), num_labels=10, pooling="auto", random_init=False)
    known, known_features = patches_and_features(model, imagery.train)
    secret, secret_features = patches_and_features(model, imagery.test)
    scaling = Scaling.of(Moments.of(known_features))  # both sides know it from enrolment

    def as_sent(features: Tensor) -> Tensor:
        coded = decode(bytes(encode(scaling.standardise(features), codec)), codec, features.shape)
        return scaling.restore(coded)[:, -known.shape[1] :]  # without the class token

    known_tokens, tokens = as_sent(known_features), as_sent(secret_features)
    mean, token_mean = known.mean(0), known_tokens.mean(0)  # by place: the embedding adds a position
    fit = torch.linalg.lstsq((known_tokens - token_mean).flatten(0, 1), (known - mean).flatten(0, 1)).solution
    recovered = (tokens - token_mean) @ fit + mean
    unexplained = (recovered - secret).square().sum() / (secret - secret.mean((0, 1))).square().sum()
    assert 1.0 - float(unexplained) > at_least
