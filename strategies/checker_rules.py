"""What all rules of the checker share: the plan under judgement, and how a violation is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.plan import ON_NO_LINK, Kind, Plan
from strategies.round_state import RoundState
from strategies.workload import ComputeRates, Resources, Workload


@dataclass(frozen=True)
class Violation:
    """One thing that cannot be."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


class Rules:
    """A plan, what it has to keep to, and where the round stood when it was made."""

    def __init__(
        self,
        plan: Plan,
        contact_plan: ContactPlan,
        workload: Workload,
        rates: ComputeRates,
        resources: Resources,
        state: RoundState,
    ) -> None:
        self.plan, self.contact_plan = plan, contact_plan
        self.workload, self.rates, self.resources = workload, rates, resources
        self.state = state
        self.rows = plan.activities
        on_link = self.rows[(self.rows["link"] != ON_NO_LINK) & (self.rows["kind"] > Kind.LASER)]
        self.moving = on_link[on_link["bytes"] > 0]
        self.satellites = len(contact_plan.satellites)

    def name(self, node: int) -> str:
        """A node's name."""
        return self.plan.names[node] if node >= 0 else "ground"

    def transfer(self, row: np.void) -> str:
        """A transfer in words."""
        kind, link = Kind(row["kind"]).name.lower(), LinkKind(row["link"]).name.lower()
        where = f"{self.name(row['node'])} → {self.name(row['peer'])}"
        return f"{kind} over {link} {where}, {row['start_s']:.3f}–{row['end_s']:.3f} s"
