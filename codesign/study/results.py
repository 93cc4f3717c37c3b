"""What a study found: confirmed means, the front, the best design, and the report's content."""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codesign import pareto
from codesign.contracts import Metric, Objective, Prediction, Value
from codesign.metrics import deviation_name, metric_named, split_name
from codesign.report.content import ReportContent, ReportTrial, quality_objective
from codesign.report.payload import OTHER_CURVES, thinned
from codesign.spec.model import StudySpec
from codesign.study.folder import StudyFolder
from codesign.study.paired import comparisons
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


def findings(state: StudyState, spec: StudySpec) -> list[Finding]:
    """Merge confirming runs into the trials they repeat, and mark the front.

    A design is confirmed when all of its fresh seeds have trained; it then stands for their mean.
    Until then it stands for the one run of the search, whose luck takes no confirmed design off
    the front: that only another confirmed one does. A design of which any fresh seed diverged or
    ran out of memory is not confirmed and not on the front.
    """
    confirm = spec.search.confirm
    found, unstable = [], []
    for trial in state.of_kind("baseline", "search"):
        if trial.status != "completed":
            continue
        runs = [run for run in state.of_kind("confirm") if run.of == trial.number]
        unstable.append(any(run.failure is not None for run in runs))
        completed = [run.metrics for run in runs if run.status == "completed"]
        confirmed = len(completed) >= confirm.seeds and not unstable[-1]
        means, spread = _over_seeds(completed) if confirmed else ({}, {})
        found.append(
            Finding(
                trial=trial,
                metrics={**trial.costs, **trial.metrics, **means},
                spread=spread,
                confirmed=confirmed if confirm.top else None,
            )
        )
    if not found:
        return []
    values = _values(found, spec.objectives)
    values[np.array(unstable)] = np.nan
    goals = [o.goal for o in spec.objectives]
    among_all = pareto.pareto_mask(values, goals)
    confirmed_only = values.copy()
    confirmed_only[[not f.confirmed for f in found]] = np.nan
    among_confirmed = pareto.pareto_mask(confirmed_only, goals)
    return [
        dataclasses.replace(f, on_front=bool(mask))
        for f, mask in zip(found, among_all | among_confirmed, strict=True)
    ]


def best_finding(found: Sequence[Finding], spec: StudySpec) -> Finding | None:
    """The best model of the front; a confirmed one, where some are."""
    on_front = [f for f in found if f.on_front]
    eligible = [f for f in on_front if f.confirmed] or on_front
    return min(eligible, key=_by_quality(eligible, spec), default=None)


def to_confirm(state: StudyState, spec: StudySpec) -> list[Trial]:
    """The `search.confirm.top` designs to repeat: the best of the front as the search alone saw it.

    The baseline is always among them, since log losses are relative to it.
    """
    searched = {t.number: t for t in state.of_kind("baseline", "search")}
    found = findings(StudyState(trials=searched), spec)
    front = sorted((f for f in found if f.on_front), key=_by_quality(found, spec))
    chosen = [f.trial for f in front[: spec.search.confirm.top]]
    baseline = [f.trial for f in found if f.trial.kind == "baseline" and f.trial not in chosen]
    if chosen and baseline:
        chosen = [*chosen[: spec.search.confirm.top - 1], *baseline]
    return chosen


def designs_to_search(state: StudyState, spec: StudySpec) -> int:
    """Designs to search in all: as the spec or a later request says, within the study's budget."""
    most = spec.study_budgets.trials
    asked = state.extended_to if most is None else min(state.extended_to, most)
    return max(spec.trials, asked)


def planned_trials(state: StudyState, spec: StudySpec) -> int:
    """Trials in all, confirming runs included, as far as is known now."""
    searched = state.of_kind("baseline", "search")
    search = (
        len(searched) if state.exhausted else max(len(searched), designs_to_search(state, spec))
    )
    over = len(searched) == search and not any(t.open for t in searched)
    repeated = len(to_confirm(state, spec)) if over else min(spec.search.confirm.top, search)
    return search + repeated * spec.search.confirm.seeds


def _by_quality(found: Sequence[Finding], spec: StudySpec) -> Callable[[Finding], float]:
    costs = found[0].trial.costs if found else {}
    quality = quality_objective(costs, spec.objectives)
    sign = 1.0 if quality.goal == "minimize" else -1.0
    return lambda f: sign * f.metrics[quality.metric]


def _over_seeds(
    runs: Sequence[Mapping[str, float]],
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of every metric that all runs have."""
    names = _shared(runs)
    means = {name: statistics.fmean(run[name] for run in runs) for name in names}
    if len(runs) < 2:
        return means, {}
    return means, {name: statistics.stdev(run[name] for run in runs) for name in names}


def _shared(runs: Sequence[Mapping[str, float]]) -> list[str]:
    return [name for name in runs[0] if all(name in run for run in runs)] if runs else []


def _values(found: Sequence[Finding], objectives: Sequence[Objective]) -> Values:
    return np.array(
        [[f.metrics.get(o.metric, float("nan")) for o in objectives] for f in found]
    ).reshape(-1, len(objectives))


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
        hypervolume=tuple(float(v) for v in volumes),
        budgets=spec.budgets,
        trial_budget=planned_trials(state, spec),
        spec_yaml=spec.text,
        provenance=provenance_rows(state, spec.seed),
    )


def _volumes(state: StudyState, spec: StudySpec) -> tuple[tuple[Objective, ...], Values]:
    """Objectives with their reference points, and the hypervolume after each trial that ended."""
    searched = {t.number: t for t in state.of_kind("baseline", "search")}
    single = sorted(findings(StudyState(trials=searched), spec), key=lambda f: f.trial.ended or 0)
    values = _values(single, spec.objectives)
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
        failure=trial.failure,
        reason=trial.reason or "; ".join(trial.facts.get("warnings", ())),
        seconds=trial.seconds,
        seed=trial.seed,
        on_front=finding is not None and finding.on_front,
        confirmed=confirmed,
        spread=finding.spread if finding is not None and confirmed else _noise(measured),
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


def provenance_rows(state: StudyState, seed: int) -> dict[str, str]:
    """Where a study's results come from, label → value, for the page and `best.yaml`."""

    def written(seconds: float | None) -> str:
        if seconds is None:
            return ""
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))

    checksums = state.opened.get("facts", {}).get("source_md5", {})
    opened = {name: str(value) for name, value in state.opened.get("provenance", {}).items()}
    return {
        "seed": str(seed),
        "started": written(state.started),
        "last event": written(state.ended),
        **opened,
        **{f"MD5 of {name}": md5 for name, md5 in checksums.items()},
    }
