"""`skysplit models`, and what is said of a model that cannot be trained: before Flower starts, by every command."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from mission.scenario import load_scenario
from skysplit.cli import app

RUNNER = CliRunner()
SMALL = [
    "--set",
    "constellation.satellites=2",
    "--set",
    "constellation.planes=1",
    "--set",
    "constellation.phasing=0",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import IJepaConfig, IJepaModel

    directory = tmp_path_factory.mktemp("ijepa")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    IJepaModel(IJepaConfig(**sizes, image_size=16, patch_size=4)).save_pretrained(directory)
    return directory


def unknown(directory: Path) -> None:
    (directory / "config.json").write_text('{"model_type": "swin"}')


def without_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()


def of_another_shape(directory: Path) -> None:
    tensors = load_file(directory / "model.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 2)
    save_file(
        {**tensors, name: torch.zeros(5, 5)}, directory / "model.safetensors", metadata={"format": "pt"}
    )


def a_clip(directory: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=16, patch_size=4)).save_pretrained(directory)


def unchanged(directory: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("path", "cwd"), [("given/my-ijepa", "."), ("my-ijepa/", "given"), (".", "given/my-ijepa")]
)
def test_a_plan_is_titled_with_the_folder_of_the_model_that_it_counts(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, cwd: str
) -> None:
    directory = tmp_path / "given" / "my-ijepa"
    shutil.copytree(whole, directory)
    monkeypatch.chdir(tmp_path / cwd)
    settings = ["--set", "planning.samples=4", "--set", "horizon_h=6"]
    done = RUNNER.invoke(app, ["plan", "walker-12", *SMALL, *settings, "--set", f"model.path={path}"])
    assert done.exit_code == 0, done.output
    assert "my-ijepa" in done.stdout
    assert "synthetic-vit" not in done.stdout


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (unknown, {}, "model_type 'swin'; supported:"),
        (without_weights, {}, "this directory has no weights"),
        (of_another_shape, {}, "cannot read the weights"),
        (unchanged, {"model.pooling": "cls"}, "pooling 'cls' is not possible for ijepa; allowed: auto, mean"),
        (unchanged, {"model.bands": '["B2"]'}, "model.bands: found ['B2'], a ijepa has its own"),
        (unchanged, {"lora.targets": '["query"]'}, "lora.targets: found 'query', which is no linear layer"),
        (
            a_clip,
            {"training.augment": "token-dihedral"},
            'training.augment: found "token-dihedral" with a model of family clip_vision_model, whose positions',
        ),
        (
            unchanged,
            {"training.augment": "token-dihedral", "split.onboard_blocks": "1"},
            'training.augment: found "token-dihedral" with split.onboard_blocks = 1',
        ),
        (
            unchanged,
            {"training.augment": "token-dihedral", "training.mode": "head"},
            'augment: found "token-dihedral" in mode head with labels = "on-board"; allowed "none", "dihedral"',
        ),
    ],
)
def test_plan_and_run_refuse_a_model_in_one_sentence_and_leave_nothing_behind(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    settings: dict[str, str],
    message: str,
) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    for file in whole.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    change(directory)
    monkeypatch.setattr(
        "skysplit.launch.simulate.run_app", lambda *_, **__: pytest.fail("Flower was started")
    )
    words = [*SMALL, "--set", f"model.path={directory}"]
    for key, value in settings.items():
        words += ["--set", f"{key}={value}"]
    for command in (["plan", "walker-12"], ["run", "walker-12", "--out", str(tmp_path / "run")]):
        done = RUNNER.invoke(app, [*command, *words])
        said = " ".join((done.output + done.stderr).split())
        assert done.exit_code == 1, said
        assert message in said
        assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_init_refuses_it_as_well_and_writes_nothing(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
    done = RUNNER.invoke(
        app,
        ["init", str(tmp_path / "ours.toml"), "--model", str(tmp_path), "--station", "Kiruna,67.86,20.96"],
    )
    assert done.exit_code == 1
    assert "this directory has no weights" in " ".join((done.output + done.stderr).split())
    assert not (tmp_path / "ours.toml").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["lora.targets=q_proj"], "allowed: auto, attention, all-linear, or [name, …]"),
        (["lora.targets=[]"], "lora.targets: found [], allowed: auto, attention, all-linear, or [name, …]"),
        (["lora.variant=dora", "lora.dropout=0.1"], 'dropout: found 0.1 with variant = "dora", allowed: 0'),
        (["lora.dropout=1"], "lora.dropout"),
    ],
)
def test_lora_keys_that_cannot_be_are_refused_by_the_scenario(settings: list[str], message: str) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    done = RUNNER.invoke(app, ["plan", "walker-12", *words])
    assert done.exit_code == 1
    assert message in " ".join((done.output + done.stderr).split())


def test_models_lists_families_and_sizes_and_says_which_can_only_be_planned() -> None:
    listed: list[dict[str, Any]] = json.loads(RUNNER.invoke(app, ["models", "--format", "json"]).stdout)
    families = {entry["name"] for entry in listed if entry["kind"] == "family"}
    assert {"vit", "dinov3_vit", "clip_vision_model", "prithvi", "galileo"} <= families
    trainable = {entry["name"]: entry["trainable"] for entry in listed if entry["kind"] == "size"}
    assert trainable["Prithvi-EO-2.0-300M (T1)"]
    assert trainable["DINOv3-sat ViT-L/16"]
    assert not trainable["Clay v1.5 large (256px p8, 10b)"]
    assert not trainable["TerraMind v1 base (S2)"]
    table = RUNNER.invoke(app, ["models"]).stdout
    assert "planned only" in table
    assert "galileo" in table


@pytest.mark.parametrize("published", [True, False])
def test_init_writes_the_views_that_a_model_without_token_views_can_have(
    tmp_path: Path, published: bool
) -> None:
    a_clip(tmp_path)
    model = "RemoteCLIP ViT-B/32 vision" if published else str(tmp_path)
    file = tmp_path / "ours.toml"
    done = RUNNER.invoke(app, ["init", str(file), "--satellites", "2", "--planes", "1", "--model", model])
    assert done.exit_code == 0, done.output
    assert load_scenario(str(file)).training.augment == "dihedral"


def test_published_models_are_compared_as_they_can_be_trained() -> None:
    words = ["compare", "paper", *SMALL, "--starts", "1", "--models", "RemoteCLIP ViT-B/32 vision"]
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 1
    assert "family clip_vision_model, whose positions cannot be told from its patches" in done.output
