"""The run of the study as a whole: front, hypervolume, predicted against measured, failures."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from codesign.report.columns import varying_knobs
from codesign.report.figures import metric_of, unit_of
from codesign.study.results import report_content
from codesign.tracking.figures import check_figure, front_figure
from codesign.tracking.records import Page, Run, Shown, Table
from codesign.tracking.trials import measured_costs, study_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codesign.report.content import ReportContent
    from codesign.study.recorded import RecordedStudy
    from codesign.study.state import StudyState

Point = tuple[int, float, float, float, float]


def study_run(study: RecordedStudy, *, over: bool) -> Run:
    """Describe the run of a study; its steps are the events that were recorded until then.

    Args:
        over: whether nothing more is to come for now; the page is then shown, too.
    """
    state = study.state
    content = report_content(study.spec, study.metrics, state, study.folder)
    rows = _hypervolumes(state, content)
    latest = {**rows.get(state.events, {}), **_latest(content, state)}
    if over and study.folder.page.exists():
        latest["report"] = Page(path=study.folder.page)
    return Run(
        id=f"{study_id(study)}-study",
        name=f"{study.spec.name} study",
        kind="study",
        tags=("study",),
        config=_config(study),
        rows={**rows, state.events: latest},
        summary=_summary(content, state),
        state=str(state.events),
        over=over,
    )


def _hypervolumes(state: StudyState, content: ReportContent) -> dict[int, dict[str, Shown]]:
    """Return a row for each completed design of the search, at the event that completed it.

    Where the objectives name no reference point, it is that of the trials so far.
    """
    done = [trial for trial in state.searched if trial.status == "completed"]
    done.sort(key=lambda trial: trial.ended or 0)
    pairs = zip(done, content.hypervolume, strict=False)  # No volume where no figure is finite.
    return {
        trial.ended or 0: {
            "hypervolume": volume,
            "designs_completed": count,
            "trial": trial.number,
        }
        for count, (trial, volume) in enumerate(pairs, start=1)
    }


def _latest(content: ReportContent, state: StudyState) -> dict[str, Shown]:
    checks = _checks(state)
    rows = [(name, *point) for name, points in checks.items() for point in points]
    columns = ("metric", "trial", "predicted", "predicted_low", "predicted_high", "measured")
    failed = [t for t in state.trials.values() if t.status == "failed"]
    return {
        "pareto_front": _front_table(content),
        "pareto_front_chart": front_figure(content),
        "predicted_against_measured": Table(columns=columns, rows=rows),
        **{
            f"predicted_against_measured_{name}": check_figure(content, name, points)
            for name, points in checks.items()
        },
        "failures": Table(
            columns=("trial", "failure", "reason"),
            rows=[(t.number, t.failure, t.reason) for t in failed],
        ),
    }


def _front_table(content: ReportContent) -> Table:
    objectives = [objective.name for objective in content.objectives]
    knobs = varying_knobs(content)
    named = [_with_unit(content, name) for name in objectives]
    return Table(
        columns=("trial", "confirmed", *named, *knobs),
        rows=[
            (
                trial.number,
                {True: "yes", False: "one run", None: "not asked"}[trial.confirmed],
                *(trial.value(name) for name in objectives),
                *(trial.design.get(knob) for knob in knobs),
            )
            for trial in content.front
        ],
    )


def _with_unit(content: ReportContent, name: str) -> str:
    unit = unit_of(content, name)
    source = metric_of(content, name).source
    said = ", ".join(filter(None, (unit, "predicted" if source == "predicted" else "")))
    return f"{name} ({said})" if said else name


def _checks(state: StudyState) -> dict[str, list[Point]]:
    """Return metric → a point for each trial that has it both predicted and measured."""
    found: dict[str, list[Point]] = {}
    for trial in state.trials.values():
        measured = measured_costs(trial)
        for name, told in trial.predictions.items():
            if name in measured:
                point = (trial.number, told["value"], told["low"], told["high"], measured[name])
                found.setdefault(name, []).append(point)
    return found


def _config(study: RecordedStudy) -> Mapping[str, Any]:
    spec = study.spec
    return {
        "study": spec.name,
        "objectives": [objective.name for objective in spec.objectives],
        "budgets": dict(spec.budgets),
        "proposer": spec.search.proposer,
        "seed": spec.seed,
        "spec_yaml": spec.text,
    }


def _summary(content: ReportContent, state: StudyState) -> dict[str, Any]:
    trials = Counter(trial.status for trial in state.trials.values())
    failures = Counter(trial.failure for trial in state.trials.values() if trial.failure)
    best = content.trial(content.best)
    return {
        **{f"trials_{status}": count for status, count in trials.items()},
        **{f"failures_{kind}": count for kind, count in failures.items()},
        "pareto_front_designs": len(content.front),
        **({} if best is None else {"best_trial": best.number}),
        **(
            {}
            if best is None
            else {f"best_{o.name}": best.value(o.name) for o in content.objectives}
        ),
    }
