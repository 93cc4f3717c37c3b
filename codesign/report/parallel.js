// Parallel coordinates: an axis a knob that varies, the cost and the quality; a line a design.
// A range kept on an axis (dragged, or moved by keys) filters the table and pales the chart.

const PAD = { top: 30, bottom: 34, side: 56 };
// An axis with at most so many levels shows each of them.
const FEW = 12;

// Positions on an axis are shares, 0 at its lower end. A knob that sleeps lies at the lower end.
function makeAxis(column) {
  const known = column.values.filter((value) => value !== null);
  const levels = [...new Set(known)].sort((a, b) => column.numeric ? a - b : 0);
  const asleep = known.length < column.values.length ? 1 : 0;
  if (!column.numeric || levels.length <= FEW) {
    const names = [...(asleep ? ["-"] : []), ...levels.map((value) => textOf(column, value))];
    const last = Math.max(1, names.length - 1);
    const place = (value) => (value === null ? 0 : levels.indexOf(value) + asleep) / last;
    return { column, place, step: 1 / last, room: Math.min(0.3 / last, 0.08),
      ticks: names.map((text, index) => ({ at: names.length > 1 ? index / last : 0, text })) };
  }
  const log = levels[0] > 0 && levels.at(-1) / levels[0] > 20;
  const scale = log ? Math.log : (value) => value;
  const [low, high] = [scale(levels[0]), scale(levels.at(-1))];
  const base = asleep ? 0.08 : 0;
  const place = (value) =>
    value === null ? 0 : base + (1 - base) * (scale(value) - low) / (high - low);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const value = low + share * (high - low);
    return { at: base + (1 - base) * share, text: short(log ? Math.exp(value) : value) };
  });
  if (asleep) ticks.unshift({ at: 0, text: "-" });
  return { column, place, step: 0.05, room: 0, ticks };
}

function textOf(column, value) {
  return column.texts[column.values.indexOf(value)];
}

