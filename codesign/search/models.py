"""What is believed of each objective: BoTorch models over the inputs of a `Problem`.

Imports torch: load this module when it is used. Shape suffixes as in `codesign.search.problem`;
all tensors are float64.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelList, SingleTaskGP
from botorch.models.deterministic import AffineDeterministicModel
from botorch.models.model import Model
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy.linalg import cho_solve, solve_triangular
from scipy.spatial.distance import cdist
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codesign.search.problem import Problem

Array = np.ndarray[Any, Any]

_LOG = logging.getLogger(__name__)
# With few points the likelihood ends in a long flat valley, where proposals no longer change.
_FIT_ITERATIONS = 100
# Share of the variance of a prediction's error, in logarithms, that all designs have in common: the
# device is faster than modelled, or slower. The rest is each design's own. Assumed, not fitted.
_SHARED_VARIANCE = 0.5


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Leave the global random state as it was, whatever is drawn here."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Few points and constant metrics are ordinary here; botorch warns at each of them.
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        yield


def model_of(problem: Problem) -> Model:
    """Build one model per objective: a fitted process, the known column, or a prediction."""
    trained_NX = torch.from_numpy(problem.trained_NX)
    gains_NO = torch.from_numpy(problem.gains_NO)
    models: list[Model] = []
    for at, (column, sd_column) in enumerate(
        zip(problem.known_column, problem.sd_column, strict=True)
    ):
        if column is None:
            with own_random_state(0):
                models.append(_fitted(trained_NX, gains_NO[:, at : at + 1], problem.features))
        elif sd_column is None:
            models.append(_known(trained_NX.shape[1], column))
        else:
            models.append(_Predicted(column, sd_column))
    return models[0] if len(models) == 1 else ModelList(*models)


def _fitted(trained_NX: Tensor, gains_N1: Tensor, features: int) -> SingleTaskGP:
    """Fit a Matérn-5/2 process with BoTorch's dimension-scaled length-scale prior."""
    model = SingleTaskGP(
        trained_NX,
        gains_N1,
        covar_module=get_covar_module_with_dim_scaled_prior(
            ard_num_dims=features, use_rbf_kernel=False, active_dims=tuple(range(features))
        ),
        outcome_transform=None,
    )
    try:
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model),
            optimizer_kwargs={"options": {"maxiter": _FIT_ITERATIONS}},
        )
    except ModelFittingError as error:
        # The prior's own modes stay in place: weaker, but a valid model.
        _LOG.warning("hyperparameters could not be fitted, their priors are used: %s", error)
        model.eval()
    return model


class Process:
    """A fitted process in NumPy: what is asked of thousands of designs at each proposal.

    Args:
        model: as `_fitted` made it, on these trials.
    """

    def __init__(self, model: SingleTaskGP, trained_NX: Array, gains_N: Array) -> None:
        kernel = model.covar_module
        self._length_M = kernel.lengthscale.detach().numpy()[0]
        self._constant = float(model.mean_module.constant.detach())
        self._scaled_NM = self._scaled(trained_NX)
        noise = float(model.likelihood.noise.detach())
        covariance_NN = self._kernel(self._scaled_NM, self._scaled_NM)
        covariance_NN[np.diag_indices_from(covariance_NN)] += noise
        self._lower_NN = np.linalg.cholesky(covariance_NN)
        self._weights_N = cho_solve((self._lower_NN, True), gains_N - self._constant)

    def mean(self, inputs_RX: Array) -> Array:
        """Return the mean of the noise-free gain: (R,)."""
        return self._constant + self._cross(inputs_RX).T @ self._weights_N

    def variance(self, inputs_RX: Array) -> Array:
        """Return its variance: (R,)."""
        return 1.0 - np.square(self._half(inputs_RX)).sum(axis=0)

    def covariance(self, left_AX: Array, right_BX: Array) -> Array:
        """Return the covariance of each pair: (A, B)."""
        prior_AB = self._kernel(self._scaled(left_AX), self._scaled(right_BX))
        return prior_AB - self._half(left_AX).T @ self._half(right_BX)

    def _scaled(self, inputs_RX: Array) -> Array:
        return inputs_RX[:, : len(self._length_M)] / self._length_M

    def _cross(self, inputs_RX: Array) -> Array:
        return self._kernel(self._scaled_NM, self._scaled(inputs_RX))

    def _half(self, inputs_RX: Array) -> Array:
        return solve_triangular(self._lower_NN, self._cross(inputs_RX), lower=True)

    @staticmethod
    def _kernel(left_AM: Array, right_BM: Array) -> Array:
        distance_AB = np.sqrt(5.0) * cdist(left_AM, right_BM)
        return (1.0 + distance_AB + distance_AB**2 / 3.0) * np.exp(-distance_AB)


def process_of(problem: Problem) -> Process:
    """Fit the process of the one objective that is learned."""
    learned = problem.known_column.index(None)
    gains_N = problem.gains_NO[:, learned]
    trained_NX = torch.from_numpy(problem.trained_NX)
    with own_random_state(0):
        model = _fitted(trained_NX, torch.from_numpy(gains_N[:, None]), problem.features)
    return Process(model, problem.trained_NX, gains_N)


def _known(inputs: int, column: int) -> Model:
    weights_X1 = torch.zeros(inputs, 1, dtype=torch.float64)
    weights_X1[column] = 1.0
    return AffineDeterministicModel(weights_X1, torch.zeros(1, dtype=torch.float64))


class _Predicted(Model):
    """Gains that were predicted: normal around one column, the deviation in another.

    Nothing is fitted: what trials measured is of the machine they ran on.
    """

    num_outputs = 1
    batch_shape = torch.Size([])

    def __init__(self, mean_column: int, sd_column: int) -> None:
        super().__init__()
        self._mean_column, self._sd_column = mean_column, sd_column

    def posterior(self, X: Tensor, *_: object, **__: object) -> GPyTorchPosterior:
        """Return the joint distribution over q rows of inputs, (…, q, X)."""
        mean, sd = X[..., self._mean_column], X[..., self._sd_column]
        shared = _SHARED_VARIANCE * sd[..., :, None] * sd[..., None, :]
        own = torch.diag_embed((1 - _SHARED_VARIANCE) * sd.square())
        return GPyTorchPosterior(MultivariateNormal(mean, shared + own))
