"""The training engine against its bars: `python -m benchmarks.training` (about twenty minutes on two cores).

    split ÷ unsplit: a LoRA step of satellite and ground, gRPC between them, over a step of the same modules in one
        place; fp32, batch 32. CPU time at most 1.05, wall time at most 1.15. Five shapes, and every family in that of
        ViT-Ti.
    unpipelined ÷ pipelined: wall time of a step in which one thing is done after another, features in fp32, over that
        of one with int8, four micro-batches and features sent ahead, over 200 Mbit/s each way. At least 1.4 with
        Galileo-Nano. Features of 32 images cross in 42 ms in fp32 and in 11 ms in int8 (ViT-Ti: 64 and 16, ViT-S: 128
        and 32), pooled states and gradients in 1 ms. Where all overlaps, a step takes as long as whoever has most to
        do, on these shapes the backbone: with b seconds there, the ratio cannot exceed 1 + 0.045 / b. What is possible
        is printed beside it: the unpipelined step over the longest of backbone, on board and uplink, as measured. At
        50 Mbit/s, where the link has more to do, without a bar.
    separate ÷ mixed: eight satellites' steps one after the other (peft) over one pass with eight adapters. At least
        1.25 at batch 1, 1.0 at batch 8.
    sent ÷ kept: bytes over the split of a round whose features cross over those of a round whose features the ground
        keeps, codecs as shipped. At least 20.
    head: wall time of a round in mode `head` in which every image crosses over that of the next. At least 10.
    eager ÷ compiled: CPU time of a forward and backward pass of the backbone, over that of one through `torch.compile`;
        without a bar, and only when asked for: `--parts compile`, some minutes more.
    control plane: of the rounds of `skysplit run eurosat`, the share in which the backbone does not compute, although
        it is all that this machine has to do. At most 0.15; needs SKYSPLIT_DATA.

Random weights in the shapes of Galileo-Nano, ViT-Ti and ViT-S (64 pixels, patch 8; 224 pixels, patch 16). One thread
for torch. The sides of a ratio take turns; the median of the ratios of neighbouring turns counts. `--parts split,cache`
runs some. Ends with a line of JSON; the exit status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.measure import Bars
from benchmarks.model_shapes import SHAPES, Shape, shape_of
from benchmarks.one_satellite import EXACT, Flown, Pair, pair, random_images
from benchmarks.real_data import paths_of
from mission.record import read_run
from splitmodel.families import FAMILIES
from splitmodel.lora.adapters import LoraSettings, add_lora
from splitmodel.lora.mixed_adapters import mixed_forward, new_adapter

GALILEO_NANO, VIT_TI = SHAPES["Galileo-Nano"], SHAPES["ViT-Ti"]
LORA, BATCH, STEPS, SATELLITES = LoraSettings(), 32, 4, 8
# So low that the few images are not learnt by heart: gradients of a loss of 1e-30 are denormal numbers, which take many
# times as long to multiply.
LEARNING_RATE = 1e-6
SLOW_LEARNING = {"training.learning_rate": LEARNING_RATE, "training.head_learning_rate": LEARNING_RATE}
LINK_BPS, SLOW_LINK_BPS = 200e6, 50e6
AT_64_PIXELS = ("Galileo-Nano", "ViT-Ti", "ViT-S")
LARGE = ("ViT-S", "ViT-Ti 224", "ViT-S 224")  # a turn is one step of these and STEPS of the others
TURNS, MOST_TURNS, BUDGET_S = 5, 25, 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="split,pipeline,mixed,cache,head,control")
    torch.set_num_threads(1)
    bars = Bars("training")
    for part in parser.parse_args().parts.split(","):
        PARTS[part](bars)
    bars.finish()


def split(bars: Bars) -> None:
    for name, shape in {**SHAPES, **{family: shape_of(family) for family in FAMILIES}}.items():
        if shape is None:
            bars.note(f"{name}: split ÷ unsplit", "not measured", "its library is not installed")
            continue
        steps = 1 if name in LARGE else STEPS
        with pair(shape, BATCH * steps, EXACT | SLOW_LEARNING | {"training.batch_size": BATCH}) as apart:
            cpu, wall = in_turns(Rounds(apart), unsplit(shape, steps))
        bars.at_most(f"{name}: split ÷ unsplit, CPU", cpu, 1.05)
        bars.at_most(f"{name}: split ÷ unsplit, wall", wall, 1.15)


def unsplit(shape: Shape, steps: int) -> Callable[[], None]:
    """As many steps with the model in one place."""
    model, images = shape.load(), random_images(shape.image, BATCH * steps)
    add_lora(model.backbone, LORA)
    adapter = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW([*adapter, *model.head.parameters()], lr=LEARNING_RATE)

    def train() -> None:
        for indices in np.arange(BATCH * steps).reshape(steps, BATCH):
            logits = model(model.preprocess(images.pixels_BCHW(indices)))
            optimizer.zero_grad()
            F.cross_entropy(logits, torch.from_numpy(images.labels[indices])).backward()
            optimizer.step()

    return train


def pipeline(bars: Bars) -> None:
    """A round of a single step has nothing to overlap with: every step waits until the one before is acknowledged."""
    batch = {"training.batch_size": BATCH}
    ahead = batch | {"crossings.features": "int8", "training.micro_batches": 4}
    for shape, bps in [*((name, LINK_BPS) for name in AT_64_PIXELS), ("Galileo-Nano", SLOW_LINK_BPS)]:
        with (
            pair(SHAPES[shape], BATCH, EXACT | batch, link_bps=bps) as plain,
            pair(SHAPES[shape], BATCH * STEPS, EXACT | ahead, link_bps=bps) as pipelined,
        ):
            rounds = Rounds(plain, times=STEPS), Rounds(pipelined)
            _, wall = in_turns(*rounds)
        name = f"{shape}, {bps / 1e6:.0f} Mbit/s"
        apart_s, together_s = (taken.wall_s() for taken in rounds)
        alone_s = rounds[1].busy_s(bps)
        bound = apart_s / max(alone_s.values())
        detail = f"{apart_s:.3f} s, {together_s:.3f} s; " + ", ".join(
            f"{n} {t:.3f} s" for n, t in alone_s.items()
        )
        if (shape, bps) == ("Galileo-Nano", LINK_BPS):
            bars.at_least(f"{name}: unpipelined ÷ pipelined", wall, 1.4, detail)
        else:
            bars.note(f"{name}: unpipelined ÷ pipelined", wall, detail)
        bars.note(f"{name}: what is possible", bound, "all that one side does behind what it does longest")


class Rounds:
    """Rounds of a pair, one after another or some, and what each took on the wall."""

    def __init__(self, flying: Pair, times: int = 1) -> None:
        self._flying = flying
        self._times = times
        self._walls_s: list[float] = []
        self._flown: list[Flown] = []

    def __call__(self) -> float:
        """Fly; the CPU time of the satellite's process."""
        before_s = time.perf_counter()
        flown = [self._flying.fly() for _ in range(self._times)]
        self._walls_s.append(time.perf_counter() - before_s)
        self._flown += flown
        return sum(one.on_board_s for one in flown)

    def wall_s(self) -> float:
        """Median of a turn."""
        return statistics.median(self._walls_s)

    def busy_s(self, link_bps: float) -> dict[str, float]:
        """Medians of a turn, of each that can do one thing at a time."""
        return {
            "backbone": self._times * statistics.median(one.ground_s for one in self._flown),
            "on board": self._times * statistics.median(one.on_board_s for one in self._flown),
            "uplink": self._times * 8 * self._flown[-1].bytes_up / link_bps,
        }


