"""What is believed of each objective: BoTorch models over the inputs of a `Problem`.

Imports torch: load this module when it is used. Shape suffixes as in `codesign.search.problem`;
all tensors are float64.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

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
from torch import Tensor

if TYPE_CHECKING:
    from codesign.search.problem import Problem

_LOG = logging.getLogger(__name__)
# With few points the likelihood ends in a long flat valley, where proposals no longer change.
_FIT_ITERATIONS = 100
# Share of the variance of a prediction's error, in logarithms, that all designs have in common: the
# device is faster than modelled, or slower. The rest is each design's own. Assumed, not fitted.
_SHARED_VARIANCE = 0.5


def model_of(problem: Problem) -> Model:
    """Build one model per objective: a fitted process, the known column, or a prediction."""
    trained_NX = torch.from_numpy(problem.trained_NX)
    gains_NO = torch.from_numpy(problem.gains_NO)
    models: list[Model] = []
    for at, (column, sd_column) in enumerate(
        zip(problem.known_column, problem.sd_column, strict=True)
    ):
        if column is None:
            models.append(_fitted(trained_NX, gains_NO[:, at : at + 1], problem.features))
        elif sd_column is None:
            models.append(_known(trained_NX.shape[1], column))
        else:
            models.append(_Predicted(column, sd_column))
    return models[0] if len(models) == 1 else ModelList(*models)


def _fitted(trained_NX: Tensor, gains_N1: Tensor, features: int) -> Model:
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
