"""Ways to break a plan: a list by name, and a generator of more, to see that the checker finds each.

A mutation returns the broken plan, or None for a plan in which there is nothing that it could break.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.problem.plan import ON_NO_LINK, STEP, Kind, Plan
from strategies.problem.workload import InterOrbit, IntraOrbit

Change = Callable[[Plan, ContactPlan], Plan | None]
_SGL = (LinkKind.DOWNLINK, LinkKind.UPLINK)
_ISL = (LinkKind.INTRA_ISL, LinkKind.INTER_ISL)
_POINTS = (Kind.SESSION, Kind.ISL_POINTING)


@dataclass(frozen=True)
class Mutation:
    """One way to break a plan."""

    name: str
    change: Change


def _rows(plan: Plan, rows: np.ndarray) -> Plan:
    return dataclasses.replace(plan, activities=rows)


def _pick(plan: Plan, kind: Kind, links: tuple[int, ...] | None = None) -> np.ndarray:
    rows = plan.activities
    hit = rows["kind"] == kind
    if links is not None:
        hit &= np.isin(rows["link"], links)
    return np.flatnonzero(hit)


def _drop(kind: Kind, links: tuple[int, ...] | None = None, *, every: bool = True, which: int = 0) -> Change:
    def change(plan: Plan, _: ContactPlan) -> Plan | None:
        index = _pick(plan, kind, links)
        if not len(index) or which >= len(index):
            return None
        return _rows(plan, np.delete(plan.activities, index if every else index[which]))

    return change


def _set(
    kind: Kind,
    field: str,
    value: Callable[[np.ndarray, Plan], object],
    links: tuple[int, ...] | None = None,
    *,
    every: bool = False,
    which: int = 0,
) -> Change:
    def change(plan: Plan, _: ContactPlan) -> Plan | None:
        index = _pick(plan, kind, links)
        if not len(index):
            return None
        index = index if every else index[[which]]
        rows = plan.activities.copy()
        rows[field][index] = value(rows[index], plan)
        return None if np.array_equal(rows[index], plan.activities[index]) else _rows(plan, rows)

    return change


def _twice(kind: Kind, links: tuple[int, ...] | None = None) -> Change:
    def change(plan: Plan, _: ContactPlan) -> Plan | None:
        index = _pick(plan, kind, links)
        return _rows(plan, np.append(plan.activities, plan.activities[index[:1]])) if len(index) else None

    return change


def _scaled(
    kind: Kind, field: str, factor: float, links: tuple[int, ...] | None = None, *, every: bool = True
) -> Change:
    return _set(kind, field, lambda rows, _: rows[field] * factor, links, every=every)


def _moved(
    kind: Kind, to_s: Callable[[np.ndarray, Plan], np.ndarray], links: tuple[int, ...] | None = None
) -> Change:
    """The first row of a kind begins at another time, and takes as long."""

    def change(plan: Plan, _: ContactPlan) -> Plan | None:
        index = _pick(plan, kind, links)
        if not len(index):
            return None
        rows = plan.activities.copy()
        one = index[:1]
        length_s = rows["end_s"][one] - rows["start_s"][one]
        rows["start_s"][one] = to_s(rows[one], plan)
        rows["end_s"][one] = rows["start_s"][one] + length_s
        return (
            None if np.allclose(rows["start_s"], plan.activities["start_s"], atol=1e-3) else _rows(plan, rows)
        )

    return change


def _steps(change_steps: Callable[[np.ndarray, Plan], np.ndarray | None]) -> Change:
    def change(plan: Plan, _: ContactPlan) -> Plan | None:
        if not len(plan.steps):
            return None
        steps = change_steps(plan.steps.copy(), plan)
        return None if steps is None else dataclasses.replace(plan, steps=steps)

    return change


def _other_satellite(rows: np.ndarray, plan: Plan) -> np.ndarray:
    return (rows["satellite"] + 1) % len(plan.finish_s)


def _other_node(field: str) -> Callable[[np.ndarray, Plan], np.ndarray]:
    return lambda rows, plan: (rows[field] + 1) % len(plan.names)


def _without_answers(plan: Plan, _: ContactPlan) -> Plan | None:
    small = np.isin(plan.activities["kind"], (Kind.HIDDEN, Kind.HEAD, Kind.GRADIENT))
    return _rows(plan, plan.activities[~small]) if small.any() else None


def _set_up_before_the_pass(plan: Plan, contact_plan: ContactPlan) -> Plan | None:
    for index in _pick(plan, Kind.SESSION).tolist():
        row = plan.activities[index]
        passes = contact_plan.between(int(row["node"]), int(row["peer"]))
        passes = passes[passes["start_s"] <= row["start_s"] + 1e-6]
        if len(passes) and passes["start_s"][-1] - 1.0 > plan.start_s:
            rows = plan.activities.copy()
            rows["start_s"][index] = passes["start_s"][-1] - 1.0
            return _rows(plan, rows)
    return None


def _beyond_the_pass(plan: Plan, contact_plan: ContactPlan) -> Plan | None:
    for index in _pick(plan, Kind.SESSION).tolist():
        row = plan.activities[index]
        passes = contact_plan.between(int(row["node"]), int(row["peer"]))
        over_s = passes["end_s"][passes["start_s"] <= row["start_s"] + 1e-6]
        if len(over_s) and over_s[-1] + 1.0 < plan.end_s:
            rows = plan.activities.copy()
            rows["end_s"][index] = over_s[-1] + 1.0
            return _rows(plan, rows)
    return None


def _data_of(plan: Plan, hold: np.void) -> np.ndarray:
    """Which rows move something over a pair in the time for which it is held."""
    rows = plan.activities
    pair = ((rows["node"] == hold["node"]) & (rows["peer"] == hold["peer"])) | (
        (rows["node"] == hold["peer"]) & (rows["peer"] == hold["node"])
    )
    moves = (rows["link"] != ON_NO_LINK) & ~np.isin(rows["kind"], _POINTS)
    return np.flatnonzero(
        moves & pair & (rows["start_s"] >= hold["start_s"] - 1e-6) & (rows["end_s"] <= hold["end_s"] + 1e-6)
    )


def _hold(kind: Kind, alter: Callable[[np.ndarray, np.ndarray], None]) -> Change:
    """Alters the first antenna or laser over which something moves; ``alter`` gets it and what it carries."""

    def change(plan: Plan, _: ContactPlan) -> Plan | None:
        for index in _pick(plan, kind).tolist():
            data = _data_of(plan, plan.activities[index])
            if len(data):
                rows = plan.activities.copy()
                alter(rows[index : index + 1], rows[data])
                changed = rows[index] != plan.activities[index]
                return _rows(plan, rows) if changed else None
        return None

    return change


def _dropped_hold(kind: Kind) -> Change:
    def change(plan: Plan, _: ContactPlan) -> Plan | None:
        for index in _pick(plan, kind).tolist():
            if len(_data_of(plan, plan.activities[index])):
                return _rows(plan, np.delete(plan.activities, index))
        return None

    return change


def _start_at_data(hold: np.ndarray, data: np.ndarray) -> None:
    first_s = data["start_s"].min()
    if hold["start_s"][0] < first_s - 1e-3:
        hold["start_s"] = first_s - 1e-3


def _end_in_data(hold: np.ndarray, data: np.ndarray) -> None:
    last = data[np.argmax(data["end_s"])]
    hold["end_s"] = last["end_s"] - 0.5 * (last["end_s"] - last["start_s"]) - 1e-3


def _elsewhere(hold: np.ndarray, _: np.ndarray) -> None:
    hold["node"], hold["peer"] = hold["peer"], hold["node"].copy()


def _second_on_the_beam(plan: Plan, _: ContactPlan) -> Plan | None:
    """As many more satellites on the first session's antenna as no station has beams."""
    index = _pick(plan, Kind.SESSION)
    if not len(index):
        return None
    extra = np.repeat(plan.activities[index[:1]], 8)
    extra["node"] = (extra["node"] + 1 + np.arange(8)) % len(plan.finish_s)
    return _rows(plan, np.append(plan.activities, extra))


