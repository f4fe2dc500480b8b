"""Our loaders of Prithvi-EO-2.0 and Galileo against what their own code computes from the same weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from splitmodel.families import Acquisition, ModelInput, ModelLoadError
from splitmodel.parts import SplitModel, load_backbone, load_split
from splitmodel.testing import check_family

CLOUD_BANDS = ("Blue", "Green", "Red", "NIR", "SWIR1", "SWIR2")


def golden_prithvi(shared: Path, name: str, directory: Path) -> dict[str, torch.Tensor]:
    """Write the released form of a checkpoint, `.pt` and `config.json`, and return what goes in and comes out."""
    file = shared / f"{name}.safetensors"
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        sizes = opened.metadata()
    weights = {
        "encoder." + key.removeprefix("weights."): tensor
        for key, tensor in tensors.items()
        if key.startswith("weights.")
    }
    torch.save({**weights, "decoder.mask_token": torch.zeros(1, 1, 8)}, directory / "Prithvi_EO_V2_300M.pt")
    config = {
        "architecture": "prithvi_eo_v2_300",
        "pretrained_cfg": {
            "img_size": int(sizes["img_size"]),
            "num_frames": int(sizes["num_frames"]),
            "patch_size": [int(side) for side in sizes["patch_size"].split(",")],
            "in_chans": int(sizes["in_chans"]),
            "embed_dim": int(sizes["embed_dim"]),
            "depth": int(sizes["depth"]),
            "num_heads": int(sizes["num_heads"]),
            "mlp_ratio": 4,
            "coords_encoding": [kind for kind in sizes["coords_encoding"].split(",") if kind],
            "bands": ["B02", "B03", "B04", "B05", "B06", "B07"],
            "mean": [1087.0, 1342.0, 1433.0, 2734.0, 1958.0, 1363.0],
            "std": [2248.0, 2179.0, 2178.0, 1850.0, 1242.0, 1049.0],
        },
    }
    (directory / "config.json").write_text(json.dumps(config))
    return tensors


@pytest.fixture
def prithvi(golden: Path, tmp_path: Path) -> Path:
    golden_prithvi(golden, "v2-1frame", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "frames"), [("v2-1frame", 1), ("v2-3frames", 3), ("v2-tl", 1)])
def test_prithvi_gives_terratorchs_states_after_every_block(
    golden: Path, tmp_path: Path, name: str, frames: int
) -> None:
    tensors = golden_prithvi(golden, name, tmp_path)
    split = load_split(tmp_path, num_labels=3, wanted=ModelInput(frames=frames))
    acquisition = Acquisition(tensors.get("temporal_coords"), tensors.get("location_coords"))
    with torch.no_grad():
        features = split.embedding(tensors["pixels"], acquisition)
        depth = len(split.backbone.layers)
        states = [split.backbone.below(features, blocks) for blocks in range(1, depth)]
        states.append(split.backbone(features, pooled=False))
    found, expected = torch.stack(states), tensors["layer_outputs"]
    assert (found - expected).abs().max() <= 1e-5
    # As images come in a run: frames one after the other, each with all bands.
    flat = tensors["pixels"].transpose(1, 2).flatten(1, 2)
    assert flat.shape[1] == len(split.preprocess.mean) == 6 * frames
    assert torch.equal(split.embedding(flat, acquisition), features)


def test_prithvi_computes_its_positions_for_any_image_as_the_checkpoint_has_them(
    golden: Path, tmp_path: Path
) -> None:
    from splitmodel.families.prithvi import _positions

    table = golden_prithvi(golden, "v2-3frames", tmp_path)["weights.pos_embed"]
    torch.testing.assert_close(_positions(3, 4, 4, 48), table[0, 1:], rtol=0, atol=1e-7)
    larger = load_split(tmp_path, num_labels=3, wanted=ModelInput(image_size=48, frames=2))
    x = torch.randn(1, 12, 48, 48)
    assert larger.embedding(x).shape[1] == larger.backbone.layout.tokens == 1 + 2 * 36


def test_prithvi_takes_the_bands_that_the_images_have(prithvi: Path) -> None:
    whole = load_split(prithvi, num_labels=3)
    assert whole.preprocess.bands == ("B02", "B03", "B04", "B05", "B06", "B07")
    some = load_split(prithvi, num_labels=3, wanted=ModelInput(bands=("NIR", "b2")))
    assert some.preprocess.bands == ("NIR", "b2")
    assert (some.preprocess.mean, some.preprocess.std) == ((2734.0, 1087.0), (1850.0, 2248.0))
    x = torch.randn(2, 2, 32, 32)
    all_bands = torch.zeros(2, 6, 32, 32)
    all_bands[:, [3, 0]] = x
    torch.testing.assert_close(some.embedding(x), whole.embedding(all_bands), rtol=1e-5, atol=1e-5)
    with pytest.raises(ModelLoadError, match=r"model.bands: found 'B10'; allowed: B02, B03, .* Blue"):
        load_split(prithvi, num_labels=3, wanted=ModelInput(bands=("B10",)))
    with pytest.raises(ModelLoadError, match="model.bands: found 'blue' twice"):
        load_split(prithvi, num_labels=3, wanted=ModelInput(bands=("B02", "blue")))
    with pytest.raises(
        ModelLoadError, match="model.image_size: found 30, allowed: multiples of the patch, 8"
    ):
        load_split(prithvi, num_labels=3, wanted=ModelInput(image_size=30))
    with pytest.raises(ModelLoadError, match="model.patch_size: found 4, a prithvi has its own"):
        load_split(prithvi, num_labels=3, wanted=ModelInput(patch_size=4))


def test_a_prithvi_that_lacks_weights_or_has_those_of_another_size_is_refused(prithvi: Path) -> None:
    config = json.loads((prithvi / "config.json").read_text())
    for key, value, message in (
        ("depth", 4, "12 weights of the prithvi .* missing, the first is 'blocks.3.attn.proj.bias'"),
        ("embed_dim", 64, r"'cls_token' has shape \(1, 1, 48\), the prithvi .* takes \(1, 1, 64\)"),
    ):
        changed = {**config, "pretrained_cfg": {**config["pretrained_cfg"], key: value}}
        (prithvi / "config.json").write_text(json.dumps(changed))
        with pytest.raises(ModelLoadError, match=message):
            load_split(prithvi, num_labels=3)
    del config["pretrained_cfg"]["num_heads"]
    (prithvi / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="pretrained_cfg.num_heads: missing"):
        load_split(prithvi, num_labels=3)


@pytest.fixture
def galileo(shared_galileo: Path) -> Path:
    return shared_galileo


@pytest.mark.parametrize("patch_size", [8, 4])
def test_galileo_gives_its_own_codes_states_of_four_real_tiles(galileo: Path, patch_size: int) -> None:
    tensors = load_file(galileo / "golden.safetensors")
    split = load_split(galileo, num_labels=3, wanted=ModelInput(bands=CLOUD_BANDS, patch_size=patch_size))
    found = hidden_of_tiles(split, tensors["pixels"])
    expected = tensors[f"hidden_p{patch_size}"]
    layout = split.backbone.layout
    assert (layout.rows, layout.columns, layout.groups) == expected.shape[1:4]
    assert (found.view(expected.shape) - expected).abs().max() <= 1e-4


def hidden_of_tiles(split: SplitModel, tiles: torch.Tensor) -> torch.Tensor:
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (split.preprocess.mean, split.preprocess.std)
    )
    assert split.preprocess.rescale_factor == 1.0
    with torch.no_grad():
        return split.backbone(split.embedding((tiles.float() - mean) / std), pooled=False)


def test_galileo_has_a_token_of_every_group_whose_bands_are_there_in_any_order(galileo: Path) -> None:
    tiles = load_file(galileo / "golden.safetensors")["pixels"]
    order = [3, 2, 1, 0]  # NIR, red, green, blue
    some = load_split(galileo, num_labels=3, wanted=ModelInput(bands=("B8", "b04", "Green", "B2")))
    assert list(some.config.groups) == ["S2_RGB", "S2_NIR_10m", "NDVI"]
    whole = load_split(galileo, num_labels=3, wanted=ModelInput(bands=CLOUD_BANDS))
    of_some, of_whole = (
        split.embedding(torch.randn(1, len(split.preprocess.mean), 64, 64)).shape[1]
        for split in (some, whole)
    )
    assert (of_some, of_whole) == (3 * 64, 4 * 64)
    mean, std = (torch.tensor(v)[:, None, None] for v in (some.preprocess.mean, some.preprocess.std))
    features = some.embedding((tiles[:, order].float() - mean) / std).unflatten(1, (64, 3))
    mean, std = (torch.tensor(v)[:, None, None] for v in (whole.preprocess.mean, whole.preprocess.std))
    expected = whole.embedding((tiles.float() - mean) / std).unflatten(1, (64, 4))[:, :, [0, 1, 3]]
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
    every = load_split(galileo, num_labels=3)
    assert list(every.config.groups) == [
        "S2_RGB",
        "S2_Red_Edge",
        "S2_NIR_10m",
        "S2_NIR_20m",
        "S2_SWIR",
        "NDVI",
    ]
    radar = load_split(galileo, num_labels=3, wanted=ModelInput(bands=("VV", "VH")))
    assert list(radar.config.groups) == ["S1"]
    with pytest.raises(
        ModelLoadError, match=r"model.bands: found \['B2'\], which make no group; allowed: .*S2_RGB"
    ):
        load_split(galileo, num_labels=3, wanted=ModelInput(bands=("B2",)))
    with pytest.raises(ModelLoadError, match="model.patch_size: found 16, allowed: 1 to 8"):
        load_split(galileo, num_labels=3, wanted=ModelInput(patch_size=16))


def test_the_date_of_an_image_chooses_galileos_month(galileo: Path) -> None:
    split = load_split(galileo, num_labels=3, wanted=ModelInput(bands=CLOUD_BANDS))
    x = torch.randn(2, 6, 64, 64)
    dated = split.embedding(x, Acquisition(torch.tensor([[[2020.0, 200.0]], [[2021.0, 15.0]]])))
    plain = split.embedding(x)
    assert torch.equal(dated[0], plain[0])  # the 200th day is in July, which is taken where no date is known
    assert not torch.equal(dated[1], plain[1])


def whole_prithvi(directory: Path) -> Any:
    return load_backbone(directory, wanted=ModelInput(frames=1)).transformer


def test_prithvi_and_galileo_train_export_and_are_counted_like_any_family(
    golden: Path, galileo: Path, tmp_path: Path
) -> None:
    golden_prithvi(golden, "v2-tl", tmp_path)
    check_family(tmp_path, lambda: whole_prithvi(tmp_path), lambda model, pixels: model(pixels))
    wanted = ModelInput(bands=CLOUD_BANDS, patch_size=8, image_size=32)
    check_family(
        galileo,
        lambda: load_backbone(galileo, wanted=wanted).transformer,
        lambda model, pixels: model(pixels),
        wanted=wanted,
    )


def test_a_new_galileo_has_the_fixed_tables_of_the_released_one(galileo: Path) -> None:
    new = load_split(galileo, num_labels=3, random_init=True).backbone.transformer
    released = load_file(galileo / "model.safetensors")
    for name in ("pos_embed", "month_embed.weight"):
        torch.testing.assert_close(new.state_dict()[name], released[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("patch_size", [8, 4])
def test_a_saved_galileo_loads_as_it_was(galileo: Path, tmp_path: Path, patch_size: int) -> None:
    wanted = ModelInput(bands=CLOUD_BANDS, patch_size=patch_size, image_size=32)
    split = load_split(galileo, num_labels=3, wanted=wanted)
    backbone = split.backbone
    state = backbone.transformer.state_dict()
    backbone.family.save_model(backbone.transformer, backbone.config, state, tmp_path / "saved")
    again = load_split(tmp_path / "saved", num_labels=3)
    x = torch.randn(2, 6, 32, 32)
    assert again.preprocess == split.preprocess
    assert torch.equal(again(x), split(x))


def test_a_saved_prithvi_loads_as_it_was_and_has_the_keys_of_the_released_one(
    golden: Path, prithvi: Path, tmp_path: Path
) -> None:
    split = load_split(prithvi, num_labels=3)
    backbone = split.backbone
    state = backbone.transformer.state_dict()
    saved = tmp_path / "saved"
    backbone.family.save_model(backbone.transformer, backbone.config, state, saved)
    released = load_file(golden / "v2-1frame.safetensors")
    theirs = {k.removeprefix("weights."): v for k, v in released.items() if k.startswith("weights.")}
    ours = {k.removeprefix("encoder."): v for k, v in load_file(saved / "model.safetensors").items()}
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-7)
    x = torch.randn(2, 6, 32, 32)
    assert torch.equal(load_split(saved, num_labels=3)(x), split(x))
    shutil.rmtree(saved)
