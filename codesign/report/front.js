// The Pareto front: quality against cost.

let paled = false;

function hoverText(index) {
  const point = content.points[index];
  const state = !point.front ? "" : point.confirmed === false ? ", on the front, one run"
    : ", on the front";
  const lines = [`<b>trial ${point.trial}</b> ${plain(point.kind)}${state}`];
  for (const column of content.columns) {
    const text = column.texts[index];
    const told = column.group !== "trial" && (column.group !== "run"
      || ["failure", "reason"].includes(column.name));
    if (!told || text === "-" || text === "") continue;
    lines.push(`${plain(column.label)}  <b>${plain(text.slice(0, 120))}</b> ${plain(column.unit)}`);
  }
  return lines.join("<br>");
}

function markers(points, name, marker, more = {}) {
  return {
    type: "scatter", mode: "markers", name, marker,
    x: points.map((p) => p.x), y: points.map((p) => p.y),
    customdata: points.map((p) => p.trial), unselected: { marker: { opacity: 0.12 } },
    text: points.map((p) => hoverText(p.index)), hovertemplate: "%{text}<extra></extra>", ...more,
  };
}

// The range of quality to open with: the front and nine tenths of the rest. A few collapsed
// trials would flatten it, and so would a far trivial predictor; a near one belongs into it.
function frontView(known, best) {
  const values = known.map((p) => p.y).sort((a, b) => a - b);
  if (!values.length) return null;
  const [floor, noise] = [content.floor.value, content.noise ?? 0];
  const maximised = content.quality.goal === "maximize";
  const spans = (p) => [p.y - (p.sd ?? 0), p.y + (p.sd ?? 0)];
  const anchors = known.filter((p) => p.front).flatMap(spans);
  anchors.push(maximised ? values.at(-1) : values[0]);
  anchors.push(values[Math.floor((maximised ? 0.1 : 0.9) * (values.length - 1))]);
  if (best) anchors.push(best.y - noise, best.y + noise);
  let [low, high] = [Math.min(...anchors), Math.max(...anchors)];
  const reach = 1.5 * (high - low);
  if (floor !== null && floor > low - reach && floor < high + reach) {
    [low, high] = [Math.min(low, floor - noise), Math.max(high, floor + noise)];
  }
  const pad = 0.07 * (high - low || Math.abs(high) || 1);
  return [low - 1.6 * pad, high + pad];
}

// Whole decades where there are several, else 1, 2, 5 within each.
function logAxis(xs) {
  const decades = Math.log10(Math.max(...xs) / Math.min(...xs));
  return {
    type: "log", dtick: decades > (narrow() ? 1.5 : 3) ? 1 : "D2",
    tickformat: Math.max(...xs) >= 1e4 ? "~s" : "~g",
    minor: { dtick: "D1", ticks: "outside", ticklen: 2, showgrid: false },
  };
}

function pointTraces(known, failed, colours) {
  const off = known.filter((p) => !p.front);
  const front = known.filter((p) => p.front);
  const bars = (points) => ({
    type: "data", array: points.map((p) => p.sd ?? 0),
    color: colours.front, thickness: 1.2, width: 4,
  });
  const sure = front.some((p) => p.confirmed) ? "front, confirmed" : "front";
  const crowded = off.length > 300;
  const thin = (symbol, color) =>
    ({ color, size: crowded ? 7 : 9, symbol, line: { width: crowded ? 1 : 2, color } });
  const groups = [
    [off.filter((p) => p.kind === "search"), "dominated",
      { color: colours.muted, size: crowded ? 5 : 7, opacity: crowded ? 0.5 : 0.8 }],
    [off.filter((p) => p.kind === "confirm"), "fresh seed", thin("cross-thin-open", colours.faint)],
    [off.filter((p) => p.kind === "baseline"), "baseline",
      { color: colours.good, size: 11, symbol: "diamond" }],
    [front.filter((p) => p.confirmed !== false), sure,
      { color: colours.front, size: 11, line: { color: colours.paper, width: 1.5 } }],
    [front.filter((p) => p.confirmed === false), "front, one run",
      { color: colours.paper, size: 10, line: { color: colours.front, width: 2.2 } }],
  ];
  const traces = groups.filter(([points]) => points.length).map(([points, name, marker]) =>
    markers(points, name, marker, points[0].front ? { error_y: bars(points) } : {}));
  // Failed trials have no quality: they lie on the axis, on a scale of their own.
  if (failed.length) {
    const onAxis = { y: failed.map(() => 0), yaxis: "y2", cliponaxis: false };
    traces.push(markers(failed, "failed", thin("x-thin-open", colours.fail), onAxis));
  }
  return traces;
}

