"""What the page shows of a study, read again where the study has gone on."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.dashboard.delta import changes
from codesign.dashboard.live import live_state
from codesign.errors import CodesignError
from codesign.report.analysis import Analysis, analyse
from codesign.report.page import page_parts, render_page
from codesign.report.payload import page_payload
from codesign.study.folder import StudyFolder
from codesign.study.logs import logs_of
from codesign.study.outputs import design_yaml
from codesign.study.recorded import RecordedStudy, read_study
from codesign.study.results import report_content

# Reading takes at most this share of the time: the page may run beside the loop.
READING_SHARE = 0.2
LOOK_EVERY_S = 1.0
KEPT_VERSIONS = 8
LOG_LINES = 500


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A study as of one snapshot, and what the page shows of it."""

    stamp: tuple[int, ...]
    study: RecordedStudy
    analysis: Analysis
    version: str
    shown: dict[str, Any]


class StudySource:
    """Reads a study's folder; several threads may ask.

    Args:
        clock: seconds that are never set back.

    Raises:
        CodesignError: the folder holds no study, or a damaged one.
    """

    def __init__(self, study: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = StudyFolder(study), clock
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="study")
        self._versions: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._reading: Future[None] | None = None
        self._next = -float("inf")
        self._problem = ""
        self._live: dict[str, Any] = {}
        self._read = self._keep(_read(self._folder))

    def close(self) -> None:
        """Read no more."""
        self._reader.shutdown(cancel_futures=True)

    def page(self) -> str:
        """Return the whole page, as of the latest read."""
        return render_page(self._read.analysis, version=self._read.version)

    def news(self, since: str) -> dict[str, Any]:
        """Return what is new to a page that shows the version `since`.

        Its `changes` (see `delta`) make the version of it; one that is no longer known is
        replaced whole. `live` is as of now, `problem` why the study cannot be read; empty: it can.
        """
        self._look()
        with self._lock:
            read, before = self._read, self._versions.get(since)
        return {
            "version": read.version,
            "changes": [] if since == read.version else changes(before, read.shown),
            "live": self._live,
            "problem": self._problem,
        }

    def log(self, trial: int, lines: int) -> dict[str, Any]:
        """Return how a trial stands and the last lines of its logs.

        Raises:
            StudyError: there is no such trial, or it has not begun.
        """
        found = logs_of(self._read.study, trial).to_json(min(lines, LOG_LINES))
        files = [{**each, "path": Path(each["path"]).name} for each in found["files"]]
        names = ("trial", "attempt", "attempts", "status", "failure", "reason")
        return {**{name: found[name] for name in names}, "files": files}

    def design(self, trial: int) -> str:
        """Return a trial's design as YAML.

        Raises:
            StudyError: there is no such trial.
        """
        return design_yaml(self._read.study.spec, self._read.study.state, trial)

    def _look(self) -> None:
        """Begin to read again where it is time to, and the last read has ended."""
        with self._lock:
            due = self._reading is None or self._reading.done()
            if due and self._clock() >= self._next:
                self._reading = self._reader.submit(self._refresh)
                first = not self._live
            else:
                first = False
        if first and self._reading is not None:
            self._reading.result()

    def _refresh(self) -> None:
        began = self._clock()
        try:
            if _stamp(self._folder) != self._read.stamp:
                self._keep(_read(self._folder))
            self._live, self._problem = live_state(self._read.study), ""
        except CodesignError as error:
            self._problem = str(error)
        took_s = self._clock() - began
        self._next = began + max(LOOK_EVERY_S, took_s / READING_SHARE)

    def _keep(self, read: _Read) -> _Read:
        with self._lock:
            self._read = read
            self._versions[read.version] = read.shown
            while len(self._versions) > KEPT_VERSIONS:
                self._versions.popitem(last=False)
        return read


def _stamp(folder: StudyFolder) -> tuple[int, ...]:
    """Tell one snapshot from the next; empty where there is none."""
    try:
        found = folder.snapshot.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(folder: StudyFolder) -> _Read:
    stamp = _stamp(folder)
    study = read_study(folder.path)
    analysis = analyse(report_content(study.spec, study.metrics, study.state, folder))
    shown = {"content": page_payload(analysis), "parts": page_parts(analysis, live=True)}
    version = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]
    return _Read(stamp=stamp, study=study, analysis=analysis, version=version, shown=shown)
