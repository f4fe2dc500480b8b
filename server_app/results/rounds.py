"""What is recorded of a round: the window that carried most, and each satellite's row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from orbit.constellation import Constellation
from orbit.contact_plan import LinkKind
from splitmodel.tasks import Score
from strategies.federated import RoundOutcome
from strategies.problem.plan import SPLIT_COLUMNS, Plan


def describe_window(plan: Plan) -> str:
    """The space-ground window that carried most bytes down: ``SATELLITE → STATION``."""
    down = plan.activities[plan.activities["link"] == LinkKind.DOWNLINK]
    if not len(down):
        return "no space-ground window"
    pairs, which = np.unique(down[["node", "peer"]], return_inverse=True)
    busiest = pairs[np.bincount(which, weights=down["bytes"]).argmax()]
    return f"{plan.names[busiest['node']]} → {plan.names[busiest['peer']]}"


def round_rows(
    outcome: RoundOutcome,
    constellation: Constellation,
    score: Score,
    own_scores: Mapping[str, float],
    departed_s: float | None = None,
) -> Iterator[dict[str, Any]]:
    """The round's rows of ``rounds.parquet`` (:data:`mission.record.ROUNDS`), one a satellite.

    Args:
        outcome: The round.
        constellation: The satellites.
        score: Of the round's model.
        own_scores: The score by satellite, on test images such as it sees.
        departed_s: When the round began, as measured; ``None`` where nothing is.
    """
    plan = outcome.plan
    split = plan.time_split()
    gateways = plan.gateways()
    link_bytes = {kind: _bytes_by_satellite(plan, kind, len(constellation)) for kind in LinkKind}
    for index, name in enumerate(constellation.names):
        report = outcome.reports[name]
        yield {
            "round": outcome.number,
            "satellite": name,
            "plane": int(constellation.plane[index]),
            "gateway": ", ".join(plan.names[gateway] for gateway in gateways.get(index, ())),
            "rounds_late": outcome.rounds_late.get(name),
            "samples": report["num-examples"],
            "steps": report["steps"],
            "start_s": plan.start_s,
            "end_s": float(plan.finish_s[index]),
            "measured_start_s": departed_s,
            "measured_end_s": report.get("finished-s"),
            **dict(zip(SPLIT_COLUMNS, split[index].tolist(), strict=True)),
            "isl_bytes": int(link_bytes[LinkKind.INTRA_ISL][index] + link_bytes[LinkKind.INTER_ISL][index]),
            "downlink_bytes": int(link_bytes[LinkKind.DOWNLINK][index]),
            "uplink_bytes": int(link_bytes[LinkKind.UPLINK][index]),
            "split_up_bytes": report["bytes-up"],
            "split_down_bytes": report["bytes-down"],
            "train_loss": report["train-loss"],
            "train_accuracy": report["train-accuracy"],
            "test_loss": score.loss,
            "test_accuracy": score.accuracy,
            "own_test_accuracy": own_scores[name] if score.accuracy == score.value else None,
            "test_score": score.value,
            "own_test_score": own_scores[name],
        }


def _bytes_by_satellite(plan: Plan, kind: LinkKind, satellites: int) -> np.ndarray:
    """Bytes over links of a kind; weights of many count where they are sent, or come from the ground."""
    rows = plan.activities[plan.activities["link"] == kind]
    end = rows["peer" if kind == LinkKind.UPLINK else "node"]
    owner = np.where(rows["satellite"] >= 0, rows["satellite"], end)
    return np.bincount(owner, weights=rows["bytes"], minlength=satellites)


def link_bytes(plan: Plan) -> dict[str, int]:
    """Bytes of a plan over links by class, weights included; every hop counts."""
    rows = plan.activities

    def over(*kinds: LinkKind) -> int:
        return round(float(rows["bytes"][np.isin(rows["link"], kinds)].sum()))

    return {
        "downlink_bytes": over(LinkKind.DOWNLINK),
        "uplink_bytes": over(LinkKind.UPLINK),
        "isl_bytes": over(LinkKind.INTRA_ISL, LinkKind.INTER_ISL),
    }


def enrolment_facts(plan: Plan, sent_bytes: tuple[int, int], *, flown: bool) -> dict[str, Any]:
    """Return the facts about the enrolment for ``run.json``.

    Args:
        plan: Of it.
        sent_bytes: Over the split, up to the ground and back, as sent.
        flown: Whether it takes place over the planned links, rather than before launch.
    """
    return {
        **before_round_1_facts(plan, flown=flown),
        "split_up_bytes": sent_bytes[0],
        "split_down_bytes": sent_bytes[1],
    }


def before_round_1_facts(plan: Plan, *, flown: bool) -> dict[str, Any]:
    """Return when something before round 1 begins and ends and what it moves, for ``run.json``."""
    return {"start_s": plan.start_s, "end_s": plan.end_s, **link_bytes(plan), "flown": flown}
