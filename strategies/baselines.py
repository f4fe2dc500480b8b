"""On-board fine-tuning, the baseline: the whole model is trained on the satellites, only weights travel."""

from __future__ import annotations

from orbit.contact_plan import ContactPlan
from strategies.plan import Plan
from strategies.workload import ComputeRates, Resources, Switches, Workload


def plan_onboard(
    contact_plan: ContactPlan,
    workload: Workload,
    rates: ComputeRates,
    resources: Resources,
    switches: Switches,
    *,
    start_s: float,
) -> Plan:
    raise NotImplementedError
