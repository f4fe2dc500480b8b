"""The ground keeps features: what it gives back, when it takes no more, what a satellite cannot do to another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from relay.wire.manifest import Manifest, MessageKind
from server_app.backbone.feature_assembler import FeatureAssembler, UnexpectedBundle
from server_app.backbone.feature_cache import FeatureCache, FeaturesMissing
from splitmodel.crossing import codec_sizes, codecs

RNG = np.random.default_rng(3)
TOKENS, HIDDEN = 3, 32


def some(count: int, row_bytes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    return RNG.integers(1, 256, (count, 16), np.uint8), RNG.integers(0, 256, (count, row_bytes), np.uint8)


def test_rows_come_back_by_name_also_after_the_file_was_opened_again(tmp_path: Path) -> None:
    names, rows = some(5)
    path = tmp_path / "features.safetensors"
    assert FeatureCache(path, 8, rows={"a": 10, "b": 2}).put("a", names, rows)
    again = FeatureCache(path, 8, rows={"a": 10, "b": 2})
    assert len(again) == 5
    np.testing.assert_array_equal(again.get("a", names[::-1]), rows[::-1])
    np.testing.assert_array_equal(load_file(path)["rows"][:5], rows)


def test_a_row_is_never_replaced(tmp_path: Path) -> None:
    names, rows = some(2)
    cache = FeatureCache(tmp_path / "f", 8, rows={"a": 4, "b": 2})
    cache.put("a", names, rows)
    assert cache.put("a", names, rows + 1)
    np.testing.assert_array_equal(cache.get("a", names), rows)


def test_names_of_one_satellite_are_not_another_s(tmp_path: Path) -> None:
    names, rows = some(2)
    cache = FeatureCache(tmp_path / "f", 8, rows={"a": 4, "b": 2})
    cache.put("a", names, rows)
    with pytest.raises(FeaturesMissing, match="b names"):
        cache.get("b", names)


def test_without_room_for_all_nothing_is_kept(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "f", 8, rows={"a": 3, "b": 2})
    first, second = some(2), some(2)
    assert cache.put("a", *first)
    assert not cache.put("a", *second)
    assert len(cache) == 2
    assert cache.put("b", *second)  # it has rows of its own
    assert not cache.put("c", *some(1))
    again = FeatureCache(tmp_path / "f", 8, rows={"a": 3, "b": 2})
    assert again.put("a", *some(1))
    assert not again.put("a", *some(1))
    assert not again.put("b", *some(1))


def test_a_file_of_other_measures_is_replaced(tmp_path: Path) -> None:
    names, rows = some(2)
    FeatureCache(tmp_path / "f", 8, rows={"a": 3, "b": 2}).put("a", names, rows)
    assert len(FeatureCache(tmp_path / "f", 8, rows={"a": 4, "b": 2})) == 0


def bundle(
    kind: MessageKind, payload: bytes, shape: tuple[int, ...], step: int = 0
) -> tuple[Manifest, bytes]:
    dtype, codec = ("uint8", "raw") if kind is MessageKind.SAMPLES else ("float32", "int8")
    described = {"run": "r", "source": "a", "destination": "ground", "round": 1, "step": step}
    return Manifest.describe(payload, kind=kind, dtype=dtype, codec=codec, shape=shape, **described), payload


def named(names: np.ndarray, new: list[bool], step: int = 0) -> tuple[Manifest, bytes]:
    table = np.concatenate([names, np.array(new, np.uint8)[:, None]], axis=1)
    return bundle(MessageKind.SAMPLES, table.tobytes(), table.shape, step)


def features(count: int, step: int = 0) -> tuple[Manifest, bytes]:
    shape = (count, TOKENS, HIDDEN)
    import torch

    values = torch.from_numpy(RNG.standard_normal(shape, np.float32))
    return bundle(MessageKind.FEATURES, bytes(codecs.encode(values, "int8")), shape, step)


@pytest.fixture
def assembler(tmp_path: Path) -> FeatureAssembler:
    made = FeatureAssembler((TOKENS, HIDDEN), "int8")
    made.keep_in(
        FeatureCache(tmp_path / "f", codec_sizes.encoded_bytes((TOKENS * HIDDEN,), "int8"), rows={"a": 6})
    )
    return made


@pytest.mark.parametrize("swapped", [False, True])
def test_names_and_new_features_make_a_batch_whichever_comes_first(
    assembler: FeatureAssembler, swapped: bool
) -> None:
    names, _ = some(3)
    sent = features(3)
    halves = [named(names, [True] * 3), sent]
    first, second = halves[::-1] if swapped else halves
    assert assembler.add("a", *first) is None
    arrived = assembler.add("a", *second)
    assert arrived is not None
    assert bytes(arrived.payload) == sent[1]
    assert arrived.kept
    again = assembler.add("a", *named(names, [False] * 3, step=1))
    assert again is not None
    assert bytes(again.payload) == sent[1]


def test_what_is_left_of_an_attempt_that_was_given_up_does_no_harm(assembler: FeatureAssembler) -> None:
    names, _ = some(2)
    assert assembler.add("a", *named(names, [True, True], step=0)) is None
    assert assembler.add("a", *named(names, [True, True], step=1)) is None
    sent = features(2, step=1)
    arrived = assembler.add("a", *sent)
    assert arrived is not None
    assert bytes(arrived.payload) == sent[1]


def test_a_full_cache_still_gives_the_batch(assembler: FeatureAssembler) -> None:
    names, _ = some(7)
    sent = features(7)
    assembler.add("a", *named(names, [True] * 7))
    arrived = assembler.add("a", *sent)
    assert arrived is not None
    assert not arrived.kept
    assert bytes(arrived.payload) == sent[1]


def test_features_that_do_not_fit_their_names_and_names_nobody_knows_are_refused(
    assembler: FeatureAssembler,
) -> None:
    names, _ = some(2)
    assembler.add("a", *named(names, [True, False]))
    with pytest.raises(UnexpectedBundle, match=r"shape \(2, 3, 32\); allowed: int8 of shape \(1, 3, 32\)"):
        assembler.add("a", *features(2))
    with pytest.raises(FeaturesMissing):
        assembler.add("a", *named(names, [False, False]))
    with pytest.raises(UnexpectedBundle, match="allowed: uint8"):
        assembler.add("a", *bundle(MessageKind.SAMPLES, bytes(8), (2, 4)))
    with pytest.raises(UnexpectedBundle, match="none are kept"):
        FeatureAssembler((TOKENS, HIDDEN), "int8").add("a", *named(names, [True, True]))
