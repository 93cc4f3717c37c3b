"""The outcome of a study as the report sees it. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from codesign.comparison import Comparison
    from codesign.contracts import Metric, Objective, Prediction, TrialKind, TrialStatus, Value


@dataclass(frozen=True, kw_only=True)
class ReportTrial:
    """One trial.

    Attributes:
        number: ≥ 0, unique in its study.
        kind: `search` proposed, `baseline` given, `confirm` a rerun of a design on a fresh seed.
        metrics: metric → value, *measured*; NaN where it could not be.
        costs: metric → value, *exact counts*, known before the trial ran.
        predictions: metric → what a cost model *predicted* of it before the trial ran.
        system: settings of training chosen for the design, where they differ from the study's own.
        failure: the kind of failure where `status` is `failed`; `reason` is its one line.
        seconds: wall time from start to end.
        curve: what the trial said while it trained: `examples` seen and metrics at that point.
        on_front: whether no other trial is better in every objective.
        confirmed: True where `metrics` are means over fresh seeds; False where they come from
            the one run that chose the trial; None where the study did not ask.
        spread: metric → ±1 sd, over the seeds where confirmed (empty where there was one), else
            of the metric's own noise.
        comparison: with the study's reference, on the same test rows; front trials only.
    """

    number: int
    kind: TrialKind = "search"
    status: TrialStatus
    design: Mapping[str, Value]
    metrics: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    system: Mapping[str, Value] = field(default_factory=dict)
    failure: str | None = None
    reason: str = ""
    seconds: float | None = None
    seed: int = 0
    curve: tuple[Mapping[str, float], ...] = ()
    on_front: bool = False
    confirmed: bool | None = None
    spread: Mapping[str, float] = field(default_factory=dict)
    comparison: Comparison | None = None

    def value(self, metric: str) -> float | None:
        """Return a metric, a cost or, by `predicted_…`, a prediction; None where it has none."""
        found = self.predictions.get(metric.removeprefix("predicted_"))
        if metric.startswith("predicted_"):
            return None if found is None else found.value
        return self.metrics.get(metric, self.costs.get(metric))


@dataclass(frozen=True, kw_only=True)
class Savings:
    """What it saved that designs paused on the way, over all that paused or completed.

    Attributes:
        trained_examples: of their training, all passes together.
        full_examples: that their full trainings see at most.
        paused: designs that did not train in full; designs: all.
    """

    trained_examples: float
    full_examples: float
    paused: int
    designs: int

    @property
    def told(self) -> str:
        """A line for people."""
        saved = 100 * (1 - self.trained_examples / self.full_examples)
        return (
            f"{self.paused} of {self.designs} designs stopped on the way: "
            f"{self.trained_examples:,.0f} examples trained of {self.full_examples:,.0f} that full "
            f"trainings of all designs take (\N{MINUS SIGN}{saved:.0f}%)"
        )


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """One study.

    Attributes:
        objectives: at least one; `reference` is the resolved reference point of the hypervolume.
        metrics: every metric, cost and name of an objective → its unit, goal and meaning.
        facts: what the data are, label → value, in the order to show (rows, base rate, split, …).
        floor_name: the trivial predictor that every model must beat.
        floor: metric → value of the trivial predictor, on the same rows as the trials.
        noise_sd: metric → ±1 sd of its sampling noise at the best trial.
        best: number of the trial to show first.
        baseline: number of the trial that relative log loss is relative to.
        reference: number of the trial that comparisons are with: the baseline, else the cheapest
            of the front; None where no trial recorded its losses row by row.
        savings: None where every design trains in full.
        hypervolume: after each completed trial, in order of completion.
        budgets: metric → limit; at most where the metric is minimised, else at least.
        trial_budget: trials that the study will launch in all, confirming runs included.
        warm_start: earlier study → how many of its trials the proposer knew.
        provenance: label → value (commit, versions, host, seed, started, ended).

    Raises:
        ConfigError: no objective, a trial number used twice, or `best`, `baseline` or `reference`
            not a trial.
    """

    study: str
    title: str
    task: str
    objectives: tuple[Objective, ...]
    trials: tuple[ReportTrial, ...]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    facts: Mapping[str, Value] = field(default_factory=dict)
    floor_name: str = "item mean"
    floor: Mapping[str, float] = field(default_factory=dict)
    noise_sd: Mapping[str, float] = field(default_factory=dict)
    best: int | None = None
    baseline: int | None = None
    reference: int | None = None
    savings: Savings | None = None
    hypervolume: tuple[float, ...] = ()
    budgets: Mapping[str, float] = field(default_factory=dict)
    trial_budget: int | None = None
    warm_start: Mapping[str, int] = field(default_factory=dict)
    spec_yaml: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = {t.number for t in self.trials}
        problems = [
            f"{name} is trial {number}, which the study does not have"
            for name in ("best", "baseline", "reference")
            if (number := getattr(self, name)) is not None and number not in numbers
        ]
        if not self.objectives:
            problems.append("a study needs at least one objective")
        if len(numbers) != len(self.trials):
            problems.append(f"{len(self.trials)} trials share {len(numbers)} numbers")
        if problems:
            raise ConfigError("; ".join(problems), where=f"report of study {self.study!r}")

    def trial(self, number: int | None) -> ReportTrial | None:
        """Return the trial of that number; None for None."""
        return next((t for t in self.trials if t.number == number), None)

    @property
    def quality(self) -> Objective:
        """The objective that says how good a model is: the first that is learned."""
        exact = [name for name, metric in self.metrics.items() if metric.source == "exact"]
        return quality_objective(exact, self.objectives)

    @property
    def front(self) -> tuple[ReportTrial, ...]:
        """The trials on the front, best quality first, completed ones only."""
        quality = self.quality
        sign = -1.0 if quality.goal == "maximize" else 1.0
        kept = [t for t in self.trials if t.on_front and t.status == "completed"]
        return tuple(sorted(kept, key=lambda t: sign * (t.value(quality.metric) or 0.0)))


def quality_objective(exact: Collection[str], objectives: Sequence[Objective]) -> Objective:
    """Return the objective that says how good a model is: the first that is learned."""
    learned = (o for o in objectives if not o.predicted and o.metric not in exact)
    return next(learned, objectives[0])
