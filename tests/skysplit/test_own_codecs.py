"""Codecs of other packages: planned as they are sent, cut into rows, passed on by relays that import none of them."""

from __future__ import annotations

import json
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from installed_example import install
from two_satellites import TWO_SATELLITES

from mission import entry_points as named
from mission.record import RunRecord, read_run
from mission.scenario import ScenarioError, load_scenario
from relay.client import direct
from relay.wire import manifest as wire
from relay.wire.frames import bundle_bytes, check_finite, checked_bytes
from relay.wire.manifest import SLOW_CHUNK_BYTES, BadManifest, Manifest, MessageKind
from server_app.backbone.feature_assembler import FeatureAssembler
from server_app.backbone.feature_cache import FeatureCache
from server_app.run import ServerRun
from server_app.server_app import fine_tune
from skysplit.testing import check_codec
from splitmodel.crossing import codec as own
from splitmodel.crossing import codec_sizes, codecs
from splitmodel.crossing.codec import Codec, CodecError, registered_codec

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own-parts"


def forget() -> None:
    """Let entry points be looked up anew."""
    registered_codec.cache_clear()
    wire.own_codecs.cache_clear()


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example package, installed."""
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", EXAMPLE)))
    forget()
    yield
    sys.modules.pop("own_codec", None)
    forget()


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """Register an object as the codec ``mine``."""
    theirs = types.ModuleType("theirs")
    monkeypatch.setitem(sys.modules, "theirs", theirs)

    def register(value: Any) -> None:
        theirs.codec = value  # type: ignore[attr-defined]
        entries = [EntryPoint("mine", "theirs:codec", named.CODECS)]
        monkeypatch.setattr(named, "entry_points", lambda group: [e for e in entries if e.group == group])
        forget()

    yield register
    forget()


class Halves(Codec):
    """float16, with nothing around it: what a test changes one method of."""

    quantises = False

    def row_bytes(self, elements: int) -> int:
        return 2 * elements

    def pack(self, values_RE: Any) -> Any:
        return values_RE.astype("<f2").view(np.uint8)

    def unpack(self, packed_RB: Any, elements: int) -> Any:
        return packed_RB.view("<f2").astype(np.float32)


def test_relays_and_ends_agree_on_what_a_row_may_take() -> None:
    assert own.ROW_MARGIN_BYTES == wire.ROW_MARGIN_BYTES


def described(payload: bytes, shape: tuple[int, ...], codec: str, kind: MessageKind, **more: Any) -> Manifest:
    ends = {"run": "run-1", "source": "sat-0-00", "destination": "ground", "dtype": "float32"}
    return Manifest.describe(payload, kind=kind, shape=shape, codec=codec, **(ends | more))


def test_a_relay_takes_whole_rows_under_a_registered_name_and_imports_nothing(example: None) -> None:
    def taken(size: int, shape: tuple[int, ...], **more: Any) -> Manifest:
        return described(bytes(size), shape, "six-bit", MessageKind.FEATURES, **more)

    manifest = taken(3 * 13, (3, 4, 3))
    assert checked_bytes(manifest) == 0
    check_finite(manifest, bytes(3 * 13))
    taken(3 * (4 * 12 + 64), (3, 4, 3))
    taken(0, (0, 4, 3))
    for size, shape, message in (
        (3 * 13 + 1, (3, 4, 3), "a multiple of 3 up to 336 for float32"),
        (3 * (4 * 12 + 65), (3, 4, 3), "a multiple of 3 up to 336"),
        (1, (0, 4, 3), "a multiple of 0 up to 0"),
    ):
        with pytest.raises(BadManifest, match=rf"total_bytes = {size}; allowed: {message}"):
            taken(size, shape)
    with pytest.raises(BadManifest, match="dtype = 'int8'; allowed: .* with codec six-bit"):
        taken(3, (3, 1), dtype="int8")
    assert "own_codec" not in sys.modules


def test_a_name_that_nothing_registers_is_refused_everywhere_with_what_is_allowed(example: None) -> None:
    ours = "fp32, bf16, fp16, int8, int4"
    with pytest.raises(BadManifest, match=f"codec = 'seven-bit'; allowed: raw, {ours}, six-bit"):
        described(b"", (0, 1), "seven-bit", MessageKind.FEATURES)
    with pytest.raises(CodecError, match=f"found none called 'seven-bit', allowed: {ours}, raw, six-bit"):
        codecs.encode(torch.ones(2, 2), "seven-bit")
    with pytest.raises(
        ScenarioError, match=rf"crossings\.features: found 'seven-bit', allowed: {ours}, six-bit"
    ):
        load_scenario("demo", {"crossings.features": "seven-bit"})


def test_the_ground_keeps_rows_of_an_own_codec_and_puts_steps_together_from_them(
    example: None, tmp_path: Path
) -> None:
    """Two images cross in the first message; the next step names them beside a third, in another order."""
    tokens, hidden = 5, 3
    values = torch.randn(3, tokens, hidden, generator=torch.Generator().manual_seed(0))
    row_bytes = codec_sizes.encoded_bytes((1, tokens, hidden), "six-bit")
    assert row_bytes == 4 + 12  # 15 elements of six bits, rounded up
    assembler = FeatureAssembler((tokens, hidden), "six-bit")
    assembler.keep_in(FeatureCache(tmp_path / "kept", row_bytes, rows={"a": 3}))
    names = np.arange(3 * 16, dtype=np.uint8).reshape(3, 16) + 1

    def step(number: int, order: list[int], new: list[int]) -> Any:
        table = np.column_stack([names[order], np.isin(order, new)]).astype(np.uint8)
        more = {"step": number, "source": "a"}
        named_first = described(
            table.tobytes(), table.shape, "raw", MessageKind.SAMPLES, **more | {"dtype": "uint8"}
        )
        assert assembler.add("a", named_first, table.tobytes()) is None
        payload = bytes(codecs.encode(values[new], "six-bit"))
        sent = described(payload, (len(new), tokens, hidden), "six-bit", MessageKind.FEATURES, **more)
        return assembler.add("a", sent, payload)

    step(0, [0, 2], [0, 2])
    arrived = step(1, [2, 1, 0], [1])
    assert arrived.kept
    decoded = codecs.decode(arrived.payload, arrived.codec, arrived.shape)
    whole = codecs.decode(codecs.encode(values, "six-bit"), "six-bit", values.shape)
    assert torch.equal(decoded, whole[[2, 1, 0]])


CROSSINGS = {f"crossings.{kind}": "six-bit" for kind in ("features", "hidden", "gradients")}


def test_a_mission_sends_what_was_planned(
    example: None,
    grid_of: Callable[[int, int], Any],
    bare_run: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every bundle has the bytes of its shape, and the plan books the bundles."""
    sent: list[Manifest] = []
    frames = direct.bundle_frames

    def noted(manifest: Manifest, payload: Any, chunk_bytes: int) -> Any:
        sent.append(manifest)
        return frames(manifest, payload, chunk_bytes)

    monkeypatch.setattr(direct, "bundle_frames", noted)
    scenario = load_scenario("walker-12", TWO_SATELLITES | CROSSINGS | {"training.head": "shared"})
    record = RunRecord(tmp_path / "run", scenario, command="")
    fine_tune(grid_of(2, 2), ServerRun(record, f"run-{2**64 - 1}", max_concurrency=2))
    of_round = [manifest for manifest in sent if manifest.round == 1]
    own_ones = [manifest for manifest in of_round if manifest.codec == "six-bit"]
    kinds = Counter(manifest.kind.name for manifest in own_ones)
    assert set(kinds) == {"FEATURES", "HIDDEN", "GRAD_HIDDEN", "HEAD", "GRAD_HEAD"}
    for manifest in own_ones:
        rows, elements = manifest.shape[0], int(np.prod(manifest.shape[1:]))
        assert manifest.total_bytes == rows * (4 + -(-6 * elements // 8))
    assert read_run(record.directory)["state"] == "completed"
    crossed = sum(bundle_bytes(manifest, SLOW_CHUNK_BYTES) for manifest in of_round)
    assert _planned_bytes(record.directory) == pytest.approx(crossed, rel=0.005)


def _planned_bytes(directory: Path) -> float:
    """Of what the split exchanges over space-ground links in round 1."""
    rows = [json.loads(line) for line in (directory / "plan.jsonl").read_text().splitlines()]
    return sum(
        row["bytes"]
        for row in rows
        if row["round"] == 1
        and row["link"] in ("downlink", "uplink")
        and row["kind"] not in ("reduce", "update")
    )


def answers(**methods: Any) -> type[Codec]:
    return type("Answers", (Halves,), methods)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("text", "theirs:codec is a str; allowed: a subclass of splitmodel.crossing.codec.Codec"),
        (dict, "theirs:codec is a class dict; allowed"),
        (type("Less", (Codec,), {}), "theirs:codec lacks pack, row_bytes, unpack; allowed"),
        (
            answers(row_bytes=lambda self, elements: 2.5),
            r"codec 'mine' \(theirs:codec\): row_bytes\(8\) gave 2.5",
        ),
        (answers(row_bytes=lambda self, elements: 97), "gave 97; allowed: a whole number from 1 to 96"),
        (answers(row_bytes=lambda self, elements: 0), "gave 0; allowed"),
        (answers(pack=lambda self, values: 1 / 0), "pack failed: ZeroDivisionError"),
        (
            answers(pack=lambda self, values: values),
            r"pack gave float32 of shape \(3, 8\); allowed: uint8 of shape",
        ),
        (answers(pack=lambda self, values: bytes(6)), "pack gave a bytes; allowed"),
        (answers(pack=lambda self, values: values.__setitem__(0, 0)), "pack failed: ValueError.*read-only"),
        (answers(unpack=lambda self, packed, elements: packed), r"unpack gave uint8 of shape \(3, 16\)"),
        (
            answers(unpack=lambda self, packed, elements: np.full((3, elements), np.inf, np.float32)),
            "unpack gave values that are not finite",
        ),
    ],
)
def test_a_codec_that_breaks_a_rule_is_one_error_that_names_it(
    register: Callable[[Any], None], part: Any, message: str
) -> None:
    register(part)
    with pytest.raises(CodecError, match=message):
        codecs.decode(codecs.encode(torch.ones(3, 8), "mine"), "mine", (3, 8))


