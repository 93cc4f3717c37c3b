"""Which candidate to train next, by BoTorch. Imports torch: load this module when it is used.

Shape suffixes as in `codesign.search.problem`; all tensors are float64.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from botorch.acquisition import multi_objective
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelList, SingleTaskGP
from botorch.models.deterministic import AffineDeterministicModel
from botorch.models.model import Model
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.posteriors import GPyTorchPosterior, PosteriorList
from botorch.posteriors.ensemble import EnsemblePosterior
from botorch.sampling.get_sampler import get_sampler
from botorch.sampling.index_sampler import IndexSampler
from botorch.sampling.list_sampler import ListSampler
from botorch.sampling.normal import IIDNormalSampler
from gpytorch.distributions import MultivariateNormal
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botorch.acquisition.acquisition import AcquisitionFunction
    from botorch.posteriors import Posterior
    from botorch.sampling.base import MCSampler

    from codesign.search.problem import Problem

_LOG = logging.getLogger(__name__)
# With few points the likelihood ends in a long flat valley, where proposals no longer change.
_FIT_ITERATIONS = 100
_CANDIDATES_AT_ONCE = 256
# Share of the variance of a prediction's error, in logarithms, that all designs have in common: the
# device is faster than modelled, or slower. The rest is each design's own. Assumed, not fitted.
_SHARED_VARIANCE = 0.5
# BoTorch would compile a kernel for this very processor at the first proposal: 20 s without a word,
# proposals that differ to the last bits from machine to machine, and a file in the home directory
# that crashes an older processor that shares it.
multi_objective.logei._load_attempted = True


def choose(problem: Problem, n: int, *, mc_samples: int, seed: int) -> list[int]:
    """Choose up to `n` candidates greedily, each knowing the ones before it as pending.

    One objective: log noisy expected improvement; more: log noisy expected hypervolume
    improvement (Ament et al. 2023). The global random state is left as it was.

    Returns:
        Rows of `candidates_CX`, all different.
    """
    candidates_CX = torch.from_numpy(problem.candidates_CX)
    pending_PX = torch.from_numpy(problem.pending_PX)
    chosen: list[int] = []
    with _own_random_state(seed):
        acquisition = _acquisition(problem, _model(problem), mc_samples, seed)
        for _ in range(min(n, len(candidates_CX))):
            if len(pending_PX):
                acquisition.set_X_pending(pending_PX)
            scores_C = _scores(acquisition, candidates_CX)
            scores_C[chosen] = -torch.inf
            chosen.append(int(scores_C.argmax()))
            pending_PX = torch.cat([pending_PX, candidates_CX[chosen[-1:]]])
    return chosen


@contextmanager
def _own_random_state(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Few points and constant metrics are ordinary here; botorch warns at each of them.
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        yield


def _model(problem: Problem) -> Model:
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


def _sampler(posterior: Posterior, samples: int, seed: int) -> MCSampler:
    shape = torch.Size([samples])
    if not isinstance(posterior, PosteriorList):
        return get_sampler(posterior, shape, seed=seed)  # type: ignore[arg-type]
    # From one seed all would be the same draws, as if the errors of all objectives went together.
    return ListSampler(
        *(
            (IndexSampler if isinstance(each, EnsemblePosterior) else IIDNormalSampler)(
                shape, seed=seed + at
            )
            for at, each in enumerate(posterior.posteriors)
        )
    )


def _acquisition(problem: Problem, model: Model, mc_samples: int, seed: int) -> AcquisitionFunction:
    trained_NX = torch.from_numpy(problem.trained_NX)
    with torch.no_grad():
        posterior = model.posterior(trained_NX[:1])
    sampler = _sampler(posterior, mc_samples, seed)
    if len(problem.known_column) == 1:
        return qLogNoisyExpectedImprovement(model, trained_NX, sampler=sampler, prune_baseline=True)
    return qLogNoisyExpectedHypervolumeImprovement(
        model,
        problem.reference_O.tolist(),
        trained_NX,
        sampler=sampler,
        prune_baseline=True,
        cache_root=False,
    )


def _scores(acquisition: AcquisitionFunction, candidates_CX: Tensor) -> Tensor:
    """Score each candidate: (C,), minus infinity where there is no number."""
    with torch.no_grad():
        parts = [
            acquisition(part_CX[:, None, :])
            for part_CX in torch.split(candidates_CX, _CANDIDATES_AT_ONCE)
        ]
    return torch.nan_to_num(torch.cat(parts), nan=-torch.inf)
