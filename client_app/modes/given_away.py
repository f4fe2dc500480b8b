"""Rounds in which the ground trains alone: what it trains on is given away, once."""

from __future__ import annotations

from dataclasses import replace

from client_app import state
from client_app.exchange.crossings import Crossings
from client_app.local_round import LocalRound
from client_app.modes.labelled_features import send_labelled_features
from client_app.modes.raw_images import send_images
from splitmodel.training import VIEWS_THAT_CROSS


def give_away(local: LocalRound) -> None:
    """Send features and labels, or raw images and labels, that the ground does not have yet."""
    satellite, task, on_board, context = local.satellite, local.task, local.on_board, local.context
    local.load_weights()
    with satellite.link() as link:
        crossings = Crossings(
            link, satellite.run_config, index=satellite.index, round_number=task.number, scaling=local.scaling
        )
        if task.training.labels == "ground":
            sent = state.load_sent(context, len(on_board.images), VIEWS_THAT_CROSS[task.training.augment])
            send_labelled_features(task, on_board, crossings, sent)
            state.save_sent(context, sent)
        elif not state.images_are_sent(context):
            # In the order in which the ground's first epoch takes them, also where they are sent again later.
            batches = replace(task, number=1).batches(len(on_board.images))
            send_images(on_board, crossings, batches[: len(batches) // task.training.local_epochs])
            state.save_images_are_sent(context)
    local.facts["bytes-up"] = crossings.bytes_up
