// Hypervolume and learning curves, and the start of all charts.

let curveMetric = null;

function drawVolume(colours) {
  const values = content.hypervolume;
  const trace = {
    type: "scatter", mode: values.length > 1 ? "lines" : "markers",
    x: values.map((_, index) => index + 1), y: values,
    line: { shape: "hv", color: colours.front, width: 2 }, marker: { color: colours.front },
    hovertemplate: "after %{x} trials: %{y:.4g}<extra></extra>",
  };
  plot("volume-chart", [trace], layout(colours, {
    x: { title: "completed trials" }, y: { title: "hypervolume", rangemode: "tozero" },
  }));
}

function drawCurves(colours) {
  const { lines, metrics } = content.curves;
  const metric = metrics.find((m) => m.name === curveMetric) ?? metrics[0];
  const traces = lines.map((line, index) => {
    const paid = `${plain(line.cost)} ${plain(content.cost ? axisTitle(content.cost) : "")}`;
    return {
      type: "scatter", mode: "lines+markers", name: `trial ${line.trial}`,
      x: line.points.map((p) => p.examples), y: line.points.map((p) => p[metric.name]),
      line: { width: 2, color: shade(lines.length > 1 ? index / (lines.length - 1) : 0.5) },
      marker: { size: 4 },
      hovertemplate: `trial ${line.trial}, ${paid}<br>%{x:,} examples: %{y:.4f}<extra></extra>`,
    };
  });
  plot("curves-chart", traces, layout(colours, {
    x: { title: "examples", rangemode: "tozero" }, y: { title: axisTitle(metric) },
  }));
}

function chooseCurves() {
  const { metrics, lines, of } = content.curves;
  const first = metrics.find((m) => m.name === content.quality.name) ?? metrics[0];
  curveMetric = first?.name ?? null;
  if (of > lines.length) {
    document.getElementById("curves-note").append(` ${lines.length} of the front's ${of} trials.`);
  }
  if (metrics.length < 2) return;
  for (const metric of metrics) {
    const input = element("input", { type: "radio", name: "curve-metric", value: metric.name });
    input.checked = metric === first;
    input.addEventListener("change", () => {
      curveMetric = metric.name;
      drawCurves(palette());
    });
    const made = element("label");
    made.append(input, metric.label);
    document.getElementById("curves-choice").append(made);
  }
}

function draw() {
  const colours = palette();
  drawFront(colours);
  if (content.hypervolume.length) drawVolume(colours);
  else say("volume-chart", "No trial has completed yet.");
  if (content.curves.lines.length) drawCurves(colours);
  else say("curves-chart", "No trial of the front recorded a curve.");
}

async function start() {
  if (typeof DecompressionStream === "undefined") {
    const lack = "This browser cannot unpack the charts: they need DecompressionStream (Chrome 80, "
      + "Firefox 113, Safari 16.4 or later). All figures are in the tables.";
    for (const id of ["front-chart", "volume-chart", "curves-chart"]) say(id, lack);
    return;
  }
  await loadPlotly();
  chooseCurves();
  draw();
  document.getElementById("front-chart").on?.("plotly_click", (event) => {
    const trial = event.points[0].customdata;
    if (trial !== undefined) location.hash = `trial-${trial}`;
  });
  dark.addEventListener("change", draw);
  document.documentElement.dataset.ready = "yes";
}

start();
