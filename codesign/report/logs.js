// The last lines that a trial has printed, in a dialog.

async function showLog(trial) {
  const dialog = document.getElementById("log");
  document.getElementById("log-title").textContent = `Trial ${trial}`;
  const files = document.getElementById("log-files");
  document.getElementById("log-again").onclick = () => showLog(trial);
  if (!dialog.open) dialog.showModal();
  const note = document.getElementById("log-note");
  try {
    const answer = await fetch(`api/trials/${trial}/log`);
    const found = await answer.json();
    const why = found.reason ? `: ${found.reason}` : "";
    const failure = found.failure ? `, ${found.failure.replaceAll("_", " ")}` : "";
    note.textContent = found.problem
      ?? `${found.status}${failure}${why} (attempt ${found.attempt} of ${found.attempts})`;
    files.replaceChildren(...(found.files ?? []).flatMap(({ path, lines }) => {
      const text = element("pre", { class: "spec", tabindex: "0", "aria-label": path });
      text.textContent = lines.join("\n") || "(empty)";
      return [element("h3", {}, path), text];
    }));
    for (const text of files.querySelectorAll("pre")) text.scrollTop = text.scrollHeight;
  } catch {
    note.textContent = "The server does not answer.";
  }
}

document.addEventListener("click", (event) => {
  const trial = event.target.closest("[data-log]")?.dataset.log;
  if (trial !== undefined) showLog(Number(trial));
});
document.getElementById("log-close").addEventListener("click", () => {
  document.getElementById("log").close();
});
