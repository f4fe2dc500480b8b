"""Loading a model in parts: what is read, what is equal, and what is said when it cannot be done."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from splitmodel.families import FAMILIES, ModelInput, ModelLoadError, UnsupportedModelError
from splitmodel.families.transformers.transformer_family import TransformersFamily
from splitmodel.parts import load_backbone, load_embedding, load_split
from splitmodel.shipped import weights_dir

OF_TRANSFORMERS = [name for name, family in FAMILIES.items() if isinstance(family, TransformersFamily)]


def pixels(model_type: str, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(len(model_type)))


def copy_of(model: Path, directory: Path) -> Path:
    shutil.copytree(model, directory, dirs_exist_ok=True)
    return directory


@pytest.mark.parametrize("model_type", OF_TRANSFORMERS)
def test_the_embedding_loads_from_a_file_that_has_nothing_else(
    tiny_models: dict[str, Path], model_type: str, tmp_path: Path
) -> None:
    whole = load_embedding(tiny_models[model_type])
    directory = copy_of(tiny_models[model_type], tmp_path)
    tensors = load_file(directory / "model.safetensors")
    outside = ("embeddings.", "layernorm.", "norm.", "pre_layrnorm.", "post_layernorm.", "rms_norm.")
    shared = ("encoder.relative_position_bias.",)
    kept = {k: v for k, v in tensors.items() if k.startswith((*outside, *shared))}
    assert 0 < len(kept) < len(tensors)
    save_file(kept, directory / "model.safetensors", metadata={"format": "pt"})
    alone = load_embedding(directory)
    assert torch.equal(alone(pixels(model_type)), whole(pixels(model_type)))
    assert sum(p.numel() for p in alone.parameters()) <= sum(v.numel() for v in kept.values())


def test_random_weights_follow_the_seed_and_agree_between_board_and_ground(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(
        (tiny_models["vit"] / "config.json").read_text()
    )  # no weights needed
    split = load_split(tmp_path, num_labels=3, random_init=True, seed=1)
    x = pixels("vit")
    assert torch.equal(load_embedding(tmp_path, random_init=True, seed=1)(x), split.embedding(x))
    assert not torch.equal(load_embedding(tmp_path, random_init=True, seed=2)(x), split.embedding(x))
    features = split.embedding(x)
    assert torch.equal(load_backbone(tmp_path, random_init=True, seed=1)(features), split.backbone(features))


def test_loading_leaves_the_random_state_of_the_process_alone(tiny_models: dict[str, Path]) -> None:
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    load_split(tiny_models["vit"], num_labels=3, random_init=True, seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_pretrained_parts_come_frozen_and_in_evaluation_mode(tiny_models: dict[str, Path]) -> None:
    split = load_split(tiny_models["vit"], num_labels=3)
    assert not any(p.requires_grad for p in split.backbone.parameters())
    assert not split.backbone.transformer.training
    assert all(p.requires_grad for p in split.head.parameters())


def test_mean_pooling_leaves_class_distillation_and_register_tokens_out(tiny_models: dict[str, Path]) -> None:
    for model_type, special in (("vit", 1), ("deit", 2), ("dinov2_with_registers", 4), ("ijepa", 0)):
        backbone = load_backbone(tiny_models[model_type], pooling="mean")
        features = load_embedding(tiny_models[model_type])(pixels(model_type))
        hidden = backbone(features, pooled=False)
        assert hidden.shape == (3, 16 + special, 32)
        assert torch.equal(backbone(features), hidden[:, special:].mean(dim=1))


def test_a_masked_autoencoder_keeps_all_patches_in_order(tiny_models: dict[str, Path]) -> None:
    embedding = load_embedding(tiny_models["vit_mae"])
    one = pixels("vit_mae", batch=1)
    changed = one.clone()
    changed[:, :, 4:8, 8:12] += 1.0  # the patch in row 1, column 2 of 4 × 4
    differs = (embedding(one) != embedding(changed)).any(dim=-1)[0]
    assert differs.nonzero().flatten().tolist() == [1 + 1 * 4 + 2]


def test_a_model_without_preprocessor_gets_mean_and_std_one_half(tiny_models: dict[str, Path]) -> None:
    preprocess = load_embedding(tiny_models["vit"]).preprocess
    images = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 16, 16)
    assert torch.allclose(preprocess(images)[:, 0, 0, 0], torch.tensor([-1.0, 1.0, -0.6]), atol=1e-6)


@pytest.mark.parametrize("model_type", ["ijepa", "dinov2", "vit_mae", "deit", "dinov3_vit", "pixio"])
def test_a_model_without_preprocessor_gets_the_statistics_of_its_familys_pretraining(
    tiny_models: dict[str, Path], model_type: str
) -> None:
    preprocess = load_embedding(tiny_models[model_type]).preprocess
    assert preprocess.mean == (0.485, 0.456, 0.406)  # ImageNet
    assert preprocess.std == (0.229, 0.224, 0.225)


def test_clip_without_preprocessor_gets_its_own_statistics_and_its_interpolation(
    tiny_models: dict[str, Path],
) -> None:
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    preprocess = load_embedding(tiny_models["clip_vision_model"]).preprocess
    assert (list(preprocess.mean), list(preprocess.std)) == (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
    assert preprocess.interpolation == "bicubic"


def test_a_processor_config_is_read_and_one_number_stands_for_all_channels(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    directory = copy_of(tiny_models["dinov2"], tmp_path)
    settings = {"image_processor": {"image_mean": 0.3, "image_std": 2, "size": {"shortest_edge": 8}}}
    (directory / "processor_config.json").write_text(json.dumps(settings))
    preprocess = load_embedding(directory).preprocess
    assert (preprocess.mean, preprocess.std, preprocess.height) == ((0.3,) * 3, (2.0,) * 3, 8)
    (directory / "preprocessor_config.json").write_text(
        '{"image_mean": [0.1, 0.2, 0.3]}'
    )  # has the last word
    assert load_embedding(directory).preprocess.mean == (0.1, 0.2, 0.3)


def test_an_image_size_is_for_families_that_take_any_and_refused_by_others(
    tiny_models: dict[str, Path],
) -> None:
    split = load_split(tiny_models["dinov3_vit"], num_labels=3, wanted=ModelInput(image_size=24))
    assert split.preprocess.height == split.preprocess.width == 24
    assert split.embedding(torch.zeros(1, 3, 24, 24)).shape[1] == split.backbone.layout.tokens == 4 + 36
    with pytest.raises(ModelLoadError, match="model.image_size: found 24, a vit has its own; allowed: leave"):
        load_split(tiny_models["vit"], num_labels=3, wanted=ModelInput(image_size=24))
    with pytest.raises(ModelLoadError, match=r"model.bands: found \['B2'\], a vit has its own"):
        load_split(tiny_models["vit"], num_labels=3, wanted=ModelInput(bands=("B2",)))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
def test_weights_in_a_pickle_are_read_where_it_holds_tensors_alone(
    tiny_models: dict[str, Path], tmp_path: Path, name: str
) -> None:
    directory = copy_of(tiny_models["dinov2"], tmp_path)
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    torch.save(tensors, directory / name)
    x = pixels("dinov2")
    expected, found = (load_split(path, num_labels=3)(x) for path in (tiny_models["dinov2"], directory))
    assert torch.equal(found, expected)
    torch.save({"model": Path("code")}, directory / name)
    with pytest.raises(ModelLoadError, match="cannot read the weights"):
        load_split(directory, num_labels=3)


@pytest.mark.parametrize("composite", ["clip", "siglip", "siglip2", "aimv2"])
def test_the_vision_part_of_an_image_text_model_is_split(composite: str, tmp_path: Path) -> None:
    from transformers import CONFIG_MAPPING, AutoModel

    tiny = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    images = {"num_patches": 16} if composite == "siglip2" else {"image_size": 16}
    config = CONFIG_MAPPING[composite](
        vision_config=tiny | images | {"patch_size": 4},
        text_config=tiny | {"vocab_size": 50, "max_position_embeddings": 8},
    )
    whole = AutoModel.from_config(config).eval()
    whole.save_pretrained(tmp_path)
    split = load_split(tmp_path, num_labels=3)
    weights = dict(whole.vision_model.named_parameters())
    ours = dict(split.backbone.transformer.named_parameters())
    assert len(ours) > 20
    assert all(torch.equal(parameter, weights[name]) for name, parameter in ours.items())
    alone = load_embedding(tmp_path)
    assert torch.equal(alone(pixels("vit")), split.embedding(pixels("vit")))


@pytest.mark.parametrize(
    "settings",
    [
        {"use_absolute_position_embeddings": True},
        {"use_shared_relative_position_bias": True, "use_mean_pooling": False},
    ],
    ids=["absolute positions", "shared bias"],
)
@pytest.mark.parametrize("model_type", ["beit", "data2vec-vision"])
def test_each_kind_of_positions_of_beit_and_data2vec_gives_the_whole_models_states(
    model_type: str, settings: dict[str, bool], tmp_path: Path
) -> None:
    from transformers import CONFIG_MAPPING, AutoModel

    tiny = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = CONFIG_MAPPING[model_type](**tiny, image_size=16, patch_size=4, **settings)
    whole = AutoModel.from_config(config).eval()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        whole.save_pretrained(tmp_path)
        split = load_split(tmp_path, num_labels=3)
        x = pixels(model_type)
        found = split.backbone(split.embedding(x), pooled=False)
        assert torch.equal(found, whole(x).last_hidden_state)
    assert split.backbone.pooling.kind == ("mean" if config.use_mean_pooling else "cls")


def test_preprocessing_follows_the_models_own_settings(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    directory = copy_of(tiny_models["vit"], tmp_path)
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 4], "size": {"height": 224, "width": 224}}
    (directory / "preprocessor_config.json").write_text(json.dumps(settings))
    preprocess = load_embedding(directory).preprocess
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16), np.uint8)
    mean, std = (np.array(settings[key]).reshape(1, 3, 1, 1) for key in ("image_mean", "image_std"))
    expected = (images / 255 - mean) / std
    np.testing.assert_allclose(preprocess(torch.from_numpy(images)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_other_sizes_are_resized_as_pillow_does_it(tiny_models: dict[str, Path]) -> None:
    preprocess = load_embedding(tiny_models["vit"]).preprocess
    image = np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8)
    resized = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR), np.float32)
    expected = resized.transpose(2, 0, 1) / 127.5 - 1
    ours = preprocess(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])[0].numpy()
    assert (
        np.abs(ours - expected).max() <= 1.001 / 127.5
    )  # one grey level: Pillow rounds between its two passes


def test_real_settings_give_what_the_models_own_image_processor_gives(galileo_nano: Path) -> None:
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    processor = ViTImageProcessorPil.from_pretrained(galileo_nano)
    expected = processor(images=list(images), return_tensors="pt")["pixel_values"]
    ours = load_embedding(galileo_nano).preprocess(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_a_model_that_does_not_resize_refuses_other_sizes(galileo_nano: Path) -> None:
    preprocess = load_embedding(galileo_nano).preprocess
    with pytest.raises(ValueError, match="images must be 64×64 pixels .* found 32×32"):
        preprocess(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_images_of_another_kind_are_refused(tiny_models: dict[str, Path]) -> None:
    preprocess = load_embedding(tiny_models["vit"]).preprocess
    with pytest.raises(
        ValueError, match=r"uint16, int16 or float32 of shape \(batch, 3, .*found torch.float64"
    ):
        preprocess(torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"found torch.uint8 of shape \(1, 4, 16, 16\)"):
        preprocess(torch.zeros(1, 4, 16, 16, dtype=torch.uint8))


def test_an_unsupported_model_is_named_with_those_supported(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "swin"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        UnsupportedModelError, match="model_type 'swin'; supported: .*deit, dinov2, .*vit_msn"
    ):
        load_embedding(tmp_path)


def test_each_way_not_to_find_a_model_is_said_in_one_clear_error(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    def fails(path: str | Path, message: str) -> None:
        with pytest.raises(ModelLoadError, match=message) as caught:
            load_split(path, num_labels=3, local_files_only=True)
        assert "\n" not in str(caught.value)

    fails(tmp_path / "absent", "absent: no such directory")
    fails("./absent", "no such directory")
    fails("no-such/model", "no-such/model: not a directory, and no such model could be had from the hub")
    fails(tmp_path, "this directory has no config.json")
    (tmp_path / "config.json").write_text("{")
    fails(tmp_path, r"config.json: not valid JSON")
    shutil.copy(tiny_models["vit"] / "config.json", tmp_path)
    fails(
        tmp_path, "this directory has no weights; expected model.safetensors or model.safetensors.index.json"
    )
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors at all")
    fails(tmp_path, "cannot read the weights")
    (tmp_path / "config.json").write_text("[]")
    fails(tmp_path, "config.json: found no object")
    (tmp_path / "config.json").write_text("{}")
    fails(tmp_path, "no model_type in its config.json")
    shutil.copy(tiny_models["vit"] / "config.json", tmp_path)
    fails(tmp_path, "cannot read the weights")
    tensors = load_file(tiny_models["vit"] / "model.safetensors")
    in_file = "encoder.layer.1.attention.attention.query.bias"  # ViT files keep the names of transformers 4
    del tensors[in_file]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    fails(tmp_path, "1 weights of the vit .* are missing, the first is 'layers.1.attention.q_proj.bias'")
    tensors[in_file] = torch.zeros(33)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    fails(tmp_path, "cannot read the weights")
    shutil.copytree(tiny_models["vit"], tmp_path, dirs_exist_ok=True)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5], "image_std": [0.5]}')
    fails(tmp_path, r"preprocessor_config.json: image_mean and image_std must have 3 values each")
    (tmp_path / "preprocessor_config.json").write_text("[")
    fails(tmp_path, "preprocessor_config.json: not valid JSON")


def test_an_impossible_pooling_and_too_few_labels_are_refused(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(ModelLoadError, match="pooling 'cls' is not possible for ijepa; allowed: auto, mean"):
        load_split(tiny_models["ijepa"], num_labels=3, pooling="cls")
    with pytest.raises(ModelLoadError, match="at least 2 labels; found 1"):
        load_split(tiny_models["vit"], num_labels=1)


def test_published_profiles_and_shipped_weights_are_found_without_torch() -> None:
    code = "import sys, splitmodel, splitmodel.costs.published; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_unknown_or_missing_shipped_weights_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no weights called 'vit-huge'.*synthetic-vit"):
        weights_dir("vit-huge")
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    with pytest.raises(FileNotFoundError, match="run `pip install .` in the project's directory"):
        weights_dir("synthetic-vit")


def test_a_bundle_without_weights_does_not_hide_the_installed_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle, installed = (tmp_path / name / "splitmodel/weights/synthetic-vit" for name in ("bundle", "site"))
    for directory in (bundle, installed):
        directory.mkdir(parents=True)
        (directory / "config.json").write_text("{}")
    (installed / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "bundle"), str(tmp_path / "site")])
    assert weights_dir("synthetic-vit") == installed.resolve()
