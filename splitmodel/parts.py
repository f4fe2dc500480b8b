"""Load a vision model as parts: embedding, backbone, blocks behind it that run on board (if any), head.

The parts hold the modules of the whole model, not copies, and run its own code: what the split model
computes is what the unsplit one computes, to the last bit. Pretrained parts come frozen and in evaluation
mode; what is to be trained is said where it is (`adapters.add_lora`, `requires_grad_`). Shapes in names: B
images, C channels, H×W pixels, T tokens, D hidden size.
"""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from splitmodel.bottleneck import new_bottleneck
from splitmodel.dense_heads import Decoder, PatchGrid, new_dense_head
from splitmodel.families.checkpoint import WeightsLocation
from splitmodel.families.errors import ModelLoadError
from splitmodel.families.protocol import Acquisition, Family, ModelInput, PoolingKind, TokenLayout
from splitmodel.families.registry import family_of
from splitmodel.heads import HeadMaker
from splitmodel.preprocess import Preprocess


@dataclass(frozen=True)
class Pooling:
    """hidden_BTD → pooled_BD: the class token, or the mean of the patch tokens (those after
    `prefix_tokens`)."""

    kind: PoolingKind
    prefix_tokens: int

    def __call__(self, hidden_BTD: Tensor) -> Tensor:
        """Pool hidden states."""
        return hidden_BTD[:, 0] if self.kind == "cls" else hidden_BTD[:, self.prefix_tokens :].mean(dim=1)


@dataclass(frozen=True)
class PatchStates:
    """hidden_BTD → states_BPE: of each patch of an image, its tokens of all frames and band groups side by side."""

    layout: TokenLayout
    kind: Literal["patches"] = "patches"

    def __call__(self, hidden_BTD: Tensor) -> Tensor:
        """Gather the hidden states of each patch."""
        layout = self.layout
        patches = hidden_BTD[:, layout.prefix :]
        by_frame = patches.unflatten(1, (layout.frames, layout.rows * layout.columns, layout.groups))
        return by_frame.permute(0, 2, 1, 3, 4).flatten(2)

    def shape(self, hidden_size: int) -> tuple[int, int]:
        """Patches, and values of each."""
        layout = self.layout
        return layout.rows * layout.columns, layout.frames * layout.groups * hidden_size


class Embedding(nn.Module):
    """pixels_BCHW → features_BTD: the part that stays on board, with so many blocks of the model behind it."""

    def __init__(
        self,
        transformer: nn.Module,
        family: Family,
        *,
        config: Any,
        preprocess: Preprocess,
        onboard_blocks: int = 0,
    ) -> None:
        super().__init__()
        self.family = family
        self.config = config
        self.preprocess = preprocess
        self.tokens_from = family.embedding(transformer)
        self.blocks = family.blocks(transformer)[:onboard_blocks]
        self._transformer = [transformer]  # in a list, so that it does not count as part of the embedding

    @property
    def transformer(self) -> nn.Module:
        """The model that its blocks are of."""
        return self._transformer[0]

    @property
    def grid(self) -> PatchGrid:
        """Return the grid of the patches of an image."""
        size = self.preprocess.height, self.preprocess.width
        return PatchGrid.of(self.family.layout(self.config, *size), *size)

    def forward(self, pixels_BCHW: Tensor, acquisition: Acquisition | None = None) -> Tensor:
        """Features of preprocessed pixels; when and where they were taken is for models that embed it."""
        given, pixels_BCHW = pixels_BCHW.device, _beside(self, pixels_BCHW)
        if acquisition is None:
            features_BTD = self.tokens_from(pixels_BCHW)
        else:
            features_BTD = self.tokens_from(pixels_BCHW, acquisition)
        size = self.preprocess.height, self.preprocess.width
        features_BTD = run_blocks(self.family, self.transformer, self.blocks, features_BTD, size)
        return features_BTD.to(given)


