"""The split model against the unsplit `transformers` model, loaded and run without any code of ours."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModel

from splitmodel.lora.adapters import LoraSettings, add_lora, make_trainable, trainable_state
from splitmodel.lora.mixed_adapters import mixed_forward, without_adapter
from splitmodel.parts import load_split
from splitmodel.step import embed, head_step
from splitmodel.testing import check_family

BATCH, STEPS = 6, 3


def test_galileo_nano_trains_split_as_it_does_unsplit(galileo_nano: Path) -> None:
    check_family(
        galileo_nano,
        load=lambda: AutoModel.from_pretrained(galileo_nano, add_pooling_layer=False).eval(),
        hidden=lambda model, pixels: model(pixels).last_hidden_state,
    )


@pytest.mark.parametrize("model_type", ["vit", "dinov3_vit", "clip_vision_model", "beit", "data2vec-vision"])
def test_a_whole_model_that_is_trained_on_board_stays_equal_to_the_unsplit_one(
    tiny_models: dict[str, Path], model_type: str
) -> None:
    split = load_split(tiny_models[model_type], num_labels=5, seed=3)
    make_trainable(split.backbone, "onboard-full", LoraSettings())
    whole = AutoModel.from_pretrained(tiny_models[model_type]).eval()
    head = torch.nn.Linear(32, 5)
    head.load_state_dict(split.head.state_dict())
    # Whoever pools has parameters besides; they get no gradient.
    theirs = torch.optim.SGD([*whole.parameters(), *head.parameters()], lr=0.1, momentum=0.9)
    ours = torch.optim.SGD([*split.backbone.parameters(), *split.head.parameters()], lr=0.1, momentum=0.9)
    for step in range(STEPS):
        pixels = torch.randn(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(step))
        labels = torch.arange(BATCH) % 5
        hidden = whole(pixels).last_hidden_state
        if model_type == "clip_vision_model":
            hidden = whole.post_layernorm(hidden)
        expected = F.cross_entropy(head(split.backbone.pooling(hidden)), labels)
        loss = F.cross_entropy(split(pixels), labels)
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
        for optimiser, of in ((theirs, expected), (ours, loss)):
            optimiser.zero_grad()
            of.backward()
            optimiser.step()
    others = dict(whole.named_parameters())
    for name, parameter in split.backbone.transformer.named_parameters():
        torch.testing.assert_close(parameter, others[name], rtol=1e-5, atol=1e-6, msg=name)


def test_gradients_of_weighted_micro_batches_sum_to_those_of_the_batch(tiny_models: dict[str, Path]) -> None:
    settings = LoraSettings(rank=4, alpha=8.0)
    split = load_split(tiny_models["vit"], num_labels=5, seed=3)
    add_lora(split.backbone, settings)
    bare = without_adapter(split.backbone)
    generator = torch.Generator().manual_seed(5)
    adapter = {
        name: (0.1 * torch.randn(tensor.shape, generator=generator)).requires_grad_()
        for name, tensor in trainable_state(split.backbone).items()
    }
    pixels, labels = torch.randn(BATCH, 3, 16, 16, generator=generator), torch.arange(BATCH) % 5

    def gradients(*parts: slice) -> list[torch.Tensor]:
        parameters = [*adapter.values(), *split.head.parameters()]
        for parameter in parameters:
            parameter.grad = None
        for rows in parts:
            features = embed(split.embedding, pixels[rows])
            pooled = mixed_forward(bare, features, [adapter], [0] * len(features), settings)
            result = head_step(split.head, pooled, labels[rows], weight=len(features) / BATCH)
            pooled.backward(result.grad_pooled_BD)
        return [parameter.grad.clone() for parameter in parameters]

    whole = gradients(slice(0, BATCH))
    parts = gradients(slice(0, 1), slice(1, 4), slice(4, 6))  # of different size
    for found, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