def mixed(bars: Bars) -> None:
    for name, shape in {"Galileo-Nano": GALILEO_NANO, "ViT-Ti": VIT_TI}.items():
        bare, with_peft = shape.load().backbone, shape.load().backbone
        add_lora(with_peft, LORA)
        adapters = [new_adapter(bare, LORA, seed=seed) for seed in range(SATELLITES)]
        tokens = (shape.image // shape.patch) ** 2 + bare.pooling.prefix_tokens
        for batch, bar in ((1, 1.25), (8, 1.0)):
            owners = [owner for owner in range(SATELLITES) for _ in range(batch)]
            features = torch.randn(SATELLITES * batch, tokens, shape.hidden)
            gradient = torch.randn(SATELLITES * batch, shape.hidden)

            def separate(features=features, gradient=gradient, batch=batch, model=with_peft) -> None:
                for rows, grad in zip(features.split(batch), gradient.split(batch), strict=True):
                    model(rows).backward(grad)

            def together(
                features=features, gradient=gradient, owners=owners, model=bare, adapters=adapters
            ) -> None:
                mixed_forward(model, features, adapters, owners, LORA).backward(gradient)

            _, wall = in_turns(separate, together)
            bars.at_least(f"{name}: separate ÷ mixed, {SATELLITES} × {batch}", wall, bar)


def cache(bars: Bars) -> None:
    with pair(GALILEO_NANO, 2 * BATCH, {"crossings.cache_gb": 1.0}) as keeping:
        first, later = keeping.fly().crossed_bytes, keeping.fly().crossed_bytes
    with pair(GALILEO_NANO, 2 * BATCH, {}) as sending:
        every = sending.fly().crossed_bytes
    bars.at_least(
        "Galileo-Nano: bytes sent ÷ kept", every / later, 20.0, f"first round {first}, later {later}"
    )


def head(bars: Bars) -> None:
    settings = {"training.mode": "head", "training.local_epochs": 1}
    ratios = []
    for _ in range(TURNS):
        with pair(GALILEO_NANO, 16 * BATCH, settings) as apart:
            times = []
            for _ in range(2):
                before = time.perf_counter()
                apart.fly()
                times.append(time.perf_counter() - before)
        ratios.append(times[0] / times[1])
    bars.at_least("Galileo-Nano: head, first epoch ÷ next", statistics.median(ratios), 10.0)


def control(bars: Bars) -> None:
    if not paths_of("eurosat"):
        bars.note("control plane", "not measured", "SKYSPLIT_DATA is not set")
        return
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "run"
        settings = {**paths_of("eurosat"), "training.rounds": 4}
        words = [f"{sysconfig.get_path('scripts')}/skysplit", "run", "eurosat", "--out", str(directory)]
        words += [f"--set={key}={value}" for key, value in settings.items()]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}\n{done.stderr}")
        run = read_run(directory)
    rounds_s = run["result"]["wall_time_s"] - run["start_up_s"]
    idle = 1.0 - run["result"]["backbone_s"] / rounds_s
    bars.at_most("EuroSAT: share of the rounds without compute", idle, 0.15, f"{rounds_s:.0f} s")


