// What all charts share: colours of the page's theme, layout, texts, and Plotly itself, which
// arrives compressed inside the page.

const FONT = 'ui-sans-serif, system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif';
// Viridis: ordered in lightness, so it survives colour blindness and print.
const VIRIDIS = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"];

const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;  // Paper is light whatever the screen is.
const narrow = () => matchMedia("(max-width: 760px)").matches;

function palette() {
  const style = getComputedStyle(document.documentElement);
  const names = ["paper", "raised", "ink", "soft", "faint", "rule", "front", "floor", "fail",
    "good", "muted"];
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(names.map((name) => [name, colour(name)]));
}

// Plotly reads a small HTML in its texts: what a study says must stay text.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function axisTitle(axis) {
  return plain(axis.unit ? `${axis.label} (${axis.unit})` : axis.label);
}

function faded(hex, alpha) {
  return hex + Math.round(alpha * 255).toString(16).padStart(2, "0");
}

function channels(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

// A colour for a share in [0, 1], leaving out the end of the scale that the paper swallows.
function shade(share) {
  const at = (dark.matches && !printing ? 0.3 + 0.7 * share : 0.75 * share) * (VIRIDIS.length - 1);
  const below = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const [from, to] = [channels(VIRIDIS[below]), channels(VIRIDIS[below + 1])];
  const mixed = from.map((value, index) => Math.round(value + (at - below) * (to[index] - value)));
  return `rgb(${mixed.join(",")})`;
}

function layout(colours, { x, y }) {
  const axis = ({ title, ...more }) => ({
    gridcolor: colours.rule, linecolor: colours.muted, zeroline: false, automargin: true,
    ticks: "outside", tickcolor: colours.rule, ticklen: 4,
    title: { text: title, standoff: 12, font: { size: 13 } }, ...more,
  });
  const clear = "rgba(0,0,0,0)";
  return {
    font: { family: FONT, size: 13, color: colours.soft },
    paper_bgcolor: clear, plot_bgcolor: clear,
    margin: { l: 8, r: 12, t: 12, b: 8 },
    hovermode: "closest",
    uirevision: "kept",  // What was zoomed stays so when the chart is drawn again.
    // On a phone a finger on the chart scrolls the page.
    dragmode: narrow() ? false : "zoom",
    hoverlabel: {
      bgcolor: colours.raised, bordercolor: colours.muted, align: "left",
      font: { color: colours.ink, family: FONT, size: 13 },
    },
    legend: {
      orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal", font: { size: 13 },
    },
    modebar: { bgcolor: clear, color: colours.faint, activecolor: colours.front },
    xaxis: axis(x), yaxis: axis(y),
  };
}

function plot(id, traces, made) {
  Plotly.react(document.getElementById(id), traces, made, {
    displaylogo: false, responsive: true, showEditInChartStudio: false,
    modeBarButtons: [["toImage", "resetScale2d"]], displayModeBar: !narrow(),
  });
}

function say(id, text) {
  document.getElementById(id).replaceChildren(element("p", { class: "notice" }, text));
}

async function loadPlotly() {
  const packed = document.getElementById("plotly");
  const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = element("script");
  script.textContent = await new Response(stream).text();
  packed.remove();
  document.head.append(script);
}
