"""The files a study keeps up to date for people: the report, twice, and best.yaml."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import yaml

from codesign.contracts import Metric
from codesign.errors import StudyError
from codesign.report.analysis import analyse
from codesign.report.content import ReportContent, quality_objective
from codesign.report.markdown import render_markdown
from codesign.report.page import render_page
from codesign.spec.model import StudySpec
from codesign.spec.problem import task_section
from codesign.study.attempts import processes_of
from codesign.study.findings import Finding, best_finding, findings
from codesign.study.folder import StudyFolder, write_text
from codesign.study.results import provenance_rows, report_content
from codesign.study.state import StudyState
from codesign.study.view import View

PAGE_EVERY_S = 10.0
# Writing takes at most this share of the loop's time, however many trials there are.
WRITING_SHARE = 0.03


class Outputs:
    """Writes all three, now and then while the study runs and at its end."""

    def __init__(self, spec: StudySpec, metrics: Mapping[str, Metric], folder: StudyFolder) -> None:
        self._spec = spec
        self._metrics = metrics
        self._folder = folder
        self._next = time.monotonic() + PAGE_EVERY_S
        self._shown = -1

    def refresh(self, view: View) -> None:
        """Write what was recorded since, every ten seconds or, with many trials, less often."""
        began = time.monotonic()
        if began >= self._next and view.state.events != self._shown:
            self.write(view.state)
            self._shown = view.state.events
            took_s = time.monotonic() - began
            self._next = began + max(PAGE_EVERY_S, took_s / WRITING_SHARE)

    def write(self, state: StudyState) -> ReportContent:
        """Write all files."""
        content = report_content(self._spec, self._metrics, state, self._folder)
        analysis = analyse(content)
        write_text(self._folder.page, render_page(analysis))
        write_text(self._folder.markdown, render_markdown(analysis))
        best = best_yaml(self._spec, state)
        if best is not None:
            write_text(self._folder.best, best)
        return content


def best_yaml(spec: StudySpec, state: StudyState) -> str | None:
    """The best design as a file that `codesign train` and `codesign cost` read; None: no trial."""
    best = best_finding(findings(state, spec), spec)
    return None if best is None else design_yaml(spec, state, best.trial.number)


def design_yaml(spec: StudySpec, state: StudyState, number: int) -> str:
    """The design of a trial as such a file; of the best one, the same as `best_yaml`.

    Raises:
        StudyError: there is no such trial.
    """
    trial = state.trials.get(number)
    if trial is None:
        raise StudyError(f"has no trial {number}", where=f"study {spec.name}",
                         hint="codesign export STUDY lists the trials")  # fmt: skip
    found = findings(state, spec)
    best = best_finding(found, spec)
    section = task_section(spec, trial.system_train(processes_of(spec, trial.system)))
    quality = quality_objective(trial.costs, spec.objectives)
    is_best = best is not None and best.trial is trial
    chosen = f"{quality.goal} {quality.metric} (validation)" if is_best else "hand"
    content = {
        "study": spec.name,
        "trial": number,
        "selected_by": chosen,
        "data": {"source": section["source"], **({"path": p} if (p := section["path"]) else {})},
        "model": {"name": section["name"], **section["model"]},
        "train": {**trial.facts.get("chosen_train_settings", {}), **section["train"]},
        "design": dict(trial.design),
        "seed": trial.seed,
        "costs": _plain(trial.costs),
        **({"system": dict(trial.system)} if trial.system else {}),
        **({"predicted": dict(trial.predictions)} if trial.predictions else {}),
        "measured_with_this_seed": _plain(trial.metrics),
        **_confirmed(state, next((f for f in found if f.trial is trial), None)),
        "provenance": provenance_rows(state, spec),
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _confirmed(state: StudyState, finding: Finding | None) -> dict[str, Any]:
    """What fresh seeds say of a design; empty where they did not confirm it."""
    if finding is None or not finding.confirmed:
        return {}
    runs = [run.seed for run in state.confirming(finding.trial.number)]
    means = {name: v for name, v in finding.metrics.items() if name not in finding.trial.costs}
    spread = _plain(finding.spread)
    return {
        "confirmed": {"seeds": runs, "measured_mean": _plain(means), "measured_sd": spread},
    }


def _plain(values: Mapping[str, float]) -> dict[str, float | int]:
    return {name: int(v) if float(v).is_integer() else float(v) for name, v in values.items()}
