"use strict";
// The trial table: sorted by its headers, filtered by text. All text enters as textContent.

const content = JSON.parse(document.getElementById("content").textContent);
const GROUP_TITLES = { trial: "", design: "knobs that vary" };
const SOURCES = { measured: "measured", "exact count": "exact" };

function element(tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

function cellClass(columns, place) {
  const column = columns[place];
  const opens = place > 0 && column.group !== columns[place - 1].group;
  const named = ["status", "reason"].includes(column.name) ? column.name : "";
  return [column.numeric ? "n" : "", opens ? "first" : "", named].filter(Boolean).join(" ");
}

function groupRow(columns) {
  const row = element("tr", { class: "groups" });
  for (const group of new Set(columns.map((column) => column.group))) {
    const span = columns.filter((column) => column.group === group).length;
    const kind = row.children.length ? "first" : "";
    const title = GROUP_TITLES[group] ?? group;
    row.append(element("th", { scope: "colgroup", colspan: span, class: kind }, title));
  }
  return row;
}

function nameRow(columns) {
  const row = element("tr", { class: "names" });
  columns.forEach((column, place) => {
    const sorted = place ? "none" : "ascending";
    const kind = cellClass(columns, place);
    const head = element("th", { scope: "col", "aria-sort": sorted, class: kind });
    const button = element("button", { type: "button", title: column.meaning });
    const title = column.name === "number" ? "trial" : column.label;
    const below = [column.unit, SOURCES[column.group]].filter(Boolean).join(", ") || "\u00a0";
    button.append(element("span", { class: "arrow" }, title), element("small", {}, below));
    head.append(button);
    row.append(head);
  });
  return row;
}

function bodyRow(columns, point, index) {
  const kind = `${point.status}${point.front ? " front" : ""}`;
  const row = element("tr", { id: `trial-${point.trial}`, class: kind });
  columns.forEach((column, place) =>
    row.append(element("td", { class: cellClass(columns, place) }, column.texts[index])));
  const text = columns.map((column) => column.texts[index]).join(" ").toLowerCase();
  return { row, index, trial: point.trial, text };
}

// Missing values come last in both directions; equal ones keep the order of the trials.
function comparing(column, direction) {
  return (a, b) => {
    const [x, y] = [column.values[a.index], column.values[b.index]];
    const [lackX, lackY] = [x === null || x === "", y === null || y === ""];
    if (lackX || lackY) return lackX - lackY || a.index - b.index;
    const order = column.numeric ? x - y : String(x).localeCompare(String(y));
    return direction * order || a.index - b.index;
  };
}

function makeSortable(heads, columns, rows, body) {
  heads.forEach((head, place) => head.firstChild.addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    rows.sort(comparing(columns[place], ascending ? 1 : -1));
    body.append(...rows.map((entry) => entry.row));
  }));
}

// Rows stay that contain all words of the filter and, where designs are kept, are of these trials.
function makeFilter(rows) {
  const filter = document.getElementById("filter");
  const count = (number) => number.toLocaleString("en");
  let kept = null;
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { row, trial, text } of rows) {
      row.hidden = Boolean(kept && !kept.has(trial)) || !words.every((w) => text.includes(w));
    }
    const left = rows.filter(({ row }) => !row.hidden).length;
    document.getElementById("shown").textContent = `${count(left)} of ${count(rows.length)} trials`;
  };
  filter.addEventListener("input", apply);
  apply();
  return (trials) => {
    kept = trials;
    apply();
  };
}

function makeTable() {
  const table = document.getElementById("trial-table");
  const { columns, points } = content;
  const names = nameRow(columns);
  table.createTHead().append(groupRow(columns), names);
  const rows = points.map((point, index) => bodyRow(columns, point, index));
  const body = table.createTBody();
  body.append(...rows.map((entry) => entry.row));
  makeSortable([...names.children], columns, rows, body);
  return makeFilter(rows);
}

const keepRows = makeTable();
