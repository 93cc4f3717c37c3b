"""What is believed of each objective, as BoTorch models over the inputs of a `Problem`.

Imports torch: load this module when it is used. Shape suffixes as in
`codesign.search.known_cost.problem`; all tensors are float64.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from botorch.models import ModelList
from botorch.models.deterministic import AffineDeterministicModel
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from torch import Tensor

from codesign.search.known_cost.problem import SHARED_VARIANCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codesign.search.known_cost.problem import Problem
    from codesign.search.known_cost.surrogate.beliefs import Beliefs
    from codesign.search.known_cost.surrogate.process import Process

_JITTER = 1e-8


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Leave the global random state as it was, whatever is drawn here."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Few points and constant metrics are ordinary here; botorch warns at each of them.
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        yield


def model_of(problem: Problem, beliefs: Beliefs) -> Model:
    """Build one model per objective: a fitted process, the known column, or a prediction."""
    inputs = problem.trained_NX.shape[1]
    models: list[Model] = []
    for process, column, sd_column in zip(
        beliefs.processes, problem.known_column, problem.sd_column, strict=True
    ):
        if process is not None:
            models.append(_Learned(process))
        elif sd_column is None:
            models.append(_known(inputs, column))
        else:
            models.append(_Predicted(column, sd_column))
    return models[0] if len(models) == 1 else ModelList(*models)


def _known(inputs: int, column: int | None) -> Model:
    weights_X1 = torch.zeros(inputs, 1, dtype=torch.float64)
    weights_X1[column] = 1.0
    return AffineDeterministicModel(weights_X1, torch.zeros(1, dtype=torch.float64))


class _Learned(Model):
    """A fitted process; without gradients, as candidates are listed."""

    num_outputs = 1
    batch_shape = torch.Size([])

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    def posterior(self, X: Tensor, *_: object, **__: object) -> GPyTorchPosterior:
        """Return the joint distribution over q rows of inputs, (…, q, X)."""
        rows = X.shape[-2]
        mean_BQ, covariance_BQQ = self._process.joint(X.reshape(-1, *X.shape[-2:]).numpy())
        covariance_BQQ[:, np.arange(rows), np.arange(rows)] += _JITTER
        return GPyTorchPosterior(
            MultivariateNormal(
                torch.from_numpy(mean_BQ).reshape(X.shape[:-1]),
                torch.from_numpy(covariance_BQQ).reshape(*X.shape[:-1], rows),
            )
        )


class _Predicted(Model):
    """Gains that were predicted: normal around one column, the deviation in another.

    Nothing is fitted: what trials measured is of the machine they ran on.
    """

    num_outputs = 1
    batch_shape = torch.Size([])

    def __init__(self, mean_column: int | None, sd_column: int) -> None:
        super().__init__()
        self._mean_column, self._sd_column = mean_column, sd_column

    def posterior(self, X: Tensor, *_: object, **__: object) -> GPyTorchPosterior:
        """Return the joint distribution over q rows of inputs, (…, q, X)."""
        mean, sd = X[..., self._mean_column], X[..., self._sd_column]
        shared = SHARED_VARIANCE * sd[..., :, None] * sd[..., None, :]
        own = torch.diag_embed((1 - SHARED_VARIANCE) * sd.square())
        return GPyTorchPosterior(MultivariateNormal(mean, shared + own))
