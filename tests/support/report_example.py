"""Synthetic studies for the report: plausible figures from a formula, no training."""

from __future__ import annotations

import functools
import math

import numpy as np

from codesign.comparison import Comparison
from codesign.contracts import Metric, Objective
from codesign.report.content import ReportContent, ReportTrial

HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\"><b>&amp;"

METRICS = {
    m.name: m
    for m in (
        Metric(
            name="auc",
            unit="",
            goal="maximize",
            source="learned",
            meaning="area under the ROC curve, validation rows",
        ),
        Metric(
            name="log_loss",
            unit="nat",
            goal="minimize",
            source="learned",
            meaning="mean binary cross-entropy, validation rows",
        ),
        Metric(
            name="test_auc",
            unit="",
            goal="maximize",
            source="learned",
            meaning="area under the ROC curve, test rows",
        ),
        Metric(
            name="examples_per_s",
            unit="examples/s",
            goal="maximize",
            source="measured",
            meaning="training throughput",
        ),
        Metric(
            name="gflop_per_example",
            unit="GFLOP/example",
            goal="minimize",
            source="exact",
            meaning="forward + backward of the dense part",
        ),
        Metric(
            name="parameters",
            unit="",
            goal="minimize",
            source="exact",
            meaning="dense parameters and table entries",
        ),
        Metric(
            name="table_bytes",
            unit="B",
            goal="minimize",
            source="exact",
            meaning="embedding tables",
        ),
    )
}

SPEC = """study: ml100k-quick
task: wukong/ml-100k
objectives:
  - {metric: auc, goal: maximize}
  - {metric: gflop_per_example, goal: minimize}
space:
  l:  {low: 1, high: 4}
  n:  {choices: [4, 8, 16, 32]}
  k:  {choices: [4, 8, 16, 24]}
  mlp_width: {choices: [64, 128, 256, 512]}
  table_init_std: {low: 1.0e-3, high: 1.0e-1, scale: log}
budgets:
  gflop_per_example: 0.02
"""


@functools.cache
def example_content(trials: int = 30, *, seed: int = 0, hostile: bool = False) -> ReportContent:
    """Return a study of that many trials: failures, NaN, a baseline, a front, curves."""
    rng = np.random.default_rng(seed)
    made = [_trial(number, trials, rng, hostile=hostile) for number in range(trials)]
    front = _front({t.number: t for t in made if t.status == "completed"})
    made = [_placed(t, front.index(t.number) if t.number in front else None, rng) for t in made]
    best = min((t for t in made if t.on_front), key=lambda t: -t.metrics["auc"], default=None)
    return ReportContent(
        study=HOSTILE if hostile else "ml100k-quick",
        title=f"Title {HOSTILE}" if hostile else "Small Wukongs for MovieLens 100K",
        task="wukong on ml-100k",
        objectives=(
            Objective(metric="auc", goal="maximize", reference=0.70),
            Objective(metric="gflop_per_example", goal="minimize", reference=0.02),
        ),
        trials=tuple(made),
        metrics=METRICS,
        facts={
            "rows, train": 80_000,
            "rows, validation": 10_000,
            "rows, test": 10_000,
            "base rate": 0.5537,
            "split": "by time over all rows: first 80%, next 10%, last 10%",
        },
        floor={"auc": 0.7046, "log_loss": 0.6297, "test_auc": 0.6991},
        noise_sd={"auc": 0.0052, "log_loss": 0.0046, "test_auc": 0.0053},
        best=best.number if best else None,
        baseline=0 if trials else None,
        reference=0 if trials else None,
        hypervolume=tuple(
            np.sort(rng.uniform(0.2, 1.2, sum(t.status == "completed" for t in made)))
        ),
        budgets={"gflop_per_example": 0.02},
        trial_budget=max(trials, 40),
        spec_yaml=SPEC + (HOSTILE if hostile else ""),
        provenance={
            "commit": "5f1c0de9a2b7",
            "codesign": "0.1.0",
            "torch": "2.13.0+cpu",
            "python": "3.11.2",
            "host": HOSTILE if hostile else "bench-02, 2 cores",
            "seed": str(seed),
            "started": "2026-03-04 10:12:09 UTC",
            "ended": "2026-03-04 10:58:41 UTC",
        },
    )


