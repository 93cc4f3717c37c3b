"""Brings a tracker up to date with a study folder, once or for as long as its loop runs."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from codesign.errors import StudyError
from codesign.study.recorded import RecordedStudy, read_study
from codesign.tracking.logged import FOLDER, Logged
from codesign.tracking.records import OpenRun, Run, Tracker
from codesign.tracking.study import study_run
from codesign.tracking.trials import state_of, study_id, trial_run

EVERY_S = 2.0
STUDY_EVERY_S = 30.0
# Reading and logging take at most this share of one core while a study runs.
SHARE = 0.2


class Follower:
    """Tells a tracker what a study folder holds and it was not told yet.

    Nothing is kept here that a process started anew would miss: what is over and was wholly
    logged stands in `logged.jsonl`, and any other run is written again from the study's files.

    Args:
        trouble: called with what a run could not be logged for; the run is tried again later.
    """

    def __init__(self, study: Path, tracker: Tracker, *, trouble: Callable[[str], None]) -> None:
        self._study = study
        self._tracker = tracker
        self._trouble = trouble
        self._logged = Logged(study / FOLDER / "logged.jsonl")
        self._open: dict[str, OpenRun] = {}
        self._study_next = time.monotonic() + STUDY_EVERY_S

    def follow(self, ended: Callable[[float], bool]) -> bool:
        """Catch up again and again; return whether all was logged in the end.

        Args:
            ended: waits up to so many seconds for the study's loop to end; True: it has.
        """
        wait_s = EVERY_S
        while not ended(wait_s):
            began = time.monotonic()
            whole = self.catch_up()
            took_s = time.monotonic() - began
            # Where runs fail for some reason, that takes as long to try again as to happen.
            wait_s = max(EVERY_S, took_s / SHARE, 0.0 if whole else 10 * EVERY_S)
        return self.catch_up(last=True)

    def catch_up(self, *, last: bool = False) -> bool:
        """Log what is new; return whether all of it could be.

        Args:
            last: nothing follows: what is open is closed as it stands.
        """
        try:
            study = read_study(self._study)
        except StudyError as error:  # There is no record yet.
            if last:
                self._trouble(str(error))
            return not last
        whole = [self._bring(make, last=last) for make in self._new(study)]
        if last or time.monotonic() >= self._study_next:
            if self._logged.kept(f"{study_id(study)}-study").state != str(study.state.events):
                whole.append(self._bring(partial(study_run, study, over=last), last=last))
            self._study_next = time.monotonic() + STUDY_EVERY_S
        return all(whole)

    def _new(self, study: RecordedStudy) -> Iterator[Callable[[], Run]]:
        """Yield what describes each run that may have more to show; others are not even read."""
        identity = study_id(study)
        for trial in study.state.trials.values():
            kept = self._logged.kept(f"{identity}-{trial.number:04d}")
            if trial.status == "running" or not (trial.open or kept.state == state_of(trial)):
                yield partial(trial_run, study, trial)

    def _bring(self, make: Callable[[], Run], *, last: bool) -> bool:
        """Log what is new of one run; whatever goes wrong stays in the log."""
        run = None
        try:
            run = make()
            self._log(run, last=last)
        except Exception as error:  # The boundary: a tracker's trouble is nobody else's.
            traceback.print_exc()
            if run is not None:
                self._open.pop(run.id, None)
            self._trouble(f"{type(error).__name__}: {error}")
            return False
        return True

    def _log(self, run: Run, *, last: bool) -> None:
        if run.id not in self._open:
            if not run.rows and not run.over:
                return  # It waits in a queue, or has nothing to show yet.
            self._open[run.id] = self._tracker.open(run, self._logged.kept(run.id))
        opened = self._open[run.id]
        for step in sorted(run.rows):
            if step > opened.step:
                opened.log(step, run.rows[step])
        if run.over or last:
            folder = opened.finish(run.summary, failed=run.failed)
            del self._open[run.id]
            kept = self._logged.kept(run.id)
            folders = (*kept.folders, folder)
            self._logged.keep(
                run.id,
                dataclasses.replace(kept, step=opened.step, state=run.state, folders=folders),
            )