def _late_weights(kind: Kind) -> Change:
    """Weights are passed on at the start of the round, before they were trained or came."""
    links = (LinkKind.DOWNLINK,) if kind is Kind.REDUCE else (LinkKind.UPLINK,)
    return _moved(kind, lambda _, plan: np.array([plan.start_s]), links)


def _stated(field: str, by_s: float) -> Change:
    def change(plan: Plan, _: ContactPlan) -> Plan | None:
        value = getattr(plan, field)
        if isinstance(value, float):
            return dataclasses.replace(plan, **{field: value + by_s})
        value = value.copy()
        value[np.argmax(value)] += by_s
        return dataclasses.replace(plan, **{field: value})

    return change


def _labelled(**strategy_config: object) -> Change:
    def change(plan: Plan, _: ContactPlan) -> Plan | None:
        link = LinkKind.INTER_ISL if "inter_orbit" in strategy_config else LinkKind.INTRA_ISL
        used = (plan.activities["link"] == link) & ~np.isin(plan.activities["kind"], _POINTS)
        if not used.any():
            return None
        return dataclasses.replace(
            plan, strategy_config=dataclasses.replace(plan.strategy_config, **strategy_config)
        )

    return change


def _never_pointed(plan: Plan, contact_plan: ContactPlan) -> Plan | None:
    satellites = len(plan.finish_s)
    held = {(int(row["node"]), int(row["peer"])) for row in plan.activities[_pick(plan, Kind.SESSION)]}
    for satellite in range(satellites):
        for station in range(satellites, len(contact_plan.nodes)):
            if (satellite, station) not in held | plan.pointed:
                return dataclasses.replace(plan, pointed=plan.pointed | {(satellite, station)})
    return None


