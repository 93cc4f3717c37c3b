"use strict";
// The trial table: sorted by its headers, filtered by text. All text enters as textContent. It may
// be brought up to date: order, filter, scroll and focus stay.

let content = JSON.parse(document.getElementById("content").textContent);
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
    const head = element("th", { scope: "col", class: cellClass(columns, place) });
    const button = element("button", { type: "button", title: column.meaning });
    const title = column.name === "number" ? "trial" : column.label;
    const below = [column.unit, SOURCES[column.group]].filter(Boolean).join(", ") || "\u00a0";
    button.append(element("span", { class: "arrow" }, title), element("small", {}, below));
    button.addEventListener("click", () => {
      const ascending = trialTable.column === place && trialTable.direction === 1;
      [trialTable.column, trialTable.direction] = [place, ascending ? -1 : 1];
      orderRows();
    });
    head.append(button);
    row.append(head);
  });
  return row;
}

function makeRow(trial) {
  const row = element("tr", { id: `trial-${trial}` });
  const name = `compare trial ${trial}`;
  const tick = element("input", { type: "checkbox", "data-compare": trial, "aria-label": name });
  content.columns.forEach((column, place) => {
    row.append(element("td", { class: cellClass(content.columns, place) }));
  });
  row.firstChild.append(tick, document.createTextNode(""));
  return { row, trial, text: null };
}

function fillRow(entry, point, index) {
  entry.index = index;
  const kind = `${point.status}${point.front ? " front" : ""}`;
  const texts = content.columns.map((column) => column.texts[index]);
  const text = texts.join(" ").toLowerCase();
  entry.row.className = kind;
  if (entry.text === text) return;
  entry.text = text;
  [...entry.row.children].forEach((cell, place) => {
    if (place) cell.textContent = texts[place];
    else cell.lastChild.data = texts[place];
  });
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

function orderRows() {
  const { table, rows, column, direction } = trialTable;
  [...table.tHead.lastChild.children].forEach((head, place) => {
    const sorted = direction === 1 ? "ascending" : "descending";
    head.setAttribute("aria-sort", place === column ? sorted : "none");
  });
  const body = table.tBodies[0];
  const ordered = [...rows.values()].sort(comparing(content.columns[column], direction));
  // A row is moved only where it must be: a moved one loses the focus.
  let next = body.firstChild;
  for (const { row } of ordered) {
    if (row === next) next = next.nextSibling;
    else body.insertBefore(row, next);
  }
}

// Rows stay that contain all words of the filter and, where designs are kept, are of these trials.
function filterRows() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const count = (number) => number.toLocaleString("en");
  const rows = [...trialTable.rows.values()];
  for (const { row, trial, text } of rows) {
    const left = !trialTable.kept || trialTable.kept.has(trial);
    row.hidden = !left || !words.every((word) => text.includes(word));
  }
  const left = rows.filter(({ row }) => !row.hidden).length;
  document.getElementById("shown").textContent = `${count(left)} of ${count(rows.length)} trials`;
}

function keepRows(trials) {
  trialTable.kept = trials;
  filterRows();
}

function updateTable() {
  const { table, rows } = trialTable;
  const { columns, points } = content;
  const heads = JSON.stringify(columns.map(({ name, label, group, unit, numeric }) =>
    [name, label, group, unit, numeric]));
  if (heads !== trialTable.heads) {
    const sorted = trialTable.names[trialTable.column] ?? "number";
    trialTable.names = columns.map((column) => column.name);
    trialTable.column = Math.max(0, trialTable.names.indexOf(sorted));
    trialTable.heads = heads;
    table.replaceChildren();
    table.createTHead().append(groupRow(columns), nameRow(columns));
    table.createTBody();
    rows.clear();
  }
  const known = new Set(points.map((point) => point.trial));
  for (const [trial, { row }] of rows) {
    if (known.has(trial)) continue;
    row.remove();
    rows.delete(trial);
  }
  points.forEach((point, index) => {
    if (!rows.has(point.trial)) rows.set(point.trial, makeRow(point.trial));
    fillRow(rows.get(point.trial), point, index);
  });
  orderRows();
  filterRows();
}

const trialTable = { table: document.getElementById("trial-table"), rows: new Map(), heads: "",
  names: [], column: 0, direction: 1, kept: null };
document.getElementById("filter").addEventListener("input", filterRows);
updateTable();
