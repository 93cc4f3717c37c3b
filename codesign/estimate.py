"""What a study will take, predicted before anything starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from codesign.contracts import Prediction
from codesign.designs import as_designs
from codesign.errors import ConfigError
from codesign.spec.problem import Problem
from codesign.study.findings import planned_trials
from codesign.study.state import StudyState

SAMPLE = 256
LEFT_OUT = (
    "steps of training alone: start, compiling, reading data, evaluations and checkpoints come on "
    "top"
)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a study will take. Predicted: each figure has an interval and a label.

    Where designs pause at rungs, a share `keep` of each rung's is taken to train on.

    The designs are a sample of the feasible ones; a search that prefers large ones takes more. The
    ends of an interval take all trials to be as fast, or as slow, as their own ends say.

    Attributes:
        trials: in all, confirming runs included.
        confirming: those runs.
        examples_per_trial: most that training sees of them, median over the sample.
        devices: that train one model together.
        seconds_per_trial: of the sample's median design.
        fast_s, slow_s: medians of the fastest and the slowest tenth of the sample begin here.
        workers: trials at a time.
        hours: until the last trial has ended.
        money: gpu_hours × price; None: no price is given.
        affordable: trials within `budgets.study_gpu_hours` at the median; None: no such budget.
    """

    study: str
    trials: int
    confirming: int
    examples_per_trial: float
    devices: int
    seconds_per_trial: Prediction
    fast_s: float
    slow_s: float
    gpu_hours: Prediction
    workers: int
    hours: Prediction
    money: Prediction | None
    affordable: int | None
    confidence: float
    left_out: str = LEFT_OUT

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def estimate(problem: Problem) -> Estimate:
    """Predict what a study will take.

    Raises:
        ConfigError: the spec names no hardware, or no throughput is predicted for the model.
    """
    spec, hardware = problem.spec, problem.spec.hardware
    if hardware is None or problem.predicted is None:
        raise ConfigError(
            "nothing is predicted without the section hardware",
            where=spec.name,
            hint="add a device, such as --set hardware=h100-sxm",
        )
    drawn = problem.feasible.sample(SAMPLE, np.random.default_rng(spec.seed))
    found, devices_N = problem.predicted.with_devices(drawn)
    rate = found["examples_per_s"]
    examples_N = np.array([problem.task.examples(design) for design in as_designs(drawn)])
    # Three rows: at the median rate, at the high end of rates, at the low end.
    seconds_3N = examples_N / np.stack([rate.value, rate.high, rate.low])
    trials = planned_trials(StudyState(), spec)
    fidelity = spec.search.fidelity
    in_full = trials - spec.trials * (1 - (fidelity.expected_share if fidelity else 1.0))
    gpu_hours = _prediction((devices_N * seconds_3N).mean(axis=1) * in_full / 3600, rate.label)
    workers, limit = spec.launch.workers or 1, spec.study_budgets.study_gpu_hours
    price = hardware.price_per_hour
    return Estimate(
        study=spec.name,
        trials=trials,
        confirming=trials - spec.trials,
        examples_per_trial=float(np.median(examples_N)),
        devices=int(np.median(devices_N)),
        seconds_per_trial=_prediction(np.median(seconds_3N, axis=1), rate.label),
        fast_s=float(np.quantile(seconds_3N[0], 0.1)),
        slow_s=float(np.quantile(seconds_3N[0], 0.9)),
        gpu_hours=gpu_hours,
        workers=workers,
        hours=_prediction(seconds_3N.mean(axis=1) * in_full / 3600 / workers, rate.label),
        money=None if price is None else _scaled(gpu_hours, price),
        affordable=None if limit is None else min(trials, int(trials * limit / gpu_hours.value)),
        confidence=spec.confidence,
    )


def _prediction(values_3: np.ndarray[Any, Any], label: str) -> Prediction:
    value, low, high = (float(value) for value in values_3)
    return Prediction(value=value, low=low, high=high, label=label)


def _scaled(prediction: Prediction, factor: float) -> Prediction:
    ends = {end: factor * getattr(prediction, end) for end in ("value", "low", "high")}
    return Prediction(**ends, label=prediction.label)