def _more_on_board(plan: Plan, _: ContactPlan) -> Plan | None:
    share = np.array(plan.onboard_samples or np.zeros(len(plan.finish_s), int))
    owner = plan.activities["satellite"][
        np.isin(plan.activities["kind"], (Kind.FEATURES, Kind.BACKBONE, Kind.TRAIN))
    ]
    if not len(owner):
        return None
    share[owner[0]] += 1
    return dataclasses.replace(plan, onboard_samples=tuple(share.tolist()))


def _swapped(steps: np.ndarray, _: Plan) -> np.ndarray | None:
    """The first batch trades places with the last of the same satellite."""
    mine = np.flatnonzero(steps["satellite"] == steps["satellite"][0])
    if len(mine) < 2:
        return None
    first, last = steps["batch"][mine[0]], steps["batch"][mine[-1]]
    one, other = steps["batch"] == first, steps["batch"] == last
    steps["batch"][one], steps["batch"][other] = last, first
    return steps[np.lexsort([steps["satellite"], steps["batch"]])]


def _all_in_one(steps: np.ndarray, _: Plan) -> np.ndarray | None:
    if steps["batch"].max() == 0:
        return None
    steps["batch"] = 0
    return steps


def _without_waiting(steps: np.ndarray, plan: Plan) -> np.ndarray | None:
    length_s = steps["end_s"] - steps["start_s"]
    steps["start_s"] = plan.start_s
    steps["end_s"] = plan.start_s + length_s
    return steps


def _no_round_trip(steps: np.ndarray, _: Plan) -> np.ndarray:
    steps["end_s"] = steps["start_s"] + 1e-4
    return steps


def _field(name: str, add: int, *, every: bool = False) -> Callable[[np.ndarray, Plan], np.ndarray]:
    def change(steps: np.ndarray, _: Plan) -> np.ndarray:
        steps[name][slice(None) if every else slice(0, 1)] += add
        return steps

    return change


def _through_another(steps: np.ndarray, plan: Plan) -> np.ndarray:
    steps["gateway"][0] = (steps["gateway"][0] + 1) % len(plan.finish_s)
    return steps


