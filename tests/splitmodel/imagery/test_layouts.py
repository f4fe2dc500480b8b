"""Folders, manifests and tables open as people lay them out, or say in one sentence what is allowed."""

from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from splitmodel.imagery import Imagery, ImageryError, Reading, TargetKind, open_imagery
from splitmodel.preprocess import Preprocess

ALLOWED_TO_TRAIN = "allowed: one class per image"


def png(shade: int, size: int = 8, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (size, size), (shade,) * 3 if mode == "RGB" else shade).save(buffer, "PNG")
    return buffer.getvalue()


def put(root: Path, *names: str, data: bytes | None = None) -> Path:
    for shade, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(shade % 256) if data is None else data)
    return root


def classes(root: Path, *folders: str, count: int = 5) -> Path:
    return put(root, *(f"{folder}/{i}.png" for folder in folders for i in range(count)))


def opened(path: Path, source: str = "folder", **reading: Any) -> Imagery:
    return open_imagery(source, path, seed=0, reading=Reading(**reading))


def counts(imagery: Imagery) -> tuple[int, int]:
    return len(imagery.train), len(imagery.test)


# Folders


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("scored", ["val", "valid", "validation", "Dev", "test", "Testing", "eval"])
def test_subset_folders_are_known_by_the_words_people_use(tmp_path: Path, train: str, scored: str) -> None:
    classes(tmp_path, f"{train}/lake", f"{train}/wood", f"{scored}/lake", count=2)
    assert counts(opened(tmp_path)) == (4, 2)


def test_the_test_subset_scores_where_there_is_also_a_validation_subset(tmp_path: Path) -> None:
    classes(tmp_path, "train/lake", "train/wood", "val/lake", count=3)
    classes(tmp_path, "test/lake", count=1)
    assert counts(opened(tmp_path)) == (6, 1)


def test_hidden_folders_and_files_are_neither_classes_nor_images(tmp_path: Path) -> None:
    classes(tmp_path, "lake", "wood", ".ipynb_checkpoints", "__MACOSX/lake", ".git/objects")
    put(tmp_path, "lake/._0.png", data=b"Mac OS X")
    assert opened(tmp_path).train.classes == ("lake", "wood")
    assert sum(counts(opened(tmp_path))) == 10


def test_classes_may_be_links_and_a_link_to_above_is_no_trap(tmp_path: Path) -> None:
    classes(tmp_path / "elsewhere", "lake", "wood")
    (tmp_path / "data").mkdir()
    for name in ("lake", "wood"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "elsewhere" / "lake" / "up").symlink_to(tmp_path / "data")
    imagery = opened(tmp_path / "data")
    assert imagery.train.classes == ("lake", "wood")
    assert sum(counts(imagery)) == 10


@pytest.mark.parametrize("names", [("test", "lake"), ("train", "test"), ("val", "train", "dev")])
def test_classes_may_be_called_as_subsets_are(tmp_path: Path, names: Sequence[str]) -> None:
    imagery = opened(classes(tmp_path, *names))
    assert imagery.train.classes == tuple(sorted(names))
    assert sum(counts(imagery)) == 5 * len(names)


def test_a_class_within_a_subset_may_be_called_as_subsets_are(tmp_path: Path) -> None:
    imagery = opened(classes(tmp_path, "train/test", "train/lake", "test/test", "test/lake"))
    assert imagery.train.classes == ("lake", "test")
    assert counts(imagery) == (10, 10)


def test_names_of_classes_may_hold_any_character(tmp_path: Path) -> None:
    names = ("Ünland #1", "a b", "100%", "x?y", "[z]", "'q'")
    imagery = opened(classes(tmp_path, *names))
    assert imagery.train.classes == tuple(sorted(names))
    imagery.train.pixels(range(len(imagery.train)))


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (("test/lake", "test/wood"), "no training images; found only the subset test"),
        (("train/lake", "train/wood"), "holds no test image"),
        (("train/lake", "test/lake", "wood"), "images right in wood"),
        (("train/lake", "test/lake", "extra/lake"), "beside them extra, which is none"),
        (("a/b/lake",), "holds no image; found images in a/b/lake; allowed: CLASS/IMAGE"),
        ((".",), "holds no image"),
    ],
)
def test_folders_that_cannot_be_told_are_one_error(tmp_path: Path, folders: Sequence[str], says: str) -> None:
    with pytest.raises(ImageryError, match=says):
        opened(classes(tmp_path, *folders))


