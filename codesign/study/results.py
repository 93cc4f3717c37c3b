"""What the report shows of a study, from its spec and its record alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from codesign import pareto
from codesign.contracts import Metric, Objective, Prediction, Value
from codesign.metrics import deviation_name, metric_named, split_name
from codesign.report.content import ReportContent, ReportTrial
from codesign.report.payload import OTHER_CURVES, thinned
from codesign.spec.model import StudySpec
from codesign.study.findings import (
    Finding,
    Values,
    best_finding,
    findings,
    objective_values,
    planned_trials,
)
from codesign.study.folder import StudyFolder, read_json_lines
from codesign.study.halving import savings
from codesign.study.paired import comparisons
from codesign.study.spending import gpu_hours
from codesign.study.state import StudyState, Trial


def report_content(
    spec: StudySpec, metrics: Mapping[str, Metric], state: StudyState, folder: StudyFolder
) -> ReportContent:
    """Everything the page and the terminal show, from the spec and the record alone."""
    found = findings(state, spec)
    best = best_finding(found, spec)
    by_number = {f.trial.number: f for f in found}
    facts = state.opened.get("facts", {})
    objectives, volumes = _volumes(state, spec)
    drawn = _with_curve(state, found)
    reference, compared = comparisons(state, found, spec.objectives, folder)
    return ReportContent(
        study=spec.name,
        title=f"{spec.name}: {spec.model['name']} on {facts.get('data', spec.data.source)}",
        task=spec.model["name"],
        objectives=objectives,
        metrics=_metric_table(metrics, state, spec.objectives),
        trials=tuple(
            dataclasses.replace(
                _report_trial(trial, by_number.get(trial.number)),
                curve=_curve(folder, trial) if trial.number in drawn else (),
                comparison=compared.get(trial.number),
            )
            for trial in state.trials.values()
        ),
        facts=_flat_facts(facts),
        floor_name=facts.get("baseline", {}).get("name", ""),
        floor=_floor(facts),
        noise_sd={} if best is None else _noise(best.metrics),
        best=None if best is None else best.trial.number,
        baseline=next((t.number for t in state.of_kind("baseline")), None),
        reference=reference,
        savings=savings(state, spec),
        hypervolume=tuple(float(v) for v in volumes),
        budgets=spec.budgets,
        trial_budget=planned_trials(state, spec),
        warm_start={each.name: len(each.observations) for each in state.earlier},
        spec_yaml=spec.text,
        provenance=provenance_rows(state, spec),
    )


def _volumes(state: StudyState, spec: StudySpec) -> tuple[tuple[Objective, ...], Values]:
    """Objectives with their reference points, and the hypervolume after each trial that ended."""
    searched = {t.number: t for t in state.of_kind("baseline", "search")}
    single = sorted(findings(StudyState(trials=searched), spec), key=lambda f: f.trial.ended or 0)
    values = objective_values(single, spec.objectives)
    if not np.isfinite(values).all(axis=1).any():
        return spec.objectives, np.zeros(0)
    goals = [o.goal for o in spec.objectives]
    chosen = pareto.default_reference(values, goals)
    resolved = tuple(
        o if o.reference is not None else dataclasses.replace(o, reference=float(r))
        for o, r in zip(spec.objectives, chosen, strict=True)
    )
    reference = np.array([o.reference for o in resolved], dtype=float)
    return resolved, pareto.hypervolume_over_trials(values, reference, goals)


def _with_curve(state: StudyState, found: Sequence[Finding]) -> set[int]:
    """The trials whose curves are shown: the front's, and some of the others, evenly spread."""
    front = {f.trial.number for f in found if f.on_front}
    others = [t.number for t in state.trials.values() if not t.open and t.number not in front]
    return front | set(thinned(others, OTHER_CURVES))


def _report_trial(trial: Trial, finding: Finding | None) -> ReportTrial:
    measured = trial.metrics if finding is None else {
        name: value for name, value in finding.metrics.items() if name not in trial.costs
    }  # fmt: skip
    confirmed = None if finding is None else finding.confirmed
    return ReportTrial(
        number=trial.number,
        kind=trial.kind,
        status=trial.status,
        design=trial.awake,
        metrics=measured,
        costs=trial.costs,
        predictions={name: Prediction(**fields) for name, fields in trial.predictions.items()},
        system=trial.system_settings,
        failure=trial.failure,
        reason="; ".join(_remarks(trial)),
        seconds=trial.seconds,
        seed=trial.seed,
        on_front=finding is not None and finding.on_front,
        confirmed=confirmed,
        spread=finding.spread if finding is not None and confirmed else _noise(measured),
    )