_NAMED: dict[str, Change] = {
    # Embedding and features.
    "no embedding": _drop(Kind.EMBED),
    "one embedding left out": _drop(Kind.EMBED, every=False),
    "embedding that computes nothing": _scaled(Kind.EMBED, "flops", 0.0),
    "embedding at half its FLOPs": _scaled(Kind.EMBED, "flops", 0.5, every=False),
    "embedding twice": _twice(Kind.EMBED),
    "embedding by another satellite": _set(Kind.EMBED, "node", _other_node("node")),
    "embedding at the end of the round": _moved(
        Kind.EMBED, lambda rows, plan: plan.end_s - (rows["end_s"] - rows["start_s"])
    ),
    "a block of features left out": _drop(Kind.FEATURES, (LinkKind.DOWNLINK,), every=False),
    "no features on the downlink": _drop(Kind.FEATURES, (LinkKind.DOWNLINK,)),
    "a block of features twice": _twice(Kind.FEATURES, (LinkKind.DOWNLINK,)),
    "features without their inter-satellite hops": _drop(Kind.FEATURES, _ISL),
    "an inter-satellite hop of features left out": _drop(Kind.FEATURES, _ISL, every=False),
    "features at 1 % of their bytes": _scaled(Kind.FEATURES, "bytes", 0.01),
    "features at three times their bytes": _scaled(Kind.FEATURES, "bytes", 3.0, every=False),
    "features that leave at the start of the round": _moved(
        Kind.FEATURES, lambda _, plan: np.array([plan.start_s]), (LinkKind.DOWNLINK,)
    ),
    "features down from another satellite": _set(Kind.FEATURES, "node", _other_satellite, (LinkKind.DOWNLINK,)),
    "features of another satellite": _set(Kind.FEATURES, "satellite", _other_satellite),
    "features over the wrong kind of link": _set(
        Kind.FEATURES, "link", lambda rows, _: LinkKind.INTRA_ISL + LinkKind.INTER_ISL - rows["link"], _ISL
    ),
    "features over no link": _set(Kind.FEATURES, "link", lambda *_: ON_NO_LINK),
    "features of one sample less": _set(Kind.FEATURES, "end_sample", lambda rows, _: rows["end_sample"] - 1),
    "copies left out": _drop(Kind.GATHER, every=False),
    "copies at half their bytes": _scaled(Kind.GATHER, "bytes", 0.5),
    "copies twice": _twice(Kind.GATHER),
    # Backbone.
    "no backbone": _drop(Kind.BACKBONE),
    "a run of the backbone left out": _drop(Kind.BACKBONE, every=False),
    "a run of the backbone twice": _twice(Kind.BACKBONE),
    "backbone at 1 % of its FLOPs": _scaled(Kind.BACKBONE, "flops", 0.01),
    "backbone before its features": _set(Kind.BACKBONE, "start_s", lambda _, plan: plan.start_s, every=True),
    "backbone that is over at once": _set(Kind.BACKBONE, "end_s", lambda rows, _: rows["start_s"] + 1e-3, every=True),
    "backbone in another pass": _set(Kind.BACKBONE, "epoch", lambda rows, _: rows["epoch"] + 1),
    "backbone of another satellite": _set(Kind.BACKBONE, "satellite", _other_satellite),
    # Hidden states.
    "no hidden states": _drop(Kind.HIDDEN),
    "an uplink of hidden states left out": _drop(Kind.HIDDEN, (LinkKind.UPLINK,), every=False),
    "hidden states without their inter-satellite hops": _drop(Kind.HIDDEN, _ISL),
    "hidden states twice": _twice(Kind.HIDDEN, (LinkKind.UPLINK,)),
    "uplinks at 1 % of their bytes": _scaled(Kind.HIDDEN, "bytes", 0.01, (LinkKind.UPLINK,)),
    "hidden states before the forward pass": _moved(Kind.HIDDEN, lambda _, plan: np.array([plan.start_s])),
    "hidden states at the end of the round": _moved(
        Kind.HIDDEN, lambda rows, plan: plan.end_s - (rows["end_s"] - rows["start_s"]), (LinkKind.UPLINK,)
    ),
    "hidden states of another satellite": _set(Kind.HIDDEN, "satellite", _other_satellite),
    "hidden states from another station": _set(Kind.HIDDEN, "node", _other_node("node"), (LinkKind.UPLINK,)),
    # Head and gradients.
    "no head steps": _drop(Kind.HEAD),
    "a head step left out": _drop(Kind.HEAD, every=False),
    "head at 1 % of its FLOPs": _scaled(Kind.HEAD, "flops", 0.01),
    "head twice": _twice(Kind.HEAD),
    "head before the hidden states": _moved(Kind.HEAD, lambda _, plan: np.array([plan.start_s])),
    "no gradients": _drop(Kind.GRADIENT),
    "gradient downlinks left out": _drop(Kind.GRADIENT, (LinkKind.DOWNLINK,)),
    "gradients without their inter-satellite hops": _drop(Kind.GRADIENT, _ISL),
    "gradients at 1 % of their bytes": _scaled(Kind.GRADIENT, "bytes", 0.01),
    "gradients twice": _twice(Kind.GRADIENT),
    "gradients at the end of the round": _moved(
        Kind.GRADIENT, lambda rows, plan: plan.end_s - (rows["end_s"] - rows["start_s"])
    ),
    "gradients to another station": _set(Kind.GRADIENT, "peer", _other_node("peer"), (LinkKind.DOWNLINK,)),
    "neither hidden states nor head nor gradients": _without_answers,
    # The ground's steps.
    "no table of steps": _steps(lambda *_: np.empty(0, STEP)),
    "a step left out": _steps(lambda steps, _: steps[1:]),
    "a step twice": _steps(lambda steps, _: np.append(steps, steps[:1])),
    "all steps in one batch": _steps(_all_in_one),
    "two batches swapped": _steps(_swapped),
    "steps that wait for nothing": _steps(_without_waiting),
    "steps without a round trip": _steps(_no_round_trip),
    "a step of another satellite": _steps(_field("satellite", 1)),
    "a step of other samples": _steps(_field("first_sample", 1)),
    "a step in another pass": _steps(_field("epoch", 1)),
    "steps numbered from one": _steps(_field("step", 1, every=True)),
    "batches numbered from one": _steps(_field("batch", 1, every=True)),
    "a step answered through another gateway": _steps(_through_another),
    # Antennas and lasers.
    "a session left out": _dropped_hold(Kind.SESSION),
    "set-up before the pass": _set_up_before_the_pass,
    "a session beyond its pass": _beyond_the_pass,
    "no set-up": _hold(Kind.SESSION, _start_at_data),
    "a session that ends too soon": _hold(Kind.SESSION, _end_in_data),
    "a session the wrong way round": _hold(Kind.SESSION, _elsewhere),
    "more satellites than beams": _second_on_the_beam,
    "a laser left out": _dropped_hold(Kind.ISL_POINTING),
    "no acquisition": _hold(Kind.ISL_POINTING, _start_at_data),
    "a laser that is let go too soon": _hold(Kind.ISL_POINTING, _end_in_data),
    "pointed at the end and never before": _never_pointed,
    # Training on board.
    "no training on board": _drop(Kind.TRAIN),
    "training on board at 1 % of its FLOPs": _scaled(Kind.TRAIN, "flops", 0.01),
    "training on board twice": _twice(Kind.TRAIN),
    "training on board that is over at once": _set(
        Kind.TRAIN, "end_s", lambda rows, _: rows["start_s"] + 1e-3, every=True
    ),
    "a sample more trained on board than is": _more_on_board,
    # Weights.
    "no weights": _drop(Kind.REDUCE),
    "weights that do not come down": _drop(Kind.REDUCE, (LinkKind.DOWNLINK,)),
    "one satellite's weights left out": _drop(Kind.REDUCE, _ISL, every=False),
    "one-byte weights": _set(Kind.REDUCE, "bytes", lambda *_: 1.0, every=True),
    "weights sent twice": _twice(Kind.REDUCE),
    "weights sent down at the start of the round": _late_weights(Kind.REDUCE),
    "weights passed on at the start of the round": _moved(
        Kind.REDUCE, lambda _, plan: np.array([plan.start_s]), _ISL
    ),
    "no average that comes back": _drop(Kind.UPDATE),
    "an average that does not go up": _drop(Kind.UPDATE, (LinkKind.UPLINK,)),
    "an average that misses one": _drop(Kind.UPDATE, _ISL, every=False),
    "a one-byte average": _set(Kind.UPDATE, "bytes", lambda *_: 1.0, every=True),
    "an average sent before the ground has heard all": _late_weights(Kind.UPDATE),
    "an average twice": _twice(Kind.UPDATE),
    # What a plan says of itself.
    "an end too soon": _stated("end_s", -0.5),
    "an end too late": _stated("end_s", 5.0),
    "a finish too soon": _stated("finish_s", -0.5),
    "a delivery too soon": _stated("delivered_s", -0.5),
    "a bound above the plan": lambda plan, _: dataclasses.replace(plan, lower_bound_s=2.0 * plan.makespan_s + 1.0),
    "inter-orbit links in a plan labelled none": _labelled(inter_orbit=InterOrbit.NONE),
    "intra-orbit links in a plan labelled none": _labelled(intra_orbit=IntraOrbit.NONE),
    "an activity before the start": _moved(Kind.SESSION, lambda _, plan: np.array([plan.start_s - 20.0])),
    "a time that is no number": _set(Kind.SESSION, "end_s", lambda *_: np.nan),
}  # fmt: skip
MUTATIONS: tuple[Mutation, ...] = tuple(Mutation(name, change) for name, change in _NAMED.items())

