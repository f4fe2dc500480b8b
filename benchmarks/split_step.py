"""What splitting and mixing cost in computation: `python -m benchmarks.split_step` (about 3 minutes).

    split ÷ unsplit: CPU time of one LoRA training step (forward, backward; batch 32, fp32) in two halves, with its
        three crossings encoded and decoded, over that of the same modules in one piece; at most 1.05.
    separate ÷ mixed: wall time of eight satellites' steps one after the other (peft, one pass each) over that of
        one pass with eight adapters; at least 1.25 at batch 1, at least 1.0 at batch 8.

Random weights in the shapes of Galileo-Nano, ViT-Ti and ViT-S at 64 pixels, patch 8. One thread. The two sides of a
ratio take turns; the median of the ratios of neighbouring turns is reported, so that a busy machine disturbs
little. Ends with a line of JSON; the exit status is 1 if a bar is missed.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from splitmodel.adapters import LoraSettings, add_lora
from splitmodel.codecs import decode, encode
from splitmodel.mixed_adapters import mixed_forward, new_adapter
from splitmodel.parts import load_backbone, load_split
from splitmodel.step import backbone_backward, backbone_forward, embed, head_step

SHAPES = {  # name: model_type, hidden size, layers, heads
    "Galileo-Nano": ("ijepa", 128, 4, 8),
    "ViT-Ti": ("vit", 192, 12, 3),
    "ViT-S": ("vit", 384, 12, 6),
}
SATELLITES, LORA = 8, LoraSettings()


def main() -> int:
    torch.set_num_threads(1)
    cases = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, (model_type, hidden, layers, heads) in SHAPES.items():
            directory = Path(scratch, name)
            directory.mkdir()
            config = {
                "model_type": model_type,
                "hidden_size": hidden,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "intermediate_size": 4 * hidden,
                "image_size": 64,
                "patch_size": 8,
            }
            (directory / "config.json").write_text(json.dumps(config))
            cases.append(case(f"{name}: split ÷ unsplit", split_over_unsplit(directory), at_most=1.05))
            if name != "ViT-S":
                for batch, bar in ((1, 1.25), (8, 1.0)):
                    ratio = separate_over_mixed(directory, batch)
                    title = f"{name}: separate ÷ mixed, {SATELLITES} × {batch}"
                    cases.append(case(title, ratio, at_least=bar))
    print(json.dumps({"benchmark": "split_step", "cases": cases}, ensure_ascii=False))
    return 0 if all(entry["met"] for entry in cases) else 1


def case(
    name: str, ratio: float, *, at_most: float = float("inf"), at_least: float = 0.0
) -> dict[str, object]:
    met = at_least <= ratio <= at_most
    bar = f"≤ {at_most}" if at_least == 0.0 else f"≥ {at_least}"
    print(f"{name:42} {ratio:6.3f}   {bar:7} {'met' if met else 'MISSED'}", flush=True)
    return {"name": name, "ratio": round(ratio, 4), "bar": bar, "met": met}


def split_over_unsplit(directory: Path, batch: int = 32) -> float:
    model = load_split(directory, num_labels=10, random_init=True)
    add_lora(model.backbone, LORA)
    pixels, labels = torch.randn(batch, 3, 64, 64), torch.arange(batch) % 10

    def crossing(tensor: torch.Tensor) -> torch.Tensor:
        return decode(encode(tensor, "fp32"), "fp32", tensor.shape)

    def split() -> None:
        features = crossing(embed(model.embedding, pixels))
        pooled, context = backbone_forward(model.backbone, features)
        backbone_backward(context, crossing(head_step(model.head, crossing(pooled), labels).grad_pooled_BD))

    def unsplit() -> None:
        F.cross_entropy(model(pixels), labels).backward()

    return ratio_in_turns(split, unsplit, time.process_time)


def separate_over_mixed(directory: Path, batch: int) -> float:
    bare = load_backbone(directory, random_init=True)
    adapters = [new_adapter(bare, LORA, seed=seed) for seed in range(SATELLITES)]
    owners = [owner for owner in range(SATELLITES) for _ in range(batch)]
    with_peft = load_backbone(directory, random_init=True)
    add_lora(with_peft, LORA)
    tokens = 64 + with_peft.pooling.prefix_tokens
    features = torch.randn(SATELLITES * batch, tokens, bare.config.hidden_size)
    gradient = torch.randn(SATELLITES * batch, bare.config.hidden_size)

    def separate() -> None:
        for rows, grad in zip(features.split(batch), gradient.split(batch), strict=True):
            with_peft(rows).backward(grad)

    def mixed() -> None:
        mixed_forward(bare, features, adapters, owners, LORA).backward(gradient)

    return ratio_in_turns(separate, mixed, time.perf_counter)


def ratio_in_turns(
    first: Callable[[], None], second: Callable[[], None], clock: Callable[[], float], budget_s: float = 12.0
) -> float:
    """Median of time(first) ÷ time(second) over neighbouring turns, at least seven of each."""
    ratios: list[float] = []
    for action in (first, second):  # warm up
        action()
    started = time.perf_counter()
    while len(ratios) < 7 or time.perf_counter() - started < budget_s:
        times = []
        order = (first, second) if len(ratios) % 2 else (second, first)
        for action in order:
            before = clock()
            action()
            times.append(clock() - before)
        ratios.append(times[0] / times[1] if order[0] is first else times[1] / times[0])
    return statistics.median(ratios)


if __name__ == "__main__":
    sys.exit(main())
