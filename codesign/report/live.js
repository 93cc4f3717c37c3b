// Follows the study: asks the server for what is new, and draws it.

const EVERY_MS = 2000;
const MOST_MS = 30000;

const shown = { version: document.documentElement.dataset.version, failures: 0, timer: 0,
  asking: false, value: { content, parts: {} } };

function applied(value, [path, now]) {
  if (!path.length) return now;
  const inner = path.slice(0, -1).reduce((part, key) => part[key], value);
  inner[path.at(-1)] = now;
  return value;
}

function showContent(changes) {
  const whole = changes.some(([path]) => path.length < 2);
  const told = new Set(changes.flatMap(([path]) => path[0] === "parts" ? [path[1]] : []));
  shown.value = changes.reduce(applied, shown.value);
  ({ content } = shown.value);
  for (const part of document.querySelectorAll("[data-part]")) {
    const name = part.dataset.part;
    if (whole || told.has(name)) updatePart(part, shown.value.parts[name]);
  }
  for (const part of document.querySelectorAll("[data-label]")) {
    const label = shown.value.parts[part.dataset.label];
    if (label) part.setAttribute("aria-label", label);
  }
  updateTable();
  updateWithin();
  updateCompare();
  redraw();
}

function showProblem(text) {
  const problem = document.getElementById("live-problem");
  problem.hidden = !text;
  if (problem.textContent !== text) problem.textContent = text;
}

async function ask() {
  const answer = await fetch(`api/study?since=${shown.version}`);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  const { version, changes, live, problem } = await answer.json();
  if (changes.length) showContent(changes);
  shown.version = version;
  showLoop(live);
  showRunning(live);
  showProblem(problem);
  document.documentElement.dataset.shows = version;
}

async function follow() {
  if (shown.asking || document.hidden) return;
  shown.asking = true;
  const link = document.getElementById("live-link");
  try {
    await ask();
    if (shown.failures) link.textContent = "connected again";
    else if (link.textContent) link.textContent = "";
    shown.failures = 0;
  } catch (error) {
    shown.failures += 1;
    link.textContent = error instanceof TypeError
      ? "No connection to the server: figures may be old. Trying again \u2026" : error.message;
  }
  link.classList.toggle("lost", shown.failures > 0);
  shown.asking = false;
  clearTimeout(shown.timer);
  shown.timer = setTimeout(follow, Math.min(MOST_MS, EVERY_MS * 2 ** Math.min(shown.failures, 4)));
}

document.addEventListener("visibilitychange", follow);
addEventListener("online", follow);
setTimeout(follow);
