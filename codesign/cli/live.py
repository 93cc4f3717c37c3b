"""What a running study shows: one live table on a terminal, else a plain line per event."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from codesign.cli.status import queue_summary
from codesign.contracts import TrialStatus
from codesign.report.figures import brief_figures
from codesign.study.state import Trial
from codesign.study.status import RunningTrial, running_trial
from codesign.study.view import View

# Trials that have a line of their own in the table.
ROWS = 16
QUEUE_LINE_EVERY_S = 60.0


class Live:
    """A context manager; `update` is the `watch` of `codesign.api.optimize`.

    Args:
        ended: called with each trial that has ended or paused since.
    """

    def __init__(
        self,
        console: Console,
        *,
        ended: Callable[[Trial], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._tell_ended, self._clock = console, ended, clock
        self._table: RenderableType = ""
        self._live = RichLive(
            get_renderable=lambda: self._table, console=console, transient=True,
            auto_refresh=console.is_terminal,
        )  # fmt: skip
        self._began = clock()
        self._ended_before: int | None = None
        self._reported: set[tuple[int, TrialStatus, float]] = set()
        self._queue_line, self._next_queue_line = "", -float("inf")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Print a line for a person."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def update(self, view: View) -> None:
        """Show the state of the study."""
        ended = [t for t in view.state.trials.values() if not t.open]
        if self._ended_before is None:
            self._ended_before = len(ended)
            self._reported = {_stands(trial) for trial in ended}
            if ended:
                self.say(f"continuing: {len(ended)} trials had ended before")
        new = [trial for trial in ended if _stands(trial) not in self._reported]
        for count, trial in enumerate(new, start=len(ended) - len(new) + 1):
            self._reported.add(_stands(trial))
            self._tell_ended(trial)
            self.say(_line(trial, count, view))
        if self._console.is_terminal:
            self._table = table_of(view, ended, left=self._left(len(ended), view.planned))
        else:
            self._say_queue(view)

    def _say_queue(self, view: View) -> None:
        """Say where the jobs stand, where that has changed, once a minute at most."""
        line = queue_summary(list(view.queue.jobs.values()))
        if line and line != self._queue_line and self._clock() >= self._next_queue_line:
            self.say(f"queue: {line}")
            self._queue_line = line
            self._next_queue_line = self._clock() + QUEUE_LINE_EVERY_S

    def _left(self, ended: int, planned: int) -> str:
        now = ended - (self._ended_before or 0)
        if not now or ended >= planned:
            return ""
        return f"about {_duration((self._clock() - self._began) / now * (planned - ended))} left"


def table_of(view: View, ended: Sequence[Trial], *, left: str = "") -> RenderableType:
    """Put together a table of the trials under way, and the study's lines.

    Args:
        ended: the trials that have ended or paused.
        left: how long the rest will take.
    """
    running = [
        running_trial(trial, view.running.get(trial.number, {}), view.queue.jobs.get(trial.number))
        for trial in view.state.open_trials
        if trial.status == "running"
    ]
    at_work = sorted((each for each in running if not each.waits), key=lambda each: each.trial)
    waiting = [each for each in running if each.waits]
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for each in [*at_work, *waiting][:ROWS]:
        table.add_row(*_row(each, view))
    lines = list(_lines(view, ended, left))
    if len(running) > ROWS:
        states = Counter("waiting" if each.waits else "running" for each in running)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        lines.append(f"{counts}, of which {ROWS} are shown")
    return Group(table, *map(escape, lines))


def _row(trial: RunningTrial, view: View) -> tuple[RenderableType, ...]:
    figures = "  ".join(brief_figures(trial.metrics, view.objectives))
    left = "" if trial.left_s is None else f"{_duration(trial.left_s)} left"
    where = ""
    if (job := trial.queued) is not None:
        where = f"{job.job} {job.state}" + (f" {job.reason}" if job.reason else "")
        where += f" {job.nodes}" if job.nodes else ""
    share = trial.share or 0.0
    done: RenderableType = "" if trial.waits else ProgressBar(total=1, completed=share, width=20)
    said = "" if trial.waits else f"{100 * share:.0f}%"
    return f"trial {trial.trial}", done, said, left, escape(where), figures


def _lines(view: View, ended: Sequence[Trial], left: str) -> Iterator[str]:
    failed = Counter(trial.failure for trial in ended if trial.failure is not None)
    kinds = ", ".join(f"{count} {kind}" for kind, count in failed.items())
    yield "  ".join(
        filter(None, (f"{len(ended)} of {view.planned} trials ended", left,
                      f"failed: {kinds}" if kinds else ""))
    )  # fmt: skip
    if view.best is not None:
        figures = brief_figures({**view.best.metrics, **view.best.trial.predicted}, view.objectives)
        yield f"best: trial {view.best.trial.number}  {'  '.join(figures)}"
    if view.queue.outage:
        yield f"the queue cannot be seen: {view.queue.outage}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


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
