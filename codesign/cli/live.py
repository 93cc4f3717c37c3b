"""What a running study shows: a live line per trial on a terminal, else a plain line per event."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from codesign.contracts import TrialStatus
from codesign.report.figures import brief_figures
from codesign.study.state import Trial
from codesign.study.view import View


class Live:
    """A context manager; `update` is the `watch` of `codesign.api.optimize`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._began = time.monotonic()
        self._ended_before: int | None = None
        self._reported: set[tuple[int, TrialStatus, float]] = set()
        self._study: TaskID | None = None
        self._bars: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """Print a line for a person."""
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def update(self, view: View) -> None:
        """Show the state of the study."""
        ended = [t for t in view.state.trials.values() if not t.open]
        if self._ended_before is None:
            self._ended_before = len(ended)
            self._reported = {_stands(trial) for trial in ended}
            if ended:
                self.say(f"continuing: {len(ended)} trials had ended before")
        for trial in ended:
            if _stands(trial) not in self._reported:
                self._reported.add(_stands(trial))
                self.say(_line(trial, len(ended), view))
        if self._study is None:
            self._study = self._progress.add_task("trials", total=view.planned, note="")
        note = self._eta(len(ended), view.planned)
        self._progress.update(self._study, completed=len(ended), total=view.planned, note=note)
        self._show_running(view)

    def _show_running(self, view: View) -> None:
        for number in [n for n in self._bars if n not in view.running]:
            self._progress.remove_task(self._bars.pop(number))
        for number, progress in view.running.items():
            if number not in self._bars:
                name = f"trial {number}"
                self._bars[number] = self._progress.add_task(name, total=100, note="")
            share = progress.get("done", 0) / max(progress.get("total", 1), 1)
            note = "  ".join(brief_figures(progress.get("metrics", {}), view.objectives))
            self._progress.update(self._bars[number], completed=int(100 * share), note=note)

    def _eta(self, ended: int, planned: int) -> str:
        now = ended - (self._ended_before or 0)
        if not now or ended >= planned:
            return ""
        left_s = (time.monotonic() - self._began) / now * (planned - ended)
        return f"about {left_s / 60:.0f} min left" if left_s > 90 else f"about {left_s:.0f} s left"


def _stands(trial: Trial) -> tuple[int, TrialStatus, float]:
    """Tell one stop of a trial from the next: it may pause, and train on."""
    return trial.number, trial.status, trial.share


def _line(trial: Trial, ended: int, view: View) -> str:
    knobs = " ".join(f"{name}={value}" for name, value in trial.awake.items())
    kind = "" if trial.kind == "search" else f" ({trial.kind})"
    kind += " (near miss)" if trial.misses else ""
    head = f"[{ended}/{view.planned}] trial {trial.number}{kind}"
    if trial.status == "cancelled":
        return f"{head} cancelled  {knobs}"
    if trial.failure is not None:
        return f"{head} failed: {trial.failure}: {trial.reason}  {knobs}"
    if trial.status == "paused":
        head += f" paused at {100 * trial.share:.3g}%"
    measured = trial.reached[trial.share] if trial.status == "paused" else trial.metrics
    shown = brief_figures({**measured, **trial.costs, **trial.predicted}, view.objectives)
    return f"{head} {'  '.join(shown)}  {trial.seconds or 0:.1f} s  {knobs}"
