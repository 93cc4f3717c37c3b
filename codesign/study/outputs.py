"""The files a study keeps up to date for people: report.html and best.yaml."""

from __future__ import annotations

import time

import yaml

from codesign.report.content import ReportContent
from codesign.report.page import render_page
from codesign.spec.meaning import Problem
from codesign.study.folder import StudyFolder, write_text
from codesign.study.loop import View
from codesign.study.results import best_finding, findings, provenance_rows, report_content
from codesign.study.state import StudyState

PAGE_EVERY_S = 10.0


class Outputs:
    """Writes both files, now and then while the study runs and at its end."""

    def __init__(self, problem: Problem, folder: StudyFolder) -> None:
        self._problem = problem
        self._folder = folder
        self._next = time.monotonic() + PAGE_EVERY_S
        self._shown = -1

    def refresh(self, view: View) -> None:
        """Write again, at most every ten seconds, when a trial has ended since."""
        ended = sum(not trial.open for trial in view.state.trials.values())
        if time.monotonic() >= self._next and ended != self._shown:
            self.write(view.state)
            self._shown = ended
            self._next = time.monotonic() + PAGE_EVERY_S

    def write(self, state: StudyState) -> ReportContent:
        """Write both files."""
        content = report_content(self._problem, state, self._folder)
        write_text(self._folder.page, render_page(content))
        best = best_yaml(self._problem, state)
        if best is not None:
            write_text(self._folder.best, best)
        return content


def best_yaml(problem: Problem, state: StudyState) -> str | None:
    """The best design as a file that `codesign train` and `codesign cost` read; None: no trial."""
    spec = problem.spec
    found = findings(state, spec.objectives, confirming=spec.search.confirm.top > 0)
    best = best_finding(found, spec.objectives)
    if best is None:
        return None
    section = problem.task_section
    runs = [t for t in state.of_kind("confirm") if t.of == best.trial.number]
    first = spec.objectives[0]
    content = {
        "study": spec.name,
        "trial": best.trial.number,
        "selected_by": f"{first.goal} {first.metric} (validation)",
        "confirmed": best.confirmed,
        "data": {"source": section["source"], **({"path": p} if (p := section["path"]) else {})},
        "model": {"name": section["name"], **section["model"]},
        "train": {**best.trial.facts.get("chosen_train_settings", {}), **section["train"]},
        "design": dict(best.trial.design),
        "seed": best.trial.seed,
        "costs": {name: _plain(value) for name, value in best.trial.costs.items()},
        "measured": {name: _plain(v) for name, v in best.metrics.items()
                     if name not in best.trial.costs},
        "measured_sd_over_seeds": {name: _plain(v) for name, v in best.spread.items()},
        "confirming_seeds": [run.seed for run in runs],
        "provenance": provenance_rows(state, spec.seed),
    }  # fmt: skip
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)
