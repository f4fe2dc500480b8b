"""Pages that open offline: markup, style, and the script that draws the figures."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from report.still import INK, still_markup

_FRAME = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1b1f; --soft: #5c5f66; --line: #d9dbe0; --focus: #4477aa;
  --alarm: #bb2d0d; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15171c; --ink: #e8e9ec; --soft: #9ea2ab; --line: #33363d; --focus: #66ccee; --alarm: #ff8a70; } }
body { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 1200px; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .25rem; }
p { margin: .25rem 0; color: var(--soft); } .answer { color: var(--ink); font-weight: 600; }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2rem; border-block: 1px solid var(--line); padding: .75rem 0; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
pre { overflow: auto; padding: .75rem; border: 1px solid var(--line); border-radius: .25rem; font-size: .85rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .9rem; } a { color: var(--focus); }
progress { width: 100%; } #now { margin-bottom: 1rem; } .error { color: var(--alarm); font-weight: 600; }
summary { cursor: pointer; } select { font: inherit; }
.figure { width: 100%; min-height: 320px; position: relative; } .wide { height: clamp(300px, 56vw, 640px); }
.still { position: absolute; inset: 0; display: flex; flex-direction: column; overflow: hidden; font-size: 12px;
  line-height: 1.3; padding: 0 1.5rem .25rem 0; }
.key { display: flex; flex-wrap: wrap; gap: 0 1rem; padding: .25rem 0 .5rem 1.5rem; }
.key i { display: inline-block; width: 1.2em; height: .6em; margin-right: .3em; }
.axes { flex: 1; min-height: 0; display: grid; grid-template: 1fr auto auto / auto 1fr auto; }
.axes.above { grid-template-rows: auto 1fr auto; }
.axes svg { grid-area: 1 / 2; width: 100%; height: 100%; } .axes path { vector-effect: non-scaling-stroke; }
.axes .grid { stroke: var(--line); } .ticks { position: relative; height: 1.5em; grid-area: 2 / 2; }
.ticks b { position: absolute; font-weight: 400; white-space: pre; transform: translateX(-50%); }
.axes > .title { grid-area: 3 / 2; text-align: center; }
.above > .ticks { grid-row: 1; } .above > :is(svg, .left, .right) { grid-row: 2; }
.left, .right { display: flex; grid-area: 1 / 1; gap: .8em; } .right { grid-column: 3; flex-direction: row-reverse; }
:is(.left, .right) .ticks { height: 100%; }
:is(.left, .right) b { right: .4em; text-align: right; transform: translateY(-50%); }
.right b { right: auto; left: .4em; text-align: left; }
:is(.left, .right) .title { writing-mode: vertical-rl; transform: rotate(180deg); text-align: center; }
.when { display: flex; gap: 1rem; align-items: center; font-variant-numeric: tabular-nums; } button { font: inherit; }
.when { flex-wrap: wrap; } .when label { flex: 1; display: flex; flex-wrap: wrap; gap: .5rem; min-width: 0; }
.when input { flex: 1; min-width: 6rem; } .when output { min-width: 6em; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 400; white-space: normal; vertical-align: bottom; }
td:first-child { white-space: normal; min-width: 9rem; }
@media (max-width: 600px) { .axes > .ticks b:nth-child(even) { display: none; } }
@media (max-width: 1150px) { th, td { padding: .25rem .35rem; font-size: .85rem; } }
@media (max-width: 920px) {
  thead { position: absolute; clip-path: inset(50%); height: 1px; width: 1px; overflow: hidden; }
  tr { display: flex; flex-wrap: wrap; gap: 0 .9rem; padding: .4rem 0; border-bottom: 1px solid var(--line); }
  td { border: 0; padding: 0; white-space: normal; text-align: left; } td:first-child { flex-basis: 100%; }
  td:not(:first-child)::before { content: attr(data-heading) " "; color: var(--soft); }
  td:not(:first-child):empty { display: none; }
  .tiles th { flex-basis: 100%; text-align: left; } .tiles td { flex: 1; } .tiles td::before { display: block; }
  .tiles img { width: 100%; height: auto; max-width: 12rem; } }
@page { margin: 12mm; }
@media print {
  :root { color-scheme: light; --ground: #fff; --ink: #1b1b1f; --soft: #5c5f66; --line: #d9dbe0; --focus: #4477aa;
    --alarm: #bb2d0d; }
  body { max-width: none; padding: 0; font-size: 11pt; } nav, .when, select, label:has(select) { display: none; }
  h2, h2 + p { break-after: avoid; } p:has(+ .figure) { break-after: avoid; }
  .figure, tr, dl > div { break-inside: avoid; }
  .figure { overflow: hidden; } .table { overflow: visible; } pre { white-space: pre-wrap; overflow-wrap: anywhere; } }
</style>
</head>
<body>
<div id="page">$body</div>
<script type="text/plain" id="plotly">$plotly</script>
<script>
// A script with an address is compiled while the browser reads on, one within the page only when it is its turn.
const library = new Promise((done, failed) => {
  const script = document.createElement("script"), text = document.getElementById("plotly").textContent;
  Object.assign(script, { src: URL.createObjectURL(new Blob([text], { type: "text/javascript" })), onload: done,
    onerror: () => failed(new Error("the browser does not load plotly.js from this page")) });
  document.head.append(script);
});
</script>
<script type="application/json" id="figures">{$figures}</script>
<script>
let figures = JSON.parse(document.getElementById("figures").textContent), paper = false;
const dark = matchMedia("(prefers-color-scheme: dark)"), kept = {};
async function draw(name) {
  await library;
  const night = dark.matches && !paper, ink = night ? "#e8e9ec" : "#1b1b1f", line = night ? "#33363d" : "#e3e5e9";
  const axis = { gridcolor: line, zerolinecolor: line, automargin: true, ticklabeloverflow: "allow" };
  const figure = figures[name], chart = document.getElementById(name), scene = figure.layout.scene;
  const layout = { ...figure.layout, template: null, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink },
    margin: scene ? { l: 0, r: 0, t: 0, b: 0 } : { l: 40, r: 30, t: 40, b: 50, ...figure.layout.margin },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "#8a9099" }, uirevision: "kept" };
  if (layout.xaxis?.side === "top") layout.margin.b = 15;
  for (const key of Object.keys(layout)) if (/^[xy]axis/.test(key)) layout[key] = { ...axis, ...layout[key] };
  if (kept[name]) layout.xaxis = { ...layout.xaxis, range: kept[name], autorange: false };
  const narrow = innerWidth <= 600 && !paper;
  if (narrow && layout.height) layout.height += 19 * figure.data.length; // of the legend
  if (paper) {
    const wide = chart.classList.contains("wide") && 0.56 * PAPER.width;
    Object.assign(layout, { width: PAPER.width, height: wide || Math.min(layout.height ?? 360, PAPER.height) });
  }
  chart.style.height = layout.height ? `$${layout.height}px` : ""; // which Plotly keeps when the window's size changes
  const displayModeBar = !paper && !narrow && "hover"; // on a narrow screen it would hide the legend
  const config = { responsive: !paper, displaylogo: false, scrollZoom: false, displayModeBar,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const shown = trace => narrow && trace.meta === "named if wide" ? { ...trace, mode: "markers" } : trace;
  if (figure.frames) takeTime(chart);
  const data = moved(figure, chart).map(trace => inked(shown(trace), ink));
  await Plotly.react(chart, { data, layout, config });
  chart.querySelector(":scope > .still")?.remove();
  if (chart.hasAttribute("tabindex")) return;
  chart.tabIndex = 0;
  chart.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const change = (scene ? turned : zoomed)(chart, event.key);
    if (!change) return;
    event.preventDefault();
    Plotly.relayout(chart, change);
  });
}
const inked = (part, ink) => Object.fromEntries(Object.entries(part).map(([key, value]) =>
  [key, value === "$ink" ? ink : value?.constructor === Object ? inked(value, ink) : value]));
// Keys of a flat chart: arrows move along the first axis, + and - zoom, 0 shows all.
function zoomed(chart, key) {
  const [from, to] = chart._fullLayout.xaxis.range, span = to - from, home = figures[chart.id].layout.xaxis?.range;
  kept[chart.id] = { ArrowLeft: [from - span / 10, to - span / 10], ArrowRight: [from + span / 10, to + span / 10],
    "+": [from + span / 6, to - span / 6], "=": [from + span / 6, to - span / 6],
    "-": [from - span / 4, to + span / 4] }[key] ?? (key === "0" ? undefined : kept[chart.id]);
  if (key === "0" && !home) return { "xaxis.autorange": true };
  return "ArrowLeft ArrowRight + = - 0".split(" ").includes(key) && { "xaxis.range": kept[chart.id] ?? home };
}
// Keys of a chart in space: arrows turn it, + and - come nearer and go away, 0 turns it back.
function turned(chart, key) {
  const { x, y, z } = chart._fullLayout.scene.camera.eye, far = Math.hypot(x, y, z);
  let around = Math.atan2(y, x), up = Math.asin(z / far), near = 1;
  if (key === "ArrowLeft") around -= 0.2;
  else if (key === "ArrowRight") around += 0.2;
  else if (key === "ArrowUp") up = Math.min(up + 0.2, 1.5);
  else if (key === "ArrowDown") up = Math.max(up - 0.2, -1.5);
  else if (key === "+" || key === "=") near = 0.8;
  else if (key === "-") near = 1.25;
  else return key === "0" && { "scene.camera": figures[chart.id].layout.scene.camera };
  const r = far * near * Math.cos(up);
  const eye = { x: r * Math.cos(around), y: r * Math.sin(around), z: far * near * Math.sin(up) };
  return { "scene.camera.eye": eye };
}
// A figure with frames gets a slider that chooses one.
function takeTime(chart) {
  const frames = figures[chart.id].frames, slider = sliderOf(chart);
  slider.max = frames.length - 1;
  sayTime(slider, frames[slider.value]);
  slider.oninput = () => {
    const frame = frames[slider.value], change = {};
    for (const axis of "xyz") if (axis in frame.data[0]) change[axis] = frame.data.map(trace => trace[axis]);
    sayTime(slider, frame);
    return Plotly.restyle(chart, change, frame.traces);
  };
  const button = slider.closest(".when").querySelector("button");
  button.onclick = () => {
    if (button.textContent === "stop") return stop(button);
    if (+slider.value === frames.length - 1) slider.value = 0;
    button.textContent = "stop";
    button.playing = setInterval(async () => {
      if (button.busy) return;
      button.busy = true;
      slider.value = +slider.value + 1;
      await slider.oninput();
      button.busy = false;
      if (+slider.value === frames.length - 1) stop(button);
    }, 150);
  };
}
const sliderOf = chart => chart.nextElementSibling.querySelector("input");
function sayTime(slider, frame) {
  slider.setAttribute("aria-valuetext", slider.closest(".when").querySelector("output").textContent = frame.name);
}
// The traces of a figure, at the time of its slider if it has one.
function moved(figure, chart) {
  if (!figure.frames) return figure.data;
  const frame = figure.frames[sliderOf(chart).value], at = Object.fromEntries(frame.traces.map((k, n) => [k, n]));
  return figure.data.map((trace, k) => k in at ? { ...trace, ...frame.data[at[k]] } : trace);
}
function stop(button) {
  clearInterval(button.playing);
  button.textContent = "play";
}
// A choice of parts of a chart.
addEventListener("change", ({ target }) => {
  const name = target.dataset.figure;
  if (name && isDrawn(name)) Plotly.relayout(name, { "xaxis.range": (kept[name] = JSON.parse(target.value)) });
});
// Still pictures are there at once. Charts take their places as they come near, each shown before the next is drawn.
const near = new IntersectionObserver(async found => {
  const charts = found.filter(one => one.isIntersecting).map(one => one.target);
  charts.forEach(chart => near.unobserve(chart));
  for (const chart of charts) {
    if (chart.isConnected) await draw(chart.id);
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  }
}, { rootMargin: "300px" });
const names = () => Object.keys(figures), isDrawn = name => document.getElementById(name).tabIndex === 0;
for (const name of names()) near.observe(document.getElementById(name));
dark.addEventListener("change", () => names().filter(isDrawn).forEach(draw));
// On paper, A4 or Letter, every chart is drawn, in light colours and as wide and high as a page at the most.
const PAPER = { width: 690, height: 930 };
for (const [event, onPaper] of [["beforeprint", true], ["afterprint", false]])
  addEventListener(event, () => { paper = onPaper; names().filter(name => onPaper || isDrawn(name)).forEach(draw); });
$script</script>
</body>
</html>
""")


