// The loop, the trials at work and those that wait, as the server last told.

const LOOPS = {
  running: "running",
  silent: "not heard of",
  dead: "its loop has died: run the same command again",
  none: "at rest",
};

function duration(seconds) {
  if (seconds === null) return "";
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}

function showLoop(live) {
  const many = (number) => number.toLocaleString("en");
  const waiting = live.waiting.reduce((sum, { count }) => sum + count, 0);
  const limit = live.gpu_hours_limit === null ? "" : ` of ${live.gpu_hours_limit}`;
  const told = [
    `${many(live.ended)} of ${many(live.planned)} trials ended`,
    live.at_work && `${many(live.at_work)} running`,
    waiting && `${many(waiting)} waiting`,
    live.failed && `${many(live.failed)} failed`,
    live.left_s && `about ${duration(live.left_s)} left`,
    Number(live.gpu_hours) > 0 && `${live.gpu_hours}${limit} GPU-hours`,
  ].filter(Boolean);
  const state = document.getElementById("live-loop");
  state.textContent = LOOPS[live.loop];
  state.dataset.state = live.loop;
  document.getElementById("live-counts").textContent = told.join(" \u00b7 ");
  const meter = document.getElementById("live-meter");
  meter.setAttribute("aria-valuemax", live.planned);
  meter.setAttribute("aria-valuenow", live.ended);
  meter.firstChild.style.width = `${100 * live.ended / Math.max(1, live.planned)}%`;
}

function fillTable(id, heads, rows) {
  const fresh = element("table", { id: `${id}-table` });
  const names = element("tr");
  names.append(...heads.map((name) => element("th", { scope: "col" }, name)));
  fresh.createTHead().append(names);
  fresh.createTBody().append(...rows.map((cells) => {
    const row = element("tr");
    row.append(...cells.map((cell) => {
      const made = element("td");
      made.append(cell);
      return made;
    }));
    return row;
  }));
  document.getElementById(`${id}-scroller`).hidden = !rows.length;
  morph(document.getElementById(`${id}-table`), fresh);
}

function progressBar({ share, trial }) {
  const bar = element("span", { class: "progress" });
  const text = share === null ? "no word yet" : `${Math.floor(100 * share)}%`;
  const meter = element("progress", { max: 1, "aria-label": `progress of trial ${trial}` });
  if (share !== null) meter.setAttribute("value", share);
  bar.append(...(share === null ? [] : [meter]), text);
  return bar;
}

function logButton(trial) {
  const name = `log of trial ${trial}`;
  return element("button", { type: "button", class: "plain", "data-log": trial,
    "aria-label": name }, "log");
}

function showRunning(live) {
  const jobs = live.running.some((trial) => trial.job);
  const heads = ["trial", "progress", "left", "measured so far", ...(jobs ? ["job", "nodes"] : []),
    "design"];
  fillTable("running", heads, live.running.map((trial) => {
    const name = element("span");
    const again = trial.attempt > 1 || trial.starts > 1
      ? ` (attempt ${trial.attempt}, start ${trial.starts})` : "";
    name.append(element("a", { href: `#trial-${trial.trial}` }, String(trial.trial)), `${again} `,
      logButton(trial.trial));
    return [name, progressBar(trial), duration(trial.left_s), trial.metrics,
      ...(jobs ? [trial.job, trial.nodes] : []), trial.design];
  }));
  fillTable("waiting", ["waiting", "state", "reason", "trials"], live.waiting.map((group) => {
    const more = group.count > group.trials.length ? ", …" : "";
    return [group.count.toLocaleString("en"), group.state, group.reason || "-",
      group.trials.join(", ") + more];
  }));
  const rest = live.at_work - live.running.length;
  document.getElementById("running-note").textContent = live.outage
    || (rest > 0 ? `${rest.toLocaleString("en")} more are running.`
      : live.at_work || live.waiting.length ? "" : "No trial is under way.");
}
