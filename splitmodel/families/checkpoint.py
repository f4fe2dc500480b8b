"""A model's directory, or its repository on the hub: config, image settings, and weights that hold no code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from splitmodel.families.errors import ModelLoadError

SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class WeightsLocation:
    """The place of a model's files; nothing of its weights is read yet.

    Attributes:
        location: A directory, or a name on the hub.
        local_files_only: Never ask the hub, only its cache on this machine.
    """

    location: str
    local_files_only: bool = False

    @property
    def directory(self) -> Path | None:
        """The directory, if it is one."""
        path = Path(self.location).expanduser()
        return path if path.is_dir() else None

    def config(self) -> dict[str, Any]:
        """The contents of `config.json`.

        Raises:
            ModelLoadError: There is none, or it is no JSON object.
        """
        if self.directory is None:
            return self._config_of_the_hub()
        file = self.directory / "config.json"
        if not file.is_file():
            raise ModelLoadError(
                f"{self.location}: this directory has no config.json, so it is not a transformers model"
            )
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelLoadError(f"{self.location}/config.json: not valid JSON: {error}") from None
        if not isinstance(raw, dict):
            raise ModelLoadError(f"{self.location}/config.json: found no object, allowed: {{…}}")
        return raw

    def _config_of_the_hub(self) -> dict[str, Any]:
        from transformers import PreTrainedConfig

        try:
            raw, _ = PreTrainedConfig.get_config_dict(self.location, local_files_only=self.local_files_only)
        except (OSError, ValueError) as error:
            raise ModelLoadError(
                f"{self.location}: not a directory, and no such model could be had from the hub or its cache on this "
                f"machine: {first_line(error)}"
            ) from error
        return raw

    def image_settings(self) -> dict[str, Any]:
        """The image processor's settings: `preprocessor_config.json`, else the part of `processor_config.json`.

        Raises:
            ModelLoadError: It is no valid JSON.
        """
        for name in ("preprocessor_config.json", "processor_config.json"):
            file = self._file(name)
            if file is None:
                continue
            try:
                settings = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ModelLoadError(f"{name}: not valid JSON: {error}") from error
            return settings.get("image_processor", settings)
        return {}

    def require_weights(self) -> None:
        """Raise `ModelLoadError` where there are no weights, without reading them."""
        self._weight_files()

    def state(self, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
        """The weights whose name is wanted; nothing in a file is executed.

        Raises:
            ModelLoadError: There are none, or a file holds something else.
        """
        state: dict[str, Tensor] = {}
        for file in self._weight_files():
            state |= _read_tensors(file, wanted)
        return state

    def _weight_files(self) -> list[Path]:
        """The file that has all weights or, by its index, the files that have them in parts."""
        for whole, index in (SAFETENSORS, PICKLED):
            if (file := self._file(whole)) is not None:
                return [file]
            if (file := self._file(index)) is not None:
                parts = set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values())
                return [self._required(name) for name in sorted(parts)]
        names = sorted(name for name in self._names() if name.endswith(_SUFFIXES))
        if len(names) != 1:
            raise ModelLoadError(
                f"{self.location}: this directory has no weights; expected {' or '.join(SAFETENSORS)}, or one file "
                f"*.safetensors, *.pt, *.pth or *.bin, found {', '.join(names) or 'none'}"
            )
        return [self._required(names[0])]

    def _required(self, name: str) -> Path:
        file = self._file(name)
        if file is None:
            raise ModelLoadError(f"{self.location}: {name} is missing")
        return file

    def _file(self, name: str) -> Path | None:
        if self.directory is not None:
            file = self.directory / name
            return file if file.is_file() else None
        from transformers.utils import cached_file

        cached = cached_file(
            self.location,
            name,
            local_files_only=self.local_files_only,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return None if cached is None else Path(cached)

    def _names(self) -> list[str]:
        if self.directory is not None:
            return [file.name for file in self.directory.iterdir() if file.is_file()]
        from huggingface_hub import HfApi

        try:
            return HfApi().list_repo_files(self.location)
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"{self.location}: cannot list its files: {first_line(error)}") from error


def _read_tensors(file: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """Tensors of a file by name: safetensors, or a pickle that is read without executing anything.

    Raises:
        ModelLoadError: It holds something else.
    """
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys() if wanted(name)}  # noqa: SIM118
        with file.open("rb") as raw:
            mapped = raw.read(2) == b"PK"  # of torch's present format only what is used is read
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelLoadError(f"{file}: cannot read the weights: {first_line(error)}") from error
    except (UnpicklingError, EOFError) as error:
        raise ModelLoadError(
            f"{file}: cannot read the weights: they hold more than tensors, and nothing in them is executed"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ModelLoadError(f"{file}: cannot read the weights: expected a dictionary of tensors")
    return {name: value for name, value in loaded.items() if wanted(name)}


def fill(model: torch.nn.Module, state: Mapping[str, Tensor], location: str, what: str) -> None:
    """Set all weights of a model of our own from those of the same name.

    Raises:
        ModelLoadError: Some are missing, or have another shape.
    """
    wanted = model.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    if missing:
        raise ModelLoadError(
            f"{location}: {len(missing)} weights of the {what} that config.json describes are missing, the first is "
            f"{missing[0]!r}"
        )
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise ModelLoadError(
                f"{location}: cannot read the weights: {name!r} has shape {tuple(state[name].shape)}, the {what} that "
                f"config.json describes takes {tuple(tensor.shape)}"
            )
    model.load_state_dict({name: state[name].to(tensor.dtype) for name, tensor in wanted.items()})


def write_weights(state: Mapping[str, Tensor], directory: Path) -> None:
    """Write a model's weights into a new directory, as `transformers` and timm name the file."""
    directory.mkdir(parents=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()},
        directory / "model.safetensors",
        metadata={"format": "pt"},
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().split("\n")[0]
