"""What features tell of the images: how much of their pixels a linear map recovers, as whoever holds features may do.

The map is fitted on images that are known with their features, and judged on others. It reads all tokens of a patch and
gives the pixels of that patch. What it recovers is a lower bound: a better inversion recovers more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from splitmodel.crossing import tensors
from splitmodel.crossing.scaling import Moments, Scaling, SplitScaling
from splitmodel.crossing.tensors import Crossing
from splitmodel.parts import Embedding, PatchStates, run_blocks

_CHUNK = 32  # images in a block at once
_RIDGE = 1e-9  # of the mean variance of what is read: far below what float32 carries, and enough to solve


@torch.no_grad()
def pixels_recovered(
    embedding: Embedding, known_BCHW: Tensor, secret_BCHW: Tensor, codec: str
) -> list[float]:
    """Return the part of the pixels' variance that is recovered behind each number of blocks on board.

    Args:
        embedding: With as many blocks as are asked for.
        known_BCHW: Preprocessed images, by which the map is fitted.
        secret_BCHW: Preprocessed images that are recovered.
        codec: How features cross.

    Returns:
        R² over all pixels behind 0, 1, … blocks: 1 is every pixel, 0 or less no more than the mean image.
    """
    size = embedding.preprocess.height, embedding.preprocess.width
    states = PatchStates(embedding.family.layout(embedding.config, *size))
    known, secret = (_by_patch(pixels, states) for pixels in (known_BCHW, secret_BCHW))
    hidden, count = torch.cat([known_BCHW, secret_BCHW]), len(known_BCHW)
    hidden = torch.cat([embedding.tokens_from(part) for part in hidden.split(_CHUNK)])
    recovered = []
    for depth in range(len(embedding.blocks) + 1):
        if depth:
            block = embedding.blocks[depth - 1 : depth]
            parts = hidden.split(_CHUNK)
            hidden = torch.cat([_behind(embedding, block, part, size) for part in parts])
        scaling = Scaling.of(Moments.of(hidden[:count]))  # which both sides know from enrolment
        sent = states(_as_sent(hidden, codec, scaling))
        recovered.append(_explained(sent[:count], known, sent[count:], secret))
    return recovered


def _behind(
    embedding: Embedding, block: torch.nn.ModuleList, hidden_BTD: Tensor, size: tuple[int, int]
) -> Tensor:
    return run_blocks(embedding.family, embedding.transformer, block, hidden_BTD, size)


def _as_sent(features_BTD: Tensor, codec: str, scaling: Scaling) -> Tensor:
    both = SplitScaling(scaling, scaling)
    payload = tensors.encode(features_BTD, codec, Crossing.FEATURES, both)
    return tensors.decode(payload, codec, tuple(features_BTD.shape), Crossing.FEATURES, both)


def _by_patch(pixels_BCHW: Tensor, states: PatchStates) -> Tensor:
    """Pixels of each patch side by side, shape (B, patches, values); what no patch covers is left out."""
    rows, columns = states.layout.rows, states.layout.columns
    tall, wide = pixels_BCHW.shape[-2] // rows, pixels_BCHW.shape[-1] // columns
    covered = pixels_BCHW[..., : rows * tall, : columns * wide]
    cut = covered.unflatten(-1, (columns, wide)).unflatten(-3, (rows, tall))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _explained(known_tokens: Tensor, known: Tensor, tokens: Tensor, secret: Tensor) -> float:
    """R² of the secret pixels by the least-squares map of the known ones, means by place: features hold positions."""
    token_mean, mean = known_tokens.mean(0), known.mean(0)
    read = (known_tokens - token_mean).flatten(0, 1).double()
    wanted = (known - mean).flatten(0, 1).double()
    gram = read.T @ read
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    fit = torch.linalg.solve(gram, read.T @ wanted)
    predicted = ((tokens - token_mean).double() @ fit) + mean
    unexplained = (predicted - secret).square().sum() / (secret - secret.mean((0, 1))).square().sum()
    return 1.0 - float(unexplained)