# The generator.

_OF_SAMPLES = (
    Kind.EMBED,
    Kind.FEATURES,
    Kind.BACKBONE,
    Kind.HIDDEN,
    Kind.HEAD,
    Kind.GRADIENT,
    Kind.TRAIN,
    Kind.GATHER,
)
_MOVES = (Kind.FEATURES, Kind.HIDDEN, Kind.GRADIENT, Kind.REDUCE, Kind.UPDATE, Kind.GATHER)
_CHAIN = {Kind.HIDDEN: Kind.HEAD, Kind.HEAD: Kind.GRADIENT, Kind.EMBED: Kind.FEATURES}


def random_mutations(
    plan: Plan, contact_plan: ContactPlan, rng: np.random.Generator
) -> Iterator[tuple[str, Plan]]:
    """Broken plans without end, each with what was done to it; all change what happens, none only how it is noted.

    Antennas and lasers are broken only where something moves over them.
    """
    rows = plan.activities
    kinds = (_dropped, _doubled, _scaled_at_random, _reordered, _retargeted, _relabelled, _step_broken)
    while True:
        change = kinds[int(rng.integers(len(kinds)))]
        index = int(rng.integers(len(rows))) if len(rows) else 0
        found = change(plan, index, rng, contact_plan)
        if found is not None:
            what, broken = found
            row = rows[index]
            yield f"{what}: row {index}, {Kind(row['kind']).name} {row['node']} → {row['peer']}", broken


