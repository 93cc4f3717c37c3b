"""What a study found: confirmed means, the front, the best design, and the report's content."""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codesign import pareto
from codesign.contracts import Metric, Objective, Value
from codesign.report.content import ReportContent, ReportTrial
from codesign.spec.meaning import Problem
from codesign.spec.model import StudySpec
from codesign.study.folder import StudyFolder
from codesign.study.state import StudyState, Trial

Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A completed search trial, with the mean of its confirming runs where there are any.

    Attributes:
        metrics: exact costs and measured metrics (means over fresh seeds where `confirmed`).
        spread: metric → standard deviation over the fresh seeds.
        confirmed: None where the study asks for no confirmation.
    """

    trial: Trial
    metrics: Mapping[str, float]
    spread: Mapping[str, float]
    confirmed: bool | None
    on_front: bool = False


def findings(
    state: StudyState, objectives: Sequence[Objective], *, confirming: bool
) -> list[Finding]:
    """Merge confirming runs into the trials they repeat, and mark the front."""
    found = []
    for trial in state.of_kind("baseline", "search"):
        if trial.status != "completed":
            continue
        runs = [
            run.metrics
            for run in state.of_kind("confirm")
            if run.of == trial.number and run.status == "completed"
        ]
        means = {name: statistics.fmean(run[name] for run in runs) for name in _shared(runs)}
        spread = {
            name: statistics.stdev(run[name] for run in runs)
            for name in (_shared(runs) if len(runs) > 1 else ())
        }
        found.append(
            Finding(
                trial=trial,
                metrics={**trial.costs, **trial.metrics, **means},
                spread=spread,
                confirmed=bool(runs) if confirming else None,
            )
        )
    if not found:
        return []
    mask = pareto.pareto_mask(_values(found, objectives), [o.goal for o in objectives])
    return [dataclasses.replace(f, on_front=bool(m)) for f, m in zip(found, mask, strict=True)]


def best_finding(found: Sequence[Finding], objectives: Sequence[Objective]) -> Finding | None:
    """The best of the first objective; among confirmed designs, where some are."""
    first = objectives[0]
    eligible = [f for f in found if f.confirmed] or list(found)
    eligible = [f for f in eligible if first.metric in f.metrics]
    if not eligible:
        return None
    sign = 1.0 if first.goal == "minimize" else -1.0
    return min(eligible, key=lambda f: sign * f.metrics[first.metric])


def to_confirm(found: Sequence[Finding], objectives: Sequence[Objective], top: int) -> list[Trial]:
    """The trials to repeat: the best of the front as the search alone saw it, by quality."""
    first = objectives[0]
    sign = 1.0 if first.goal == "minimize" else -1.0
    front = sorted((f for f in found if f.on_front), key=lambda f: sign * f.metrics[first.metric])
    return [f.trial for f in front[:top]]


def planned_trials(spec: StudySpec, found: Sequence[Finding]) -> int:
    """Trials in all: the search's, and as many confirming runs as the front so far asks for."""
    confirm = spec.search.confirm
    on_front = sum(f.on_front for f in found)
    return spec.search.trials + min(confirm.top, max(on_front, 1)) * confirm.seeds


def _shared(runs: Sequence[Mapping[str, float]]) -> list[str]:
    return [name for name in runs[0] if all(name in run for run in runs)] if runs else []


def _values(found: Sequence[Finding], objectives: Sequence[Objective]) -> Values:
    return np.array(
        [[f.metrics.get(o.metric, float("nan")) for o in objectives] for f in found]
    ).reshape(-1, len(objectives))