function short(value) {
  if (Math.abs(value) >= 1e4) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

function readParallel() {
  const { columns, points } = content;
  const done = points.map((point, index) => ({ ...point, index }))
    .filter((p) => p.status === "completed" && p.kind !== "confirm" && p.y !== null);
  const wanted = [content.cost?.name, content.quality.name];
  const knobs = columns.filter((column) => column.group === "design");
  const named = wanted.map((name) => columns.find((column) => column.name === name));
  const shown = [...knobs, ...named.filter(Boolean)].map((column) => {
    const part = (list) => done.map((p) => list[p.index]);
    return makeAxis({ ...column, values: part(column.values), texts: part(column.texts) });
  });
  const lines = done.map((point, row) => ({
    point, at: shown.map((axis) => axis.place(axis.column.values[row])),
  }));
  // The best are drawn last, over the others, and brightest against the paper's opposite.
  const sign = content.quality.goal === "maximize" ? 1 : -1;
  lines.sort((a, b) => sign * (a.point.y - b.point.y));
  lines.forEach((line, rank) => { line.share = lines.length > 1 ? rank / (lines.length - 1) : 1; });
  // Lines through one level lie side by side, the best on top, so that none hides the others.
  for (const line of lines) {
    line.drawn = line.at.map((share, axis) => share + shown[axis].room * (line.share - 0.5));
  }
  return { axes: shown, lines };
}

function isKept(chart, line) {
  return chart.kept.every((range, axis) =>
    !range || (line.at[axis] >= range[0] - 1e-9 && line.at[axis] <= range[1] + 1e-9));
}

function axisX(chart, index) {
  const width = chart.root.clientWidth - 2 * PAD.side;
  return PAD.side + (chart.axes.length > 1 ? width * index / (chart.axes.length - 1) : width / 2);
}

function axisY(chart, share) {
  const height = chart.root.clientHeight - PAD.top - PAD.bottom;
  return PAD.top + height * (1 - share);
}

// Good designs dark on paper, bright in the dark.
function quality(share) {
  return shade(dark.matches && !printing ? share : 1 - share);
}

function drawParallel(chart, colours) {
  const { canvas, root, axes } = chart;
  const ratio = Math.max(devicePixelRatio, 2);
  [canvas.width, canvas.height] = [root.clientWidth * ratio, root.clientHeight * ratio];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const some = chart.kept.some(Boolean);
  const thin = chart.lines.length > 300;
  for (const inside of [false, true]) {
    for (const line of chart.lines) {
      if (isKept(chart, line) !== inside) continue;
      pen.globalAlpha = inside ? (thin && !some ? 0.35 : 0.8) : 0.12;
      pen.strokeStyle = inside ? quality(line.share) : colours.muted;
      pen.lineWidth = thin ? 0.8 : 1.4;
      pen.beginPath();
      line.drawn.forEach((share, index) => pen.lineTo(axisX(chart, index), axisY(chart, share)));
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
  axes.forEach((axis, index) => drawAxis(pen, chart, axis, index, colours));
}

function drawAxis(pen, chart, axis, index, colours) {
  const x = axisX(chart, index);
  pen.strokeStyle = colours.soft;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(x, axisY(chart, 0));
  pen.lineTo(x, axisY(chart, 1));
  pen.stroke();
  pen.font = `12px ${FONT}`;
  pen.textBaseline = "middle";
  for (const { at, text } of axis.ticks) {
    const y = axisY(chart, at);
    // A halo of paper keeps the figures legible over the lines.
    pen.lineWidth = 3;
    pen.strokeStyle = colours.paper;
    pen.strokeText(text, x + 7, y);
    pen.fillStyle = colours.soft;
    pen.fillText(text, x + 7, y);
    pen.fillRect(x - 3, y - 0.5, 6, 1);
  }
}

function keep(chart, axis, range) {
  const clipped = range && [Math.max(0, Math.min(...range)), Math.min(1, Math.max(...range))];
  chart.kept[axis] = clipped && (clipped[0] > 0 || clipped[1] < 1) ? clipped : null;
  showKept(chart);
}

function showKept(chart) {
  chart.handles.forEach((handle, axis) => {
    const range = chart.kept[axis];
    const [low, high] = range ?? [0, 1];
    const bar = handle.querySelector("b");
    bar.hidden = !range;
    bar.style.bottom = `${100 * low}%`;
    bar.style.height = `max(4px, ${100 * (high - low)}%)`;
    const within = chart.axes[axis].ticks.filter(({ at }) => at >= low - 0.03 && at <= high + 0.03);
    const ends = within.length ? `${within[0].text} to ${within.at(-1).text}` : "between two marks";
    handle.setAttribute("aria-valuetext", range ? `keeps ${ends}` : "keeps all");
    handle.setAttribute("aria-valuenow", Math.round(50 * (low + high)));
  });
  const kept = chart.lines.flatMap((line) => isKept(chart, line) ? [line.point.trial] : []);
  const some = chart.kept.some(Boolean);
  const [left, all] = [kept, chart.lines].map((list) => list.length.toLocaleString("en"));
  document.getElementById("parallel-kept").textContent = `${left} of ${all} designs kept.`;
  document.getElementById("parallel-free").hidden = !some;
  document.getElementById("parallel-compare").hidden = !some || !kept.length || kept.length > MOST;
  drawParallel(chart, palette());
  cancelAnimationFrame(chart.frame);
  chart.frame = requestAnimationFrame(() => {
    const trials = some ? new Set(kept) : null;
    keepRows(trials);
    paleFront(trials);
  });
}

function shareAt(handle, event) {
  const box = handle.getBoundingClientRect();
  return 1 - (event.clientY - box.top) / box.height;
}

// The ends of a dragged range take in a level, or the end of the axis, that they come close to.
function snapped(axis, [from, to]) {
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  if (!axis.room) return [low < 0.03 ? 0 : low, high > 0.97 ? 1 : high];
  const near = 0.35;
  const ends = [Math.ceil(low / axis.step - near), Math.floor(high / axis.step + near)];
  return ends[0] <= ends[1] ? ends.map((level) => level * axis.step) : [low, high];
}

function makeBrush(chart, handle, axis) {
  let from = null;
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    from = shareAt(handle, event);
  });
  handle.addEventListener("pointermove", (event) => {
    if (from === null) return;
    keep(chart, axis, snapped(chart.axes[axis], [from, shareAt(handle, event)]));
  });
  handle.addEventListener("pointerup", (event) => {
    // A press without a drag frees the axis.
    if (from !== null && Math.abs(shareAt(handle, event) - from) < 0.015) keep(chart, axis, null);
    from = null;
  });
  handle.addEventListener("keydown", (event) => {
    const up = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (event.key === "Escape") keep(chart, axis, null);
    if (!up) return;
    event.preventDefault();
    const step = up * chart.axes[axis].step;
    const [low, high] = chart.kept[axis] ?? (up > 0 ? [0, 0] : [1, 1]);
    if (!chart.kept[axis]) keep(chart, axis, [low, high]);
    else if (event.shiftKey) keep(chart, axis, [low, Math.max(low, high + step)]);
    else if (low + step >= -1e-9 && high + step <= 1 + 1e-9) {
      keep(chart, axis, [low + step, high + step]);
    }
  });
}

function makeHandle(chart, axis, index) {
  const { label: name, unit } = axis.column;
  const handle = element("div", { class: "axis", role: "slider", tabindex: "0",
    "aria-orientation": "vertical", "aria-label": name, "aria-valuemin": "0",
    "aria-valuemax": "100" });
  // Every other name stands below, so that long ones have room.
  const title = element("i", { class: `name${index % 2 ? " low" : ""}` });
  title.textContent = unit ? `${name} (${unit})` : name;
  handle.append(element("b"), title);
  makeBrush(chart, handle, index);
  return handle;
}

function placeParallel(chart) {
  chart.root.style.minWidth = `${2 * PAD.side + (chart.axes.length - 1) * 66}px`;
  chart.handles.forEach((handle, index) => { handle.style.left = `${axisX(chart, index)}px`; });
}

// A kept range of an axis that has changed: the place of the values that it kept.
function carried(range, before, now) {
  if (!range || JSON.stringify(before.ticks) === JSON.stringify(now.ticks)) return range;
  const places = before.column.values.filter((value) => {
    const at = before.place(value);
    return at >= range[0] - 1e-9 && at <= range[1] + 1e-9;
  }).map(now.place);
  return places.length ? [Math.min(...places), Math.max(...places)] : null;
}

const named = ({ column }) => `${column.name} ${column.unit}`;

function updateHandles(chart, axes) {
  const { root, canvas } = chart;
  const same = axes.map(named).join() === chart.axes.map(named).join();
  chart.kept = axes.map((axis) => {
    const before = chart.axes.findIndex((each) => named(each) === named(axis));
    return before < 0 ? null : carried(chart.kept[before], chart.axes[before], axis);
  });
  chart.axes = axes;
  if (same) return;
  chart.handles = axes.map((axis, index) => makeHandle(chart, axis, index));
  root.replaceChildren(canvas, ...chart.handles);
}

function updateParallel() {
  const { root } = parallel;
  const { axes, lines } = readParallel();
  root.classList.toggle("empty", lines.length < 2);
  if (lines.length < 2) {
    say("parallel", "Fewer than two designs have completed.");
    parallel.axes = [];
    return;
  }
  updateHandles(parallel, axes);
  parallel.lines = lines;
  const stops = [0, 0.25, 0.5, 0.75, 1].map(quality).join(", ");
  document.getElementById("parallel-scale").style.background = `linear-gradient(90deg, ${stops})`;
  placeParallel(parallel);
  showKept(parallel);
}

const parallel = { root: document.getElementById("parallel"), canvas: element("canvas"),
  axes: [], lines: [], kept: [], handles: [] };
document.getElementById("parallel-free").addEventListener("click", () => {
  parallel.kept = parallel.kept.map(() => null);
  showKept(parallel);
});
document.getElementById("parallel-compare").addEventListener("click", () => {
  const left = parallel.lines.filter((line) => isKept(parallel, line));
  chooseOnly(left.map((line) => line.point.trial));
});