def test_images_of_several_sizes_are_resized_one_by_one_or_refused_by_name(tmp_path: Path) -> None:
    classes(tmp_path, "lake", "wood")
    put(tmp_path, "lake/0.png", "wood/0.png", data=png(9, size=20))
    images = opened(tmp_path).train
    rescaled = Preprocess(16, 16, mean=(0.0,) * 3, std=(1.0,) * 3)
    together = images.prepared(range(len(images)), rescaled)
    alone = [images.prepared([index], rescaled)[0] for index in range(len(images))]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
    strict = Preprocess(8, 8, resize=False)
    with pytest.raises(ImageryError, match=r"0\.png: images must be 8×8 pixels .* found 20×20"):
        images.prepared(range(len(images)), strict)


# Masks


def segmentation(root: Path, names: Sequence[str], image: str, mask: str) -> Path:
    put(root, *(image.format(name) for name in names))
    put(root, *(mask.format(name) for name in names), data=png(2, mode="L"))
    return root


@pytest.mark.parametrize(
    ("image", "mask", "reading"),
    [
        ("images/{}.png", "masks/{}.png", {}),
        ("Image/{}.png", "labels/{}.png", {}),
        ("img/{}.png", "Annotations/{}.png", {}),
        ("images/{}.png", "masks/{}_mask.png", {"mask_pattern": "*_mask.png"}),
        ("{}_merged.png", "{}.mask.png", {"image_pattern": "*_merged.png", "mask_pattern": "*.mask.png"}),
        ("{}.png", "{}_mask.png", {"mask_pattern": "*_mask.png"}),
    ],
)
@pytest.mark.parametrize("has_subsets", [False, True])
def test_masks_are_paired_with_images_by_place_and_name(
    tmp_path: Path, image: str, mask: str, reading: dict[str, str], has_subsets: bool
) -> None:
    names = ["a", "b", "c.d", "e", "f"]
    if has_subsets:
        for subset, some in (("train", names[:4]), ("val", names[4:])):
            place = [
                str(Path(way).parent / subset / Path(way).name) if "/" in way else f"{subset}/{way}"
                for way in (image, mask)
            ]
            segmentation(tmp_path, some, *place)
    else:
        segmentation(tmp_path, names, image, mask)
    imagery = opened(tmp_path, **reading)
    assert counts(imagery) == (4, 1)
    assert imagery.train.targets.kind is TargetKind.MASK
    for index in range(4):
        assert (imagery.train.mask(index) == 2).all()
    with pytest.raises(ImageryError, match=f"segmentation masks were found; {ALLOWED_TO_TRAIN}"):
        _ = imagery.train.labels


def test_subsets_may_stand_above_images_and_masks(tmp_path: Path) -> None:
    segmentation(tmp_path, ["a", "b"], "train/images/{}.png", "train/masks/{}.png")
    segmentation(tmp_path, ["a"], "test/images/{}.png", "test/masks/{}.png")
    assert counts(opened(tmp_path)) == (2, 1)


def test_masks_of_floating_point_are_rasters_of_numbers(tmp_path: Path) -> None:
    put(tmp_path, *(f"images/{i}.png" for i in range(5)))
    (tmp_path / "masks").mkdir()
    for i in range(5):
        tifffile.imwrite(tmp_path / "masks" / f"{i}.tif", np.full((8, 8), 0.5, np.float32))
    targets = opened(tmp_path).train.targets
    assert targets.kind is TargetKind.RASTER
    with pytest.raises(ImageryError, match="rasters of numbers were found"):
        targets.require_classes("here")


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("masks/b.png", r"images/b\.png: has no mask"),
        ("images/b.png", r"masks/b\.png: is the mask of no image"),
    ],
)
def test_an_image_without_mask_or_a_mask_without_image_is_named(
    tmp_path: Path, missing: str, says: str
) -> None:
    segmentation(tmp_path, ["a", "b", "c"], "images/{}.png", "masks/{}.png")
    (tmp_path / missing).unlink()
    with pytest.raises(ImageryError, match=says):
        opened(tmp_path)


def test_a_mask_of_another_size_than_its_image_is_named(tmp_path: Path) -> None:
    segmentation(tmp_path, list("abcdef"), "images/{}.png", "masks/{}.png")
    for name in "abcdef":
        put(tmp_path, f"masks/{name}.png", data=png(1, size=9, mode="L"))
    with pytest.raises(ImageryError, match=r"\.png: its mask has 9×9 pixels, the image 8×8 pixels"):
        opened(tmp_path).train.mask(0)


