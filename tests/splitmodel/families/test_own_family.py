"""A family from another package: the page's example is registered by an entry point, proven by the kit and split."""

import json
import re
import sys
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from mission import entry_points as named
from splitmodel.families import ModelLoadError, families
from splitmodel.parts import load_split
from splitmodel.testing import check_family

PAGE = Path(__file__).parents[3] / "docs" / "how-to-own-model-family.md"
CONFIG = {
    "model_type": "ours",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "heads": 4,
    "image": 16,
    "patch": 4,
    "bands": ["B2", "B3", "B4", "B8"],
    "mean": [1000.0, 1100.0, 1200.0, 2000.0],
    "std": [500.0] * 4,
}


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example as an installed package."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    module = types.ModuleType("ours")
    exec(code[1], module.__dict__)
    monkeypatch.setitem(sys.modules, "ours", module)
    yield from registered(monkeypatch, "ours:Ours")


def registered(monkeypatch: pytest.MonkeyPatch, *values: str) -> Iterator[Any]:
    points = [EntryPoint(value.split(":")[0], value, named.MODEL_FAMILIES) for value in values]
    monkeypatch.setattr(named, "entry_points", lambda group: points if group == named.MODEL_FAMILIES else [])
    families.cache_clear()
    yield sys.modules.get("ours")
    families.cache_clear()


def test_the_example_of_the_page_is_split_trained_and_exported_like_any_family(
    ours: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = ours.Model(types.SimpleNamespace(**CONFIG), 2)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    ours.Ours().save_model(model, types.SimpleNamespace(**CONFIG), model.state_dict(), tmp_path / "model")
    assert "ours" in families()
    split = load_split(tmp_path / "model", num_labels=3)
    assert split.preprocess.bands == ("B2", "B3", "B4", "B8")

    def whole() -> torch.nn.Module:
        again = ours.Model(types.SimpleNamespace(**CONFIG), 2)
        again.load_state_dict(model.state_dict())
        return again.eval()

    check_family(tmp_path / "model", whole, lambda of, pixels: of(pixels))


def test_the_kit_finds_a_family_that_is_wrong(
    ours: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = ours.Model(types.SimpleNamespace(**CONFIG), 2)
    ours.Ours().save_model(model, types.SimpleNamespace(**CONFIG), model.state_dict(), tmp_path / "model")
    monkeypatch.setattr(ours.Ours, "norm", lambda self, model: torch.nn.Identity())
    with pytest.raises(AssertionError):
        check_family(tmp_path / "model", lambda: model, lambda of, pixels: of(pixels))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:X", "no_such_module:X cannot be imported: ModuleNotFoundError"),
        ("json:dumps", "json:dumps is a function; allowed: a splitmodel.families.Family"),
        (
            "splitmodel.families.transformers.vit:VIT",
            "splitmodel.families.transformers.vit:VIT is called 'vit', as another family is",
        ),
    ],
)
def test_an_entry_point_that_is_no_family_is_named_and_hurts_no_model_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_models: dict[str, Path], value: str, message: str
) -> None:
    for _ in registered(monkeypatch, value):
        load_split(tiny_models["vit"], num_labels=3)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "ours"}))
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(ModelLoadError, match=message):
            load_split(tmp_path, num_labels=3)