class Backbone(nn.Module):
    """features_BTD → states (or, with `pooled=False`, hidden_BTD): the part that stays on the ground.

    States are what the head reads: pooled_BD, or of a task that answers at every pixel, states_BPE of the patches,
    which a `bottleneck` may make narrower. It keeps the whole model in `transformer`, so that an adapter saved from it
    fits that model. `image_size` is the height and width of the images, from which some blocks take positions. The
    first `onboard_blocks` blocks are run on board: features are what leaves them. So are the last `head_blocks`: then
    what returns is what leaves the block before them, hidden_BTD, and the rest is a `Tail`'s.
    """

    def __init__(
        self,
        transformer: nn.Module,
        family: Family,
        *,
        config: Any,
        pooling: Pooling | PatchStates,
        image_size: tuple[int, int],
        onboard_blocks: int = 0,
        head_blocks: int = 0,
        bottleneck: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.family = family
        self.pooling = pooling
        self.bottleneck = bottleneck
        self.image_size = image_size
        self.onboard_blocks = onboard_blocks
        self.head_blocks = head_blocks
        self.transformer = transformer

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer's blocks, in order."""
        return self.family.blocks(self.transformer)

    @property
    def layout(self) -> TokenLayout:
        """Return the layout of the tokens."""
        return self.family.layout(self.config, *self.image_size)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of what returns of one image: what the head reads, or with `head_blocks`, (tokens, hidden)."""
        return (self.layout.tokens, self.config.hidden_size) if self.head_blocks else self.head_input_shape

    @property
    def head_input_shape(self) -> tuple[int, ...]:
        """Shape of what the head reads of one image: (hidden,), or patches and values of each."""
        if isinstance(self.pooling, Pooling):
            return (self.config.hidden_size,)
        patches, values = self.pooling.shape(self.config.hidden_size)
        return patches, values if self.bottleneck is None else self.bottleneck.out_features

    @property
    def ground_blocks(self) -> slice:
        """Return the blocks that compute on the ground."""
        return slice(self.onboard_blocks, len(self.layers) - self.head_blocks)

    def below(self, features_BTD: Tensor, blocks: int) -> Tensor:
        """Run the first `blocks` blocks, shape (B, tokens, hidden); `forward` continues from there."""
        return self._run(features_BTD, slice(self.onboard_blocks, blocks))

    def forward(
        self,
        features_BTD: Tensor,
        pooled: bool = True,
        *,
        first_block: int | None = None,
        narrow: bool = True,
    ) -> Tensor:
        """Return the states of features, or of the output of the blocks before `first_block`; or all hidden states.

        Without `narrow` they are those before the bottleneck.
        """
        first_block = self.onboard_blocks if first_block is None else first_block
        hidden_BTD = self._run(features_BTD, slice(first_block, self.ground_blocks.stop))
        if self.head_blocks:
            return hidden_BTD
        hidden_BTD = self.family.norm(self.transformer)(hidden_BTD)
        if not pooled:
            return hidden_BTD
        states = self.pooling(hidden_BTD)
        return states if self.bottleneck is None or not narrow else self.bottleneck(states)

    def _run(self, hidden_BTD: Tensor, blocks: slice) -> Tensor:
        return run_blocks(self.family, self.transformer, self.layers[blocks], hidden_BTD, self.image_size)


class Tail(nn.Module):
    """hidden_BTD → states: the last blocks of the model and its norm, where they run on board in front of the head."""

    def __init__(
        self,
        transformer: nn.Module,
        family: Family,
        *,
        pooling: Pooling | PatchStates,
        image_size: tuple[int, int],
        blocks: int,
    ) -> None:
        super().__init__()
        self.family = family
        self.pooling = pooling
        self.image_size = image_size
        layers = family.blocks(transformer)
        self.blocks = layers[len(layers) - blocks :]
        self.norm = family.norm(transformer)
        self._transformer = [transformer]  # in a list, so that it does not count as part of the tail

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Return the head's input, shape (B, D) or (B, T, D), made of the tokens that came back from the ground."""
        given, hidden_BTD = hidden_BTD.device, _beside(self, hidden_BTD)
        hidden_BTD = run_blocks(self.family, self._transformer[0], self.blocks, hidden_BTD, self.image_size)
        return self.pooling(self.norm(hidden_BTD)).to(given)


def _beside(part: nn.Module, tensor: Tensor) -> Tensor:
    """A tensor where the weights of a part are: on the ground they move with the backbone, whose modules they are."""
    return tensor.to(next(part.parameters()).device)


def run_blocks(
    family: Family,
    transformer: nn.Module,
    blocks: nn.ModuleList,
    hidden_BTD: Tensor,
    image_size: tuple[int, int],
) -> Tensor:
    """Run blocks of a model one after the other."""
    if not len(blocks):
        return hidden_BTD
    inputs = family.block_inputs(transformer, hidden_BTD, *image_size)
    for block in blocks:
        hidden_BTD = family.run_block(block, hidden_BTD, inputs)
    return hidden_BTD


@dataclass(frozen=True, eq=False)
class SplitModel:
    """A whole model in parts, which share their modules with `backbone.transformer`.

    Attributes:
        embedding: On board.
        backbone: On the ground.
        head: On board.
        tail: Blocks on board between backbone and head; without, what returns is what the head reads.
    """

    embedding: Embedding
    backbone: Backbone
    _: KW_ONLY
    head: nn.Module
    tail: Tail | None = None

    @property
    def config(self) -> Any:
        """Configuration of the whole model."""
        return self.backbone.config

    @property
    def preprocess(self) -> Preprocess:
        """Return the preprocessing of pixels."""
        return self.embedding.preprocess

    def __call__(self, pixels_BCHW: Tensor) -> Tensor:
        """The head's outputs of preprocessed pixels, all parts in one place."""
        return self.outputs(self.backbone(self.embedding(pixels_BCHW)))

    def outputs(self, returned: Tensor) -> Tensor:
        """The head's outputs of what the backbone returns."""
        return self.head(head_input(self.tail, returned))


def head_input(tail: Tail | None, returned: Tensor) -> Tensor:
    """Return the head's input: the backbone's output, run through the tail where there is one."""
    return returned if tail is None else tail(returned)


def load_split(
    path_or_name: str | Path,
    *,
    num_labels: int,
    pooling: PoolingKind | Literal["auto"] = "auto",
    random_init: bool = False,
    seed: int = 0,
    local_files_only: bool = False,
    wanted: ModelInput = ModelInput(),  # noqa: B008  # frozen
    onboard_blocks: int = 0,
    head_blocks: int = 0,
    decoder: Decoder | None = None,
    bottleneck: int = 0,
    numbers: bool = False,
    maker: HeadMaker | None = None,
) -> SplitModel:
    """Load a whole model, split.

    Args:
        path_or_name: a directory with `config.json` and weights, or the name of a model on the hub.
        num_labels: outputs of the head, for a whole image or for every pixel.
        pooling: what the head sees; `auto` is the family's own.
        random_init: take the architecture only, with weights drawn from `seed`.
        seed: of the head, and of the weights under `random_init`.
        local_files_only: never ask the hub, only its cache on this machine.
        wanted: what images it shall take, where its architecture leaves a choice.
        onboard_blocks: how many blocks run on board, behind the embedding.
        head_blocks: how many blocks run on board, in front of the head.
        decoder: of a head that answers at every pixel; without, it answers for the whole image.
        numbers: whether the outputs are numbers, of which one is enough, and no classes.
        maker: makes a head for the whole image; without, it is one linear layer.
        bottleneck: values of a patch that a linear layer behind the backbone leaves; 0 is no such layer.

    Raises:
        ModelLoadError: no such model, no config, no weights, weights of another architecture, impossible
            pooling, images or cut.
        UnsupportedModelError: a model that SkySplit cannot split.
    """
    source = _open(path_or_name, local_files_only, random_init, wanted, onboard_blocks, head_blocks)
    chosen = source.states_of(pooling, is_dense=decoder is not None)
    transformer = source.transformer(seed, source.config.num_hidden_layers)
    embedding, backbone = source.embedding(transformer), source.backbone(transformer, chosen)
    if bottleneck and head_blocks:
        raise ModelLoadError(
            f"split.bottleneck: found {bottleneck} with split.head_blocks = {head_blocks}, whose blocks take whole "
            "tokens; allowed: 0, or split.head_blocks = 0"
        )
    if bottleneck:
        backbone.bottleneck = new_bottleneck(backbone.state_shape, bottleneck, seed=seed)
    shape = backbone.head_input_shape
    head = head_for(embedding.grid, shape, num_labels, decoder, seed=seed, numbers=numbers, maker=maker)
    return SplitModel(embedding, backbone, head=head, tail=source.tail(transformer, chosen))


def load_embedding(
    path_or_name: str | Path,
    *,
    random_init: bool = False,
    seed: int = 0,
    local_files_only: bool = False,
    wanted: ModelInput = ModelInput(),  # noqa: B008  # frozen
    onboard_blocks: int = 0,
) -> Embedding:
    """Load the embedding alone: the tensors of the backbone are never read, a satellite need not hold them.

    Arguments and errors as of `load_split`, whose embedding it equals.
    """
    source = _open(path_or_name, local_files_only, random_init, wanted, onboard_blocks)
    # Random weights are drawn for the whole model, so that the seed gives the same embedding on board as on
    # the ground.
    blocks = source.config.num_hidden_layers if random_init else onboard_blocks
    return source.embedding(source.transformer(seed, blocks))


def load_onboard_parts(
    path_or_name: str | Path,
    *,
    pooling: PoolingKind | Literal["auto"] = "auto",
    is_dense: bool = False,
    random_init: bool = False,
    seed: int = 0,
    local_files_only: bool = False,
    wanted: ModelInput = ModelInput(),  # noqa: B008  # frozen
    onboard_blocks: int = 0,
    head_blocks: int = 0,
) -> tuple[Embedding, Tail | None]:
    """Load what of the frozen model runs on board: the embedding, and the tail where there are `head_blocks`.

    The blocks between them are not kept; with `head_blocks` their tensors are read. Arguments and errors as of
    `load_split`, whose parts these equal; `is_dense` is whether its head answers at every pixel.
    """
    if not head_blocks:
        alone = load_embedding(
            path_or_name,
            random_init=random_init,
            seed=seed,
            local_files_only=local_files_only,
            wanted=wanted,
            onboard_blocks=onboard_blocks,
        )
        return alone, None
    source = _open(path_or_name, local_files_only, random_init, wanted, onboard_blocks, head_blocks)
    transformer = source.transformer(seed, source.config.num_hidden_layers)
    tail = source.tail(transformer, source.states_of(pooling, is_dense=is_dense))
    embedding = source.embedding(transformer)
    blocks = source.family.blocks(transformer)
    for number in range(onboard_blocks, len(blocks) - head_blocks):
        blocks[number] = nn.Identity()
    return embedding, tail


def load_backbone(
    path_or_name: str | Path,
    *,
    pooling: PoolingKind | Literal["auto"] = "auto",
    random_init: bool = False,
    seed: int = 0,
    local_files_only: bool = False,
    wanted: ModelInput = ModelInput(),  # noqa: B008  # frozen
    onboard_blocks: int = 0,
) -> Backbone:
    """Load what the ground computes with; arguments and errors as of `load_split`, whose backbone it is."""
    source = _open(path_or_name, local_files_only, random_init, wanted, onboard_blocks)
    chosen = source.pooling(pooling)
    return source.backbone(source.transformer(seed, source.config.num_hidden_layers), chosen)


def new_head(hidden_size: int, num_labels: int, *, seed: int = 0, numbers: bool = False) -> nn.Linear:
    """A trainable head, pooled_BD → logits; weights N(0, 0.02²) from `seed`, bias 0, as in `transformers`."""
    _require_labels(num_labels, numbers)
    head = nn.utils.skip_init(nn.Linear, hidden_size, num_labels)  # its own init draws from the global stream
    with torch.no_grad():
        head.weight.normal_(0.0, 0.02, generator=torch.Generator().manual_seed(seed))
        head.bias.zero_()
    return head


def _require_labels(num_labels: int, numbers: bool) -> None:
    if num_labels < 2 and not (numbers and num_labels):
        raise ModelLoadError(f"a head needs at least 2 labels; found {num_labels}")


def head_for(
    grid: PatchGrid,
    state_shape: tuple[int, ...],
    outputs: int,
    decoder: Decoder | None,
    *,
    seed: int = 0,
    numbers: bool = False,
    maker: HeadMaker | None = None,
) -> nn.Module:
    """A trainable head for states of this shape: of the whole image, or with a decoder, for every pixel.

    Arguments and errors as of `load_split`.
    """
    if decoder is not None:
        return new_dense_head(decoder, grid, state_shape[-1], outputs, seed=seed, maker=maker)
    if maker is not None:
        _require_labels(outputs, numbers)
        return maker.new(state_shape[-1], outputs, seed=seed)
    return new_head(state_shape[-1], outputs, seed=seed, numbers=numbers)


@dataclass(frozen=True)
class _Source:
    """A model that was found and is of a supported family; nothing of its weights is read yet."""

    checkpoint: WeightsLocation
    config: Any
    _: KW_ONLY
    family: Family
    preprocess: Preprocess
    random_init: bool
    onboard_blocks: int
    head_blocks: int

    def states_of(self, kind: PoolingKind | Literal["auto"], *, is_dense: bool) -> Pooling | PatchStates:
        return self.patch_states() if is_dense else self.pooling(kind)

    def tail(self, transformer: nn.Module, pooling: Pooling | PatchStates) -> Tail | None:
        if not self.head_blocks:
            return None
        size = self.image_size
        return Tail(transformer, self.family, pooling=pooling, image_size=size, blocks=self.head_blocks)

    def pooling(self, kind: PoolingKind | Literal["auto"]) -> Pooling:
        chosen = self.family.default_pooling(self.config) if kind == "auto" else kind
        allowed = ("cls", "mean") if self.family.has_class_token(self.config) else ("mean",)
        if chosen not in allowed:
            raise ModelLoadError(
                f"{self.checkpoint.location}: pooling {chosen!r} is not possible for {self.family.name}; "
                f"allowed: auto, {', '.join(allowed)}"
            )
        return Pooling(chosen, self.family.layout(self.config, *self.image_size).prefix)

    def patch_states(self) -> PatchStates:
        return PatchStates(self.family.layout(self.config, *self.image_size))

    @property
    def image_size(self) -> tuple[int, int]:
        return self.preprocess.height, self.preprocess.width

    def transformer(self, seed: int, blocks: int) -> nn.Module:
        """The model with its first so many blocks, frozen, in float32 and evaluation mode."""
        if self.random_init:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = self.family.new_model(self.config, blocks)
        else:
            model = self.family.load_model(self.checkpoint, self.config, blocks)
        return model.requires_grad_(False).eval()

    def embedding(self, transformer: nn.Module) -> Embedding:
        return Embedding(
            transformer,
            self.family,
            config=self.config,
            preprocess=self.preprocess,
            onboard_blocks=self.onboard_blocks,
        )

    def backbone(self, transformer: nn.Module, pooling: Pooling | PatchStates) -> Backbone:
        return Backbone(
            transformer,
            self.family,
            config=self.config,
            pooling=pooling,
            image_size=self.image_size,
            onboard_blocks=self.onboard_blocks,
            head_blocks=self.head_blocks,
        )


def _open(
    path_or_name: str | Path,
    local_files_only: bool,
    random_init: bool,
    wanted: ModelInput,
    onboard_blocks: int,
    head_blocks: int = 0,
) -> _Source:
    location = str(path_or_name)
    directory = Path(location).expanduser()
    if directory.is_dir():
        location = str(directory)
    elif isinstance(path_or_name, Path) or location.startswith((".", "/", "~")) or location.count("/") > 1:
        raise ModelLoadError(f"{location}: no such directory")
    checkpoint = WeightsLocation(location, local_files_only)
    raw = checkpoint.config()
    try:
        family = family_of(raw)
        config = family.read_config(raw, wanted)
        preprocess = family.preprocess(config, checkpoint.image_settings())
    except ModelLoadError as error:
        raise type(error)(f"{location}: {error}") from None
    if not random_init and checkpoint.directory is not None:
        checkpoint.require_weights()
    blocks = config.num_hidden_layers
    if not 0 <= onboard_blocks < blocks:
        raise ModelLoadError(
            f"{location}: split.onboard_blocks: found {onboard_blocks}, allowed: 0 to {blocks - 1}, so that the ground "
            "has a block"
        )
    if not 0 <= head_blocks < blocks - onboard_blocks:
        raise ModelLoadError(
            f"{location}: split.head_blocks: found {head_blocks}, allowed: 0 to {blocks - 1 - onboard_blocks}, so that "
            f"the ground has a block of the {blocks} beside split.onboard_blocks = {onboard_blocks}"
        )
    return _Source(
        checkpoint,
        config,
        family=family,
        preprocess=preprocess,
        random_init=random_init,
        onboard_blocks=onboard_blocks,
        head_blocks=head_blocks,
    )
