"""The outages that a scenario describes: of its stations, of their weather by month, of links between satellites."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from mission.scenario import ScenarioError
from mission.schema import Scenario, Station
from strategies.uncertainty.outages import OutageLaw, OutageModel

_S_PER_H, _S_PER_MIN = 3600.0, 60.0


def outage_model_of(scenario: Scenario) -> OutageModel:
    """The outages of a scenario, drawn from its seed.

    Raises:
        ValueError: Nothing in it ever fails.
    """
    model = drawn_outages_of(scenario)
    if not model.happens:
        raise ValueError(
            f"uncertainty: found no outages in {scenario.name}, so that all draws are alike; allowed with "
            "uncertainty.station_outage, uncertainty.isl_outage or a station's blocked above 0"
        )
    return model


def require_flyable(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` for a run with outages whose rounds cannot resume half-way."""
    training, strategy = scenario.training, scenario.strategy
    if not drawn_outages_of(scenario).happens:
        return
    for key, value, allowed in (
        ("training.mode", training.mode, ("head", "lora")),
        ("training.labels", training.labels, ("on-board", "uplinked")),
        ("strategy.averaging", strategy.averaging, ("rounds",)),
        ("strategy.planes_per_round", strategy.planes_per_round, (0,)),
    ):
        if value not in allowed:
            raise ScenarioError(
                f"{key}: found {value} with outages (uncertainty), whose rounds resume half-way; allowed: "
                + ", ".join(map(str, allowed))
            )


def drawn_outages_of(scenario: Scenario) -> OutageModel:
    """The same, also where nothing ever fails."""
    table = scenario.uncertainty
    service = OutageLaw.constant(table.station_outage, table.station_outage_h * _S_PER_H)
    return OutageModel(
        scenario.seed,
        stations={
            station.name: (service, _weather(scenario, station)) for station in scenario.ground.stations
        },
        isl=OutageLaw.constant(table.isl_outage, table.isl_outage_min * _S_PER_MIN),
        notice_s=table.notice_s,
    )


def _weather(scenario: Scenario, station: Station) -> OutageLaw:
    """Weather over a station; by month, in UTC, where the scenario has it so."""
    mean_s = scenario.uncertainty.blocked_h * _S_PER_H
    if not station.blocked_by_month:
        return OutageLaw.constant(station.blocked, mean_s)
    parts = []
    moment, end = scenario.epoch, scenario.epoch + timedelta(seconds=scenario.horizon_s)
    while moment < end:
        part = station.blocked_by_month[moment.month - 1]
        moment = _next_month(moment)
        until_s = (moment - scenario.epoch).total_seconds() if moment < end else math.inf
        parts.append((until_s, part))
    return OutageLaw(tuple(parts), mean_s)


def _next_month(moment: datetime) -> datetime:
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)
