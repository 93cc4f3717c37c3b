// The charts. Plotly arrives compressed inside the page and is inflated here.

const FONT = 'ui-sans-serif, system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif';
const config = () => ({
  displaylogo: false, responsive: true, showEditInChartStudio: false,
  modeBarButtons: [["toImage", "resetScale2d"]], displayModeBar: !narrow(),
});

function palette() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(["paper", "raised", "ink", "soft", "faint", "rule", "front", "floor", "fail", "good", "muted"]
    .map((name) => [name, colour(name)]));
}

// Plotly reads a small HTML in its texts: what a study says must stay text.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const titled = (axis) => plain(axis.unit ? `${axis.label} (${axis.unit})` : axis.label);
const faded = (hex, alpha) => hex + Math.round(alpha * 255).toString(16).padStart(2, "0");
const narrow = () => matchMedia("(max-width: 760px)").matches;

function layout(colours, axes) {
  const axis = { gridcolor: colours.rule, linecolor: colours.muted, zeroline: false, ticks: "outside",
    tickcolor: colours.rule, ticklen: 4, automargin: true, title: { standoff: 10 } };
  return {
    font: { family: FONT, size: 13, color: colours.soft }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 12, t: 12, b: 8 }, hovermode: "closest", dragmode: narrow() ? false : "zoom",
    hoverlabel: { bgcolor: colours.raised, bordercolor: colours.muted, align: "left", font: { color: colours.ink, family: FONT, size: 13 } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 13 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colours.faint, activecolor: colours.front },
    xaxis: { ...axis, ...axes.x }, yaxis: { ...axis, ...axes.y },
  };
}

// Whole decades where there are several, else 1, 2, 5 within the one.
function logTicks(xs) {
  const decades = Math.log10(Math.max(...xs) / Math.min(...xs));
  return { type: "log", dtick: decades > 3 ? 1 : "D2", exponentformat: "power", minor: { dtick: "D1", ticks: "outside", ticklen: 2, showgrid: false } };
}

function hoverText(index) {
  const point = content.points[index];
  const state = point.front ? (point.confirmed ? ", on the front" : ", on the front, one run") : "";
  const lines = [`<b>trial ${point.trial}</b> ${plain(point.kind)}${state}`];
  for (const column of content.columns) {
    if (column.group === "trial" || column.name === "number" || column.texts[index] === "-" || column.texts[index] === "") continue;
    if (column.group === "run" && !["failure", "reason"].includes(column.name)) continue;
    const text = plain(column.texts[index]).slice(0, 120);
    lines.push(`${plain(column.label)}  <b>${text}</b> ${plain(column.unit)}`);
  }
  return lines.join("<br>");
}

function frontView(points, floor, noise) {
  const best = content.points.find((p) => p.trial === content.best);
  const values = points.map((p) => p.y).sort((a, b) => a - b);
  const worse = content.quality.goal === "maximize" ? 0.1 : 0.9;
  const anchors = points.filter((p) => p.front).map((p) => p.y);
  if (values.length) anchors.push(values[Math.floor(worse * (values.length - 1))]);
  if (best?.y != null) anchors.push(best.y - (noise ?? 0), best.y + (noise ?? 0));
  const edge = content.quality.goal === "maximize" ? values.at(-1) : values[0];
  if (edge !== undefined) anchors.push(edge);
  if (!anchors.length) return null;
  let [low, high] = [Math.min(...anchors), Math.max(...anchors)];
  // A trivial predictor that is near belongs into the view; a far one would flatten the front.
  const reach = 1.5 * (high - low);
  if (floor !== null && floor > low - reach && floor < high + reach) {
    [low, high] = [Math.min(low, floor - (noise ?? 0)), Math.max(high, floor + (noise ?? 0))];
  }
  const pad = 0.07 * (high - low || Math.abs(high) || 1);
  return [low - 1.6 * pad, high + pad];
}

