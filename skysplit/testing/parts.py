"""Prove parts of other packages: imagery, link models, aggregation rules, codecs, heads, decoders.

For strategies and round planners: `strategies.testing`.

    check_imagery_source("checkerboards")

A part is named as a scenario names it, so the package that registers it has to be installed. Every function raises
AssertionError where the part is not as it must be, and the error of the part's door where it cannot be used.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mission.entry_points import IMAGERY, LINKS, registered_function
from mission.schema import IMAGE_SOURCES
from orbit.rate_model import RateModel

if TYPE_CHECKING:
    import torch

    from splitmodel.heads import OwnHead
    from splitmodel.imagery import ImageSet

_ZENITH_KM, _HORIZON_KM = 300.0, 4000.0


def check_imagery_source(name: str, path: Path | None = None, *, images: int = 16) -> None:
    """Open a source twice with a seed, and decode some images of each subset.

    It has images to train and to score, and gives the same ones again, in any order: every satellite opens it for
    itself.
    """
    from splitmodel.imagery import open_imagery

    own = registered_function(IMAGERY, name, IMAGE_SOURCES)
    first, again = (open_imagery(name, path, seed=3, own=own) for _ in range(2))
    for subset, opened, other in (
        ("train", first.train, again.train),
        ("test", first.test, again.test),
    ):
        where = f"{name}: {subset}"
        assert opened.rows.tolist() == other.rows.tolist(), f"{where}: opened again, it has other images"
        labels = [each.source.targets.values for each in (opened, other)]
        assert np.array_equal(labels[0], labels[1]), f"{where}: opened again, it has other labels"
        chosen = np.unique(np.linspace(0, len(opened) - 1, images).astype(int))
        values = {row: _values(opened, row) for row in chosen.tolist()}
        for row in reversed(chosen.tolist()):
            assert np.array_equal(values[row], _values(other, row)), (
                f"{where}: image {row}, decoded again, differs"
            )


def _values(images: ImageSet, row: int) -> np.ndarray:
    return images.source.raster(int(images.rows[row])).values


def check_link_model(name: str) -> None:
    """Ask a link model for rates of all shapes that a contact plan asks for, from the zenith to the horizon.

    A rate depends on its range and elevation alone, and the link closes somewhere.
    """
    model = RateModel(f"link model {name!r}", registered_function(LINKS, name, ("given",)))
    range_km, elevation_deg = np.meshgrid(
        np.linspace(_ZENITH_KM, _HORIZON_KM, 40), np.linspace(0.0, 90.0, 31)
    )
    rates = model.rate_bps(range_km, elevation_deg)
    assert rates.any(), f"{name}: carries nothing at any range and elevation"
    flat = model.rate_bps(range_km.ravel()[::-1], elevation_deg.ravel()[::-1])[::-1]
    assert np.array_equal(flat, rates.ravel()), f"{name}: the rate depends on more than range and elevation"
    assert model.rate_bps(range_km[:0], elevation_deg[:0]).shape == (0, 40), f"{name}: no pass, but a rate"


def check_aggregation_rule(name: str, *, learning_rate: float = 0.1, rounds: int = 6) -> None:
    """Run drawn rounds of a rule, and again with a new object in the middle that takes over the state.

    Both end with the same weights, bit for bit: a run that is resumed goes on to the same result.
    """
    from flwr.app import Array, ArrayRecord

    from strategies.aggregation.server_optimizer import ServerOptimizer

    rng = np.random.default_rng(0)
    means = [
        ArrayRecord({key: Array(rng.normal(size=shape).astype(np.float32)) for key, shape in _SHAPES.items()})
        for _ in range(rounds + 1)
    ]
    whole = resumed = means[0]
    steady, renewed = (ServerOptimizer(name, learning_rate) for _ in range(2))
    for number, mean in enumerate(means[1:], 1):
        if number == 1 + rounds // 2:
            state = renewed.state()
            renewed = ServerOptimizer(name, learning_rate)
            renewed.load_state(state)
        whole, resumed = steady.step(number, whole, mean), renewed.step(number, resumed, mean)
    for key in _SHAPES:
        same = np.array_equal(whole[key].numpy(), resumed[key].numpy())
        assert same, f"{name}: resumed in the middle, it ends with other weights; state() lacks something"


_SHAPES = {"head.weight": (4, 3), "head.bias": (4,)}


def check_codec(name: str, *, rows: int = 7) -> float:
    """Pack and unpack drawn rows of many lengths and magnitudes, as tensors of a mission cross.

    A tensor takes the bytes that are planned, and a row has the same bytes whatever rows are beside it and whenever it
    is packed. Of standardised rows, what comes back is nearer to what was sent than zeros are.

    Returns:
        The relative error of standardised rows of 4,096 elements.
    """
    import torch

    from splitmodel.crossing import codec_sizes, codecs

    generator = torch.Generator().manual_seed(0)
    for elements, magnitude in product((1, 2, 3, 63, 64, 65, 1000), (0.0, 1e-30, 1e-4, 1.0, 1e4)):
        values = magnitude * torch.randn(rows, elements, generator=generator)
        where = f"{name}: rows of {elements} elements about {magnitude:g}"
        payload = codecs.encode(values, name)
        assert payload.nbytes == codec_sizes.encoded_bytes(values.shape, name), (
            f"{where}: not as long as planned"
        )
        assert codecs.encode(values, name) == payload, f"{where}: packed again, they differ"
        back = codecs.decode(payload, name, values.shape)
        order = torch.randperm(rows, generator=generator)
        packed = codecs.to_rows(payload, name, values.shape)[order.numpy()]
        alone = [codecs.encode(values[[row]], name) for row in order.tolist()]
        assert [row.tobytes() for row in packed] == [row.tobytes() for row in alone], (
            f"{where}: a row depends on those beside it"
        )
        moved = codecs.decode(codecs.from_rows(packed, name, elements), name, values.shape)
        assert torch.equal(moved, back[order]), f"{where}: unpacked in another order, they differ"
    values = torch.randn(rows, 4096, generator=generator)
    error = float(
        (codecs.decode(codecs.encode(values, name), name, values.shape) - values).norm() / values.norm()
    )
    assert error < 1.0, f"{name}: its error is {error:.2f} of what it carries; zeros err by 1"
    return error


def check_head(name: str, *, inputs: int = 48, outputs: int = 5, rows: int = 6) -> None:
    """Make a head twice with a seed, and compare outputs and gradients of drawn states.

    Both have the same weights. An image's outputs do not depend on others or on chance, every parameter learns, and
    what crosses as a vector comes back as it was.
    """
    import torch

    from learning.task import head_maker

    maker = head_maker(name)
    assert maker is not None, f"{name}: found ours; allowed: a head of another package"
    head, again = (maker.new(inputs, outputs, seed=3) for _ in range(2))
    states = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(0))
    _check_trainable(name, head, again, states, torch.arange(rows) % outputs)


def check_decoder(
    name: str, *, inputs: int = 48, outputs: int = 3, patches: tuple[int, int] = (4, 5), rows: int = 6
) -> None:
    """Make a decoder twice with a seed, and hold it to what :func:`check_head` holds a head to."""
    import torch

    from learning.task import decoder_maker
    from splitmodel.dense_heads import OwnDenseHead, PatchGrid

    maker = decoder_maker(name)
    assert maker is not None, f"{name}: found ours; allowed: a decoder of another package"
    grid = PatchGrid(*patches, height=2 * patches[0], width=2 * patches[1])
    head, again = (OwnDenseHead.new(maker, grid, inputs, outputs=outputs, seed=3) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(rows, patches[0] * patches[1], inputs, generator=generator)
    classes = torch.randint(outputs, (rows, grid.height, grid.width), generator=generator)
    _check_trainable(name, head, again, states, classes)


def _check_trainable(
    name: str, head: OwnHead, again: OwnHead, states: torch.Tensor, classes: torch.Tensor
) -> None:
    import torch

    rows = len(states)
    assert torch.equal(head.table(), again.table()), (
        f"{name}: made again with the same seed, it has other weights"
    )
    whole = head(states)
    assert torch.equal(whole, head(states)), f"{name}: asked again, it gives other outputs"
    alone = torch.cat([head(states[[row]]) for row in range(rows)])
    assert torch.allclose(whole, alone, rtol=1e-4, atol=1e-5), (
        f"{name}: an image changes the outputs of others"
    )
    torch.nn.functional.cross_entropy(whole, classes).backward()
    for parameter, tensor in head.named_parameters():
        learns = tensor.grad is not None and bool(tensor.grad.any())
        assert learns, f"{name}: {parameter} has no gradient"
    again.set_table(head.table())
    again.set_gradient_table(head.gradient_table())
    assert torch.equal(again.gradient_table(), head.gradient_table()), f"{name}: gradients do not come back"
    assert torch.equal(again(states), whole), f"{name}: weights do not come back"
