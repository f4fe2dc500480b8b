"""The length below which no plan of a round can go: the relaxed flow over time, and the chain of steps."""

from __future__ import annotations

import math

import numpy as np

from orbit.contact_plan import ContactPlan
from strategies.network import FlowOverTime, NoRouteError, passes_of, sample_rates
from strategies.workload import ComputeRates, Resources, Workload

_PRECISION = 1e-3


def lower_bound_s(
    contact_plan: ContactPlan,
    workload: Workload,
    rates: ComputeRates,
    resources: Resources,
    group: np.ndarray,
    *,
    start_s: float,
) -> float:
    """Seconds that the round takes at least where samples may move freely inside each group of satellites.

    Relaxed are set-up and acquisition (none), sessions (divisible), links inside a group (unlimited) and the
    aggregation at the end (free).  ``group`` labels each satellite, shape ``(N,)``.

    Raises ``NoRouteError`` where samples cannot reach the ground inside the horizon.
    """
    samples = np.asarray(workload.samples, float)
    onboard_s = samples * workload.epochs * workload.onboard_flops / rates.satellite_flops
    if workload.on_board:
        return float(onboard_s.max())
    if workload.central and not workload.c1_bytes:
        return float(samples.sum()) * workload.passes * workload.ground_flops / rates.ground_flops
    flow = flow_over_time(contact_plan, workload, rates, resources, group, start_s=start_s)
    _require_routes(contact_plan, flow, group, samples)
    fluid_s = _earliest_end(flow, contact_plan.horizon_s) - start_s
    if workload.onboard_share:
        return fluid_s
    return max(fluid_s, _chain_s(flow, workload, rates, samples, group, start_s))


def flow_over_time(
    contact_plan: ContactPlan,
    workload: Workload,
    rates: ComputeRates,
    resources: Resources,
    group: np.ndarray,
    *,
    start_s: float,
) -> FlowOverTime:
    """The relaxed round whose maximum flow the bound asks for."""
    passes = passes_of(contact_plan, start_s, contact_plan.horizon_s)
    rate = sample_rates(passes, workload)
    samples = np.asarray(workload.samples, float)
    need = np.bincount(group, samples) * workload.passes
    with np.errstate(divide="ignore"):
        onboard = rates.satellite_flops / workload.onboard_flops if workload.onboard_flops else np.inf
        ground = rates.ground_flops / workload.ground_flops if workload.ground_flops else np.inf
    usable = rate > 0
    share = np.bincount(group, samples > 0) * (onboard if workload.onboard_share else 0.0)
    fastest = 1e6 * float(need.sum())  # stands for infinity: everything in a microsecond
    return FlowOverTime(
        need=need,
        passes=passes[usable],
        group=group[passes["satellite"][usable]],
        rate=np.minimum(rate[usable], fastest),
        beams=resources.beams,
        ground_rate=min(ground, fastest),
        onboard_rate=share,
        start_s=start_s,
    )


def _earliest_end(flow: FlowOverTime, horizon_s: float) -> float:
    """The earliest time by which everything can be done: doubling, then bisection (capacity grows with time)."""
    enough = float(flow.need.sum()) * (1.0 - 1e-6)
    low_s, length_s = flow.start_s, 60.0
    while flow.capacity(min(flow.start_s + length_s, horizon_s)) < enough:
        low_s = flow.start_s + length_s
        if low_s >= horizon_s:
            raise NoRouteError(
                f"between {flow.start_s:.0f} s and the horizon, {horizon_s:.0f} s, the space-ground links carry "
                f"{flow.capacity(horizon_s):.0f} of {flow.need.sum():.0f} samples"
            )
        length_s *= 2.0
    high_s = min(flow.start_s + length_s, horizon_s)
    while high_s - low_s > _PRECISION * (high_s - flow.start_s):
        middle_s = (low_s + high_s) / 2.0
        if flow.capacity(middle_s) < enough:
            low_s = middle_s
        else:
            high_s = middle_s
    return low_s


def _require_routes(
    contact_plan: ContactPlan, flow: FlowOverTime, group: np.ndarray, samples: np.ndarray
) -> None:
    """Raises ``NoRouteError`` for the first group whose own passes, all together, are too short."""
    volume = flow.rate * (flow.passes["end_s"] - flow.passes["start_s"])
    carried = np.bincount(flow.group, volume, minlength=len(flow.need))
    short = (carried < flow.need * (1.0 - 1e-6)) & (flow.onboard_rate <= 0)
    if short.any():
        label = int(np.argmax(short))
        name = contact_plan.nodes[int(np.argmax((group == label) & (samples > 0)))].name
        raise NoRouteError(
            f"{name}: the space-ground links of it and all that it reaches carry {carried[label]:.0f} of "
            f"{flow.need[label]:.0f} samples between {flow.start_s:.0f} s and {contact_plan.horizon_s:.0f} s"
        )


def _chain_s(
    flow: FlowOverTime,
    workload: Workload,
    rates: ComputeRates,
    samples: np.ndarray,
    group: np.ndarray,
    start_s: float,
) -> float:
    """The longest chain of steps of one satellite, each there and back over the shortest light time of a pass."""
    first_s = np.full(len(flow.need), np.inf)
    np.minimum.at(first_s, flow.group, flow.passes["start_s"])
    steps = (
        np.ceil(samples / workload.micro_batch) * workload.passes
        if workload.chained
        else np.minimum(samples, 1)
    )
    flight_s = 2.0 * float(flow.passes["owlt_s"].min(initial=math.inf))
    compute_s = (
        samples
        * workload.passes
        * (workload.ground_flops / rates.ground_flops + workload.head_flops / rates.satellite_flops)
    )
    chain_s = first_s[group] - start_s + steps * flight_s + np.where(workload.chained, compute_s, 0.0)
    return float(np.max(chain_s[samples > 0], initial=0.0))