_Found = tuple[str, Plan] | None


def _used(plan: Plan, index: int) -> bool:
    row = plan.activities[index]
    return row["kind"] not in _POINTS or len(_data_of(plan, row)) > 0


def _dropped(plan: Plan, index: int, rng: np.random.Generator, _: ContactPlan) -> _Found:
    if not _used(plan, index):
        return None
    return "dropped", _rows(plan, np.delete(plan.activities, index))


def _doubled(plan: Plan, index: int, rng: np.random.Generator, _: ContactPlan) -> _Found:
    if plan.activities["kind"][index] == Kind.ISL_POINTING:
        return None  # a second pair of terminals may be there
    return "doubled", _rows(plan, np.append(plan.activities, plan.activities[index]))


def _scaled_at_random(plan: Plan, index: int, rng: np.random.Generator, _: ContactPlan) -> _Found:
    field = "flops" if plan.activities["flops"][index] else "bytes"
    if not plan.activities[field][index]:
        return None
    factor = float(rng.choice([rng.uniform(0.0, 0.99), rng.uniform(1.01, 3.0)]))
    rows = plan.activities.copy()
    rows[field][index] *= factor
    return f"{field} × {factor:.3f}", _rows(plan, rows)


def _reordered(plan: Plan, index: int, rng: np.random.Generator, _: ContactPlan) -> _Found:
    """A cause after its effect: embedding after its features, hidden states after the head, a hop after the next."""
    rows = plan.activities.copy()
    row = rows[index]
    if row["kind"] not in _CHAIN and row["kind"] not in (Kind.FEATURES, Kind.GRADIENT):
        return None
    same = rows["satellite"] == row["satellite"]
    for field in ("first_sample", "end_sample", "epoch"):
        same &= rows[field] == row[field]
    after = same & (rows["kind"] == row["kind"]) & (rows["node"] == row["peer"])
    if not after.any() and row["kind"] in _CHAIN:
        after = same & (rows["kind"] == _CHAIN[Kind(row["kind"])])
        if row["kind"] == Kind.HIDDEN and row["peer"] != row["satellite"]:
            return None
    if not after.any():
        return None
    first_s, last_s = float(rows["start_s"][after].min()), float(rows["end_s"][after].max())
    if last_s - first_s < 1e-3 and row["end_s"] - row["start_s"] < 1e-3:
        return None
    length_s = row["end_s"] - row["start_s"]
    rows["start_s"][index] = last_s + rng.uniform(0.01, 5.0)
    rows["end_s"][index] = rows["start_s"][index] + length_s
    return "moved behind what follows it", _rows(plan, rows)


