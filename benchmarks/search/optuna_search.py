"""A sampler of Optuna as a search.

Optuna knows lattices, not feasible sets: a knob of numbers is the place of its level, and what it
proposes becomes the nearest design that is there and not taken, in encoded space. It is told the
result under that design's own values.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from benchmarks.search.nearest import DesignsLeft, is_ordered
from benchmarks.search.task import Task
from codesign.contracts import Design, Observation, Value

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class OptunaSearch:
    """One study of Optuna, in memory.

    Args:
        sampler: a class of `optuna.samplers`.
        options: its settings.
    """

    def __init__(self, sampler: str, options: Mapping[str, Any], task: Task, seed: int) -> None:
        self._task = task
        self._left = DesignsLeft(task)
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._storage,
            sampler=getattr(optuna.samplers, sampler)(seed=seed, **options),
            directions=["minimize" for _ in task.objectives],
        )
        self._distributions = {name: _distribution(at) for name, at in self._left.levels.items()}

    def ask(self) -> Design:
        """See `Search.ask`."""
        self._trial = self._study.ask(self._distributions)
        proposed = self._trial.params
        for name, levels in self._left.levels.items():
            if is_ordered(levels):
                proposed[name] = levels[proposed[name]]
        return self._left.take_nearest(proposed)

    def tell(self, observation: Observation) -> None:
        """End the trial, with the values of the design that was trained in place of its own."""
        study = self._storage.get_study_id_from_name(self._study.study_name)
        trial = self._storage.get_trial_id_from_study_id_trial_number(study, self._trial.number)
        for name, distribution in self._distributions.items():
            levels, value = self._left.levels[name], observation.design[name]
            told = levels.index(value) if is_ordered(levels) else value
            internal = distribution.to_internal_repr(told)
            self._storage.set_trial_param(trial, name, internal, distribution)
        if observation.failure is not None:
            self._study.tell(self._trial, state=TrialState.FAIL)
        else:
            self._study.tell(self._trial, self._task.values(observation))


def _distribution(levels: tuple[Value, ...]) -> BaseDistribution:
    if is_ordered(levels):
        return IntDistribution(0, len(levels) - 1)
    return CategoricalDistribution(levels)