def compiled(bars: Bars) -> None:
    """Forward and backward pass of backbone and adapter, as the ground makes it and through `torch.compile` (inductor).

    Break-even counts CPU time of the first step, that of the C++ compiler included.
    """
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # else an earlier run has paid for this one
    for name in AT_64_PIXELS:
        shape = SHAPES[name]
        bare, with_peft = shape.load().backbone, shape.load().backbone
        add_lora(with_peft, LORA)
        adapters = [new_adapter(bare, LORA)]
        tokens = (shape.image // shape.patch) ** 2 + bare.pooling.prefix_tokens
        for batch in (BATCH, BATCH // 4):
            torch.compiler.reset()
            features, gradient = torch.randn(batch, tokens, shape.hidden), torch.randn(batch, shape.hidden)

            def eager(rows=features, gradient=gradient, model=bare, adapters=adapters) -> None:
                mixed_forward(model, rows, adapters, [0] * len(rows), LORA).backward(gradient)

            faster = torch.compile(with_peft, dynamic=False)

            def fast(rows=features, gradient=gradient, model=faster) -> None:
                model(rows).backward(gradient)

            first_s = cpu_s(fast)
            cpu, _ = in_turns(eager, fast)
            gained_s = cpu_s(eager) * (1.0 - 1.0 / cpu)
            pays = f"pays after {first_s / gained_s:.0f} steps" if gained_s > 0 else "never pays"
            bars.note(f"{name} × {batch}: eager ÷ compiled, CPU", cpu, f"first step {first_s:.0f} s, {pays}")


def cpu_s(action: Callable[[], None]) -> float:
    """CPU time, that of child processes that end in it included."""
    before = os.times()
    action()
    return sum(os.times()[:4]) - sum(before[:4])


def in_turns(first: Callable[[], float | None], second: Callable[[], float | None]) -> tuple[float, float]:
    """Medians of time(first) ÷ time(second) over neighbouring turns: of CPUs, and on the wall.

    What a side returns is the CPU time that it has taken in other processes.
    """
    ratios: list[tuple[float, float]] = []
    first(), second()  # warm up
    started = time.perf_counter()
    while len(ratios) < TURNS or (time.perf_counter() - started < BUDGET_S and len(ratios) < MOST_TURNS):
        order = (first, second) if len(ratios) % 2 else (second, first)
        times = {}
        for action in order:
            before = time.process_time(), time.perf_counter()
            elsewhere_s = action() or 0.0
            times[action] = time.process_time() - before[0] + elsewhere_s, time.perf_counter() - before[1]
        (cpu, wall), (other_cpu, other_wall) = times[first], times[second]
        ratios.append((cpu / other_cpu, wall / other_wall))
    cpus, walls = zip(*ratios, strict=True)
    return statistics.median(cpus), statistics.median(walls)


PARTS: dict[str, Callable[[Bars], None]] = {
    "split": split,
    "pipeline": pipeline,
    "mixed": mixed,
    "cache": cache,
    "head": head,
    "control": control,
    "compile": compiled,
}

if __name__ == "__main__":
    main()
