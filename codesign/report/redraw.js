// The start of the page, and all of it drawn again: in the dark, on paper, when there is more.

let redraw = () => {};

// Plotly fits its charts to the window, not to the sheet.
function fitToSheet() {
  printing = true;
  redraw();
  for (const id of charts()) {
    const chart = document.getElementById(id);
    if (chart.data) Plotly.relayout(chart, { width: chart.clientWidth });
  }
}

function fitToWindow() {
  printing = false;
  for (const id of charts()) {
    const chart = document.getElementById(id);
    if (chart.data) Plotly.relayout(chart, { width: null, autosize: true });
  }
  redraw();
}

async function start() {
  startWithin();
  startCompare();
  if (typeof DecompressionStream === "undefined") {
    const lack = "This browser cannot unpack the charts: they need DecompressionStream (Chrome 80, "
      + "Firefox 113, Safari 16.4 or later). All figures are in the tables.";
    for (const id of [...charts(), "parallel"]) say(id, lack);
    return;
  }
  await loadPlotly();
  redraw = () => {
    drawCharts();
    updateParallel();
  };
  redraw();
  dark.addEventListener("change", redraw);
  addEventListener("resize", updateParallel);
  addEventListener("beforeprint", fitToSheet);
  addEventListener("afterprint", fitToWindow);
  document.documentElement.dataset.ready = "yes";
}

start();
