// Hypervolume, learning curves, throughput, and predicted against measured.

const charts = () => ["front-chart", "volume-chart", "curves-chart", "throughput-chart",
  ...content.checks.map((_, place) => `check-${place}-chart`)];

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
  const { lines, others, metrics } = content.curves;
  const metric = metrics.find((m) => m.name === curveMetric) ?? metrics[0];
  // One trace for all others, broken between trials: they are there to compare with.
  const broken = (read) => others.flatMap((line) => [...line.points.map(read), null]);
  const rest = {
    type: "scatter", mode: "lines", name: "other trials", hoverinfo: "skip",
    x: broken((p) => p.examples), y: broken((p) => p[metric.name]),
    line: { width: 1, color: faded(colours.muted, 0.4) },
  };
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
  plot("curves-chart", [...(others.length ? [rest] : []), ...traces], layout(colours, {
    x: { title: "examples", rangemode: "tozero" }, y: { title: axisTitle(metric) },
  }));
}

// The metrics to choose from, and how many curves were left out.
function updateCurves() {
  const { metrics, lines, of } = content.curves;
  document.getElementById("curves-thinned").textContent = of > lines.length
    ? ` ${lines.length} of the front's ${of} trials.` : "";
  const choice = document.getElementById("curves-choice");
  const offered = [...choice.querySelectorAll("input")].map((input) => input.value);
  if (offered.join() === metrics.map((metric) => metric.name).join()) return;
  const first = metrics.find((m) => m.name === (curveMetric ?? content.quality.name));
  curveMetric = (first ?? metrics[0])?.name ?? null;
  choice.replaceChildren(...(metrics.length < 2 ? [] : metrics.map((metric) => {
    const input = element("input", { type: "radio", name: "curve-metric", value: metric.name });
    input.checked = metric.name === curveMetric;
    input.addEventListener("change", () => {
      curveMetric = metric.name;
      drawCurves(palette());
    });
    const made = element("label");
    made.append(input, metric.label);
    return made;
  })));
}

function drawThroughput(colours) {
  const { throughput, cost, points } = content;
  const column = content.columns.find((each) => each.name === throughput.name);
  const measured = column?.values ?? [];
  const known = points.map((point, index) => ({ ...point, index, y: measured[index] ?? null }))
    .filter((point) => point.x !== null && point.y !== null);
  if (!known.length) {
    say("throughput-chart", "No trial recorded its throughput.");
    return;
  }
  const log = (values) => values.every((value) => value > 0) ? logAxis(values) : {};
  const trace = markers(known, "measured", { color: colours.front, size: 6, opacity: 0.7 });
  plot("throughput-chart", [trace], layout(colours, {
    x: { title: cost ? axisTitle(cost) : "trial", ...(cost ? log(known.map((p) => p.x)) : {}) },
    y: { title: axisTitle(throughput), ...log(known.map((p) => p.y)) },
  }));
}

// Predicted against measured, with the prediction's interval, and the line where both are equal.
function drawCheck({ metric, points }, place, colours) {
  const [measured, predicted] = ["measured", "value"].map((name) => points.map((p) => p[name]));
  const all = [...measured, ...predicted];
  const ends = [Math.min(...all), Math.max(...all)];
  const trace = {
    type: "scatter", mode: "markers", name: "trials", x: measured, y: predicted,
    marker: { color: colours.front, size: 6 },
    error_y: { type: "data", symmetric: false, color: colours.muted, thickness: 1, width: 2,
      array: points.map((p) => p.high - p.value),
      arrayminus: points.map((p) => p.value - p.low) },
    customdata: points.map((p) => p.trial), showlegend: false,
    hovertemplate: "trial %{customdata}<br>measured %{x:.4g}, predicted %{y:.4g}<extra></extra>",
  };
  const equal = { type: "scatter", mode: "lines", x: ends, y: ends, hoverinfo: "skip",
    showlegend: false, line: { color: colours.soft, width: 1, dash: "dash" } };
  const title = axisTitle(metric);
  plot(`check-${place}-chart`, [equal, trace], layout(colours, {
    x: { title: `measured ${title}`, ...logAxis(measured) },
    y: { title: `predicted ${title}`, ...logAxis(predicted) },
  }));
}

function drawCharts() {
  const colours = palette();
  drawFront(colours);
  if (content.hypervolume.length) drawVolume(colours);
  else say("volume-chart", "No trial has completed yet.");
  updateCurves();
  if (content.curves.lines.length) drawCurves(colours);
  else say("curves-chart", "No trial of the front recorded a curve.");
  drawThroughput(colours);
  content.checks.forEach((check, place) => drawCheck(check, place, colours));
}
