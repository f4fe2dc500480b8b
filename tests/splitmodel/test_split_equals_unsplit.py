"""The split model against the unsplit `transformers` model, loaded and run without any code of ours."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModel

from splitmodel.adapters import LoraSettings, add_lora
from splitmodel.families import FAMILIES
from splitmodel.parts import SplitModel, load_split
from splitmodel.step import backbone_backward, backbone_forward, embed, embedding_backward, head_step

LABELS, BATCH, STEPS = 5, 6, 5
SETTINGS = LoraSettings(rank=4, alpha=8.0)


class Unsplit(nn.Module):
    """transformers + peft + a linear head, as one would write it without SkySplit."""

    def __init__(self, directory: Path, lora: bool) -> None:
        super().__init__()
        self.family = FAMILIES[AutoModel.from_pretrained(directory).config.model_type]
        arguments = {"mask_ratio": 0.0} if self.family.model_type == "vit_mae" else {}
        self.transformer = AutoModel.from_pretrained(directory, **arguments).requires_grad_(False).eval()
        self.head = nn.Linear(self.transformer.config.hidden_size, LABELS)
        if lora:
            get_peft_model(
                self.transformer, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
            )

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = self.transformer(pixels).last_hidden_state
        # A masked autoencoder shuffles the patches it keeps; the class token does not see their order.
        pooled = hidden.mean(dim=1) if self.family.model_type == "ijepa" else hidden[:, 0]
        return self.head(pooled)


def batch(split: SplitModel, step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    size = split.config.image_size
    images = torch.randint(0, 256, (BATCH, 3, size, size), dtype=torch.uint8, generator=generator)
    return split.preprocess(images), torch.randint(0, LABELS, (BATCH,), generator=generator)


def split_step(split: SplitModel, pixels: Tensor, labels: Tensor, embedding_trained: bool) -> Tensor:
    """What satellite and ground do between them; tensors cross as plain data."""
    features = embed(split.embedding, pixels)
    pooled, context = backbone_forward(split.backbone, features, with_feature_gradient=embedding_trained)
    result = head_step(split.head, pooled, labels)
    grad_features = backbone_backward(context, result.grad_pooled_BD)
    assert (grad_features is None) is not embedding_trained
    if grad_features is not None:
        embedding_backward(features, grad_features)
    return result.loss


def twins(directory: Path, lora: bool) -> tuple[SplitModel, Unsplit]:
    split = load_split(directory, num_labels=LABELS, seed=3)
    unsplit = Unsplit(directory, lora)
    unsplit.head.load_state_dict(split.head.state_dict())
    if lora:
        add_lora(split.backbone, SETTINGS, seed=4)
        generator = torch.Generator().manual_seed(5)
        ours, theirs = lora_weights(split.backbone), lora_weights(unsplit)
        assert len(ours) == len(theirs) == 4 * split.config.num_hidden_layers
        with torch.no_grad():
            for mine, other in zip(ours, theirs, strict=True):  # with B = 0 the gradient of A would be 0
                mine.copy_(0.1 * torch.randn(mine.shape, generator=generator))
                other.copy_(mine)
    return split, unsplit


def lora_weights(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for name, parameter in module.named_parameters() if "lora_" in name]


def assert_same_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    """Every gradient is there on both sides or on none, and equal to 1e-5 of its largest value."""
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        wanted = expected[name].grad
        assert (parameter.grad is None) == (wanted is None), name
        if wanted is not None:
            assert parameter.grad is not None
            tolerance = 1e-5 * float(wanted.abs().max())
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-5, atol=tolerance, msg=name)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_frozen_split_model_gives_the_unsplit_logits_and_head_gradients(
    tiny_models: dict[str, Path], model_type: str
) -> None:
    split, unsplit = twins(tiny_models[model_type], lora=False)
    pixels, labels = batch(split, 0)
    loss = F.cross_entropy(unsplit(pixels), labels)
    loss.backward()
    torch.testing.assert_close(split(pixels), unsplit(pixels), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(split_step(split, pixels, labels, False), loss.detach(), rtol=1e-5, atol=0)
    assert_same_gradients(split.head, unsplit.head)


@pytest.mark.parametrize("embedding_trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_losses_gradients_and_weights_stay_equal_over_five_optimiser_steps(
    tiny_models: dict[str, Path], model_type: str, embedding_trained: bool
) -> None:
    check_training(tiny_models[model_type], embedding_trained)


@pytest.mark.parametrize("embedding_trained", [False, True], ids=["frozen", "trained"])
def test_galileo_nano_trains_split_as_it_does_unsplit(galileo_nano: Path, embedding_trained: bool) -> None:
    check_training(galileo_nano, embedding_trained)


def check_training(directory: Path, embedding_trained: bool) -> None:
    split, unsplit = twins(directory, lora=True)
    if embedding_trained:
        split.embedding.requires_grad_(True)
        unsplit.transformer.embeddings.requires_grad_(True)
        if split.backbone.family.model_type == "vit_mae":  # its sine positions are constants
            split.embedding.tokens_from.position_embeddings.requires_grad_(False)
            unsplit.transformer.embeddings.position_embeddings.requires_grad_(False)
    trained = [split.backbone.transformer, split.head]  # the embedding's modules are the transformer's
    on_both_sides = [p for module in trained for p in module.parameters() if p.requires_grad]
    ours = torch.optim.SGD(on_both_sides, lr=0.1, momentum=0.9)
    theirs = torch.optim.SGD([p for p in unsplit.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    for step in range(STEPS):
        pixels, labels = batch(split, step)
        ours.zero_grad()
        theirs.zero_grad()
        expected = F.cross_entropy(unsplit(pixels), labels)
        expected.backward()
        loss = split_step(split, pixels, labels, embedding_trained)
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-6)
        assert_same_gradients(split.backbone.transformer, unsplit.transformer)
        assert_same_gradients(split.head, unsplit.head)
        ours.step()
        theirs.step()
    others = dict(unsplit.transformer.named_parameters())
    for name, mine in split.backbone.transformer.named_parameters():
        torch.testing.assert_close(mine, others[name], rtol=1e-5, atol=1e-6, msg=name)
    torch.testing.assert_close(split.head.weight, unsplit.head.weight, rtol=1e-5, atol=1e-6)


def test_gradients_of_weighted_micro_batches_sum_to_those_of_the_batch(tiny_models: dict[str, Path]) -> None:
    split, _ = twins(tiny_models["vit"], lora=True)
    pixels, labels = batch(split, 0)
    split_step(split, pixels, labels, embedding_trained=False)
    parameters = [*lora_weights(split.backbone), *split.head.parameters()]
    whole = [parameter.grad.clone() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):  # micro-batches of different size
        features = embed(split.embedding, pixels[rows])
        pooled, context = backbone_forward(split.backbone, features)
        result = head_step(split.head, pooled, labels[rows], weight=len(features) / BATCH)
        backbone_backward(context, result.grad_pooled_BD)
    for parameter, expected in zip(parameters, whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=1e-6)


def test_a_gradient_of_another_shape_is_refused(tiny_models: dict[str, Path]) -> None:
    split, _ = twins(tiny_models["vit"], lora=True)
    pixels, _ = batch(split, 0)
    pooled, context = backbone_forward(split.backbone, embed(split.embedding, pixels))
    with pytest.raises(ValueError, match=r"gradient has shape \(2, 32\), the pooled states \(6, 32\)"):
        backbone_backward(context, pooled[:2])
