"""What a round still has to move, compute and wait for at least, satellite by satellite."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from strategies.problem.round_state import RoundState
from strategies.problem.workload import ComputeRates, Workload


@dataclass(frozen=True, eq=False)
class Remaining:
    """Counts and seconds per satellite, shape ``(N,)``, where nothing else is said.

    ``features[k]`` samples have yet to reach the ground, ``answers[k]`` samples times passes to be answered,
    in ``full_steps[k]`` steps of a whole micro-batch and ``short_steps[k]`` of less.  ``tail_*`` are what
    comes at least after the last of ``features[k]`` has arrived.  ``features_there[k]`` is True where the first step
    needs no features any more. ``forward_s`` and ``backward_s`` are seconds of the ground per sample,
    ``message_s`` per step (both passes together), ``ground_s`` those of everything.
    """

    samples: np.ndarray
    features: np.ndarray
    _: KW_ONLY
    answers: np.ndarray
    full_steps: np.ndarray
    short_steps: np.ndarray
    tail_full_steps: np.ndarray
    tail_short_steps: np.ndarray
    tail_answers: np.ndarray
    features_there: np.ndarray
    forward_s: float
    backward_s: float
    message_s: float

    @property
    def steps(self) -> np.ndarray:
        """Steps of each satellite."""
        return self.full_steps + self.short_steps

    @property
    def ground_s(self) -> float:
        """Seconds that the ground computes and handles messages."""
        return float(
            self.answers.sum() * (self.forward_s + self.backward_s) + self.steps.sum() * self.message_s
        )


def remaining(workload: Workload, rates: ComputeRates, state: RoundState) -> Remaining:
    """Return what is left of a round that stands at ``state``.

    Where samples may be trained on board, steps are not counted: how many there are is for the plan to
    choose.
    """
    samples = np.asarray(workload.samples, float)
    batch, passes = float(workload.micro_batch), float(workload.passes)
    done = np.asarray(state.done or np.zeros(len(samples)), float)
    grounded = np.asarray(state.on_ground or np.zeros(len(samples)), float)
    cached = samples * workload.cached_fraction if workload.c1_bytes else samples
    if not workload.onboard_share:
        cached = np.floor(cached)
    on_ground = np.minimum(np.maximum(np.maximum(cached, grounded), done), samples)
    answers = np.maximum(samples * passes - done, 0.0)
    features = np.where(answers > 0, samples - on_ground, 0.0)

    counted = samples > 0
    per_epoch = np.where(counted, samples, 1.0)
    epochs_done = np.minimum(done // per_epoch, passes)
    begun = np.where(counted & (epochs_done < passes), samples - done % per_epoch, 0.0)
    later_epochs = np.where(counted, np.maximum(passes - 1.0 - epochs_done, 0.0), 0.0)
    full_steps = begun // batch + later_epochs * (samples // batch)
    short_steps = (begun % batch > 0) + later_epochs * (samples % batch > 0)
    # After the last features: their own step, the last of the first pass at best, and all steps of the passes to come.
    last = np.where(samples % batch > 0, samples % batch, np.minimum(batch, samples))
    again = passes - 1.0
    tail_full = (last == batch) + again * (samples // batch)
    tail_short = (last < batch) + again * (samples % batch > 0)
    tail_answers = last + again * samples
    if workload.onboard_share:
        full_steps = short_steps = tail_full = tail_short = tail_answers = np.zeros(len(samples))
    crossing = workload.chained or workload.mode.value == "head"
    both = 2.0 if workload.chained else 1.0
    return Remaining(
        samples=samples,
        features=features,
        answers=answers,
        full_steps=full_steps,
        short_steps=np.asarray(short_steps, float),
        tail_full_steps=np.where(features > 0, tail_full, 0.0),
        tail_short_steps=np.where(features > 0, tail_short, 0.0),
        tail_answers=np.where(features > 0, tail_answers, 0.0),
        features_there=done % per_epoch < on_ground,
        forward_s=workload.backbone_forward_flops / rates.ground_flops,
        backward_s=workload.backbone_backward_flops / rates.ground_flops,
        message_s=both * rates.message_s * workload.micro_batches if crossing else 0.0,
    )
