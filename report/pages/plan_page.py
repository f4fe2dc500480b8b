"""One planned round to look at, as a page that opens offline."""

from __future__ import annotations

from mission.text.quantities import spoken_time
from orbit.contact_plan import ContactPlan
from orbit.files.contact_plan_files import to_rows
from report.charts.gantt import gantt_figure
from report.page import Section, page, sections_view
from strategies.analysis.plan_words import time_facts
from strategies.problem.plan import Plan


def plan_page(
    title: str, description: str, plan: Plan, contact_plan: ContactPlan, *, setup_s: float = 0.0
) -> str:
    """The page of a round: who does what when, how long it takes and how far that is from the lower bound."""
    facts = {
        "length": spoken_time(plan.makespan_s),
        "lower bound": spoken_time(plan.lower_bound_s),
        "above it": f"{100 * plan.gap:.1f} %",
        **dict(time_facts(plan.summary())),
    }
    names = [contact_plan.nodes[index].name for index in contact_plan.satellites]
    figure = gantt_figure(
        names, to_rows(contact_plan), list(plan.to_rows()), plan.end_s, start_s=plan.start_s, setup_s=setup_s
    )
    gantt = Section(
        "gantt", "Who does what when",
        says="Drag to zoom, double-click to see all; by keyboard: Tab to the chart, then arrows, + and -, 0.",
        content=figure,
    )  # fmt: skip
    return page(sections_view(title, description, facts, [gantt], ""))