@dataclass(frozen=True, eq=False)
class Section:
    """A part of a page.

    Attributes:
        name: Its anchor.
        title: Its heading.
        says: What one sees; may be empty.
        content: A figure, or markup.
        wide: Whether the figure keeps the shape of a map.
        views: Parts of the figure's first axis to zoom to, by what they are called.
    """

    name: str
    title: str
    _: KW_ONLY
    says: str
    content: go.Figure | str
    wide: bool = False
    views: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class View:
    """The content of a page.

    Attributes:
        title: Of the page.
        body: Markup, with an element of class ``figure`` for each figure, its name as ``id``.
        figures: By name.
    """

    title: str
    body: str
    _: KW_ONLY
    figures: Mapping[str, go.Figure]

    def figures_json(self) -> str:
        """The members of a JSON object, a figure each."""
        return ",\n".join(f"{json.dumps(name)}: {figure.to_json()}" for name, figure in self.figures.items())


def page(view: View, script: str = "") -> str:
    """A page with all that it needs inside; ``script`` runs after its own."""
    return _FRAME.substitute(
        title=html.escape(view.title),
        body=view.body,
        figures=view.figures_json(),
        plotly=plotly_script(),
        script=script,
        ink=INK,
    )


@cache
def plotly_script() -> str:
    """Return plotly.js with the function around all of it in parentheses.

    V8 compiles a function in parentheses at once. Without them it reads the whole library first for errors alone, and
    once more when the function is called. A library that is wrapped otherwise is returned as it is.
    """
    return re.sub(
        r"(: this, )(\(\) => \{.*\})(\)\);?\s*)$", r"\1(\2)\3", get_plotlyjs(), count=1, flags=re.DOTALL
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], label: str) -> str:
    """Return a table's markup; ``label`` says what it is to a reader who does not see it.

    On a narrow screen each row is a paragraph: its first cell, then every other with its heading. Roles keep it a table
    for screen readers there.
    """
    headings = "".join(f'<th scope="col" role="columnheader">{html.escape(heading)}</th>' for heading in head)
    lines = "".join(
        '<tr role="row">'
        + "".join(
            f'<td role="cell" data-heading="{html.escape(heading)}">{html.escape(cell)}</td>'
            for heading, cell in zip(head, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{html.escape(label)}">'
        f'<table role="table"><thead role="rowgroup"><tr role="row">{headings}</tr></thead>'
        f'<tbody role="rowgroup">{lines}</tbody></table></div>'
    )


def sections_view(
    title: str,
    description: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    ending: str,
    story: Sequence[str] = (),
) -> View:
    """A view of sections, with links to them.

    Args:
        title: Of the page.
        description: Below the title.
        facts: Terms and what they are, in a row.
        sections: From top to bottom.
        ending: Markup below the sections.
        story: Sentences before all figures: what came out.
    """
    paragraph = f"<p>{html.escape(' '.join(story))}</p>" if story else ""
    shown = "".join(
        f"<div><dt>{html.escape(term)}</dt><dd>{html.escape(fact)}</dd></div>" for term, fact in facts.items()
    )
    links = "".join(f'<a href="#{part.name}-title">{html.escape(part.title)}</a>' for part in sections)
    body = (
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(description)}</p>{paragraph}<dl>{shown}</dl></header>"
        f'<nav aria-label="Sections">{links}</nav><main>{"".join(map(_markup, sections))}{ending}</main>'
    )
    figures = {part.name: part.content for part in sections if isinstance(part.content, go.Figure)}
    return View(title, body, figures=figures)


def figure_markup(name: str, figure: go.Figure, label: str, *, wide: bool = False) -> str:
    """Return the place of a figure, with its still picture until its chart is drawn; ``label`` says what it shows."""
    height = f' style="height:{figure.layout.height}px"' if figure.layout.height else ""
    return (
        f'<div class="{"figure wide" if wide else "figure"}" id="{name}" role="group" aria-label="{html.escape(label)}"'
        f"{height}>{still_markup(figure)}</div>"
    )


def slider_markup(name: str) -> str:
    """Return the slider that follows a figure with frames, and the button that plays and stops them."""
    return (
        f'<div class="when" id="{name}-when"><button type="button">play</button><label>mission time '
        '<input type="range" value="0"></label><output></output></div>'
    )


def marked(sentence: str) -> str:
    """Return a sentence as markup; commands in it stand between grave accents."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(sentence))


def _markup(section: Section) -> str:
    says = f"<p>{marked(section.says)}</p>" if section.says else ""
    content = section.content
    if isinstance(content, go.Figure):
        slider = slider_markup(section.name) if content.frames else ""
        options = "".join(
            f'<option value="{json.dumps(part)}">{html.escape(name)}</option>'
            for name, part in section.views.items()
        )
        choice = (
            f'<p><label>zoom to <select id="{section.name}-views" data-figure="{section.name}">{options}</select>'
            "</label></p>"
            if options
            else ""
        )
        content = f"{choice}{figure_markup(section.name, content, section.title, wide=section.wide)}{slider}"
    return f'<h2 id="{section.name}-title">{html.escape(section.title)}</h2>{says}{content}\n'