def _remarks(trial: Trial) -> Iterator[str]:
    """Yield why it failed, or what there is to say of one that did not."""
    if trial.reason:
        yield trial.reason
    else:
        yield from (*_paused(trial), *_near_miss(trial), *trial.facts.get("warnings", ()))
    if trial.outgrown is not None:
        yield trial.rerun


def _paused(trial: Trial) -> list[str]:
    if trial.status != "paused":
        return []
    return [f"stopped at {100 * trial.share:.3g}% of its training"]


def _near_miss(trial: Trial) -> list[str]:
    missed = ", ".join(trial.misses)
    return [f"near miss: predicted to keep {missed} by the better end alone"] if missed else []


def _curve(folder: StudyFolder, trial: Trial) -> tuple[Mapping[str, float], ...]:
    names = {
        "examples": "examples",
        "validation_auc": "auc",
        "validation_log_loss": "log_loss",
        "train_log_loss": "train_log_loss",
    }
    points = read_json_lines(folder.attempt(trial.number, trial.attempt) / "curve.jsonl")
    return tuple(
        {names[key]: point[key] for key in names if key in point} | point.get("by_task", {})
        for point in points
    )


def _metric_table(
    metrics: Mapping[str, Metric], state: StudyState, objectives: Sequence[Objective]
) -> dict[str, Metric]:
    """Every metric that may be shown: also on test, and those of single tasks."""
    table = dict(metrics)
    for metric in metrics.values():
        if metric.source == "learned":
            name = f"test_{metric.name}"
            meaning = metric.meaning.replace("validation", "test")
            table[name] = dataclasses.replace(metric, name=name, meaning=meaning)
    shown = {name: None for trial in state.trials.values() for name in trial.metrics}
    for name in [*(o.metric for o in objectives), *shown]:
        found = metric_named(name, table)
        if found is not None:
            table[name] = found
    for objective in objectives:
        if objective.predicted:
            table[objective.name] = dataclasses.replace(
                table[objective.metric], name=objective.name
            )
    for plain in {split_name(name)[0] for name in shown if split_name(name)[1]} & table.keys():
        meaning = f"{table[plain].meaning}, mean over the tasks"
        table[plain] = dataclasses.replace(table[plain], meaning=meaning)
    return table


def _flat_facts(facts: Mapping[str, Any]) -> dict[str, Value]:
    flat: dict[str, Value] = {}
    for name, value in facts.items():
        label = name.replace("_", " ")
        if name == "rows":
            flat |= {f"rows in {split}": f"{rows:,}" for split, rows in value.items()}
        elif isinstance(value, float):
            flat[label] = round(value, 4)
        elif isinstance(value, int | str):
            flat[label] = value
        elif isinstance(value, list | tuple) and value:
            flat[label] = "; ".join(map(str, value))
    return flat


def _floor(facts: Mapping[str, Any]) -> dict[str, float]:
    given = facts.get("baseline", {})
    return {
        name.removeprefix("validation_"): value
        for name, value in given.items()
        if isinstance(value, float) and not split_name(name)[0].endswith("_sd")
    }


def _noise(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metric → ±1 sd of its sampling noise, for those that have a metric `…_sd` beside them."""
    deviations = {name: deviation_name(name) for name in metrics}
    return {name: metrics[sd] for name, sd in deviations.items() if sd in metrics}


def provenance_rows(state: StudyState, spec: StudySpec) -> dict[str, str]:
    """Where a study's results come from, label → value, for the page and `best.yaml`."""

    def written(seconds: float | None) -> str:
        if seconds is None:
            return ""
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))

    checksums = state.opened.get("facts", {}).get("source_md5", {})
    opened = {name: str(value) for name, value in state.opened.get("provenance", {}).items()}
    limit = spec.study_budgets.study_gpu_hours
    used = {} if limit is None else {"GPU-hours": f"{gpu_hours(state):.3g} of {limit:g} used"}
    read = "; ".join(each.told for each in state.earlier)
    return {
        "seed": str(spec.seed),
        "started": written(state.started),
        "last event": written(state.ended),
        **used,
        **({"warm start": read} if read else {}),
        **opened,
        **{f"MD5 of {name}": md5 for name, md5 in checksums.items()},
    }
