"""A satellite's tensors over a link that does not keep their order."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch
from torch import Tensor

from client_app.exchange.crossings import Crossings, MicroBatch
from mission.run_config import RunConfig
from mission.scenario import load_scenario
from relay.client.message_link import LinkError
from relay.wire.manifest import Buffer, Bundle, Manifest, MessageKind
from splitmodel.crossing import codecs


class Sky:
    """A link that gives what was put into it."""

    def __init__(self) -> None:
        self.coming: deque[Bundle] = deque()
        self.sent: list[Manifest] = []
        self.acknowledged_but: list[set[bytes]] = []

    def acknowledge(self, keep: set[bytes]) -> None:
        self.acknowledged_but.append(keep)

    def send(self, manifest: Manifest, payload: Buffer) -> None:
        self.sent.append(manifest)

    def receive(self, timeout_s: float) -> Bundle:
        return self.coming.popleft()

    def bundle_bytes(self, manifest: Manifest) -> int:
        return manifest.total_bytes


def crossings(link: Sky, turns: tuple[int, ...] = ()) -> Crossings:
    run_config = RunConfig(
        load_scenario("walker-12", {}),
        ("sat",),
        planes=(0,),
        run="run",
        ground="ground",
        backbone="",
        keeps_features=False,
    )
    return Crossings(link, run_config, index=0, round_number=2, turns=turns)  # type: ignore[arg-type]


def hidden(value: float, step: int, micro_batch: int = 0, round_number: int = 2) -> Bundle:
    tensor: Tensor = torch.full((2, 3), value)
    payload = codecs.encode(tensor, "fp32")
    manifest = Manifest.describe(
        payload,
        run="run",
        kind=MessageKind.HIDDEN,
        source="ground",
        destination="sat",
        dtype="float32",
        shape=(2, 3),
        codec="fp32",
        round=round_number,
        step=step,
        micro_batch=micro_batch,
    )
    return Bundle(manifest, payload)


def test_what_comes_early_is_held_until_it_is_asked_for() -> None:
    link = Sky()
    link.coming.extend([hidden(1.0, 4, 1), hidden(2.0, 5), hidden(0.0, 4, 0)])
    over = crossings(link)
    for value, place in ((0.0, MicroBatch(4, 0, of=2)), (1.0, MicroBatch(4, 1, of=2)), (2.0, MicroBatch(5))):
        assert over.receive(MessageKind.HIDDEN, place).unique().tolist() == [value]
    assert not link.coming


def test_what_the_plane_sends_early_is_held_for_its_sum_and_not_settled_before() -> None:
    payload = np.ones(3).tobytes()
    facts = {"source": "sat-2", "destination": "sat", "dtype": "float64", "shape": (3,), "round": 2}
    early = Bundle(Manifest.describe(payload, run="run", kind=MessageKind.AGGREGATE, **facts), payload)
    link = Sky()
    link.coming.extend([early, hidden(1.0, 5), hidden(0.0, 4)])
    over = crossings(link)
    over.receive(MessageKind.HIDDEN, MicroBatch(4))
    over.acknowledge()
    over.receive(MessageKind.HIDDEN, MicroBatch(5))
    over.acknowledge()
    assert over.for_the_plane == [early]
    ahead = hidden(1.0, 5).manifest.transfer_id
    assert link.acknowledged_but == [{early.manifest.transfer_id, ahead}, {early.manifest.transfer_id}]


def test_a_later_round_is_an_error() -> None:
    link = Sky()
    link.coming.append(hidden(1.0, 0, round_number=3))
    with pytest.raises(
        LinkError, match="waits for HIDDEN of round 2, step 4, and got HIDDEN of round 3, step 0"
    ):
        crossings(link).receive(MessageKind.HIDDEN, MicroBatch(4))


def test_a_micro_batch_says_which_part_of_how_many_it_is() -> None:
    link = Sky()
    transfer = crossings(link).send(MessageKind.FEATURES, MicroBatch(4, 1, of=3), torch.zeros(2, 5, 3))
    [manifest] = link.sent
    assert (manifest.step, manifest.micro_batch, manifest.attributes["of"]) == (4, 1, 3)
    assert transfer == manifest.transfer_id


def test_features_say_when_the_ground_takes_their_step() -> None:
    link = Sky()
    over = crossings(link, turns=(3, 8))
    over.send_names(MicroBatch(1), np.zeros((2, 16), np.uint8), np.ones(2, bool), attempt=0)
    over.send(MessageKind.GRAD_HIDDEN, MicroBatch(1), torch.ones(2, 3))
    assert [(manifest.kind, manifest.turn) for manifest in link.sent] == [
        (MessageKind.SAMPLES, 8),
        (MessageKind.GRAD_HIDDEN, 0),
    ]