def _trial(number: int, trials: int, rng: np.random.Generator, *, hostile: bool) -> ReportTrial:
    design = {
        "l": int(rng.integers(1, 5)),
        "n": int(rng.choice([4, 8, 16, 32])),
        "k": int(rng.choice([4, 8, 16, 24])),
        "mlp_width": int(rng.choice([64, 128, 256, 512])),
        "table_init_std": float(10 ** rng.uniform(-3, -1)),
        "d": 16,
    }
    depth, n, k, width = (int(design[name]) for name in ("l", "n", "k", "mlp_width"))
    weights = depth * (n * 2 * 16 * k + n * k * width + width * n * 16)
    costs = {
        "gflop_per_example": 6e-9 * weights,
        "parameters": float(weights + 2_700 * 16),
        "table_bytes": 4.0 * 2_700 * 16,
    }
    kind = "baseline" if number == 0 else "confirm" if number % 10 == 9 else "search"
    common = {"number": number, "design": design, "costs": costs, "seed": number, "kind": kind}
    if number and number % 11 == 4:
        oom = number % 2 == 0
        return ReportTrial(
            status="failed",
            failure="out_of_memory" if oom else "diverged",
            reason=HOSTILE if hostile else "loss is NaN after 12,288 of 80,000 examples",
            seconds=12.5,
            **common,
        )
    if trials > 5 and number >= trials - 2:
        return ReportTrial(status="running" if number % 2 else "pending", **common)
    reach = math.exp(-(math.log10(6e-9 * weights) + 4.2) / 0.8)
    auc = 0.772 - 0.025 * reach + rng.normal(0, 0.002) - rng.exponential(0.007)
    loss = 0.63 - 0.9 * (auc - 0.70)
    metrics = {
        "auc": auc,
        "log_loss": loss,
        "test_auc": math.nan if number == 7 else auc - 0.004 + rng.normal(0, 0.003),
        "examples_per_s": 9e8 / (weights + 2e4),
    }
    return ReportTrial(
        status="completed",
        metrics=metrics,
        seconds=20 + weights / 2e4,
        curve=_curve(auc, loss, rng),
        **common,
    )


def _curve(auc: float, loss: float, rng: np.random.Generator) -> tuple[dict[str, float], ...]:
    """Return ten points that saturate at the trial's final figures."""
    left = [math.exp(-step / 2.2) for step in range(1, 11)]
    return tuple(
        {
            "examples": 16_000.0 * step,
            "auc": auc - 0.09 * gap + rng.normal(0, 0.0012),
            "log_loss": loss + 0.06 * gap + rng.normal(0, 0.001),
        }
        for step, gap in enumerate(left, start=1)
    )


def _front(completed: dict[int, ReportTrial]) -> list[int]:
    """Return the numbers no other search trial beats in both AUC and compute."""
    points = {
        n: (t.metrics["auc"], -t.costs["gflop_per_example"])
        for n, t in completed.items()
        if t.kind != "confirm"
    }
    return [
        n
        for n, p in points.items()
        if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points.values())
    ]


def _placed(trial: ReportTrial, rank: int | None, rng: np.random.Generator) -> ReportTrial:
    if rank is None:
        return trial
    confirmed = rank % 3 != 2
    sd = float(rng.uniform(0.002, 0.005)) if confirmed else 0.0052
    fields = {**vars(trial), "on_front": True, "confirmed": confirmed}
    compared = Comparison(
        percent=round(float(rng.normal(-0.3, 0.3)), 3),
        half_width_percent=round(float(rng.uniform(0.05, 0.3)), 3),
        noticeable_percent=0.02,
        family=5,
        seeds=True,
    )
    return ReportTrial(
        **{
            **fields,
            "spread": {"auc": sd, "log_loss": 0.9 * sd},
            "comparison": None if trial.kind == "baseline" else compared,
        }
    )
