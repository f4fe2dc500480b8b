"""What the parts of a model cost, and those costs for published remote-sensing models. Imports no torch.

`python -m splitmodel.costs.published` lists the profiles.
"""

from __future__ import annotations

import json
import math
from dataclasses import KW_ONLY, dataclass, replace
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Profile:
    """Cost of one sample (one image) in each part of a split model, and sizes of what is trained.

    A floating-point operation is an addition or a multiplication: a multiply-accumulate counts as two. Counted are
    matrix products and convolutions; norms, activations, softmax and pooling are below 2 % in any supported model.

    Attributes:
        name: of the model.
        source: where the figures are from.
        tokens: T, tokens between embedding and backbone.
        hidden: D, size of a token.
        blocks: of the transformer, all alike.
        embedding_params, backbone_params, head_params, adapter_params: numbers of parameters; the adapter is LoRA.
        embedding_flops, backbone_flops, head_flops: forward pass.
        tail_params, tail_flops, tail_backward_flops: of frozen blocks on board in front of the head, which are not in
            the backbone's; backward is the gradient of what returns.
        tail_blocks: how many of them.
        lora_backward_flops: backward pass of backbone and adapter, embedding frozen.
        full_backward_flops: backward pass of the whole model, embedding and head included, everything trained.
        lowest_block_saves_flops: what the backward pass of the lowest adapted block does without, because nothing below
            needs a gradient; contained in `lora_backward_flops`.
        image_bytes: one raw image as the model takes it, or as the data has it: bands × pixels × bytes of a value.
        family: of `splitmodel.families`, which trains the model; empty for one that can only be planned with.
        token_views: whether the ground can turn its tokens, see :mod:`splitmodel.token_views`.
        returned: shape of what comes back of one image; empty for one pooled state, (hidden,).
        head_table: shape of all the head's parameters as they cross; empty for a linear layer on pooled states.
        patches, patch_pixels: patches of an image and pixels of a patch, for a head that answers at every pixel; 0
            where they are not known. A patch has a token of every frame and band group.
        target_shape, target_dtype: one image's target, as it crosses to a ground that trains by itself.
        head_input: shape of what the head reads of one image, where blocks on board make it of what comes back; empty
            for one pooled state.
    """

    name: str
    source: str
    _: KW_ONLY
    tokens: int
    hidden: int
    blocks: int
    embedding_params: int
    backbone_params: int
    head_params: int
    adapter_params: int
    embedding_flops: float
    backbone_flops: float
    head_flops: float
    lora_backward_flops: float
    full_backward_flops: float
    lowest_block_saves_flops: float = 0.0
    image_bytes: float = 0.0
    family: str = ""
    token_views: bool = True
    returned: tuple[int, ...] = ()
    head_table: tuple[int, ...] = ()
    patches: int = 0
    patch_pixels: int = 0
    target_shape: tuple[int, ...] = ()
    target_dtype: str = "int64"
    tail_blocks: int = 0
    tail_params: int = 0
    tail_flops: float = 0.0
    tail_backward_flops: float = 0.0
    head_input: tuple[int, ...] = ()

    @property
    def head_input_shape(self) -> tuple[int, ...]:
        """Shape of what the head reads of one image."""
        return (self.head_input or (self.hidden,)) if self.tail_blocks else self.state_shape

    @property
    def head_step_flops(self) -> float:
        """Forward and backward pass of the head, which cost three forward passes (Kaplan et al., 2001.08361, 2.1)."""
        return 3.0 * self.head_flops

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of what comes back of one image."""
        return self.returned or (self.hidden,)

    @property
    def state_values(self) -> int:
        """Values that come back of one image."""
        return math.prod(self.state_shape)

    @property
    def table_shape(self) -> tuple[int, ...]:
        """Shape of all the head's parameters as they cross."""
        return self.head_table or (self.head_params // (self.hidden + 1), self.hidden + 1)

    def with_head(self, params: int, flops: float) -> Profile:
        """The same model with another head for the whole image, whose table is a vector of its parameters."""
        return replace(
            self,
            head_params=params,
            head_flops=flops,
            head_table=(params,),
            full_backward_flops=self.full_backward_flops + 2.0 * (flops - self.head_flops),
        )

    def with_dense_head(self, outputs: int, bottleneck: int = 0) -> Profile:
        """The same model with a linear head that answers at every pixel.

        Args:
            outputs: Of a pixel.
            bottleneck: Values of a patch that return; 0 returns all.

        Raises:
            ValueError: Its patches are not known, or are no wider than the bottleneck.
        """
        if not self.patches:
            raise ValueError(
                f"planning.profile: found {self.name!r}, whose patches are not known; allowed with a head that answers "
                "at every pixel: " + ", ".join(p.name for p in published_profiles().values() if p.patches)
            )
        whole = self.tokens // self.patches * self.hidden
        if bottleneck >= whole:
            raise ValueError(f"split.bottleneck: found {bottleneck}, allowed: 1 to {whole - 1}, or 0")
        patches, values = self.patches, bottleneck or whole
        inner = self.patch_pixels * outputs
        narrowing = whole * bottleneck
        flops = 2.0 * patches * narrowing
        return replace(
            self,
            head_params=inner * (values + 1),
            head_flops=2.0 * patches * inner * values,
            head_table=(inner, values + 1),
            returned=self.returned if self.tail_blocks else (patches, values),
            head_input=(patches, values) if self.tail_blocks else (),
            adapter_params=self.adapter_params + narrowing + bottleneck,
            backbone_params=self.backbone_params + narrowing + bottleneck,
            backbone_flops=self.backbone_flops + flops,
            lora_backward_flops=self.lora_backward_flops + 2.0 * flops,
        )

    @property
    def adapter_bytes(self) -> int:
        """fp32, as it is averaged and stored."""
        return 4 * self.adapter_params

    def adapted_share(self, adapted_blocks: int) -> float:
        """The part of the blocks that is adapted where only the last `adapted_blocks` are; 0 stands for all.

        Raises:
            ValueError: there are not so many.
        """
        if not 0 <= adapted_blocks <= self.blocks:
            raise ValueError(
                f"training.adapted_blocks: found {adapted_blocks}, {self.name} has {self.blocks} blocks; "
                f"allowed: 1 to {self.blocks}, or 0 for all"
            )
        return (adapted_blocks or self.blocks) / self.blocks

    def truncated_backward_flops(self, adapted_blocks: int) -> float:
        """The backward pass where only the last `adapted_blocks` are adapted, and nothing below is differentiated."""
        whole = self.lora_backward_flops + self.lowest_block_saves_flops
        return self.adapted_share(adapted_blocks) * whole - self.lowest_block_saves_flops

    def cut(self, onboard_blocks: int, head_blocks: int = 0) -> Profile:
        """The same model with so many of its blocks on board, behind the embedding and in front of the head.

        Of a block the backward pass is what it is with an adapter, without the adapter's own products: for each of its
        parameters two multiply-accumulates per token, the weight's gradient and the input's.

        Raises:
            ValueError: The ground would have none.
        """
        if not 0 <= onboard_blocks < self.blocks:
            raise ValueError(
                f"split.onboard_blocks: found {onboard_blocks}, {self.name} has {self.blocks} blocks; allowed: 0 to "
                f"{self.blocks - 1}"
            )
        if not 0 <= head_blocks < self.blocks - onboard_blocks:
            raise ValueError(
                f"split.head_blocks: found {head_blocks}, {self.name} has {self.blocks} blocks, {onboard_blocks} of "
                f"them in split.onboard_blocks; allowed: 0 to {self.blocks - onboard_blocks - 1}"
            )
        ground_blocks = self.blocks - onboard_blocks - head_blocks
        below, tail = onboard_blocks / self.blocks, head_blocks / self.blocks
        moved_params, tail_params = round(below * self.backbone_params), round(tail * self.backbone_params)
        whole_backward = self.lora_backward_flops + self.lowest_block_saves_flops
        tail_backward = tail * (whole_backward - 4.0 * self.tokens * self.adapter_params)
        return replace(
            self,
            blocks=ground_blocks,
            embedding_params=self.embedding_params + moved_params,
            backbone_params=self.backbone_params - moved_params - tail_params,
            adapter_params=round(ground_blocks / self.blocks * self.adapter_params),
            embedding_flops=self.embedding_flops + below * self.backbone_flops,
            backbone_flops=(1 - below - tail) * self.backbone_flops,
            lora_backward_flops=self.truncated_backward_flops(ground_blocks),
            tail_blocks=head_blocks,
            tail_params=tail_params,
            tail_flops=tail * self.backbone_flops,
            tail_backward_flops=tail_backward,
            returned=(self.tokens, self.hidden) if head_blocks else self.returned,
            head_input=self.returned if head_blocks else (),
        )

    def without_tail(self) -> Profile:
        """The same model where nobody cuts it in front of the head: what is behind the ground's blocks is with them."""
        if not self.tail_blocks:
            return self
        blocks = self.blocks + self.tail_blocks
        return replace(
            self,
            blocks=blocks,
            backbone_params=self.backbone_params + self.tail_params,
            adapter_params=round(blocks / self.blocks * self.adapter_params),
            backbone_flops=self.backbone_flops + self.tail_flops,
            lora_backward_flops=blocks
            / self.blocks
            * (self.lora_backward_flops + self.lowest_block_saves_flops)
            - self.lowest_block_saves_flops,
            returned=self.head_input,
            tail_blocks=0,
            tail_params=0,
            tail_flops=0.0,
            tail_backward_flops=0.0,
            head_input=(),
        )

    @property
    def head_bytes(self) -> int:
        """fp32, as it is averaged and stored."""
        return 4 * self.head_params


@cache
def published_profiles() -> dict[str, Profile]:
    """Profiles by name: rank-8 LoRA on query and value projections, head of 10 classes; each with its source."""
    text = (files("splitmodel.costs") / "published_profiles.json").read_text(encoding="utf-8")
    return {entry["name"]: Profile(**entry) for entry in json.loads(text)["profiles"]}


def published(name: str) -> Profile:
    """One published profile; raises `ValueError` that lists the names for one that is not there."""
    profiles = published_profiles()
    if name not in profiles:
        raise ValueError(f"no published profile {name!r}; there are: {', '.join(profiles)}")
    return profiles[name]


def main() -> None:
    """Print the models."""
    print(f"{'name':42}{'tokens':>7}{'hidden':>7}{'backbone':>16}{'forward':>16}")
    for profile in published_profiles().values():
        print(
            f"{profile.name:42}{profile.tokens:7}{profile.hidden:7}"
            f"{profile.backbone_params / 1e6:10.1f} Mparam{profile.backbone_flops / 1e9:10.2f} GFLOP"
        )


if __name__ == "__main__":
    main()
