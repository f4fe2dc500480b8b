"""Heads that answer at every pixel: decoders of the states of an image's patches, at the resolution of the patches.

Both kinds make of each patch so many values as its pixels take (sub-pixel convolution, Shi et al. 2016,
arXiv 1609.05158), so that nothing is computed at the resolution of the pixels. Shapes in names: B images, P patches by
row and column, E values of a patch, K outputs of a pixel.
"""

from __future__ import annotations

import copy
import math
from dataclasses import KW_ONLY, dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmodel.crossing.scaling import Scaling
from splitmodel.families.errors import ModelLoadError
from splitmodel.families.protocol import TokenLayout
from splitmodel.heads import HeadMaker, OwnHead, StandardisedHead, VectorHead

Decoder = str  # "linear", "convolution", or the name of another package's
CONVOLUTION_WIDTH = 64  # channels of the convolutional decoder


@dataclass(frozen=True)
class PatchGrid:
    """The places of an image's patches.

    Attributes:
        rows, columns: Patches of an image.
        height, width: Its pixels.
    """

    rows: int
    columns: int
    _: KW_ONLY
    height: int
    width: int

    @classmethod
    def of(cls, layout: TokenLayout, height: int, width: int) -> Self:
        """Return the grid of a model's tokens over images of so many pixels."""
        return cls(layout.rows, layout.columns, height=height, width=width)

    @property
    def side(self) -> tuple[int, int]:
        """Pixels of a patch, vertically and horizontally."""
        return self.height // self.rows, self.width // self.columns

    @property
    def patch_pixels(self) -> int:
        """Pixels of a patch."""
        return math.prod(self.side)

    def assembled(self, values_BPV: Tensor) -> Tensor:
        """Lay out each patch's values, K of each of its pixels, as maps of shape (B, K, height, width).

        Where patches do not cover the whole image, as of sides that their size does not divide, the map is stretched
        over it bilinearly.
        """
        tall, wide = self.side
        parts = values_BPV.unflatten(2, (-1, tall, wide)).unflatten(1, (self.rows, self.columns))
        maps = parts.permute(0, 3, 1, 4, 2, 5).flatten(2, 3).flatten(3, 4)
        if maps.shape[-2:] != (self.height, self.width):
            maps = F.interpolate(maps, (self.height, self.width), mode="bilinear", align_corners=False)
        return maps


class PatchHead(StandardisedHead):
    """One linear layer for all patches, from the states of a patch to K values of each of its pixels."""

    grid: PatchGrid

    @classmethod
    def new(cls, grid: PatchGrid, inputs: int, outputs: int, seed: int) -> Self:
        """Return a head with weights N(0, 0.02²), biases 0 and states that are not scaled."""
        made = nn.utils.skip_init(cls, inputs, outputs * grid.patch_pixels)
        with torch.no_grad():
            made.weight.normal_(0.0, 0.02, generator=torch.Generator().manual_seed(seed))
            made.bias.zero_()
        made.grid, made.scaling = grid, Scaling.neutral(inputs)
        return made

    def scaled(self, scaling: Scaling) -> Self:
        """Return a copy for states that are scaled so."""
        made = type(self).of(self, scaling)
        made.grid = self.grid
        return made

    def forward(self, states_BPE: Tensor) -> Tensor:
        """Return a map of each output, shape (B, K, height, width)."""
        return self.grid.assembled(super().forward(states_BPE))


class ConvolutionHead(VectorHead):
    """Three convolutions at the resolution of the patches: 1×1, 3×3 and, to K values of each pixel, 1×1.

    Attributes:
        grid: Where the patches lie.
    """

    def __init__(self, grid: PatchGrid, inputs: int, *, outputs: int, scaling: Scaling) -> None:
        super().__init__(inputs, outputs, scaling=scaling)
        self.grid = grid
        width = CONVOLUTION_WIDTH
        self.reduce = nn.utils.skip_init(nn.Conv2d, inputs, width, 1)
        self.mix = nn.utils.skip_init(nn.Conv2d, width, width, 3, padding=1)
        self.expand = nn.utils.skip_init(nn.Conv2d, width, outputs * grid.patch_pixels, 1)

    @classmethod
    def new(cls, grid: PatchGrid, inputs: int, outputs: int, seed: int) -> Self:
        """Return a head with weights of variance 1 ÷ inputs (of the last layer N(0, 0.02²)) and biases 0."""
        made = cls(grid, inputs, outputs=outputs, scaling=Scaling.neutral(inputs))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in (made.reduce, made.mix, made.expand):
                fan_in = layer.weight[0].numel()
                deviation = 0.02 if layer is made.expand else math.sqrt(1.0 / fan_in)
                layer.weight.normal_(0.0, deviation, generator=generator)
                assert layer.bias is not None
                layer.bias.zero_()
        return made

    def scaled(self, scaling: Scaling) -> Self:
        """Return a copy for states that are scaled so."""
        made = type(self)(self.grid, self.inputs, outputs=self.outputs, scaling=scaling)
        made.load_state_dict(self.state_dict())
        return made

    def forward(self, states_BPE: Tensor) -> Tensor:
        """Return a map of each output, shape (B, K, height, width)."""
        states = self.scaling.standardise(states_BPE)
        grid_BEHW = states.mT.unflatten(2, (self.grid.rows, self.grid.columns))
        values = self.expand(F.gelu(self.mix(F.gelu(self.reduce(grid_BEHW)))))
        return self.grid.assembled(values.flatten(2).mT)