def _retargeted(plan: Plan, index: int, rng: np.random.Generator, contact_plan: ContactPlan) -> _Found:
    rows = plan.activities.copy()
    if rows["kind"][index] not in _MOVES and not (rows["kind"][index] in _POINTS and _used(plan, index)):
        return None
    field = str(rng.choice(["node", "peer"]))
    satellites, nodes = len(contact_plan.satellites), len(contact_plan.nodes)
    low, high = (0, satellites) if rows[field][index] < satellites else (satellites, nodes)
    # The same weights over another link of the same time may be as good a plan.
    linked = contact_plan.contacts[contact_plan.contacts["kind"] == rows["link"][index]]
    fixed, moving = ("peer", "source") if field == "node" else ("node", "target")
    across = linked[linked["target" if field == "node" else "source"] == rows[fixed][index]][moving]
    taken = across if rows["kind"][index] in (Kind.REDUCE, Kind.UPDATE) else []
    others = np.setdiff1d(np.arange(low, high), [rows[field][index], *taken])
    if not len(others):
        return None
    rows[field][index] = rng.choice(others)
    return f"another {field}", _rows(plan, rows)


def _relabelled(plan: Plan, index: int, rng: np.random.Generator, _: ContactPlan) -> _Found:
    rows = plan.activities.copy()
    kind = Kind(rows["kind"][index])
    if kind in _POINTS:
        return None
    fields = ["kind", "link"] + (
        ["satellite", "epoch", "first_sample", "end_sample"] if kind in _OF_SAMPLES else []
    )
    field = str(rng.choice(fields))
    if field == "kind":
        rows["kind"][index] = rng.choice(np.setdiff1d(np.arange(len(Kind)), [kind, *_POINTS]))
    elif field == "link":
        rows["link"][index] = rng.choice(np.setdiff1d([0, 1, 2, 3, ON_NO_LINK], [rows["link"][index]]))
    elif field == "satellite":
        rows["satellite"][index] = (rows["satellite"][index] + 1) % max(len(plan.finish_s), 2)
    else:
        rows[field][index] += int(rng.choice([-1, 1]))
    return f"another {field}", _rows(plan, rows)


def _step_broken(plan: Plan, index: int, rng: np.random.Generator, _: ContactPlan) -> _Found:
    steps = plan.steps.copy()
    if not len(steps):
        return None
    one = int(rng.integers(len(steps)))
    what = str(
        rng.choice(
            [
                "drop",
                "double",
                "satellite",
                "step",
                "first_sample",
                "end_sample",
                "epoch",
                "gateway",
                "early",
                "short",
            ]
        )
    )
    if what == "drop":
        steps = np.delete(steps, one)
    elif what == "double":
        steps = np.append(steps, steps[one])
    elif what == "early":
        mine = np.flatnonzero(steps["satellite"] == steps["satellite"][one])
        before = mine[steps["step"][mine] == steps["step"][one] - 1]
        steps["start_s"][steps["batch"] == steps["batch"][one]] = (
            steps["start_s"][before[0]] - 0.01 if len(before) else plan.start_s - 0.01
        )
    elif what == "short":
        steps["end_s"][one] = steps["start_s"][one] + 1e-4
    elif what == "gateway":
        steps["gateway"][one] = (steps["gateway"][one] + 1) % max(len(plan.finish_s), 2)
    else:
        steps[what][one] += int(rng.choice([-1, 1]))
    return f"step {one}: {what}", dataclasses.replace(plan, steps=steps)
