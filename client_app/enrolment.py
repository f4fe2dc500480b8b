"""Answer the ground's questions before training starts: band statistics, and enrolment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict

from client_app.exchange.crossings import Crossings
from client_app.labels_on_board import label_facts
from client_app.onboard import send_samples_of_features
from client_app.satellite import Satellite
from splitmodel.imagery.statistics import survey


def answer(message: Message, context: Context, question: Callable[[Satellite], dict[str, Any]]) -> Message:
    """Reply with what ``question`` returns for this node's satellite, or that the node is spare."""
    satellite = Satellite.of(message, context)
    answer = {"spare": True} if satellite.is_spare else question(satellite)
    config = ConfigRecord({"satellite": satellite.index, **answer})
    return Message(content=RecordDict({"config": config}), reply_to=message)


def facts(satellite: Satellite) -> dict[str, Any]:
    """Return the satellite's images by class and sensor; or what is wrong.

    The features of a few images cross meanwhile, by which the ground learns how pooled states are scaled.
    """
    try:
        on_board = satellite.on_board
        # All must be readable before training.
        seen = survey(on_board.images, on_board.embedding.preprocess, statistics=False)
        labels = label_facts(on_board, satellite.scenario.data.sensor_column)
    except ValueError as error:  # the typed errors of scenario, imagery, partition and model
        return {"error": str(error)}
    with satellite.link() as link:
        crossings = Crossings(link, satellite.run_config, index=satellite.index, round_number=0)
        send_samples_of_features(on_board, crossings)
    return {**labels, "no-data": seen.no_data}


def band_statistics(satellite: Satellite) -> dict[str, Any]:
    """Return count, mean and sum of squares of the bands of the satellite's images; or what is wrong."""
    try:
        surveyed = survey(satellite.images(), satellite.preprocess, statistics=True)
    except ValueError as error:
        return {"error": str(error)}
    return {"bands": surveyed.bands.to_rows()}
