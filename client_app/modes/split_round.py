"""A round over the split: embedding and head on board, the backbone on the ground."""

from __future__ import annotations

from collections.abc import Callable

from client_app import state
from client_app.cached_features import CachedFeatures, key_salt_of
from client_app.exchange.crossings import Crossings
from client_app.local_round import LocalRound
from client_app.modes.lora_round import RoundSuspended, train_lora_round
from client_app.onboard import train_head_round
from mission.divergence import require_finite_cause
from relay.client.message_link import BundleLink, LinkError
from relay.wire.manifest import NotFinite
from splitmodel.cached_states import CachedStates
from splitmodel.crossing.codec import CodecError
from splitmodel.training import VIEWS, VIEWS_THAT_CROSS


def train_over_the_split(local: LocalRound) -> None:
    """Train in mode ``lora`` or ``head``, resuming where the round was left, and sum with the plane in the end."""
    satellite, task = local.satellite, local.task
    checkpoint = satellite.local_checkpoint()
    if checkpoint is not None:
        checkpoint.recall(local.context.state)
    features = _cached_features(local)
    if not local.resume():
        if features is not None:
            features.begin_round()
        local.load_weights()
    pooled_states = _pooled_states(local)

    def save() -> None:
        local.progress.bytes_up, local.progress.bytes_down = crossings.bytes_up, crossings.bytes_down
        local.save()
        if features is not None:
            state.save_cached_features(local.context, features)
        if pooled_states is not None:
            state.save_cached_states(local.context, pooled_states)

    def on_checkpoint() -> None:
        """Keep where the round stands on disk, where there is one; what led here need not come again."""
        if checkpoint is not None:
            save()
            checkpoint.write(local.context.state)
            crossings.acknowledge()

    with satellite.link() as link:
        crossings = Crossings(
            link,
            satellite.run_config,
            index=satellite.index,
            round_number=task.number,
            scaling=local.scaling,
            # In mode head, a planned step stands for what crosses under all views.
            turns=task.turns if pooled_states is None else (),
        )
        crossings.bytes_up, crossings.bytes_down = local.progress.bytes_up, local.progress.bytes_down
        args = task, local.on_board, local.head, crossings, local.progress
        try:
            if pooled_states is not None:
                train_head_round(*args, pooled_states, on_checkpoint)
            else:
                train_lora_round(*args, features, on_checkpoint)
        except RoundSuspended:
            local.suspended = True
        except (CodecError, LinkError, NotFinite) as error:
            require_finite_cause(error, task.number, task.training.mode)
            raise
        finished_s = link.mission_time_s()
        _sum_with_plane(local, link, crossings, on_checkpoint)
    save()
    local.facts |= {"bytes-up": crossings.bytes_up, "bytes-down": crossings.bytes_down}
    if finished_s is not None:
        local.facts["finished-s"] = finished_s


def _sum_with_plane(
    local: LocalRound, link: BundleLink, crossings: Crossings, on_checkpoint: Callable[[], None]
) -> None:
    """Add up what the plane has trained, over its relays, in an emulation."""
    exchange, progress = local.plane_exchange, local.progress
    if exchange is None or local.suspended or progress.exchanged:
        return
    satellite = local.satellite
    progress.plane_sum = exchange.sum(
        local.parts,
        link,
        satellite.name,
        run=satellite.run_config.run,
        number=local.task.number,
        early=crossings.for_the_plane,
    )
    progress.exchanged = True
    crossings.for_the_plane.clear()
    on_checkpoint()


def _cached_features(local: LocalRound) -> CachedFeatures | None:
    """Which features the ground keeps by now; ``None`` where it keeps none."""
    run_config, on_board = local.satellite.run_config, local.on_board
    if not run_config.keeps_features:
        return None
    scenario = run_config.scenario
    salt = key_salt_of(on_board.embedding, local.scaling.features, scenario.crossings.features)
    views = VIEWS_THAT_CROSS[scenario.training.augment]
    return state.load_cached_features(local.context, len(on_board.images), views, salt)


def _pooled_states(local: LocalRound) -> CachedStates | None:
    """What has come back of a frozen backbone, in mode ``head``."""
    training = local.task.training
    if training.mode != "head":
        return None
    images, views = len(local.on_board.images), VIEWS[training.augment]
    return state.load_cached_states(local.context, images, views, local.state_shape)
