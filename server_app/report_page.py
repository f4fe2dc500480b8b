"""Pages that open offline: markup, style, and the script that draws the figures."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1b1f; --soft: #5c5f66; --line: #d9dbe0; --focus: #4477aa; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15171c; --ink: #e8e9ec; --soft: #9ea2ab; --line: #33363d; --focus: #66ccee; } }
body { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 1200px; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .25rem; }
p { margin: .25rem 0; color: var(--soft); }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2rem; border-block: 1px solid var(--line); padding: .75rem 0; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
pre { overflow: auto; padding: .75rem; border: 1px solid var(--line); border-radius: .25rem; font-size: .85rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .9rem; } a { color: var(--focus); }
summary { cursor: pointer; }
.figure { width: 100%; min-height: 320px; } .wide { height: clamp(300px, 56vw, 640px); }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 400; }
</style>
</head>
<body>
$body<script>$plotly</script>
<script>
const figures = {$figures};
const dark = matchMedia("(prefers-color-scheme: dark)");
async function draw(name) {
  const ink = dark.matches ? "#e8e9ec" : "#1b1b1f", line = dark.matches ? "#33363d" : "#e3e5e9";
  const axis = { gridcolor: line, zerolinecolor: line, automargin: true };
  const figure = figures[name], chart = document.getElementById(name);
  const layout = { ...figure.layout, template: null, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink }, margin: { l: 40, r: 30, t: 40, b: 50 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "#8a9099" } };
  for (const key of Object.keys(layout)) if (/^[xy]axis/.test(key)) layout[key] = { ...axis, ...layout[key] };
  const displayModeBar = innerWidth > 600 && "hover"; // on a narrow screen it would hide the legend
  await Plotly.react(chart, figure.data, layout, { responsive: true, displaylogo: false, displayModeBar });
  if (!chart.hasAttribute("tabindex")) takeKeys(chart);
}
// A chart that has the focus: arrows move along the first axis, + and - zoom, 0 shows all.
function takeKeys(chart) {
  const home = [...chart._fullLayout.xaxis.range];
  chart.tabIndex = 0;
  chart.addEventListener("keydown", event => {
    const [from, to] = chart._fullLayout.xaxis.range, span = to - from;
    const range = { ArrowLeft: [from - span / 10, to - span / 10], ArrowRight: [from + span / 10, to + span / 10],
      "+": [from + span / 6, to - span / 6], "=": [from + span / 6, to - span / 6],
      "-": [from - span / 4, to + span / 4], "0": home }[event.key];
    if (!range || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    Plotly.relayout(chart, { "xaxis.range": range });
  });
}
// Charts are drawn as they come near, so that a long page opens at once.
const near = new IntersectionObserver(found => {
  for (const one of found.filter(one => one.isIntersecting)) { near.unobserve(one.target); draw(one.target.id); }
}, { rootMargin: "300px" });
const names = Object.keys(figures);
for (const name of names) near.observe(document.getElementById(name));
dark.addEventListener("change", () => names.filter(name => document.getElementById(name).tabIndex === 0).forEach(draw));
addEventListener("beforeprint", () => names.forEach(draw));
</script>
</body>
</html>
"""

FRAME = Template(_FRAME)  # $title, $body, $figures, $plotly


@dataclass(frozen=True, eq=False)
class Section:
    """A part of a page.

    Attributes:
        name: Its anchor.
        title: Its heading.
        says: What one sees; may be empty.
        content: A figure, or markup.
        wide: Whether the figure keeps the shape of a map.
    """

    name: str
    title: str
    says: str
    content: go.Figure | str
    wide: bool = False


def page(
    title: str, description: str, facts: Mapping[str, str], sections: Sequence[Section], ending: str
) -> str:
    """A page of sections, with links to them and with all that it needs inside.

    Args:
        title: Of the page.
        description: Below the title.
        facts: Terms and what they are, in a row.
        sections: From top to bottom.
        ending: Markup below the sections.
    """
    shown = "".join(
        f"<div><dt>{html.escape(term)}</dt><dd>{html.escape(fact)}</dd></div>" for term, fact in facts.items()
    )
    links = "".join(f'<a href="#{part.name}-title">{html.escape(part.title)}</a>' for part in sections)
    body = (
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(description)}</p></header><dl>{shown}</dl>"
        f'<nav aria-label="Sections">{links}</nav><main>{"".join(map(_markup, sections))}{ending}</main>'
    )
    figures = ",\n".join(
        f"{json.dumps(part.name)}: {part.content.to_json()}"
        for part in sections
        if isinstance(part.content, go.Figure)
    )
    return FRAME.substitute(title=html.escape(title), body=body, figures=figures, plotly=get_plotlyjs())


def _markup(section: Section) -> str:
    says = f"<p>{html.escape(section.says)}</p>" if section.says else ""
    content = section.content
    if isinstance(content, go.Figure):
        shape = "figure wide" if section.wide else "figure"
        label = html.escape(section.title)
        content = f'<div class="{shape}" id="{section.name}" role="group" aria-label="{label}"></div>'
    return f'<h2 id="{section.name}-title">{html.escape(section.title)}</h2>{says}{content}\n'