class OwnDenseHead(OwnHead):
    """A decoder that another package makes, at the resolution of the patches, on standardised states.

    Attributes:
        grid: Where the patches lie.
    """

    def __init__(
        self, layers: nn.Module, maker: HeadMaker, *, grid: PatchGrid, outputs: int, scaling: Scaling
    ) -> None:
        super().__init__(layers, maker, outputs=outputs, scaling=scaling)
        self.grid = grid

    @classmethod
    def new(cls, maker: HeadMaker, grid: PatchGrid, inputs: int, *, outputs: int, seed: int) -> Self:
        """Return a head on states that are not scaled, with weights drawn from ``seed``.

        Raises:
            ModelLoadError: See :meth:`splitmodel.heads.HeadMaker.new`.
        """
        places = grid.rows, grid.columns
        layers = maker.layers(inputs, outputs * grid.patch_pixels, seed=seed, places=places)
        return cls(layers, maker, grid=grid, outputs=outputs, scaling=Scaling.neutral(inputs))

    def scaled(self, scaling: Scaling) -> Self:
        """Return a copy for states that are scaled so."""
        layers = copy.deepcopy(self.layers)
        return type(self)(layers, self.maker, grid=self.grid, outputs=self.outputs, scaling=scaling)

    def forward(self, states_BPE: Tensor) -> Tensor:
        """Return a map of each output, shape (B, K, height, width)."""
        states = self.scaling.standardise(states_BPE)
        grid_BEHW = states.mT.unflatten(2, (self.grid.rows, self.grid.columns))
        return self.grid.assembled(self.layers(grid_BEHW).flatten(2).mT)


DenseHead = PatchHead | ConvolutionHead | OwnDenseHead
TrainedHead = StandardisedHead | VectorHead  # of whatever task, once its states are scaled


def standardised(head: nn.Module, scaling: Scaling) -> TrainedHead:
    """Return a head with the same weights for states that are scaled so.

    Raises:
        ValueError: The scaling is for states of another size than the head takes.
    """
    if isinstance(head, PatchHead | VectorHead):
        return head.scaled(scaling)
    assert isinstance(head, nn.Linear)
    return StandardisedHead.of(head, scaling)


def outputs_of(head: nn.Module) -> int:
    """Return how many outputs a head has, for an image or for each pixel."""
    if isinstance(head, VectorHead):
        return head.outputs
    assert isinstance(head, nn.Linear)
    return head.out_features // (head.grid.patch_pixels if isinstance(head, PatchHead) else 1)


def new_dense_head(
    decoder: Decoder,
    grid: PatchGrid,
    inputs: int,
    outputs: int,
    *,
    seed: int = 0,
    maker: HeadMaker | None = None,
) -> DenseHead:
    """Return a trainable head that answers at every pixel.

    Args:
        decoder: ``linear`` or ``convolution``, unless another package makes it.
        grid: Where the patches lie.
        inputs: Values of a patch, E.
        outputs: Of a pixel, K.
        seed: Of the weights.
        maker: Of another package.

    Raises:
        ModelLoadError: No output, or patches of no pixel; or what another package makes cannot be trained.
    """
    if outputs < 1 or min(grid.side) < 1:
        raise ModelLoadError(
            f"a dense head needs an output and patches of a pixel or more; found {outputs} outputs and {grid}"
        )
    if maker is not None:
        return OwnDenseHead.new(maker, grid, inputs, outputs=outputs, seed=seed)
    if decoder == "linear":
        return PatchHead.new(grid, inputs, outputs, seed)
    return ConvolutionHead.new(grid, inputs, outputs, seed)
