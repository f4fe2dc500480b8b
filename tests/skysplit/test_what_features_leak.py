"""What the privacy page says: a linear map turns features of the shipped model back into images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from splitmodel.codecs import decode, encode
from splitmodel.imagery import ImageSet, open_imagery
from splitmodel.parts import SplitModel, load_split
from splitmodel.shipped import locate


def patches_and_tokens(model: SplitModel, images: ImageSet, count: int, codec: str) -> tuple[Tensor, Tensor]:
    """Pixels (B, T, values of a patch) and the tokens (B, T, D) that cross the split for them, as decoded."""
    pixels = model.preprocess(images.pixels_BCHW(np.arange(count)))
    with torch.no_grad():
        features = model.embedding(pixels)
    features = decode(bytes(encode(features, codec)), codec, features.shape)
    side = int(features.shape[1] ** 0.5)
    _, channels, height, _ = pixels.shape
    cut = pixels.reshape(count, channels, side, height // side, side, height // side)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(count, side * side, -1), features[:, -side * side :]


@pytest.mark.parametrize(
    ("codec", "at_least", "below"), [("fp32", 0.98, 1.0), ("int8", 0.97, 1.0), ("int4", 0.2, 0.8)]
)
def test_a_linear_map_fitted_on_other_images_recovers_the_pixels(
    codec: str, at_least: float, below: float
) -> None:
    imagery = open_imagery("synthetic", None, seed=7, train_samples=300, test_samples=100)
    model = load_split(locate("synthetic-vit", None), num_labels=10, pooling="auto", random_init=False)
    known, known_tokens = patches_and_tokens(model, imagery.train, 300, "fp32")
    secret, tokens = patches_and_tokens(model, imagery.test, 100, codec)

    mean, token_mean = known.mean(0), known_tokens.mean(0)  # by place: the embedding adds a position
    fit = torch.linalg.lstsq((known_tokens - token_mean).flatten(0, 1), (known - mean).flatten(0, 1)).solution
    recovered = (tokens - token_mean) @ fit + mean
    unexplained = (recovered - secret).square().sum() / (secret - secret.mean((0, 1))).square().sum()
    assert at_least < 1.0 - float(unexplained) < below
