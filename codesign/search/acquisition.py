"""Which candidate to train next, by BoTorch. Imports torch: load this module when it is used.

Shape suffixes as in `codesign.search.problem`; all tensors are float64.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from botorch.acquisition import multi_objective
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.posteriors import PosteriorList
from botorch.posteriors.ensemble import EnsemblePosterior
from botorch.sampling.get_sampler import get_sampler
from botorch.sampling.index_sampler import IndexSampler
from botorch.sampling.list_sampler import ListSampler
from botorch.sampling.normal import IIDNormalSampler
from torch import Tensor

from codesign.search.models import model_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botorch.acquisition.acquisition import AcquisitionFunction
    from botorch.models.model import Model
    from botorch.posteriors import Posterior
    from botorch.sampling.base import MCSampler

    from codesign.search.problem import Problem

_CANDIDATES_AT_ONCE = 256
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
        acquisition = _acquisition(problem, model_of(problem), mc_samples, seed)
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
