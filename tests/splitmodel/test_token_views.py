"""Views of tokens: of an image that has crossed once, the ground turns the token grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from splitmodel.crossing import tensors
from splitmodel.crossing.scaling import Moments, Scaling, SplitScaling
from splitmodel.families import ModelInput, ModelLoadError, TokenLayout
from splitmodel.imagery.natural_noise import natural_noise
from splitmodel.imagery.sources import open_imagery
from splitmodel.imagery.views import view
from splitmodel.parts import SplitModel, load_split
from splitmodel.token_views import TokenViews

EVERY = np.arange(8)
SIX_BANDS = ModelInput(bands=("B2", "B3", "B4", "B8", "B11", "B12"), patch_size=8, image_size=32)
LAYOUTS = [
    TokenLayout(1, 3, columns=3),
    TokenLayout(0, 4, columns=4, groups=3),
    TokenLayout(2, 3, columns=3, frames=2, groups=2),
]


def model_of(family: str, request: pytest.FixtureRequest) -> SplitModel:
    if family == "galileo":
        return load_split(request.getfixturevalue("shared_galileo"), num_labels=3, wanted=SIX_BANDS)
    return load_split(request.getfixturevalue("tiny_models")[family], num_labels=3)


def patches_of_one_colour(split: SplitModel) -> Tensor:
    layout, preprocess = split.backbone.layout, split.preprocess
    colours = torch.randn(1, len(preprocess.mean), layout.rows, layout.columns)
    side = preprocess.height // layout.rows
    return colours.repeat_interleave(side, -2).repeat_interleave(side, -1).expand(8, -1, -1, -1)


def nothing_inside(layout: TokenLayout, size: int) -> Tensor:
    """Of tokens that are alike from all sides."""
    return torch.zeros(8, layout.groups, size, size)


def as_it_arrives(features: Tensor, codec: str) -> Tensor:
    scaling = Scaling.of(Moments.of(features))
    crossing = tensors.Crossing.FEATURES, SplitScaling(scaling, scaling)
    return tensors.decode(tensors.encode(features, codec, *crossing), codec, features.shape, *crossing)


def error_of(found: Tensor, expected: Tensor) -> float:
    """Squares of the error, of those of what differs between images."""
    return float((found - expected).square().sum() / (expected - expected.mean(0)).square().sum())


def errors_of_views(
    split: SplitModel, pixels: Tensor, codec: str = "fp32"
) -> tuple[list[float], list[float]]:
    """Of each view but the first: turned with the inside of patches, and by the grid alone."""
    arrived = as_it_arrives(split.embedding(pixels), codec)
    whole, blank = TokenViews.of(split, codec), split.embedding(torch.zeros_like(pixels[:1]))[0]
    layout = split.backbone.layout
    moving = TokenViews(layout, blank, inside_VGDD=nothing_inside(layout, blank.shape[-1]), quarters=True)
    of_view: tuple[list[float], list[float]] = ([], [])
    for number in EVERY[1:]:
        views = np.full(len(pixels), number)
        expected = split.embedding(view(pixels, views))
        for errors, turn in zip(of_view, (whole, moving), strict=True):
            errors.append(error_of(turn(arrived, views), expected))
    return of_view


@pytest.mark.parametrize(("codec", "most"), [("fp32", 1e-5), ("fp16", 1e-4), ("int8", 1e-3), ("int4", 1e-2)])
@torch.no_grad()
def test_tokens_of_real_images_are_those_of_the_turned_images(
    codec: str, most: float, galileo_nano: Path, shared_data: Path
) -> None:
    split = load_split(galileo_nano, num_labels=3)
    train, _ = open_imagery("eurosat", shared_data / "eurosat-dev" / "dev.parquet", seed=0)
    pixels = split.preprocess(train.pixels_BCHW(np.arange(0, 600, 10)))
    whole, moving = errors_of_views(split, pixels, codec)
    assert max(whole) < most
    assert min(moving) > 0.2


@torch.no_grad()
def test_a_patch_of_more_values_than_the_embedding_keeps_is_turned_as_far_as_pixels_are_alike(
    tiny_models: dict[str, Path],
) -> None:
    split = load_split(tiny_models["vit"], num_labels=3)
    preprocess = split.preprocess
    pixels, _ = natural_noise(
        40, len(preprocess.mean), height=preprocess.height, width=preprocess.width, seed=5
    )
    assert split.config.hidden_size < len(preprocess.mean) * split.config.patch_size**2
    whole, moving = errors_of_views(split, pixels)
    assert max(whole) < 0.25 * min(moving)


@torch.no_grad()
def test_noise_of_the_codec_is_not_blown_up(galileo_nano: Path) -> None:
    """Fitted to exact features, the small differences that int4 drowns would be turned into large ones."""
    split = load_split(galileo_nano, num_labels=3)
    preprocess = split.preprocess
    pixels, _ = natural_noise(40, 3, height=preprocess.height, width=preprocess.width, seed=5)
    arrived, views = as_it_arrives(split.embedding(pixels), "int4"), np.full(40, 5)
    expected = split.embedding(view(pixels, views))
    known, unknown = (
        error_of(TokenViews.of(split, codec)(arrived, views), expected) for codec in ("int4", "fp32")
    )
    assert known < error_of(arrived, split.embedding(pixels)) < unknown


@pytest.mark.parametrize("family", ["vit", "dinov3_vit", "galileo"])
@torch.no_grad()
def test_where_patches_are_of_one_colour_it_is_enough_to_move_tokens(
    family: str, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    split = model_of(family, request)
    pixels = patches_of_one_colour(split)
    features, layout = split.embedding(pixels), split.backbone.layout
    expected = split.embedding(view(pixels, EVERY))
    assert float((expected[1:] - expected[0]).abs().amax(dim=(1, 2)).min()) > 0.1
    blank = split.embedding(torch.zeros_like(pixels[:1]))[0]
    moving = TokenViews(layout, blank, inside_VGDD=nothing_inside(layout, blank.shape[-1]), quarters=True)
    torch.testing.assert_close(moving(features, EVERY), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(
        TokenViews.of(split)(features, EVERY)[:, : layout.prefix], features[:, : layout.prefix]
    )


@pytest.mark.parametrize("family", ["vit", "dinov3_vit", "galileo"])
@torch.no_grad()
def test_view_0_is_what_has_crossed_bit_for_bit(family: str, request: pytest.FixtureRequest) -> None:
    split = model_of(family, request)
    features = torch.randn(5, split.backbone.layout.tokens, split.config.hidden_size)
    token_views = TokenViews.of(split)
    assert torch.equal(token_views(features, np.zeros(5, int)), features)
    mixed = token_views(features, np.array([0, 3, 0, 6, 5]))
    assert torch.equal(mixed[[0, 2]], features[[0, 2]])
    for row, number in ((1, 3), (3, 6), (4, 5)):
        assert torch.equal(mixed[row], token_views(features[row : row + 1], np.array([number]))[0])


def _matrix(number: int) -> np.ndarray:
    """A symmetry of the square: quarter turns, then a mirror."""
    quarter, mirror = np.array([[0, -1], [1, 0]]), np.diag([-1, 1])
    return np.linalg.matrix_power(mirror, number // 4) @ np.linalg.matrix_power(quarter, number % 4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_views_are_the_dihedral_group_on_features_without_positions(layout: TokenLayout) -> None:
    features = torch.randn(1, layout.tokens, 5)
    turn = TokenViews(
        layout, torch.zeros(layout.tokens, 5), inside_VGDD=nothing_inside(layout, 5), quarters=True
    )
    under = [turn(features, np.array([number])) for number in EVERY]
    assert all(not torch.equal(under[a], under[b]) for a in EVERY for b in EVERY if a < b)
    inverses = 0
    for first in EVERY:
        for second in EVERY:
            product = _matrix(second) @ _matrix(first)
            (both,) = [number for number in EVERY if np.array_equal(_matrix(number), product)]
            assert torch.equal(turn(under[first], np.array([second])), under[both])
            inverses += both == 0
    assert inverses == 8


def test_frames_and_groups_are_turned_alike_and_never_mixed() -> None:
    layout = TokenLayout(2, 3, columns=3, frames=2, groups=2)
    frame, group = (layout.patches // 2, 2)
    marks = torch.zeros(1, layout.tokens, 1)
    grid = marks[0, 2:, 0].view(2, frame, group)
    grid[0, :, 1], grid[1, :, 0], grid[1, :, 1] = 1.0, 2.0, 3.0
    marks[0, :2, 0] = torch.tensor([7.0, 8.0])
    turn = TokenViews(
        layout, torch.zeros(layout.tokens, 1), inside_VGDD=nothing_inside(layout, 1), quarters=True
    )
    assert torch.equal(turn(marks.expand(8, -1, -1), EVERY), marks.expand(8, -1, -1))


def test_a_grid_that_is_not_square_has_half_turns_and_mirrors_as_its_pixels_have() -> None:
    images = torch.randn(8, 1, 2, 3)
    layout = TokenLayout(0, 2, columns=3)
    turn = TokenViews(layout, torch.zeros(6, 1), inside_VGDD=nothing_inside(layout, 1), quarters=False)
    found = turn(images.flatten(2).transpose(1, 2), EVERY)
    assert torch.equal(found.transpose(1, 2).unflatten(2, (2, 3)), view(images, EVERY))


def test_a_family_whose_norm_follows_its_positions_has_no_token_views(tiny_models: dict[str, Path]) -> None:
    split = load_split(tiny_models["clip_vision_model"], num_labels=3)
    with pytest.raises(ModelLoadError, match=r'family clip_vision_model, .*allowed: "none", "dihedral"'):
        TokenViews.of(split)


def test_blocks_on_board_leave_no_token_views(tiny_models: dict[str, Path]) -> None:
    split = load_split(tiny_models["vit"], num_labels=3, onboard_blocks=1)
    with pytest.raises(ModelLoadError, match=r"split.onboard_blocks = 1, .*or split.onboard_blocks = 0"):
        TokenViews.of(split)