def test_real_multispectral_tiles_are_read_with_masks_and_sensors(shared_data: Path) -> None:
    imagery = opened(shared_data / "clouds-3sensors", sensor_column="sensor")
    assert counts(imagery) == (120, 24)
    images = imagery.train
    sensors = images.column("sensor")
    assert sensors is not None
    assert {name: int((sensors == name).sum()) for name in ("L5", "L7", "S2")} == {
        "L5": 40,
        "L7": 40,
        "S2": 40,
    }
    assert all(Path(images.name(i)).name.startswith(sensors[i]) for i in range(len(images)))
    with tifffile.TiffFile(images.name(7)) as file:
        wanted = file.asarray()
    wanted = wanted if wanted.shape[-1] == 6 else wanted.transpose(1, 2, 0)
    assert np.array_equal(images.image(7), wanted)
    assert set(np.unique(images.mask(7))) <= {0, 1, 2}


# Manifests


def manifest(root: Path, text: str) -> Path:
    (root / "manifest.csv").write_text(text)
    return root


@pytest.mark.parametrize("name", ["a/{}.png", "{}.png", "{}"])
def test_a_manifest_names_sensors_by_path_name_or_stem(tmp_path: Path, name: str) -> None:
    classes(tmp_path, "a", "b", count=4)
    for i in range(4):
        (tmp_path / "b" / f"{i}.png").rename(tmp_path / "b" / f"{i + 4}.png")
    rows = [f"{name.format(i) if i < 4 else f'{i}'},{'S2' if i % 2 else 'L7'}" for i in range(8)]
    imagery = opened(manifest(tmp_path, "\n".join(["image,sensor", *rows])), sensor_column="sensor")
    for images in imagery:
        found = images.column("sensor")
        assert found is not None
        for index in range(len(images)):
            assert found[index] == ("S2" if int(Path(images.name(index)).stem) % 2 else "L7")