function drawFront(colours) {
  const place = document.getElementById("front-chart");
  const all = content.points.map((point, index) => ({ ...point, index }));
  const known = all.filter((p) => p.status === "completed" && p.x !== null && p.y !== null);
  const failed = all.filter((p) => p.status === "failed" && p.x !== null);
  const front = known.filter((p) => p.front).sort((a, b) => a.x - b.x);
  const xs = [...known, ...failed].map((p) => p.x);
  const log = Boolean(content.cost) && xs.length > 0 && xs.every((x) => x > 0);
  const view = frontView(known, content.floor.value, content.noise);
  const group = (points, name, marker, more = {}) => ({
    type: "scatter", mode: "markers", name, x: points.map((p) => p.x), y: points.map((p) => p.y), marker,
    customdata: points.map((p) => p.trial), text: points.map((p) => hoverText(p.index)), hovertemplate: "%{text}<extra></extra>", ...more,
  });
  const traces = [];
  const maximised = content.quality.goal === "maximize";
  const others = known.filter((p) => !p.front && p.kind === "search");
  traces.push(group(others, "dominated", { color: colours.muted, size: 7, opacity: 0.75 }));
  const reruns = known.filter((p) => !p.front && p.kind === "confirm");
  if (reruns.length) traces.push(group(reruns, "fresh seed", { color: colours.muted, size: 8, symbol: "cross-thin-open", line: { width: 1.4 } }));
  const given = known.filter((p) => !p.front && p.kind === "baseline");
  if (given.length) traces.push(group(given, "baseline", { color: colours.good, size: 11, symbol: "diamond" }));
  if (content.steps && front.length && content.cost?.goal === "minimize") {
    const edge = content.budget ?? Math.max(...xs);
    traces.push({ type: "scatter", mode: "lines", x: [...front.map((p) => p.x), Math.max(edge, front.at(-1).x)],
      y: [...front.map((p) => p.y), front.at(-1).y], line: { shape: "hv", color: colours.front, width: 2 }, hoverinfo: "skip", showlegend: false });
  }
  const bars = (points) => ({ error_y: { type: "data", array: points.map((p) => p.sd ?? 0), color: colours.front, thickness: 1.2, width: 4 } });
  const sure = front.filter((p) => p.confirmed !== false);
  const unsure = front.filter((p) => p.confirmed === false);
  if (sure.length) traces.push(group(sure, unsure.length ? "front, confirmed" : "front", { color: colours.front, size: 11, line: { color: colours.paper, width: 1.5 } }, bars(sure)));
  if (unsure.length) traces.push(group(unsure, "front, one run", { color: colours.paper, size: 10, line: { color: colours.front, width: 2.2 } }, bars(unsure)));
  if (failed.length) traces.push(group(failed, "failed", { color: colours.fail, size: 9, symbol: "x-thin-open", line: { width: 2, color: colours.fail } },
    { y: failed.map(() => 0), yaxis: "y2", cliponaxis: false }));
  const shapes = [];
  const annotations = [];
  const across = (y0, y1, colour) => shapes.push({ type: "rect", layer: "below", xref: "paper", x0: 0, x1: 1, y0, y1, fillcolor: colour, line: { width: 0 } });
  const best = known.find((p) => p.trial === content.best);
  if (best && content.noise) across(best.y - content.noise, best.y + content.noise, faded(colours.front, 0.1));
  const floor = content.floor.value;
  if (floor !== null) {
    if (content.noise) across(floor - content.noise, floor + content.noise, faded(colours.floor, 0.08));
    shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: floor, y1: floor, line: { color: colours.floor, width: 1.5, dash: "dash" } });
    const above = view && floor > view[1];
    const below = view && floor < view[0];
    const where = above || below
      ? { yref: "paper", y: above ? 1 : 0, yanchor: above ? "top" : "bottom" } : { y: floor, yanchor: "bottom" };
    const arrow = above ? "\u2191 " : below ? "\u2193 " : "";
    annotations.push({ xref: "paper", x: 0.02, xanchor: "left", showarrow: false, ...where,
      text: `${arrow}${plain(content.floor.name)} ${floor.toFixed(4)}`, font: { color: colours.floor } });
  }
  if (content.budget !== null && (!log || content.budget > 0)) {
    shapes.push({ type: "line", yref: "paper", y0: 0, y1: 1, x0: content.budget, x1: content.budget, line: { color: colours.soft, width: 1, dash: "dot" } });
    annotations.push({ yref: "paper", y: 0, yanchor: "bottom", x: log ? Math.log10(content.budget) : content.budget, xanchor: "right", showarrow: false, text: `budget ${content.budget} `, font: { color: colours.soft } });
  }
  const made = layout(colours, {
    x: { ...(log ? logTicks(xs) : {}), title: { text: content.cost ? titled(content.cost) : "trial", standoff: 12 } },
    y: { title: { text: titled(content.quality) }, ...(view ? { range: view } : {}) },
  });
  made.yaxis2 = { overlaying: "y", range: [0, 1], fixedrange: true, visible: false };
  Object.assign(made, { shapes, annotations });
  const outside = view ? known.filter((p) => p.y < view[0] || p.y > view[1]).length : 0;
  document.getElementById("front-outside").textContent = outside ? `${outside} weaker ${outside === 1 ? "trial lies" : "trials lie"} outside this view; double-click the chart to see all.` : "";
  Plotly.react(place, traces, made, config());
}

