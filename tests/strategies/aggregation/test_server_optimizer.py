"""Server optimisers against the formulas of their papers."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from strategies.aggregation.server_optimizer import ServerOptimizer

MEANS = [np.array([1.0, -2.0, 0.5], np.float32) * k for k in (1.0, 0.5, 2.0)]


@pytest.fixture(autouse=True)
def in_a_run() -> None:
    """Messages belong to a run."""
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1


def record(values: NDArray[np.float32]) -> ArrayRecord:
    return ArrayRecord({"head": Array(values)})


def fly(optimizer: ServerOptimizer, sent: NDArray, means: list[NDArray], first: int = 1) -> NDArray:
    arrays = record(sent)
    for number, mean in enumerate(means, first):
        arrays = optimizer.step(number, arrays, record(mean))
    return arrays["head"].numpy()


def test_fedavg_is_the_mean_itself() -> None:
    mean = record(MEANS[0])
    assert ServerOptimizer("fedavg", 0.1).step(1, record(MEANS[1]), mean) is mean


def test_fedadam_takes_adams_step_along_what_the_satellites_changed() -> None:
    """Reddi et al. 2021, algorithm 2, with the bias correction of Kingma and Ba; beta 0.9 and 0.99, tau 1e-3."""
    x, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
    for number, mean in enumerate(MEANS, 1):
        change = mean - x
        m, v = 0.9 * m + 0.1 * change, 0.99 * v + 0.01 * change**2
        rate = 0.1 * np.sqrt(1 - 0.99 ** (number + 1)) / (1 - 0.9 ** (number + 1))
        x = x + rate * m / (np.sqrt(v) + 1e-3)
    flown = fly(ServerOptimizer("fedadam", 0.1), np.zeros(3, np.float32), MEANS)
    assert flown.dtype == np.float32
    np.testing.assert_allclose(flown, x, rtol=1e-5)


def test_fedavgm_goes_on_the_way_it_went() -> None:
    x, momentum = np.zeros(3), np.zeros(3)
    for mean in MEANS:
        momentum = 0.9 * momentum + (x - mean)
        x = x - 1.0 * momentum
    np.testing.assert_allclose(
        fly(ServerOptimizer("fedavgm", 1.0), np.zeros(3, np.float32), MEANS), x, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_one_that_is_resumed_goes_on_bit_for_bit(name: str) -> None:
    whole = fly(ServerOptimizer(name, 0.1), np.zeros(3, np.float32), MEANS)
    before, after = ServerOptimizer(name, 0.1), ServerOptimizer(name, 0.1)
    half = fly(before, np.zeros(3, np.float32), MEANS[:2])
    after.load_state(before.state())
    assert np.array_equal(fly(after, half, MEANS[2:], first=3), whole)
