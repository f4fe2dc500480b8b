"""A client: it keeps images and labels, runs the embedding and the head, and sends features and gradients."""

from collections.abc import Iterator

import grpc
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from safetensors.torch import load, save
from torch import Tensor

from splitmodel.parts import load_embedding, new_head
from splitmodel.shipped import weights_dir
from splitmodel.step import embed, head_step
from splitmodel.synthetic.scenes import HELD_BACK_CLASSES, render_many

CLASSES, BATCH = 4, 16
app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Pass once over this client's images: features up, pooled states down, their gradient up."""
    embedding, head = load_embedding(weights_dir("synthetic-vit")), head_of(message)
    optimizer = torch.optim.AdamW(head.parameters(), lr=float(context.run_config["head-learning-rate"]))
    losses, count = [], 0
    with grpc.insecure_channel(str(message.content["config"]["backbone"])) as channel:
        for images, labels in batches(context, test=False):
            features = embed(embedding, embedding.preprocess(images))
            pooled = call(channel, "Forward", context, features=features)["pooled"]
            optimizer.zero_grad()
            result = head_step(head, pooled, labels)
            optimizer.step()
            call(channel, "Backward", context, gradient=result.grad_pooled_BD)
            losses.append(float(result.loss))
            count += len(labels)
    metrics = MetricRecord({"loss": sum(losses) / len(losses), "num-examples": count})
    return Message(
        RecordDict({"arrays": ArrayRecord(head.state_dict()), "metrics": metrics}), reply_to=message
    )


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Return the accuracy of the averaged head on this client's test images."""
    embedding, head = load_embedding(weights_dir("synthetic-vit")), head_of(message)
    right = count = 0
    with grpc.insecure_channel(str(message.content["config"]["backbone"])) as channel, torch.no_grad():
        for images, labels in batches(context, test=True):
            features = embed(embedding, embedding.preprocess(images))
            pooled = call(channel, "Forward", context, features=features)["pooled"]
            right += int((head(pooled).argmax(dim=1) == labels).sum())
            count += len(labels)
    metrics = MetricRecord({"accuracy": right / count, "num-examples": count})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def head_of(message: Message) -> torch.nn.Linear:
    """Return the head with the weights that the server has averaged."""
    state = message.content["arrays"].to_torch_state_dict()
    head = new_head(state["weight"].shape[1], CLASSES)
    head.load_state_dict(state)
    return head


def batches(context: Context, *, test: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this client's own images (B, 3, H, W) with their labels; no other client has them."""
    config, partition = context.node_config, int(context.node_config["partition-id"])
    clients, images = int(config["num-partitions"]), int(context.run_config["images"])
    first = (clients + partition if test else partition) * images
    rendered = [
        torch.from_numpy(render_many(name, range(first, first + images), seed=1).copy())
        for name in HELD_BACK_CLASSES[:CLASSES]
    ]
    pixels = torch.cat(rendered).permute(0, 3, 1, 2)
    labels = torch.arange(CLASSES).repeat_interleave(images)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(partition))
    for chosen in order.split(BATCH):
        yield pixels[chosen], labels[chosen]


def call(channel: grpc.Channel, name: str, context: Context, **tensors: Tensor) -> dict[str, Tensor]:
    """Call the backbone with tensors, and return those that come back."""
    request = save({key: tensor.contiguous() for key, tensor in tensors.items()})
    metadata = [("client", str(context.node_config["partition-id"]))]
    reply = channel.unary_unary(f"/split.Backbone/{name}")(request, metadata=metadata, timeout=60)
    return load(reply) if reply else {}
