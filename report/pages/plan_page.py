"""One planned round to look at, as a page that opens offline."""

from __future__ import annotations

from orbit.contact_plan import ContactPlan
from orbit.files.contact_plan_files import to_rows
from report.charts.gantt import gantt_figure
from report.page import Section, page, sections_view
from strategies.problem.plan import SPLIT_COLUMNS, Plan


def plan_page(
    title: str, description: str, plan: Plan, contact_plan: ContactPlan, *, setup_s: float = 0.0
) -> str:
    """The page of a round: who does what when, how long it takes and how far that is from the lower bound."""
    summary = plan.summary()
    facts = {
        "length": f"{plan.makespan_s:.1f} s",
        "lower bound": f"{plan.lower_bound_s:.1f} s",
        "above it": f"{100 * plan.gap:.1f} %",
    } | {
        f"{column.removesuffix('_s')}, mean of a satellite": f"{summary[column]:.1f} s" for column in SPLIT_COLUMNS
    }  # fmt: skip
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