def test_values_that_are_not_finite_and_bytes_of_another_size_are_refused(
    register: Callable[[Any], None],
) -> None:
    register(Halves)
    with pytest.raises(CodecError, match="mine carries finite values up to"):
        codecs.encode(torch.tensor([[1.0, float("nan")]]), "mine")
    with pytest.raises(CodecError, match=r"mine of shape \(3, 8\) takes 48 bytes; found 47"):
        codecs.decode(bytes(47), "mine", (3, 8))
    assert codecs.encode(torch.empty(0, 8), "mine").nbytes == codec_sizes.encoded_bytes((0, 8), "mine") == 0


def test_the_kit_accepts_a_plain_codec_and_finds_what_is_wrong(register: Callable[[Any], None]) -> None:
    register(answers(row_bytes=lambda self, elements: 4 * elements, pack=_exact, unpack=_exact_back))
    assert check_codec("mine") == 0.0

    def by_neighbours(self: Any, values_RE: Any) -> Any:
        return (values_RE / max(1.0, np.abs(values_RE).max())).astype("<f2").view(np.uint8)

    drawn = np.random.default_rng(0)

    def by_chance(self: Any, values_RE: Any) -> Any:
        return drawn.integers(0, 2, (len(values_RE), 2 * values_RE.shape[1]), dtype=np.uint8)

    def nothing(self: Any, packed_RB: Any, elements: int) -> Any:
        return np.zeros((len(packed_RB), elements), np.float32)

    for part, message in (
        (answers(pack=by_neighbours), "a row depends on those beside it"),
        (answers(pack=by_chance), "packed again, they differ"),
        (answers(unpack=nothing), "its error is 1.00 of what it carries"),
    ):
        register(part)
        with pytest.raises(AssertionError, match=message):
            check_codec("mine")


def _exact(self: Any, values_RE: Any) -> Any:
    return np.array(values_RE, "<f4").view(np.uint8)


def _exact_back(self: Any, packed_RB: Any, elements: int) -> Any:
    return packed_RB.view("<f4")