// The best quality to be had at each cost, out to the budget.
function stepTraces(front, edge, colours) {
  if (!content.steps || !front.length || content.cost?.goal !== "minimize") return [];
  // The line is drawn through what was confirmed; single runs float beside it as hollow marks.
  const sure = front.filter((p) => p.confirmed);
  const ordered = [...(sure.length ? sure : front)].sort((a, b) => a.x - b.x);
  const last = ordered.at(-1);
  return [{
    type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false,
    x: [...ordered.map((p) => p.x), Math.max(edge, last.x)],
    y: [...ordered.map((p) => p.y), last.y],
    line: { shape: "hv", color: colours.front, width: 2 },
  }];
}

// The fitted median over all designs, beneath the points.
function trendTraces(colours) {
  const { trend } = content;
  if (!trend) return [];
  const line = (y, more) => ({ type: "scatter", mode: "lines", hoverinfo: "skip", x: trend.x, y,
    showlegend: false, line: { width: 0, color: colours.soft }, ...more });
  return [
    line(trend.low),
    line(trend.high, { fill: "tonexty", fillcolor: faded(colours.soft, 0.1) }),
    line(trend.y, { name: "fitted median", showlegend: true,
      line: { width: 1.5, dash: "dash", color: colours.soft } }),
  ];
}

// Pale all points but those of some trials; null: none.
function paleFront(trials) {
  if (!trials && !paled) return;
  paled = Boolean(trials);
  const chart = document.getElementById("front-chart");
  const places = (chart.data ?? []).flatMap((trace, place) => trace.customdata ? [place] : []);
  if (!places.length) return;
  const selected = places.map((place) => trials && chart.data[place].customdata.flatMap(
    (trial, index) => trials.has(trial) ? [index] : []));
  Plotly.restyle(chart, { selectedpoints: selected }, places);
}

function band(y, sd, colour) {
  return { type: "rect", layer: "below", xref: "paper", x0: 0, x1: 1, y0: y - sd, y1: y + sd,
    fillcolor: colour, line: { width: 0 } };
}

function floorMarks(view, colours) {
  const floor = content.floor.value;
  if (floor === null) return { shapes: [], annotations: [] };
  const [above, below] = [view && floor > view[1], view && floor < view[0]];
  const place = above ? { yref: "paper", y: 1, yanchor: "top" }
    : below ? { yref: "paper", y: 0, yanchor: "bottom" } : { y: floor, yanchor: "bottom" };
  const arrow = above ? "\u2191 " : below ? "\u2193 " : "";
  const line = { type: "line", xref: "paper", x0: 0, x1: 1, y0: floor, y1: floor,
    line: { color: colours.floor, width: 1.5, dash: "dash" } };
  const label = { xref: "paper", x: 0.02, xanchor: "left", showarrow: false, ...place,
    text: `${arrow}${plain(content.floor.name)} ${floor.toFixed(4)}`,
    font: { color: colours.floor } };
  const noise = content.noise ? [band(floor, content.noise, faded(colours.floor, 0.08))] : [];
  return { shapes: [...noise, line], annotations: [label] };
}

