"""Views of an image that has crossed once: the grid of its tokens is turned instead of its pixels.

Each patch token is moved to where its patch comes to lie, and gets the position of that place instead of its own. The
inside of a patch stays as it is, so that this is the embedding of the turned image only where patches look the same
from all sides. Class and register tokens stay; frames and band groups are turned alike, each by itself.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitmodel.families.errors import ModelLoadError
from splitmodel.families.protocol import TokenLayout
from splitmodel.imagery.views import turned
from splitmodel.parts import SplitModel
from splitmodel.training import VIEWS


class TokenViews:
    """Turns features of view 0 into those of any view.

    Args:
        layout: Which token is what.
        blank_TD: Features of an image without content, shape (tokens, hidden): but for what all patches of a frame and
            group have in common, their positions.
        quarters: Whether there are quarter turns; without, the views are those of images that are not square, see
            :func:`splitmodel.imagery.views.view`.
    """

    def __init__(self, layout: TokenLayout, blank_TD: Tensor, *, quarters: bool) -> None:
        patches = torch.arange(layout.prefix, layout.tokens)
        grid = patches.view(layout.frames, layout.rows, layout.columns, layout.groups).permute(0, 3, 1, 2)
        prefix = torch.arange(layout.prefix)
        self._order_VT = torch.stack(
            [
                torch.cat([prefix, turned(grid, number, quarters=quarters).permute(0, 2, 3, 1).flatten()])
                for number in range(VIEWS["token-dihedral"])
            ]
        )
        # Nothing where a token stays or positions come in with the blocks.
        self._moves_VTD = blank_TD - blank_TD[self._order_VT]

    @classmethod
    @torch.no_grad()
    def of(cls, split: SplitModel) -> TokenViews:
        """The token views of a model.

        Raises:
            ModelLoadError: Its family has none, or blocks run on board.
        """
        backbone, preprocess = split.backbone, split.preprocess
        family = backbone.family
        require_token_views(family.name, family.has_token_views(backbone.config), backbone.onboard_blocks)
        height, width = preprocess.height, preprocess.width
        layout = backbone.layout
        blank_BTD = split.embedding(torch.zeros(1, len(preprocess.mean), height, width))
        return cls(layout, blank_BTD[0], quarters=height == width and layout.rows == layout.columns)

    def __call__(self, features_BTD: Tensor, views_B: NDArray[np.int64]) -> Tensor:
        """Features, shape (B, tokens, hidden), each under its view; those under view 0 are as they were."""
        views = torch.from_numpy(views_B)
        rows = torch.arange(len(features_BTD))[:, None]
        return features_BTD[rows, self._order_VT[views]] + self._moves_VTD[views]


def require_token_views(family: str, allowed: bool, onboard_blocks: int) -> None:
    """Raise `ModelLoadError` for a model whose tokens cannot be turned where they cross.

    Args:
        family: Its name, for the message.
        allowed: As :meth:`splitmodel.families.Family.has_token_views` says.
        onboard_blocks: Blocks on board.
    """
    if not allowed:
        raise ModelLoadError(
            f'training.augment: found "token-dihedral" with a model of family {family}, whose positions cannot be '
            'told from its patches: a norm follows them; allowed: "none", "dihedral"'
        )
    if onboard_blocks:
        raise ModelLoadError(
            f'training.augment: found "token-dihedral" with split.onboard_blocks = {onboard_blocks}, and what leaves '
            'a block holds positions for good; allowed: "none", "dihedral", or split.onboard_blocks = 0'
        )
