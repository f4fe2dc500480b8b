"""Enrolment over Flower nodes that are registered under names, and over nodes that are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from mission.run_config import RunConfig
from mission.scenario import load_scenario
from strategies import enrolment
from strategies.enrolment import FederationError, enrol
from tests.conftest import NODE_0, InProcessGrid

SATELLITES = ("sat-0-00", "sat-0-01", "sat-0-02")


def run_config() -> RunConfig:
    return RunConfig(
        load_scenario("demo"),
        SATELLITES,
        planes=(0, 0, 0),
        run="run",
        ground="ground",
        backbone="127.0.0.1:1",
        keeps_features=False,
    )


@pytest.fixture
def nodes_of() -> Callable[..., InProcessGrid]:
    """Make a grid of nodes whose satellites answer at once, registered under names by their number."""

    def grid(nodes: int = 3, names: tuple[str, ...] = ()) -> InProcessGrid:
        app = ClientApp()

        @app.query("enrolment")
        def answer(message: Message, context: Context) -> Message:
            figures = {"no-data": 0.0}
            lists = {"labels": [4, 5], "sensors": [""], "sensor-images": [9]}
            record = ConfigRecord({"satellite": int(context.node_config["partition-id"]), **figures, **lists})
            return Message(RecordDict({"config": record}), reply_to=message)

        made = InProcessGrid(app, nodes, max_concurrency=nodes)
        made.registered = {NODE_0 + number: name for number, name in enumerate(names)}
        return made

    return grid


@pytest.mark.parametrize("names", [(), SATELLITES, ("ours-1", "ours-2", "ours-3"), SATELLITES[:1]])
def test_nodes_enrol_without_names_and_under_names_that_do_not_contradict(
    nodes_of: Callable[..., InProcessGrid], names: tuple[str, ...]
) -> None:
    enrolled = enrol(nodes_of(names=names), run_config())
    assert enrolled.names == {NODE_0 + number: name for number, name in enumerate(SATELLITES)}
    assert dict(enrolled.samples) == dict.fromkeys(SATELLITES, 9)


def test_a_node_that_is_registered_as_another_satellite_is_refused(
    nodes_of: Callable[..., InProcessGrid],
) -> None:
    swapped = ("sat-0-00", "sat-0-02", "sat-0-01")
    with pytest.raises(
        FederationError, match="registered as sat-0-02 has the partition-id of sat-0-01; allowed: its own, 2"
    ):
        enrol(nodes_of(names=swapped), run_config())


def test_too_few_nodes_with_names_are_an_error_that_names_the_missing(
    nodes_of: Callable[..., InProcessGrid], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolment, "_NODES_TIMEOUT_S", 0.0)
    with pytest.raises(
        FederationError, match="3 satellites, Flower has nodes of 1; without one: sat-0-00, sat-0-02$"
    ):
        enrol(nodes_of(1, names=("sat-0-01",)), run_config())
    with pytest.raises(FederationError, match="3 satellites, Flower has 2 nodes.*num-supernodes=3"):
        enrol(nodes_of(2), run_config())
