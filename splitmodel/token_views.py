"""Views of an image that has crossed once: its tokens are turned instead of its pixels.

Each patch token is moved to where its patch comes to lie, and gets the position of that place instead of its own. What
the embedding makes of the turned inside of a patch is estimated from what it made of the patch as it was, linearly, by
least squares over random images with the statistics of photographs, as their features arrive: with the rounding of the
codec. An embedding that keeps all that a patch shows, as far as neighbouring pixels are alike, is turned almost
exactly. Class and register tokens stay; frames and band groups are turned alike, each by itself.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitmodel.crossing import tensors
from splitmodel.crossing.scaling import Moments, Scaling, SplitScaling
from splitmodel.families.errors import NoTokenViewsError
from splitmodel.families.protocol import TokenLayout
from splitmodel.imagery.natural_noise import natural_noise
from splitmodel.imagery.views import turned, view
from splitmodel.parts import SplitModel
from splitmodel.training import VIEWS

_VIEWS = VIEWS["token-dihedral"]
_PATCHES_PER_CHANNEL = 16  # a least-squares fit of D values from D others wants many times D patches
_FEWEST_IMAGES = 32
_RIDGE = 1e-9  # of the mean variance: features may depend on each other linearly


class TokenViews:
    """Turns features of view 0 into those of any view.

    Args:
        layout: Which token is what.
        blank_TD: Features of an image without content, shape (tokens, hidden): but for what all patches of a frame and
            group have in common, their positions.
        inside_VGDD: For each view and band group the matrix by which the content of a token, its features without
            position, changes beyond its place: content + content · matrix is the content under the view.
        quarters: Whether there are quarter turns; without, the views are those of images that are not square, see
            :func:`splitmodel.imagery.views.view`.
    """

    def __init__(self, layout: TokenLayout, blank_TD: Tensor, *, inside_VGDD: Tensor, quarters: bool) -> None:
        self._layout, self._blank_TD, self._inside_VGDD = layout, blank_TD, inside_VGDD
        self._order_VT = _places(layout, quarters=quarters).to(blank_TD.device)
        # Nothing where a token stays or positions come in with the blocks.
        self._moves_VTD = blank_TD - blank_TD[self._order_VT]

    @classmethod
    @torch.no_grad()
    def of(cls, split: SplitModel, codec: str = "fp32", device: torch.device | str = "cpu") -> TokenViews:
        """The token views of a model.

        Args:
            split: The model.
            codec: In which features cross.
            device: Where features are turned.

        Raises:
            NoTokenViewsError: Its family has none, or blocks run on board.
        """
        backbone, preprocess = split.backbone, split.preprocess
        family = backbone.family
        require_token_views(family.name, family.has_token_views(backbone.config), backbone.onboard_blocks)
        height, width = preprocess.height, preprocess.width
        layout = backbone.layout
        quarters = height == width and layout.rows == layout.columns
        blank_TD = split.embedding(torch.zeros(1, len(preprocess.mean), height, width))[0]
        inside_VGDD = _turned_inside(split, blank_TD, codec, quarters=quarters)
        return cls(layout, blank_TD.to(device), inside_VGDD=inside_VGDD.to(device), quarters=quarters)

    def __call__(self, features_BTD: Tensor, views_B: NDArray[np.int64]) -> Tensor:
        """Features, shape (B, tokens, hidden), each under its view; those under view 0 are as they were."""
        layout, device = self._layout, self._blank_TD.device
        views = torch.from_numpy(views_B).to(device)
        rows = torch.arange(len(views), device=device)[:, None]
        moved_BTD = features_BTD.to(device)[rows, self._order_VT[views]] + self._moves_VTD[views]
        for number in np.unique(views_B[views_B > 0]):
            of = torch.from_numpy(np.flatnonzero(views_B == number)).to(device)
            content = _by_group(moved_BTD[of] - self._blank_TD, layout)
            change = torch.einsum("bpgd,gde->bpge", content, self._inside_VGDD[number])
            moved_BTD[of, layout.prefix :] += change.flatten(1, 2)
        return moved_BTD


def require_token_views(family: str, allowed: bool, onboard_blocks: int) -> None:
    """Raise `NoTokenViewsError` for a model whose tokens cannot be turned where they cross.

    Args:
        family: Its name, for the message.
        allowed: As :meth:`splitmodel.families.Family.has_token_views` says.
        onboard_blocks: Blocks on board.
    """
    if not allowed:
        raise NoTokenViewsError(
            f'training.augment: found "token-dihedral" with a model of family {family}, whose positions cannot be '
            'told from its patches: a norm follows them; allowed: "none", "dihedral"'
        )
    if onboard_blocks:
        raise NoTokenViewsError(
            f'training.augment: found "token-dihedral" with split.onboard_blocks = {onboard_blocks}, and what leaves '
            'a block holds positions for good; allowed: "none", "dihedral", or split.onboard_blocks = 0'
        )


def _places(layout: TokenLayout, *, quarters: bool) -> Tensor:
    """Which token comes to each place under each view, shape (views, tokens)."""
    patches = torch.arange(layout.prefix, layout.tokens)
    grid = patches.view(layout.frames, layout.rows, layout.columns, layout.groups).permute(0, 3, 1, 2)
    prefix = torch.arange(layout.prefix)
    return torch.stack(
        [
            torch.cat([prefix, turned(grid, number, quarters=quarters).permute(0, 2, 3, 1).flatten()])
            for number in range(_VIEWS)
        ]
    )


def _by_group(tokens_BTD: Tensor, layout: TokenLayout) -> Tensor:
    """Patch tokens, shape (B, patches, groups, D)."""
    return tokens_BTD[:, layout.prefix :].unflatten(1, (layout.patches, layout.groups))


def _of_groups(tokens_BTD: Tensor, layout: TokenLayout) -> Tensor:
    """Patch tokens of all images, shape (groups, B · patches, D)."""
    return _by_group(tokens_BTD, layout).permute(2, 0, 1, 3).flatten(1, 2)


def _turned_inside(split: SplitModel, blank_TD: Tensor, codec: str, *, quarters: bool) -> Tensor:
    """Return `inside_VGDD` of :class:`TokenViews`.

    An image counts by the inverse of its contrast, so that faint ones are turned as well as strong ones.
    """
    layout, preprocess, size = split.backbone.layout, split.preprocess, blank_TD.shape[-1]
    count = max(_FEWEST_IMAGES, math.ceil(_PATCHES_PER_CHANNEL * size / layout.patches))
    pixels, contrast = natural_noise(
        count, len(preprocess.mean), height=preprocess.height, width=preprocess.width, seed=0
    )
    weight = 1.0 / contrast[:, None, None].double()
    sent = split.embedding(pixels)
    scaling = Scaling.of(Moments.of(sent))
    crossing = tensors.Crossing.FEATURES, SplitScaling(scaling, scaling)
    arrived = tensors.decode(tensors.encode(sent, codec, *crossing), codec, sent.shape, *crossing)
    content = weight * (arrived - blank_TD)
    rows_GND = _of_groups(content, layout)
    gram_GDD = rows_GND.mT @ rows_GND  # the same under every view, which only moves the rows
    ridge = _RIDGE * gram_GDD.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    factors = torch.linalg.lu_factor(gram_GDD + ridge * torch.eye(size, dtype=gram_GDD.dtype))
    inside_VGDD = torch.zeros(_VIEWS, layout.groups, size, size)
    for number, order_T in enumerate(_places(layout, quarters=quarters)[1:], start=1):
        wanted = weight * (split.embedding(view(pixels, np.full(count, number))) - blank_TD)
        moved = content[:, order_T]
        products_GDD = _of_groups(moved, layout).mT @ _of_groups(wanted - moved, layout)
        inside_VGDD[number] = torch.linalg.lu_solve(*factors, products_GDD).float()
    return inside_VGDD
