// Designs side by side: chosen in the front's chart or ticked in a table.

// More columns cannot be read together.
const MOST = 8;
const chosen = new Set();
const following = document.documentElement.dataset.version !== undefined;

// A page that follows a study hands out designs; a page that stands alone cannot.
function exportLink(trial) {
  if (!following) return [];
  return [element("a", { class: "button", href: `api/trials/${trial}/design.yaml`,
    download: `${content.study}-trial-${trial}.yaml`, "aria-label": `Export trial ${trial} as YAML` },
  "Export YAML")];
}

function choose(trial, on) {
  if (on && chosen.size === MOST) chosen.delete(chosen.values().next().value);
  if (on) chosen.add(trial);
  else chosen.delete(trial);
  updateCompare();
  if (window.Plotly) drawFront(palette());
}

function chooseOnly(trials) {
  chosen.clear();
  for (const trial of trials) chosen.add(trial);
  updateCompare();
  drawFront(palette());
  document.getElementById("compare-title").focus();
}

function compareHead(indexes) {
  const row = element("tr");
  row.append(element("th", { scope: "col" }, "trial"));
  for (const index of indexes) {
    const { trial } = content.points[index];
    const head = element("th", { scope: "col" });
    const name = `Remove trial ${trial}`;
    const remove = element("button", { type: "button", class: "plain", "aria-label": name },
      "remove");
    remove.addEventListener("click", () => {
      choose(trial, false);
      document.getElementById("compare-title").focus();
    });
    const tools = element("span", { class: "tools" });
    tools.append(...exportLink(trial), remove);
    head.append(element("a", { href: `#trial-${trial}` }, String(trial)), tools);
    row.append(head);
  }
  return row;
}

function compareRow(column, indexes) {
  const texts = indexes.map((index) => {
    const sd = column.sds?.[index] ?? null;
    return column.texts[index] + (sd === null ? "" : ` ± ${sd.toPrecision(2)}`);
  });
  const differs = ["design", "system"].includes(column.group) && new Set(texts).size > 1;
  const row = element("tr", { class: differs ? "differs" : "" });
  const source = { design: "knob", system: "system", ...SOURCES }[column.group] ?? column.group;
  const below = [column.unit, source === "run" || source === "trial" ? "" : source,
    differs ? "differs" : ""].filter(Boolean).join(", ");
  const head = element("th", { scope: "row" }, column.label);
  if (below) head.append(element("small", {}, below));
  row.append(head, ...texts.map((text) => element("td", { class: column.numeric ? "n" : "" }, text)));
  return row;
}

function updateCompare() {
  for (const tick of document.querySelectorAll("[data-compare]")) {
    tick.checked = chosen.has(Number(tick.dataset.compare));
  }
  const indexes = [...chosen].map((trial) => content.points.findIndex((p) => p.trial === trial))
    .filter((index) => index >= 0);
  const table = document.getElementById("compare-table");
  document.getElementById("compare-scroller").hidden = !indexes.length;
  const most = `Press points of the front, or tick trials in a table: up to ${MOST} stand beside `
    + "each other. Knobs that differ are marked.";
  document.getElementById("compare-note").textContent = following || !indexes.length ? most
    : `${most} codesign export STUDY --design NUMBER writes one as YAML.`;
  table.replaceChildren();
  if (!indexes.length) return;
  table.createTHead().append(compareHead(indexes));
  const said = (column) => column.name !== "number"
    && indexes.some((index) => !["", "-"].includes(column.texts[index]));
  table.createTBody().append(
    ...content.columns.filter(said).map((column) => compareRow(column, indexes)));
}

function startCompare() {
  document.addEventListener("change", (event) => {
    const trial = event.target.dataset?.compare;
    if (trial !== undefined) choose(Number(trial), event.target.checked);
  });
  updateCompare();
}
