// The best design within a limit on the cost: a field and a slider, a line in the front's chart.

const limit = { value: null };

function withinLimit(x) {
  if (limit.value === null) return true;
  return content.cost.goal === "maximize" ? x >= limit.value : x <= limit.value;
}

// Of the front; where designs were confirmed on fresh seeds, one of those.
function bestWithin() {
  const left = content.points.filter((p) => p.front && p.x !== null && p.y !== null
    && withinLimit(p.x));
  const sure = left.filter((p) => p.confirmed);
  const sign = content.quality.goal === "maximize" ? 1 : -1;
  const better = (a, b) => sign * (b.y - a.y) > 0 ? b : a;
  const eligible = sure.length ? sure : left;
  return eligible.length ? eligible.reduce(better) : null;
}

function textAt(name, index) {
  const column = content.columns.find((each) => each.name === name);
  return column && index >= 0 ? column.texts[index] : "-";
}

function costRange() {
  const xs = content.points.flatMap((p) => p.status === "completed" && p.x !== null ? [p.x] : []);
  return [Math.min(...xs), Math.max(...xs)];
}

// Shares of the slider are logarithmic where all costs are above 0.
function costAt(share) {
  const [low, high] = costRange();
  return low > 0 ? low * (high / low) ** share : low + share * (high - low);
}

function shareOf(cost) {
  const [low, high] = costRange();
  if (high === low) return 1;
  return low > 0 ? Math.log(Math.max(cost, low) / low) / Math.log(high / low)
    : (cost - low) / (high - low);
}

function sayBestWithin() {
  const line = document.getElementById("within-best");
  const best = bestWithin();
  if (!best) {
    line.replaceChildren("No design of the front is within this limit.");
    return;
  }
  const index = content.points.indexOf(best);
  const { quality, cost } = content;
  const sd = best.sd === null ? "" : ` ± ${best.sd.toFixed(4)}`;
  const link = element("a", { href: `#trial-${best.trial}` }, `trial ${best.trial}`);
  const told = `: ${quality.label} ${textAt(quality.name, index)}${sd}, ${cost.label} `
    + `${textAt(cost.name, index)} ${cost.unit}`;
  const compare = element("button", { type: "button" }, "Compare it");
  compare.addEventListener("click", () => choose(best.trial, true));
  const text = element("span");
  text.append(element("b", {}, limit.value === null ? "Best: " : "Best within: "), link,
    told.trimEnd());
  line.replaceChildren(text, compare, ...exportLink(best.trial));
}

function limitMarks(log, colours) {
  if (limit.value === null || (log && limit.value <= 0)) return { shapes: [], annotations: [] };
  const [x, at] = [limit.value, log ? Math.log10(limit.value) : limit.value];
  const line = { type: "line", yref: "paper", y0: 0, y1: 1, x0: x, x1: x,
    line: { color: colours.good, width: 2 } };
  const label = { yref: "paper", y: 0.08, yanchor: "bottom", x: at, xanchor: "right", showarrow: false,
    text: `limit ${textOfCost(x)} `, font: { color: colours.good } };
  return { shapes: [line], annotations: [label] };
}

const textOfCost = (cost) => String(Number(cost.toPrecision(4)));

function setLimit(value, from) {
  limit.value = value;
  const [field, slider] = ["limit", "limit-range"].map((id) => document.getElementById(id));
  if (from !== field) field.value = value === null ? "" : textOfCost(value);
  if (from !== slider) slider.value = value === null ? 1 : shareOf(value);
  slider.setAttribute("aria-valuetext", value === null ? "no limit"
    : `${textOfCost(value)} ${content.cost.unit}`);
  document.getElementById("limit-free").hidden = value === null;
  sayBestWithin();
  if (window.Plotly) drawFront(palette());
}

// Called again when the content has changed.
function updateWithin() {
  const known = content.cost && content.points.some((p) => p.front && p.x !== null);
  document.getElementById("within").hidden = !known;
  if (!known) return;
  const { label, unit, goal } = content.cost;
  document.getElementById("limit-name").textContent =
    `Best design with ${unit ? `${label} (${unit})` : label} at ${
      goal === "maximize" ? "least" : "most"}`;
  document.getElementById("limit-range").setAttribute("aria-label", `limit of ${label}`);
  sayBestWithin();
}

function startWithin() {
  const [field, slider] = ["limit", "limit-range"].map((id) => document.getElementById(id));
  field.addEventListener("input", () => {
    const value = field.valueAsNumber;
    setLimit(Number.isFinite(value) ? value : null, field);
  });
  slider.addEventListener("input", () => {
    setLimit(slider.value === "1" ? null : costAt(slider.valueAsNumber), slider);
  });
  document.getElementById("limit-free").addEventListener("click", () => {
    setLimit(null);
    field.focus();
  });
  document.getElementById("within").addEventListener("submit", (event) => event.preventDefault());
  updateWithin();
}