def report_content(problem: Problem, state: StudyState, folder: StudyFolder) -> ReportContent:
    """Everything the page and the terminal show, from the state alone."""
    spec = problem.spec
    confirming = spec.search.confirm.top > 0
    found = findings(state, spec.objectives, confirming=confirming)
    goals = [o.goal for o in spec.objectives]
    single = findings(
        dataclasses.replace(
            state, trials={t.number: t for t in state.of_kind("baseline", "search")}
        ),
        spec.objectives,
        confirming=False,
    )
    values = _values(single, spec.objectives)
    objectives, volumes = _volumes(values, spec.objectives, goals)
    best = best_finding(found, spec.objectives)
    by_number = {f.trial.number: f for f in found}
    facts = problem.task.facts()
    baseline = next((t.number for t in state.of_kind("baseline")), None)
    return ReportContent(
        study=spec.name,
        title=f"{spec.name}: {spec.model['name']} on {facts.get('data', spec.data.source)}",
        task=spec.model["name"],
        objectives=objectives,
        metrics=_metric_table(problem.task.metrics),
        trials=tuple(
            _report_trial(trial, by_number.get(trial.number), folder)
            for trial in state.trials.values()
        ),
        facts=_flat_facts(facts),
        floor_name=facts.get("baseline", {}).get("name", ""),
        floor=_floor(facts),
        noise_sd={} if best is None else _noise(best.metrics),
        best=None if best is None else best.trial.number,
        baseline=baseline,
        hypervolume=tuple(float(v) for v in volumes),
        budgets=spec.budgets,
        trial_budget=planned_trials(spec, found),
        spec_yaml=spec.source,
        provenance=provenance_rows(state, spec.seed),
    )


def _volumes(
    values: Values, objectives: Sequence[Objective], goals: Sequence[Any]
) -> tuple[tuple[Objective, ...], Values]:
    if not np.isfinite(values).all(axis=1).any():
        return tuple(objectives), np.zeros(0)
    chosen = pareto.default_reference(values, goals)
    resolved = tuple(
        o if o.reference is not None else dataclasses.replace(o, reference=float(r))
        for o, r in zip(objectives, chosen, strict=True)
    )
    reference = np.array([o.reference for o in resolved], dtype=float)
    return resolved, pareto.hypervolume_over_trials(values, reference, goals)


def _report_trial(trial: Trial, finding: Finding | None, folder: StudyFolder) -> ReportTrial:
    measured = trial.metrics if finding is None else {
        name: value for name, value in finding.metrics.items() if name not in trial.costs
    }  # fmt: skip
    over_seeds = finding.spread if finding is not None else {}
    return ReportTrial(
        number=trial.number,
        kind=trial.kind,
        status=trial.status,
        design=trial.design,
        metrics=measured,
        costs=trial.costs,
        failure=trial.failure,
        reason=trial.reason or "; ".join(trial.facts.get("warnings", ())),
        seconds=trial.seconds,
        seed=trial.seed,
        curve=_curve(folder, trial) if finding is not None and finding.on_front else (),
        on_front=finding is not None and finding.on_front,
        confirmed=None if finding is None else finding.confirmed,
        spread=over_seeds or _noise(measured),
    )


def _curve(folder: StudyFolder, trial: Trial) -> tuple[Mapping[str, float], ...]:
    path = folder.attempt(trial.number, trial.attempt) / "curve.jsonl"
    if not path.exists():
        return ()
    names = {
        "examples": "examples",
        "validation_auc": "auc",
        "validation_log_loss": "log_loss",
        "train_log_loss": "train_log_loss",
    }
    points = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    return tuple({names[key]: point[key] for key in names if key in point} for point in points)


def _metric_table(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    table = dict(metrics)
    for metric in metrics.values():
        if metric.source == "learned":
            name = f"test_{metric.name}"
            meaning = metric.meaning.replace("validation", "test")
            table[name] = dataclasses.replace(metric, name=name, meaning=meaning)
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
    names = {"validation_auc": "auc", "validation_log_loss": "log_loss"}
    given = facts.get("baseline", {})
    return {
        names.get(name, name): value
        for name, value in given.items()
        if isinstance(value, float) and not name.endswith("_sd")
    }


def _noise(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metric → ±1 sd of its sampling noise, for those that have a metric `…_sd` beside them."""
    return {name: metrics[f"{name}_sd"] for name in metrics if f"{name}_sd" in metrics}


def provenance_rows(state: StudyState, seed: int) -> dict[str, str]:
    """Where a study's results come from, label → value, for the page and `best.yaml`."""

    def written(seconds: float | None) -> str:
        if seconds is None:
            return ""
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))

    opened = {name: str(value) for name, value in state.opened.get("provenance", {}).items()}
    return {
        "seed": str(seed),
        "started": written(state.started),
        "last event": written(state.ended),
        **opened,
    }
