"use strict";
// The trial table: sorted by its headers, filtered by text. All text enters as textContent.

const content = JSON.parse(document.getElementById("content").textContent);

function element(tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

function columnNamed(name) {
  return content.columns.find((column) => column.name === name);
}

function headerRows(columns) {
  const groups = element("tr", { class: "groups" });
  const names = element("tr", { class: "names" });
  columns.forEach((column, index) => {
    const opens = index > 0 && column.group !== columns[index - 1].group;
    if (index === 0 || opens) {
      const span = columns.filter((other) => other.group === column.group).length;
      const title = { trial: "", design: "knobs that vary" }[column.group] ?? column.group;
      groups.append(element("th", { scope: "colgroup", colspan: span, class: opens ? "first" : "" }, title));
    }
    const kind = (column.numeric ? "n" : "") + (opens ? " first" : "");
    const head = element("th", { scope: "col", "aria-sort": index ? "none" : "ascending", class: kind });
    const button = element("button", { type: "button", title: column.meaning });
    button.append(element("span", { class: "arrow" }, column.name === "number" ? "trial" : column.label));
    const source = { measured: "measured", "exact count": "exact" }[column.group];
    button.append(element("small", {}, [column.unit, source].filter(Boolean).join(", ") || "\u00a0"));
    head.append(button);
    names.append(head);
  });
  return [groups, names];
}

function bodyRows(columns) {
  return content.points.map((point, index) => {
    const row = element("tr", { id: `trial-${point.trial}`, class: `${point.status} ${point.front ? "front" : ""}` });
    columns.forEach((column, place) => {
      const opens = place > 0 && column.group !== columns[place - 1].group;
      const kind = [column.numeric ? "n" : "", opens ? "first" : "", column.name === "reason" ? "reason" : "",
        column.name === "status" ? "status" : ""].filter(Boolean).join(" ");
      row.append(element("td", kind ? { class: kind } : {}, column.texts[index]));
    });
    return { row, index, text: row.textContent.toLowerCase(), cells: columns.map((c) => c.texts[index]).join(" ").toLowerCase() };
  });
}

function comparing(column, direction) {
  return (a, b) => {
    const [x, y] = [column.values[a.index], column.values[b.index]];
    const [lackX, lackY] = [x === null || x === "", y === null || y === ""];
    if (lackX || lackY) return lackX - lackY || a.index - b.index;
    const order = column.numeric ? x - y : String(x).localeCompare(String(y));
    return direction * order || a.index - b.index;
  };
}

function makeTable() {
  const table = document.getElementById("trial-table");
  const columns = content.columns;
  const head = table.createTHead();
  const body = table.createTBody();
  head.append(...headerRows(columns));
  const rows = bodyRows(columns);
  body.append(...rows.map((entry) => entry.row));
  const heads = [...head.querySelectorAll("tr.names th")];
  heads.forEach((th, place) => th.firstChild.addEventListener("click", () => {
    const ascending = th.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    th.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    rows.sort(comparing(columns[place], ascending ? 1 : -1));
    body.append(...rows.map((entry) => entry.row));
  }));
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const entry of rows) {
      entry.row.hidden = !words.every((word) => entry.cells.includes(word));
      count += !entry.row.hidden;
    }
    shown.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} trials`;
  };
  filter.addEventListener("input", apply);
  apply();
}

makeTable();
