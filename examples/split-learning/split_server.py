"""The server: a backbone with LoRA behind gRPC, and federated averaging of the clients' heads by Flower."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from safetensors.torch import load, save

from splitmodel.lora.adapters import LoraSettings, add_lora
from splitmodel.parts import Backbone, load_split
from splitmodel.shipped import weights_dir

CLASSES = 4
app = ServerApp()


class BackboneService:
    """Forward: features to pooled states. Backward: their gradient, and one step of the one adapter of all clients."""

    def __init__(self, backbone: Backbone, learning_rate: float) -> None:
        self.backbone = backbone
        trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)
        self.turn = threading.Lock()  # one client at a time changes the adapter
        self.features: dict[str, torch.Tensor] = {}  # of each client's last batch

    def forward(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Return pooled states (B, D) of features (B, T, D)."""
        features = load(request)["features"]
        self.features[_client(context)] = features
        with torch.no_grad():
            return save({"pooled": self.backbone(features).contiguous()})

    def backward(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Take a step along the gradient (B, D) of the pooled states of the client's last features.

        They are computed again: another client may have changed the adapter since.
        """
        gradient, features = load(request)["gradient"], self.features.pop(_client(context))
        with self.turn:
            self.optimizer.zero_grad()
            self.backbone(features).backward(gradient)
            self.optimizer.step()
        return b""


@contextmanager
def serving(service: BackboneService) -> Iterator[str]:
    """Serve a backbone on a free port of this machine as long as the block lasts; its address."""
    calls = {"Forward": service.forward, "Backward": service.backward}
    handlers = {name: grpc.unary_unary_rpc_method_handler(call) for name, call in calls.items()}
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("split.Backbone", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Serve the backbone, and let Flower average the heads over the rounds."""
    config = context.run_config
    split = load_split(weights_dir("synthetic-vit"), num_labels=CLASSES, seed=0)
    add_lora(split.backbone, LoraSettings(rank=8))
    with serving(BackboneService(split.backbone, float(config["learning-rate"]))) as address:
        where = ConfigRecord({"backbone": address})
        result = FedAvg().start(
            grid=grid,
            initial_arrays=ArrayRecord(split.head.state_dict()),
            num_rounds=int(config["rounds"]),
            train_config=where,
            evaluate_config=where,
        )
    for number, metrics in result.evaluate_metrics_clientapp.items():
        print(f"round {number}: accuracy {100 * metrics['accuracy']:.1f} %", flush=True)


def _client(context: grpc.ServicerContext) -> str:
    return str(dict(context.invocation_metadata())["client"])