function drawVolume(colours) {
  const place = document.getElementById("volume-chart");
  const values = content.hypervolume;
  const trace = { type: "scatter", mode: values.length > 1 ? "lines" : "markers", x: values.map((_, index) => index + 1), y: values,
    line: { shape: "hv", color: colours.front, width: 2 }, marker: { color: colours.front }, hovertemplate: "after %{x} trials: %{y:.4g}<extra></extra>" };
  Plotly.react(place, [trace], layout(colours, { x: { title: { text: "completed trials" } }, y: { title: { text: "hypervolume" }, rangemode: "tozero" } }), config());
}

function shade(colours, share) {
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [from, to] = [channels(colours.floor), channels(colours.front)];
  return `rgb(${from.map((value, index) => Math.round(value + share * (to[index] - value))).join(",")})`;
}

let curveMetric = null;

function drawCurves(colours) {
  const { lines, metrics } = content.curves;
  const metric = metrics.find((m) => m.name === curveMetric) ?? metrics[0];
  const place = document.getElementById("curves-chart");
  const traces = lines.map((line, index) => ({
    type: "scatter", mode: "lines", name: `trial ${line.trial}`, x: line.points.map((p) => p.examples), y: line.points.map((p) => p[metric.name]),
    line: { width: 2, color: shade(colours, lines.length > 1 ? index / (lines.length - 1) : 1) },
    hovertemplate: `trial ${line.trial}, ${plain(line.cost)} ${plain(content.cost?.unit ?? "")}<br>%{x:,} examples: %{y:.4f}<extra></extra>`,
  }));
  Plotly.react(place, traces, layout(colours, { x: { title: { text: "examples" }, rangemode: "tozero" }, y: { title: { text: titled(metric) } } }), config());
}

function chooseCurves() {
  const { metrics, lines, of } = content.curves;
  const choice = document.getElementById("curves-choice");
  curveMetric = (metrics.find((m) => m.name === content.quality.name) ?? metrics[0])?.name ?? null;
  if (of > lines.length) document.getElementById("curves-note").textContent += ` ${lines.length} of the front's ${of}.`;
  if (metrics.length < 2) return;
  for (const metric of metrics) {
    const made = element("label");
    const input = element("input", { type: "radio", name: "curve-metric", value: metric.name });
    input.checked = metric.name === curveMetric;
    input.addEventListener("change", () => { curveMetric = metric.name; drawCurves(palette()); });
    made.append(input, metric.label);
    choice.append(made);
  }
}

function say(id, text) {
  document.getElementById(id).replaceChildren(element("p", { class: "notice" }, text));
}

function draw() {
  const colours = palette();
  drawFront(colours);
  if (content.hypervolume.length) drawVolume(colours); else say("volume-chart", "No trial has completed yet.");
  if (content.curves.lines.length) drawCurves(colours); else say("curves-chart", "No trial of the front recorded a curve.");
}

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function start() {
  if (typeof DecompressionStream === "undefined") {
    for (const id of ["front-chart", "volume-chart", "curves-chart"]) {
      say(id, "This browser cannot unpack the charts (they need DecompressionStream: Chrome 80, Firefox 113, Safari 16.4 or later). All figures are in the tables.");
    }
    return;
  }
  const packed = document.getElementById("plotly");
  const script = element("script");
  script.textContent = await inflated(packed.textContent);
  packed.remove();
  document.head.append(script);
  chooseCurves();
  draw();
  document.getElementById("front-chart").on?.("plotly_click", (event) => {
    const trial = event.points[0].customdata;
    if (trial !== undefined) location.hash = `trial-${trial}`;
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.documentElement.dataset.ready = "yes";
}

start();