function budgetMarks(log, colours) {
  const limit = content.budget;
  if (limit === null || (log && limit <= 0)) return { shapes: [], annotations: [] };
  const line = { type: "line", yref: "paper", y0: 0, y1: 1, x0: limit, x1: limit,
    line: { color: colours.soft, width: 1, dash: "dot" } };
  const label = { yref: "paper", y: 0, yanchor: "bottom", x: log ? Math.log10(limit) : limit,
    xanchor: "right", showarrow: false, text: `budget ${limit} `, font: { color: colours.soft } };
  return { shapes: [line], annotations: [label] };
}

function sayOutside(known, view) {
  const count = view ? known.filter((p) => p.y < view[0] || p.y > view[1]).length : 0;
  const lie = count === 1 ? "trial lies" : "trials lie";
  document.getElementById("front-outside").textContent = count
    ? `${count} weaker ${lie} outside this view; the table has them all.` : "";
}

function drawFront(colours) {
  const all = content.points.map((point, index) => ({ ...point, index }));
  const known = all.filter((p) => p.status === "completed" && p.x !== null && p.y !== null);
  const failed = all.filter((p) => p.status === "failed" && p.x !== null);
  if (!known.length && !failed.length) {
    say("front-chart", "No trial has ended yet.");
    return;
  }
  const best = known.find((p) => p.trial === content.best);
  const xs = [...known, ...failed].map((p) => p.x);
  const log = Boolean(content.cost) && xs.every((x) => x > 0);
  const view = frontView(known, best);
  const made = layout(colours, {
    x: { title: content.cost ? axisTitle(content.cost) : "trial", ...(log ? logAxis(xs) : {}) },
    y: { title: axisTitle(content.quality), ...(view ? { range: view } : {}) },
  });
  const limit = limitMarks(log, colours);
  const [floor, budget] = [floorMarks(view, colours), budgetMarks(log, colours)];
  const noise = best && content.noise
    ? [band(best.y, content.noise, faded(colours.front, 0.1))] : [];
  made.shapes = [...noise, ...floor.shapes, ...budget.shapes, ...limit.shapes];
  made.annotations = [...floor.annotations, ...budget.annotations,
    ...limit.annotations];
  made.yaxis2 = { overlaying: "y", range: [0, 1], fixedrange: true, visible: false };
  const edge = content.budget ?? Math.max(...xs);
  const steps = stepTraces(known.filter((p) => p.front), edge, colours);
  const points = pointTraces(known, failed, colours);
  const rings = ringTraces(known, colours);
  plot("front-chart", [...trendTraces(colours), ...steps, ...points, ...rings], made);
  listenToFront();
  sayOutside(known, view);
}

// Rings: the best design within the limit, and those that are compared, with their numbers.
function ringTraces(known, colours) {
  const ring = (points, name, marker, more = {}) => ({
    type: "scatter", mode: "markers+text", name, hoverinfo: "skip", x: points.map((p) => p.x),
    y: points.map((p) => p.y), text: points.map((p) => p.trial), textposition: "top right",
    textfont: { color: colours.ink, size: 13 }, marker, cliponaxis: false, ...more,
  });
  const compared = known.filter((p) => chosen.has(p.trial));
  const best = limit.value === null ? [] : known.filter((p) => p.trial === bestWithin()?.trial);
  const open = (symbol, size, color) =>
    ({ symbol: `${symbol}-open`, size, color, line: { width: 2.2, color } });
  return [
    ...(best.length ? [ring(best, "best within the limit", open("square", 20, colours.good),
      { mode: "markers" })] : []),
    ...(compared.length ? [ring(compared, "compared", open("circle", 17, colours.ink))] : []),
  ];
}

// A pressed point joins the designs side by side, or leaves them.
function listenToFront() {
  const chart = document.getElementById("front-chart");
  if (chart.dataset.listens) return;
  chart.dataset.listens = "yes";
  chart.on("plotly_click", (event) => {
    const trial = event.points.find((point) => point.customdata !== undefined)?.customdata;
    if (trial !== undefined) choose(trial, !chosen.has(trial));
  });
}
