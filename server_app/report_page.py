"""Pages that open offline: markup, style, and the script that draws the figures."""

from string import Template

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1b1f; --soft: #5c5f66; --line: #d9dbe0; }
@media (prefers-color-scheme: dark) { :root { --ground: #15171c; --ink: #e8e9ec; --soft: #9ea2ab; --line: #33363d; } }
body { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 1200px; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .25rem; }
p { margin: .25rem 0; color: var(--soft); }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2rem; border-block: 1px solid var(--line); padding: .75rem 0; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
pre { overflow: auto; padding: .75rem; border: 1px solid var(--line); border-radius: .25rem; font-size: .85rem; }
summary { cursor: pointer; }
.figure { width: 100%; min-height: 320px; }
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
function draw() {
  const ink = dark.matches ? "#e8e9ec" : "#1b1b1f", line = dark.matches ? "#33363d" : "#e3e5e9";
  const axis = { gridcolor: line, zerolinecolor: line, automargin: true };
  for (const [name, figure] of Object.entries(figures)) {
    const layout = { ...figure.layout, template: null, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink }, margin: { l: 60, r: 60, t: 40, b: 50 } };
    for (const key of Object.keys(layout)) if (/^[xy]axis/.test(key)) layout[key] = { ...axis, ...layout[key] };
    Plotly.react(name, figure.data, layout, { responsive: true, displaylogo: false });
  }
}
draw();
dark.addEventListener("change", draw);
</script>
</body>
</html>
"""

_REPORT = """<header><h1>$title</h1><p>$description</p></header>
<dl>$facts</dl>
<main>
<h2>Accuracy over mission time</h2>
<div class="figure" id="curve" role="img" aria-label="Accuracy over mission time"></div>
<h2>What each satellite did</h2><p>Planned activities; drag to zoom, double-click to see all.</p>
<div class="figure" id="gantt" role="img" aria-label="Gantt chart of contacts and activities"></div>
<h2>Bytes over the links</h2><div class="figure" id="bytes" role="img" aria-label="Bytes by round and link class"></div>
<h2>Do it again</h2><pre>$command</pre>
<details><summary>The scenario as resolved</summary><pre>$scenario</pre></details>
</main>
"""

FRAME = Template(_FRAME)  # $title, $body, $figures, $plotly
PAGE = Template(_FRAME.replace("$body", _REPORT))