def test_a_manifest_lists_images_with_labels_and_subsets(tmp_path: Path) -> None:
    put(tmp_path, *(f"all/{i:03}.png" for i in range(4)))
    text = "file_name,label,split\n" + "\n".join(
        f"all/{i:03}.png,{'lake' if i % 2 else 'wood'},{'Train' if i < 3 else 'VAL'}" for i in range(4)
    )
    for path in (manifest(tmp_path, text), tmp_path / "manifest.csv"):
        imagery = opened(path)
        assert counts(imagery) == (3, 1)
        assert imagery.train.classes == ("lake", "wood")
        assert imagery.train.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file_name,label\n0.png,a\n1.png,\n", r"manifest\.csv: row 1: label missing"),
        ("file_name,label\n0.png,a\n9.png,b\n", r"row 1: file_name '9\.png' is no file"),
        ("file_name,kind\n0.png,a\n1.png,b\n", "column label is missing; found file_name, kind"),
        ("which,label\n0.png,a\n", "no column names the images; found which, label"),
        ("file_name,label,split\n0.png,a,fold1\n", "row 0: split is 'fold1'; allowed: train"),
        (
            "file_name,label\n0.png,a\n1.png,b\n0.png,b\n",
            r"row 2: file_name '0\.png' is the image of row 0, too",
        ),
        (
            "file_name,split,label\n0.png,train,a\n0,test,a\n",
            "row 1: file_name '0.png' is the image of row 0, too",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_is_one_error(tmp_path: Path, text: str, says: str) -> None:
    put(tmp_path, "0.png", "1.png")
    with pytest.raises(ImageryError, match=says):
        opened(manifest(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "file_name;label\n{};{}\n",
        "file_name\tlabel\n{}\t{}\n",
        "File_Name, Label\n{}, {} \n",
        "\ufefffile_name,label\r\n{},{}\r\n",
    ],
)
def test_a_manifest_is_written_as_people_s_programs_write_it(tmp_path: Path, text: str) -> None:
    put(tmp_path, *(f"all/{i}.png" for i in range(5)))
    header, row = text.splitlines(keepends=True)
    rows = [row.format(f"all/{i}.png", "lake" if i % 2 else "wood") for i in range(5)]
    manifest(tmp_path, header + "".join(rows))
    imagery = opened(tmp_path)
    assert imagery.train.classes == ("lake", "wood")
    for images in imagery:
        assert [Path(images.name(i)).stem in "13" for i in range(len(images))] == (
            images.labels == 0
        ).tolist()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_each_subset_may_have_a_manifest_of_its_own(tmp_path: Path, kind: str) -> None:
    """The image folders of the Hugging Face hub."""
    for subset, count in (("train", 6), ("test", 3)):
        put(tmp_path / subset, *(f"{i}.png" for i in range(count)))
        rows = [(f"{i}.png", "lake" if i % 3 else "wood") for i in range(count)]
        if kind == "csv":
            text = "file_name,label\n" + "".join(f"{name},{label}\n" for name, label in rows)
        else:
            text = "".join(json.dumps({"file_name": name, "label": label}) + "\n" for name, label in rows)
        (tmp_path / subset / f"metadata.{kind}").write_text(text)
    imagery = opened(tmp_path)
    assert counts(imagery) == (6, 3)
    assert imagery.train.classes == ("lake", "wood")
    assert imagery.train.labels.tolist() == [1, 0, 0, 1, 0, 0]
    assert {Path(imagery.test.name(i)).parent.name for i in range(3)} == {"test"}


def test_names_are_alike_composed_or_decomposed(tmp_path: Path) -> None:
    """As macOS and other systems write the same name."""
    composed, decomposed = (unicodedata.normalize(form, "forêt") for form in ("NFC", "NFD"))
    imagery = opened(
        classes(tmp_path / "classes", f"train/{composed}", "train/lac", f"test/{decomposed}", "test/lac")
    )
    assert imagery.train.classes == (composed, "lac")
    put(tmp_path / "dense", *(f"images/{composed}{i}.png" for i in range(5)))
    put(tmp_path / "dense", *(f"masks/{decomposed}{i}.png" for i in range(5)), data=png(1, mode="L"))
    assert sum(counts(opened(tmp_path / "dense"))) == 5
    put(tmp_path / "listed", *(f"{decomposed}/{i}.png" for i in range(5)))
    rows = "".join(f"{composed}/{i}.png,S2\n" for i in range(5))
    listed = opened(manifest(tmp_path / "listed", "image,sensor\n" + rows), sensor_column="sensor")
    assert set(listed.train.source.columns["sensor"]) == {"S2"}


def test_a_folder_on_the_way_names_the_sensor(tmp_path: Path) -> None:
    classes(tmp_path, "S2/lake", "S2/wood", "L7/lake", "L7/wood")
    imagery = opened(tmp_path, sensor_column="folder1")
    assert imagery.train.classes == ("lake", "wood")
    assert set(imagery.train.source.columns["folder1"]) == {"S2", "L7"}
    with pytest.raises(ImageryError, match=r"data\.sensor_column: found 'sensor'.*no manifest\.csv"):
        opened(classes(tmp_path / "other", "lake", "wood"), sensor_column="sensor")


# Tables


def table(path: Path, hub: dict[str, Any] | None = None, **columns: Any) -> Path:
    rows = next((len(column) for column in columns.values() if column is not None), 10)
    values = {"image": [{"bytes": png(i % 250), "path": None} for i in range(rows)]}
    values |= {"label": [i % 2 for i in range(rows)]} | columns
    made = pa.table({name: column for name, column in values.items() if column is not None})
    if hub:
        made = made.replace_schema_metadata(
            {b"huggingface": json.dumps({"info": {"features": hub}}).encode()}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(made, path)
    return path


def class_label(*names: str) -> dict[str, Any]:
    return {"label": {"names": list(names), "_type": "ClassLabel"}}


LABELS: list[tuple[Any, TargetKind, tuple[str, ...], Any]] = [
    ([0, 1, 2, 1], TargetKind.CLASS, ("0", "1", "2"), [0, 1, 2, 1]),
    ([300, 100, 200, 100], TargetKind.CLASS, ("100", "200", "300"), [2, 0, 1, 0]),
    (pa.array([3, 7, 3, 7], pa.uint8()), TargetKind.CLASS, ("3", "7"), [0, 1, 0, 1]),
    (["wood", "lake", "wood", "bog"], TargetKind.CLASS, ("bog", "lake", "wood"), [2, 1, 2, 0]),
    (pa.array(["b", "a", "b", "a"]).dictionary_encode(), TargetKind.CLASS, ("a", "b"), [1, 0, 1, 0]),
    (pa.array(["b", "a", "b", "a"], pa.large_string()), TargetKind.CLASS, ("a", "b"), [1, 0, 1, 0]),
    ([True, False, True, False], TargetKind.CLASS, ("false", "true"), [1, 0, 1, 0]),
    ([0.5, 2.0, 3.0, -1.0], TargetKind.NUMBERS, (), [[0.5], [2.0], [3.0], [-1.0]]),
    ([[0.5, 2.0]] * 4, TargetKind.NUMBERS, (), [[0.5, 2.0]] * 4),
    ([[1.0, 0.0, 1.0]] * 4, TargetKind.MULTI_LABEL, ("0", "1", "2"), [[1, 0, 1]] * 4),
    ([[0, 1]] * 3 + [[1, 1]], TargetKind.MULTI_LABEL, ("0", "1"), [[0, 1]] * 3 + [[1, 1]]),
    ([[0, 2], [1], [], [2]], TargetKind.MULTI_LABEL, ("0", "1", "2"), [[1, 0, 1], [0, 1, 0], [0] * 3, [0, 0, 1]]),
    ([["a"], ["a", "c"], [], ["c"]], TargetKind.MULTI_LABEL, ("a", "c"), [[1, 0], [1, 1], [0, 0], [0, 1]]),
]  # fmt: skip


@pytest.mark.parametrize(("labels", "kind", "names", "values"), LABELS)
def test_every_sort_of_label_column_is_told_by_its_type(
    tmp_path: Path, labels: Any, kind: TargetKind, names: tuple[str, ...], values: Any
) -> None:
    subset = ["train", "train", "train", "test"]
    train, test = opened(table(tmp_path / "a.parquet", label=labels, split=subset), "parquet")
    assert train.targets.kind is test.targets.kind is kind
    assert train.targets.names == names
    assert [*train.targets.values.tolist(), *test.targets.values.tolist()] == values
    if kind is not TargetKind.CLASS:
        with pytest.raises(ImageryError, match=f"{kind} were found; {ALLOWED_TO_TRAIN}"):
            _ = train.labels


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, None, 1, 0], "row 1: label missing"),
        ([0.5, float("nan"), 1.0, 0.0], "row 1: label missing"),
        (["a", "", "b", "a"], "row 1: label ''"),
        ([1, 2, -1, 0], "row 2: label -1"),
        ([[0.5], [0.5, 1.0], [1.0], [1.0]], "row 1: label 'a list of other length"),
        ([[1, None], [1, 0], [0, 1], [0, 1]], "row 0: label 'a list with a missing value'"),
        ([{"a": 1}] * 4, "column label is of type struct<a: int64>; allowed: class numbers"),
        ([[[1, 2]]] * 4, "column label is of type list<.*list<"),
    ],
)
def test_labels_of_no_allowed_kind_are_one_short_error(tmp_path: Path, labels: Any, says: str) -> None:
    with pytest.raises(ImageryError, match=says) as error:
        opened(table(tmp_path / "a.parquet", label=labels), "parquet")
    assert len(str(error.value)) < 500


