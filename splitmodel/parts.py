"""Load a `transformers` vision model as three parts: embedding, backbone, head.

The parts hold the modules of the whole model, not copies, and run its own code: what the split model
computes is what the unsplit one computes, to the last bit. Pretrained parts come frozen and in evaluation
mode; what is to be trained is said where it is (`adapters.add_lora`, `requires_grad_`). Shapes in names: B
images, C channels, H×W pixels, T tokens, D hidden size.
"""

import copy
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from splitmodel.families import Family, ModelLoadError, PoolingKind, family_of, prefix_tokens
from splitmodel.preprocess import Preprocess, preprocess_of

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class Pooling:
    """hidden_BTD → pooled_BD: the class token, or the mean of the patch tokens (those after
    `prefix_tokens`)."""

    kind: PoolingKind
    prefix_tokens: int

    def __call__(self, hidden_BTD: Tensor) -> Tensor:
        """Pool hidden states."""
        return hidden_BTD[:, 0] if self.kind == "cls" else hidden_BTD[:, self.prefix_tokens :].mean(dim=1)


class Embedding(nn.Module):
    """pixels_BCHW → features_BTD: the part that stays on board.

    A masked autoencoder's embedding is asked to keep every patch, in order: fine-tuning does not mask.
    """

    def __init__(self, transformer: nn.Module, family: Family, preprocess: Preprocess) -> None:
        super().__init__()
        self.config = transformer.config
        self.preprocess = preprocess
        self.tokens_from = getattr(transformer, family.embeddings)
        self._masks_patches = family.model_type == "vit_mae"

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Features of preprocessed pixels."""
        if not self._masks_patches:
            return self.tokens_from(pixels_BCHW)
        patches = self.tokens_from.patch_embeddings.num_patches
        order = torch.arange(patches, dtype=torch.float32, device=pixels_BCHW.device)
        return self.tokens_from(pixels_BCHW, noise=order.expand(len(pixels_BCHW), -1))[0]


class Backbone(nn.Module):
    """features_BTD → pooled_BD (or, with `pooled=False`, hidden_BTD): the part that stays on the ground.

    It keeps the whole `transformers` model in `transformer`, so that an adapter saved from it fits that
    model.
    """

    def __init__(self, transformer: nn.Module, family: Family, pooling: Pooling) -> None:
        super().__init__()
        self.config = transformer.config
        self.family = family
        self.pooling = pooling
        self.transformer = transformer

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer's blocks, in order."""
        return attrgetter(self.family.layers)(self.transformer)

    def below(self, features_BTD: Tensor, blocks: int) -> Tensor:
        """What leaves the first `blocks` blocks, shape (B, tokens, hidden); `forward` goes on from there."""
        hidden_BTD = features_BTD
        for layer in self.layers[:blocks]:
            hidden_BTD = layer(hidden_BTD, None)
        return hidden_BTD

    def forward(self, features_BTD: Tensor, pooled: bool = True, *, first_block: int = 0) -> Tensor:
        """Pooled or all hidden states of features, or of what has left the blocks before `first_block`."""
        hidden_BTD = features_BTD
        for layer in self.layers[first_block:]:
            hidden_BTD = layer(hidden_BTD, None)
        hidden_BTD = getattr(self.transformer, self.family.norm)(hidden_BTD)
        return self.pooling(hidden_BTD) if pooled else hidden_BTD


@dataclass(frozen=True, eq=False)
class SplitModel:
    """A whole model in three parts, which share their modules with `backbone.transformer`."""

    embedding: Embedding
    backbone: Backbone
    head: nn.Linear

    @property
    def config(self) -> Any:
        """Of the whole model."""
        return self.backbone.config

    @property
    def preprocess(self) -> Preprocess:
        """How its pixels are made."""
        return self.embedding.preprocess

    def __call__(self, pixels_BCHW: Tensor) -> Tensor:
        """Logits (B, labels) of preprocessed pixels, all three parts in one place."""
        return self.head(self.backbone(self.embedding(pixels_BCHW)))


def load_split(
    path_or_name: str | Path,
    *,
    num_labels: int,
    pooling: PoolingKind | Literal["auto"] = "auto",
    random_init: bool = False,
    seed: int = 0,
    local_files_only: bool = False,
) -> SplitModel:
    """Load a whole model, split.

    Args:
        path_or_name: a directory with `config.json` and safetensors weights, or the name of a model on the
            hub.
        num_labels: outputs of the head.
        pooling: what the head sees; `auto` is the family's own (`families.FAMILIES`).
        random_init: take the architecture only, with weights drawn from `seed`.
        seed: of the head, and of the weights under `random_init`.
        local_files_only: never ask the hub, only its cache on this machine.

    Raises:
        ModelLoadError: no such model, no config, no weights, weights of another architecture, impossible
            pooling.
        UnsupportedModelError: a model that SkySplit cannot split.
    """
    source = _open(path_or_name, local_files_only, random_init)
    transformer = source.transformer(seed)
    return SplitModel(
        embedding=Embedding(transformer, source.family, source.preprocess),
        backbone=Backbone(transformer, source.family, source.pooling(pooling)),
        head=new_head(source.config.hidden_size, num_labels, seed=seed),
    )


def load_embedding(
    path_or_name: str | Path, *, random_init: bool = False, seed: int = 0, local_files_only: bool = False
) -> Embedding:
    """Load the embedding alone: the tensors of the backbone are never read, a satellite need not hold them.

    Arguments and errors as of `load_split`, whose embedding it equals.
    """
    source = _open(path_or_name, local_files_only, random_init)
    # Random weights are drawn for the whole model, so that the seed gives the same embedding on board as on
    # the ground.
    transformer = source.transformer(seed, layers=None if random_init else 0)
    return Embedding(transformer, source.family, source.preprocess)


