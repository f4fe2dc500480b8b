"""The example for Flower's own users: two files, plain Flower, the split over gRPC."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import psutil
import pytest
import torch

_MARK = "SKYSPLIT_TEST"
EXAMPLE = Path(__file__).parents[3] / "examples" / "split-learning"


def part(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"split_learning_{name}", EXAMPLE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_split_over_grpc_has_the_gradients_of_the_whole_model() -> None:
    server, client = part("split_server"), part("split_client")
    split = server.load_split(server.weights_dir("synthetic-vit"), num_labels=4, seed=0)
    server.add_lora(split.backbone, server.LoraSettings(rank=2))
    trained = [parameter for parameter in split.backbone.parameters() if parameter.requires_grad]
    service = server.BackboneService(split.backbone, learning_rate=0.0)
    context = type("Context", (), {"node_config": {"partition-id": 0}})()
    images = torch.randint(
        0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    labels = torch.arange(8) % 4
    with server.serving(service) as address, client.grpc.insecure_channel(address) as channel:
        features = client.embed(split.embedding, split.preprocess(images))
        pooled = client.call(channel, "Forward", context, features=features)["pooled"]
        result = client.head_step(split.head, pooled, labels)
        client.call(channel, "Backward", context, gradient=result.grad_pooled_BD)
    found = [parameter.grad.clone() for parameter in trained]
    split.backbone.zero_grad()
    loss = torch.nn.functional.cross_entropy(split(split.preprocess(images)), labels)
    loss.backward()
    torch.testing.assert_close(result.loss, loss.detach())
    assert any(gradient.abs().sum() > 0 for gradient in found)
    for gradient, parameter in zip(found, trained, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_heads_are_averaged_by_flower_and_the_accuracy_rises(
    grid_of: Callable[[int, int], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server, client = part("split_server"), part("split_client")
    config = {"rounds": 2, "images": 8, "learning-rate": 0.003, "head-learning-rate": 0.03}
    grid = type(grid_of(1, 1))(client.app, 2, 2)
    for context in grid._contexts.values():
        context.run_config = config
    context = next(iter(grid._contexts.values()))
    server.app(grid, context)
    accuracies = [float(found) for found in re.findall(r"accuracy ([\d.]+) %", capsys.readouterr().out)]
    assert len(accuracies) == 2
    assert accuracies[-1] > 40.0  # chance is 25 %


@pytest.mark.flower
@pytest.mark.slow  # the rounds are run in this process above, `flwr run` itself in test_flower_run.py
def test_flwr_run_ends_with_the_accuracy_of_every_round(tmp_path: Path) -> None:
    app = shutil.copytree(EXAMPLE, tmp_path / "app")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])

    mark = str(uuid4())
    environment = os.environ | {
        _MARK: mark,
        "FLWR_HOME": str(tmp_path / "home"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": port,
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}",
    }
    try:
        done = subprocess.run(
            ["flwr", "run", str(app), "--stream", "--run-config", "rounds=1 images=4",
             "--federation-config", f"num-supernodes=2 client-resources-num-cpus={os.cpu_count()}"],
            env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
    finally:
        _end_all_of(mark)  # plain `flwr run` leaves a SuperLink
    assert "round 1: accuracy" in done.stdout + done.stderr, done.stdout + done.stderr


def _end_all_of(mark: str) -> None:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == mark:
                process.kill()
