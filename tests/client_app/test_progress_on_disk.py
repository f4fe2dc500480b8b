"""Where a satellite is in its round, saved and restored."""

from __future__ import annotations

import torch
from flwr.app import Context, RecordDict
from torch import nn

from client_app.onboard import Progress
from client_app.state import load_progress, save_progress


def test_a_resumed_round_goes_on_counting_the_bytes_that_were_sent_before_it_was_suspended() -> None:
    context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
    head = nn.Linear(3, 2)
    weights = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    saved = Progress(step=4, attempt=1, loss_sum=2.5, right=2.5, seen=8, bytes_up=12_345, bytes_down=678)
    save_progress(context, "run", 3, saved, head)
    nn.init.zeros_(head.weight)
    assert load_progress(context, "run", 3, head) == saved
    assert all(torch.equal(head.state_dict()[name], tensor) for name, tensor in weights.items())
    assert load_progress(context, "run", 4, head) is None
