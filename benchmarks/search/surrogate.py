"""A regression of the log loss on the recorded designs, so that any design has an answer.

Two kinds are tried, and the one of the smaller held-out error is taken: a Gaussian process and
boosted trees. N runs, M features.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.search.task import Array

FOLDS = 10
CHUNK = 20_000


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """The fit that is taken.

    Attributes:
        name: its kind.
        predict: the log loss of designs by their features, (N, M) → (N,); no noise is added.
        held_out: kind → `rmse`, `r2` and `spearman` of runs that the fit has not seen.
    """

    name: str
    predict: Callable[[Array], Array]
    held_out: dict[str, dict[str, float]]


def fit(features_NM: Array, loss_N: Array) -> Surrogate:
    """Fit both kinds, and take the better one."""
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    held_out: dict[str, dict[str, float]] = {}
    models = kinds(features_NM.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: unused knobs
        for name, model in models.items():
            predicted_N = cross_val_predict(model, features_NM, loss_N, cv=folds)
            held_out[name] = errors(predicted_N, loss_N)
        best = min(held_out, key=lambda name: held_out[name]["rmse"])
        model = clone(models[best]).fit(features_NM, loss_N)

    def predict(rows_NM: Array) -> Array:
        chunks = range(0, len(rows_NM), CHUNK)
        return np.concatenate([model.predict(rows_NM[at : at + CHUNK]) for at in chunks])

    return Surrogate(name=best, predict=predict, held_out=held_out)


def kinds(features: int) -> dict[str, Any]:
    """The regressions that are tried."""
    kernel = ConstantKernel(1.0) * Matern(np.ones(features), (0.05, 100.0), nu=2.5)
    return {
        "gaussian process": GaussianProcessRegressor(
            kernel + WhiteKernel(0.1, (1e-4, 1.0)), normalize_y=True
        ),
        "boosted trees": GradientBoostingRegressor(
            n_estimators=400, learning_rate=0.05, max_depth=4, subsample=0.7, random_state=0
        ),
    }


def errors(predicted_N: Array, true_N: Array) -> dict[str, float]:
    """Compare predictions with runs that the fit has not seen."""
    residual_N = predicted_N - true_N
    return {
        "rmse": float(np.sqrt(np.mean(residual_N**2))),
        "r2": float(1 - np.var(residual_N) / np.var(true_N)),
        "spearman": float(spearmanr(predicted_N, true_N).statistic),
    }
