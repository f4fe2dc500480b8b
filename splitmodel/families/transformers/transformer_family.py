"""Families whose modules are those of `transformers`: the split model runs the very code of the unsplit one."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from operator import attrgetter
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from splitmodel.families.checkpoint import PICKLED, SAFETENSORS, WeightsLocation, first_line
from splitmodel.families.errors import ModelLoadError
from splitmodel.families.image_settings import preprocess_of
from splitmodel.families.protocol import (
    HALF,
    Family,
    ModelInput,
    PoolingKind,
    Statistics,
    TokenLayout,
    Usage,
    pair,
)
from splitmodel.preprocess import Preprocess


@dataclass(frozen=True)
class TransformersFamily(Family):
    """A family whose models `transformers` has, described by the places of their parts.

    Attributes:
        name: The `model_type`.
        model_class: The class of the whole model, as `transformers` names it.
        composite: `model_type` of a checkpoint whose `vision_config` is such a model.
        layers, final_norm, embeddings: Dotted paths of the blocks, the final norm and the embedding.
        special_tokens: Tokens in front of the patch tokens (class, distillation), registers not counted.
        any_image_size: The embedding interpolates its positions to any image of whole patches.
        arguments: Of the model's constructor; the head takes the place of every pooler.
        settings: What its configuration is set to.
        statistics: Of the pretraining.
    """

    name: str
    model_class: str
    _: KW_ONLY
    composite: str = ""
    pooling: PoolingKind = "cls"
    special_tokens: int = 1
    layers: str = "layers"
    final_norm: str = "layernorm"
    embeddings: str = "embeddings"
    any_image_size: bool = False
    token_views: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    statistics: Statistics = HALF
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    attention_inputs: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")

    @property
    def class_token(self) -> bool:  # type: ignore[override]
        """Whether there is a special token, the first of which is the class token."""
        return self.special_tokens > 0

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """By `model_type`."""
        return raw.get("model_type") in {self.name, self.composite} - {""}

    def read_config(self, raw: Mapping[str, Any], wanted: ModelInput) -> Any:
        """The configuration of `transformers`, of a composite model that of its vision part."""
        from transformers import CONFIG_MAPPING

        self.require_default_input(wanted, *(("image_size",) if self.any_image_size else ()))
        if raw.get("model_type") == self.composite:
            config = CONFIG_MAPPING[self.composite].from_dict(dict(raw)).vision_config
        else:
            config = CONFIG_MAPPING[self.name].from_dict(dict(raw))
        for key, value in self.settings.items():
            setattr(config, key, value)
        config.skysplit_image_size = wanted.image_size
        return config

    def preprocess(self, config: Any, settings: Mapping[str, Any]) -> Preprocess:
        """See `splitmodel.families.image_settings.preprocess_of`."""
        if config.skysplit_image_size:
            side = config.skysplit_image_size
            settings = {**settings, "do_center_crop": False, "size": {"height": side, "width": side}}
        return preprocess_of(self, config, settings)

    def image_size(self, config: Any) -> tuple[int, int]:
        """Height and width of the images that the model was trained with."""
        return pair(config.image_size)

    def new_model(self, config: Any, blocks: int) -> nn.Module:
        """A model with random weights."""
        model = self._class()._from_config(
            self._shortened(config, blocks), dtype=torch.float32, **self.arguments
        )
        model.config.num_hidden_layers = config.num_hidden_layers
        return model

    def load_model(self, checkpoint: WeightsLocation, config: Any, blocks: int) -> nn.Module:
        """A model with the weights of safetensors or, where there are none, of a pickle that holds tensors alone."""
        shortened = self._shortened(config, blocks)
        safe = None
        if checkpoint.directory is not None:
            directory = checkpoint.directory
            safe = any((directory / name).is_file() for name in SAFETENSORS)
            if not safe and not any((directory / name).is_file() for name in PICKLED):
                return self._from_state(checkpoint, shortened, config)
        arguments = {
            "use_safetensors": safe,
            "weights_only": True,
            "local_files_only": checkpoint.local_files_only,
        }
        model, missing = self._read(checkpoint, checkpoint.location, shortened, arguments)
        if missing and self.composite:
            return self._from_state(checkpoint, shortened, config)
        return self._complete(checkpoint, model, missing, config)

    def save_model(self, model: nn.Module, config: Any, state: Mapping[str, Tensor], directory: Path) -> None:
        """Write what `transformers` reads."""
        from transformers import PreTrainedModel

        cast("PreTrainedModel", model).save_pretrained(directory, state_dict=dict(state))

    def embedding(self, model: nn.Module) -> nn.Module:
        """The embedding module of the model."""
        return attrgetter(self.embeddings)(model)

    def blocks(self, model: nn.Module) -> nn.ModuleList:
        """The transformer's layers."""
        return attrgetter(self.layers)(model)

    def norm(self, model: nn.Module) -> nn.Module:
        """The final norm."""
        return attrgetter(self.final_norm)(model)

    def block_inputs(
        self, model: nn.Module, hidden_BTD: Tensor, height: int, width: int
    ) -> Mapping[str, Any]:
        """No attention mask: all tokens see each other."""
        return {"attention_mask": None}

    def layout(self, config: Any, height: int, width: int) -> TokenLayout:
        """Special tokens and registers, then patches by row."""
        rows, columns = pair(config.patch_size)
        return TokenLayout(self.prefix_tokens(config), height // rows, columns=width // columns)

    def prefix_tokens(self, config: Any) -> int:
        """Return the number of tokens before the first patch token, registers included."""
        return self.special_tokens + getattr(config, "num_register_tokens", 0)

    def usage(self, base: str, config: Any) -> Usage:
        """`transformers` alone."""
        arguments = "".join(
            f", {key}={value!r}" for key, value in {**self.arguments, **self.settings}.items()
        )
        return Usage(
            f"from transformers import {self.model_class}",
            f"{self.model_class}.from_pretrained({base!r}{arguments})",
            hidden="hidden = model(pixel_values=pixels).last_hidden_state",
        )

    def _class(self) -> Any:
        import transformers

        return getattr(transformers, self.model_class)

    def _shortened(self, config: Any, blocks: int) -> Any:
        shortened = copy.deepcopy(config)
        del shortened.skysplit_image_size
        shortened.num_hidden_layers = blocks
        return shortened

    def _from_state(self, checkpoint: WeightsLocation, shortened: Any, config: Any) -> nn.Module:
        """From a file that `from_pretrained` does not read: another name, or the names of a composite model."""
        state = checkpoint.state()
        prefix = "vision_model."
        if any(name.startswith(prefix) for name in state):
            state = {
                name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
            }
        model, missing = self._read(checkpoint, None, shortened, {"state_dict": state})
        return self._complete(checkpoint, model, missing, config)

    def _read(
        self, checkpoint: WeightsLocation, source: str | None, shortened: Any, arguments: Mapping[str, Any]
    ) -> tuple[Any, list[str]]:
        """The model, and the names of weights that were not there."""
        try:
            with _quiet_transformers():
                model, report = self._class().from_pretrained(
                    source,
                    config=shortened,
                    output_loading_info=True,
                    dtype=torch.float32,
                    **arguments,
                    **self.arguments,
                )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise ModelLoadError(
                f"{checkpoint.location}: cannot read the weights: {first_line(error)}"
            ) from error
        except UnpicklingError as error:
            raise ModelLoadError(
                f"{checkpoint.location}: cannot read the weights: they hold more than tensors, and nothing in them is "
                "executed"
            ) from error
        # A mask token is not used in fine-tuning.
        return model, sorted(name for name in report["missing_keys"] if "mask_token" not in name)

    def _complete(
        self, checkpoint: WeightsLocation, model: Any, missing: list[str], config: Any
    ) -> nn.Module:
        if missing:
            raise ModelLoadError(
                f"{checkpoint.location}: {len(missing)} weights of the {self.name} that config.json "
                f"describes are missing, the first is {missing[0]!r}"
            )
        model.config.num_hidden_layers = config.num_hidden_layers
        return model


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
