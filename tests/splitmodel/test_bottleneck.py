"""The start of a bottleneck, against numpy's singular vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitmodel.bottleneck import SecondMoments, principal_components


@pytest.fixture
def states() -> torch.Tensor:
    """40 images of 9 patches, whose 12 channels follow from 4 causes, with noise, in very different units."""
    generator = torch.Generator().manual_seed(0)
    causes = torch.randn(40, 9, 4, generator=generator) * torch.tensor([4.0, 3.0, 2.0, 1.5])
    mixed = causes @ torch.randn(4, 12, generator=generator) + 0.1 * torch.randn(
        40, 9, 12, generator=generator
    )
    return mixed * 10.0 ** torch.linspace(-2, 2, 12) + 5.0


def test_it_leaves_uncorrelated_values_that_hold_nearly_all_of_the_states(states: torch.Tensor) -> None:
    weight, scaling = principal_components(SecondMoments.of(states), 4)
    narrow = scaling.standardise(states @ weight.T).flatten(0, 1)
    torch.testing.assert_close(torch.cov(narrow.T), torch.eye(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(narrow.mean(0), torch.zeros(4), rtol=0, atol=1e-3)
    rows = states.flatten(0, 1).double().numpy()
    standardised = (rows - rows.mean(0)) / rows.std(0, ddof=1)
    rebuilt, _, _, _ = np.linalg.lstsq(narrow.double().numpy(), standardised, rcond=None)
    left = standardised - narrow.double().numpy() @ rebuilt
    singular = np.linalg.svd(standardised, compute_uv=False)
    assert left.var() / standardised.var() == pytest.approx(
        (singular[4:] ** 2).sum() / (singular**2).sum(), rel=0.01
    )


def test_parts_of_a_constellation_add_up_to_the_whole(states: torch.Tensor) -> None:
    whole = principal_components(SecondMoments.of(states), 3)
    parts = principal_components(SecondMoments.of(states[:7]) + SecondMoments.of(states[7:]), 3)
    torch.testing.assert_close(parts[0], whole[0])
    torch.testing.assert_close(parts[1].deviation_D, whole[1].deviation_D)


@pytest.mark.parametrize("rows", [2, 5])
def test_directions_that_no_row_shows_stay_small(states: torch.Tensor, rows: int) -> None:
    few = states.flatten(0, 1)[:rows].clone()
    few[:, 3] = 7.0  # a channel that does not change
    weight, scaling = principal_components(SecondMoments.of(few), 8)
    narrow = scaling.standardise(states @ weight.T)
    assert torch.isfinite(narrow).all()
    assert float(scaling.deviation_D.min()) > 0.01
