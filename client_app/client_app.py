"""The ClientApp: a satellite.

Before anything is trained, ``query.statistics`` and ``query.enrolment`` open the satellite's images and model, and
report what the ground has to know of them, or why the satellite cannot train.  ``train`` runs one round on board: the
embedding of its own images, tensors over the split (or the whole model, in a baseline), the head, and the sum with its
plane.  A round that the ground cannot serve now comes back *suspended*; the next ``train`` message resumes it, as does
a message that is sent again because the process of the first one has died.
"""

from __future__ import annotations

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client_app import enrolment
from client_app.local_round import LocalRound
from client_app.modes import trainer_of
from client_app.satellite import Satellite

_THREADS = 1  # satellites share this machine's cores

app = ClientApp()


@app.query("enrolment")
def enrol(message: Message, context: Context) -> Message:
    """Report which satellite this is and with how many images of each class, or why it cannot train."""
    torch.set_num_threads(_THREADS)
    return enrolment.answer(message, context, enrolment.facts)


@app.query("statistics")
def statistics(message: Message, context: Context) -> Message:
    """Report what the bands of this satellite's images measure, or why it cannot."""
    torch.set_num_threads(_THREADS)
    return enrolment.answer(message, context, enrolment.band_statistics)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round on board, or resume a suspended one."""
    torch.set_num_threads(_THREADS)
    satellite = Satellite.of(message, context)  # its images, the frozen embedding, its link
    # The head as it was sent, or as a suspended round left it.
    local_round = LocalRound.of(message, context, satellite)
    train_mode = trainer_of(satellite.training)
    train_mode(local_round)
    return local_round.reply()