def load_backbone(
    path_or_name: str | Path,
    *,
    pooling: PoolingKind | Literal["auto"] = "auto",
    random_init: bool = False,
    seed: int = 0,
    local_files_only: bool = False,
) -> Backbone:
    """Load what the ground computes with; arguments and errors as of `load_split`, whose backbone it is."""
    source = _open(path_or_name, local_files_only, random_init)
    return Backbone(source.transformer(seed), source.family, source.pooling(pooling))


def new_head(hidden_size: int, num_labels: int, *, seed: int = 0) -> nn.Linear:
    """A trainable head, pooled_BD → logits; weights N(0, 0.02²) from `seed`, bias 0, as in `transformers`."""
    if num_labels < 2:
        raise ModelLoadError(f"a head needs at least 2 labels; found {num_labels}")
    head = nn.utils.skip_init(nn.Linear, hidden_size, num_labels)  # its own init draws from the global stream
    with torch.no_grad():
        head.weight.normal_(0.0, 0.02, generator=torch.Generator().manual_seed(seed))
        head.bias.zero_()
    return head


@dataclass(frozen=True)
class _Source:
    """A model that was found and is of a supported family; nothing of its weights is read yet."""

    location: str
    config: Any
    family: Family
    preprocess: Preprocess
    random_init: bool
    local_files_only: bool

    def pooling(self, kind: PoolingKind | Literal["auto"]) -> Pooling:
        chosen = self.family.pooling if kind == "auto" else kind
        allowed = ("cls", "mean") if self.family.special_tokens else ("mean",)
        if chosen not in allowed:
            raise ModelLoadError(
                f"{self.location}: pooling {chosen!r} is not possible for {self.family.model_type}; "
                f"allowed: auto, {', '.join(allowed)}"
            )
        return Pooling(chosen, prefix_tokens(self.family, self.config))

    def transformer(self, seed: int, layers: int | None = None) -> nn.Module:
        """The whole model, or only its first `layers` layers, frozen, in float32 and evaluation mode."""
        from transformers import AutoModel

        config = copy.deepcopy(self.config)
        if layers is not None:
            config.num_hidden_layers = layers
        arguments: dict[str, Any] = {"dtype": torch.float32}
        if self.family.has_pooler:
            arguments["add_pooling_layer"] = False
        if self.random_init:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = AutoModel.from_config(config, **arguments)
        else:
            model = self._pretrained(config, arguments)
        model.config.num_hidden_layers = self.config.num_hidden_layers
        return model.requires_grad_(False).eval()

    def _pretrained(self, config: Any, arguments: dict[str, Any]) -> nn.Module:
        from transformers import AutoModel

        try:
            with _quiet_transformers():
                model, info = AutoModel.from_pretrained(
                    self.location,
                    config=config,
                    use_safetensors=True,
                    local_files_only=self.local_files_only,
                    output_loading_info=True,
                    **arguments,
                )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise ModelLoadError(f"{self.location}: cannot read the weights: {_first_line(error)}") from error
        missing = sorted(
            name for name in info["missing_keys"] if "mask_token" not in name
        )  # unused in fine-tuning
        if missing:
            raise ModelLoadError(
                f"{self.location}: {len(missing)} weights of the {self.family.model_type} that config.json "
                f"describes are missing, the first is {missing[0]!r}"
            )
        return model


def _open(path_or_name: str | Path, local_files_only: bool, random_init: bool) -> _Source:
    location = str(path_or_name)
    directory = Path(location).expanduser()
    if directory.is_dir():
        location = str(directory)
        if not (directory / "config.json").is_file():
            raise ModelLoadError(
                f"{location}: this directory has no config.json, so it is no transformers model"
            )
        if not random_init and not any((directory / name).is_file() for name in _WEIGHTS):
            raise ModelLoadError(
                f"{location}: this directory has no weights; expected {' or '.join(_WEIGHTS)}"
            )
    elif isinstance(path_or_name, Path) or location.startswith((".", "/", "~")) or location.count("/") > 1:
        raise ModelLoadError(f"{location}: no such directory")
    raw = _raw_config(location, local_files_only)
    family = _supported(location, raw)

    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[family.model_type].from_dict(raw)
    if family.model_type == "vit_mae":
        config.mask_ratio = 0.0
    try:
        preprocess = preprocess_of(family, config, _preprocessor_settings(location, local_files_only))
    except ModelLoadError as error:
        raise ModelLoadError(f"{location}: {error}") from None
    return _Source(location, config, family, preprocess, random_init, local_files_only)


def _supported(location: str, raw: dict[str, Any]) -> Family:
    try:
        return family_of(raw.get("model_type"))
    except ModelLoadError as error:
        raise type(error)(f"{location}: {error}") from None


def _raw_config(location: str, local_files_only: bool) -> dict[str, Any]:
    from transformers import PreTrainedConfig

    try:
        raw, _ = PreTrainedConfig.get_config_dict(location, local_files_only=local_files_only)
    except (OSError, ValueError) as error:
        if Path(location).is_dir():
            raise ModelLoadError(f"{location}/config.json: {_first_line(error)}") from error
        raise ModelLoadError(
            f"{location}: not a directory, and no such model could be had from the hub or its cache on this "
            f"machine: {_first_line(error)}"
        ) from error
    return raw


def _preprocessor_settings(location: str, local_files_only: bool) -> dict[str, Any]:
    from transformers.utils import cached_file

    found = cached_file(
        location,
        "preprocessor_config.json",
        local_files_only=local_files_only,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if found is None:
        return {}
    try:
        return json.loads(Path(found).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelLoadError(f"preprocessor_config.json: not valid JSON: {error}") from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bar, and no report on the weights that are left out on purpose."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
