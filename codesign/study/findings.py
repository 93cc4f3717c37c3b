"""What a study has found so far, confirmed means, front and best design, and what is left to do."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codesign import pareto
from codesign.contracts import Objective
from codesign.predicted import keeps
from codesign.report.content import quality_objective
from codesign.spec.model import StudySpec
from codesign.study.state import StudyState, Trial

Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A completed search trial, with the mean of its confirming runs where there are any.

    Attributes:
        metrics: exact costs and measured metrics (means over fresh seeds where `confirmed`).
        spread: metric → standard deviation over the fresh seeds.
        confirmed: None where the study asks for no confirmation.
        feasible: False for a near miss, unless its measured figures keep the budgets it may break.
    """

    trial: Trial
    metrics: Mapping[str, float]
    spread: Mapping[str, float]
    confirmed: bool | None
    on_front: bool = False
    feasible: bool = True


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
        runs = state.confirming(trial.number)
        unstable.append(any(run.failure is not None for run in runs))
        completed = [run.metrics for run in runs if run.status == "completed"]
        confirmed = len(completed) >= confirm.seeds and not unstable[-1]
        means, spread = _over_seeds(completed) if confirmed else ({}, {})
        metrics = {**trial.costs, **trial.metrics, **means}
        found.append(
            Finding(
                trial=trial,
                metrics=metrics,
                feasible=_keeps_budgets(trial, metrics, spec.budgets),
                spread=spread,
                confirmed=confirmed if confirm.top else None,
            )
        )
    if not found:
        return []
    values = objective_values(found, spec.objectives)
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


def _keeps_budgets(
    trial: Trial, metrics: Mapping[str, float], budgets: Mapping[str, float]
) -> bool:
    """Whether measured figures keep each budget that the trial may break; unmeasured: no."""
    memory = trial.facts.get("memory", {}).get("measured_gib")
    measured = {**({} if memory is None else {"memory_per_device_gib": memory}), **metrics}
    return all(
        name in measured and keeps(measured[name], budgets[name], goal)
        for name, goal in trial.misses.items()
    )


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
    searched = state.searched
    search = (
        len(searched) if state.exhausted else max(len(searched), designs_to_search(state, spec))
    )
    over = len(searched) == search and not any(t.kind != "confirm" for t in state.open_trials)
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


def objective_values(found: Sequence[Finding], objectives: Sequence[Objective]) -> Values:
    """Return the objectives of each design, (N, objectives).

    NaN where one is not known, and of designs that are not feasible.
    """
    known = [{**f.metrics, **f.trial.predicted} for f in found]
    values = np.array([[f.get(o.name, float("nan")) for o in objectives] for f in known])
    values = values.reshape(-1, len(objectives))
    values[[not f.feasible for f in found]] = np.nan
    return values
