"""The cut of a scenario that leaves it open, chosen before a command plans with it."""

from __future__ import annotations

from mission.schema import Scenario
from orbit.contact_plan import ContactPlan
from skysplit.commands.arguments import fail
from skysplit.model_cuts import settled, spoken_choice
from skysplit.terminal import Terminal


def chosen_cut(scenario: Scenario, contacts: ContactPlan) -> Scenario:
    """The scenario with a number where it leaves its cut open, which is said; or the end of the command."""
    try:
        cut = settled(scenario, contacts)
    except (ValueError, OSError) as error:
        fail(str(error))
    if cut.reason is not None:
        Terminal(stderr=True).print(spoken_choice(cut.reason), soft_wrap=True, highlight=False)
    return cut.scenario