def test_class_numbers_are_matched_by_name_whatever_their_order_in_each_file(tmp_path: Path) -> None:
    table(tmp_path / "train-0.parquet", class_label("wood", "lake"), label=[0, 1, 0])
    table(tmp_path / "train-1.parquet", class_label("lake", "wood", "bog"), label=[0, 1, 2])
    table(tmp_path / "test-0.parquet", class_label("bog", "lake"), label=[0, 1])
    train, test = opened(tmp_path, "parquet")
    assert [train.classes[label] for label in train.labels] == ["wood", "lake", "wood", "lake", "wood", "bog"]
    assert [test.classes[label] for label in test.labels] == ["bog", "lake"]


def test_classes_in_metadata_count_though_no_image_is_of_them(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", class_label("a", "b", "c"), label=[0, 1] * 5)
    assert opened(path, "parquet").train.classes == ("a", "b", "c")
    with pytest.raises(ImageryError, match="row 1: label 3 has no name among 3 classes"):
        opened(table(tmp_path / "b.parquet", class_label("a", "b", "c"), label=[0, 3] * 5), "parquet")


def test_masks_in_a_column_are_segmentation(tmp_path: Path) -> None:
    masks = [{"bytes": png(i % 3, mode="L"), "path": None} for i in range(10)]
    images = opened(table(tmp_path / "a.parquet", label=masks), "parquet").train
    assert images.targets.kind is TargetKind.MASK
    assert images.mask(0).shape == (8, 8)


@pytest.mark.parametrize("name", ["img", "picture"])
def test_columns_are_called_as_the_scenario_says(tmp_path: Path, name: str) -> None:
    images = [{"bytes": png(i), "path": None} for i in range(10)]
    columns = {name: images, "kind": ["a", "b"] * 5, "part": ["TRAIN"] * 8 + ["Val"] * 2}
    path = table(tmp_path / "a.parquet", image=None, label=None, **columns)
    imagery = opened(path, "parquet", image_column=name, label_column="kind", split_column="part")
    assert counts(imagery) == (8, 2)
    with pytest.raises(
        ImageryError, match=f"column image, label is missing; found {name}, kind, part; .*data.image_"
    ):
        opened(path, "parquet")


@pytest.mark.parametrize("is_struct", [False, True])
def test_images_may_be_paths_from_the_table(tmp_path: Path, is_struct: bool) -> None:
    put(tmp_path / "pictures", *(f"{i}.png" for i in range(10)))
    paths = [f"pictures/{i}.png" for i in range(10)]
    column = [{"bytes": None, "path": path} for path in paths] if is_struct else paths
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()}) if is_struct else pa.string()
    images, _ = opened(table(tmp_path / "a.parquet", image=pa.array(column, kind)), "parquet")
    assert images.pixels(range(len(images))).shape == (8, 8, 8, 3)
    paths[:] = ["pictures/none.png"] * 10
    column = [{"bytes": None, "path": path} for path in paths] if is_struct else paths
    images, _ = opened(table(tmp_path / "b.parquet", image=pa.array(column, kind)), "parquet")
    with pytest.raises(
        ImageryError, match=r"b\.parquet: row \d+: .*column image holds 'pictures/none\.png'; allowed"
    ):
        images.image(0)


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (["data/train-00000-of-00002", "data/train-00001-of-00002", "data/test-00000-of-00001"], 20, 10),
        (["train", "validation"], 10, 10),
        (["train/0000", "train/0001", "test/0000"], 20, 10),
        (["default/train/0000", "default/test/0000"], 10, 10),
        (["rgb/train-00000-of-00001", "rgb/validation-00000-of-00001", "rgb/test-00000-of-00001"], 10, 10),
        (["part-0", "part-1"], 16, 4),
    ],
)
def test_the_hub_s_layouts_are_known(tmp_path: Path, names: Sequence[str], train: int, test: int) -> None:
    for name in names:
        table(tmp_path / f"{name}.parquet")
    table(tmp_path / ".cache/huggingface/train-9.parquet")
    assert counts(opened(tmp_path, "parquet")) == (train, test)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ["rgb/train", "rgb/test", "all/train", "all/test"],
            r"several data sets: all, rgb; name one: data\.path = '",
        ),
        (["test", "validation"], "no training images; found only the subset test, validation"),
        (["train", "test", "more"], r"more\.parquet: its name contains no subset"),
    ],
)
def test_layouts_that_cannot_be_told_are_one_error(tmp_path: Path, names: Sequence[str], says: str) -> None:
    for name in names:
        table(tmp_path / f"{name}.parquet")
    with pytest.raises(ImageryError, match=says):
        opened(tmp_path, "parquet")


def test_rows_are_the_same_whatever_the_row_groups_and_the_order_of_asking(tmp_path: Path) -> None:
    images = [{"bytes": png(i), "path": None} for i in range(100)]
    made = pa.table({"image": images, "label": [i % 2 for i in range(100)]})
    order = np.random.default_rng(1).permutation(80)
    for group in (1, 7, 100):
        pq.write_table(made, tmp_path / "a.parquet", row_group_size=group)
        train, _ = opened(tmp_path / "a.parquet", "parquet")
        part = train.take(order[:30])
        part.hold()
        for one in (part, train, part):
            shades = one.pixels(range(len(one)))[:, 0, 0, 0]
            assert np.array_equal(shades, one.rows)


def test_a_damaged_table_is_named_when_its_images_are_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(4000)
    path = table(tmp_path / "a.parquet", image=[noise * 4] * 100)
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(56)  # the header of the first page
    path.write_bytes(data)
    train, _ = opened(path, "parquet")
    for read in (train.hold, lambda: train.image(0)):
        with pytest.raises(ImageryError, match=r"a\.parquet: not readable as Parquet"):
            read()
