"""Scores of candidates where several objectives are learned: BoTorch's Monte Carlo estimates.

Imports torch: load this module when it is used. C candidates, B designs to beat, X inputs, O
objectives; all tensors are float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from botorch.acquisition import multi_objective
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.posteriors import PosteriorList
from botorch.posteriors.ensemble import EnsemblePosterior
from botorch.sampling.get_sampler import get_sampler
from botorch.sampling.index_sampler import IndexSampler
from botorch.sampling.list_sampler import ListSampler
from botorch.sampling.normal import IIDNormalSampler

from codesign.search.known_cost.surrogate.models import own_random_state

if TYPE_CHECKING:
    from botorch.models.model import Model
    from botorch.posteriors import Posterior
    from botorch.sampling.base import MCSampler

    from codesign.search.known_cost.problem import Problem

Array = np.ndarray[Any, Any]

_CANDIDATES_AT_ONCE = 256
# BoTorch would compile a kernel for this very processor at the first proposal: 20 s without a word,
# proposals that differ to the last bits from machine to machine, and a file in the home directory
# that crashes an older processor that shares it.
multi_objective.logei._load_attempted = True


class MonteCarlo:
    """Scores candidates by the logarithm of their expected gain, estimated from samples.

    It is log noisy expected hypervolume improvement (Ament et al. 2023). The global random state
    is left as it was.

    Args:
        model: of all objectives, over the inputs.
        baseline_BX: inputs of the designs to beat.
        draws: samples of the posterior.
    """

    steps = 2

    def __init__(
        self, problem: Problem, model: Model, baseline_BX: Array, *, draws: int, seed: int
    ) -> None:
        self._pending_PX = torch.from_numpy(baseline_BX[:0])
        self._seed = seed
        with own_random_state(seed), torch.no_grad():
            posterior = model.posterior(torch.from_numpy(baseline_BX[:1]))
            self._acquisition = qLogNoisyExpectedHypervolumeImprovement(
                model,
                problem.reference_O.tolist(),
                torch.from_numpy(baseline_BX),
                sampler=_sampler(posterior, draws, seed),
                prune_baseline=True,
                cache_root=False,
            )

    def draw(self, inputs_AX: Array) -> None:
        """Add designs that have to be beaten, too: they are pending."""
        self._pending_PX = torch.cat([self._pending_PX, torch.from_numpy(inputs_AX)])
        self._acquisition.set_X_pending(self._pending_PX)

    def score(self, inputs_CX: Array) -> Array:
        """Score each candidate: (C,), minus infinity where there is no number."""
        parts = torch.split(torch.from_numpy(inputs_CX), _CANDIDATES_AT_ONCE)
        with own_random_state(self._seed), torch.no_grad():
            scores_C = torch.cat([self._acquisition(part_CX[:, None, :]) for part_CX in parts])
        return np.asarray(torch.nan_to_num(scores_C, nan=-torch.inf).numpy())


def _sampler(posterior: Posterior, samples: int, seed: int) -> MCSampler:
    shape = torch.Size([samples])
    if not isinstance(posterior, PosteriorList):  # all objectives are learned, by one model
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
