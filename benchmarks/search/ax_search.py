"""Ax as it comes: its client with its own generation strategy, a centre, Sobol, then a model.

Ax knows lattices, not feasible sets: what it proposes becomes the nearest design that is there and
not taken, in encoded space. Where that is another, its own trial is abandoned, and the design's is
attached in its place. No cost is known to it before a trial ends.
"""

from __future__ import annotations

import logging
import warnings

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig

from benchmarks.search.nearest import DesignsLeft, is_ordered
from benchmarks.search.task import Task
from codesign.contracts import Design, Observation, Value

for _name in ("ax", "ax.api.client", "ax.core.experiment"):
    logging.getLogger(_name).setLevel(logging.ERROR)
for _handler in logging.getLogger("ax").handlers:
    _handler.setLevel(logging.ERROR)


class AxSearch:
    """One experiment of Ax, in memory."""

    def __init__(self, task: Task, seed: int) -> None:
        self._task = task
        self._left = DesignsLeft(task)
        self._client = Client(random_seed=seed)
        self._client.configure_experiment(
            parameters=[_parameter(name, at) for name, at in self._left.levels.items()]
        )
        losses = ", ".join(f"-{objective.metric}" for objective in task.objectives)
        self._client.configure_optimization(objective=losses)
        self._client.configure_generation_strategy(initialization_random_seed=seed)

    def ask(self) -> Design:
        """See `Search.ask`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ((self._trial, proposed),) = self._client.get_next_trials(max_trials=1).items()
        design = self._left.take_nearest(proposed)
        chosen = {name: design[name] for name in self._left.levels}
        if chosen != proposed:
            self._client.mark_trial_abandoned(self._trial)
            self._trial = self._client.attach_trial(chosen)
        return design

    def tell(self, observation: Observation) -> None:
        """See `Search.tell`."""
        if observation.failure is not None:
            self._client.mark_trial_failed(self._trial)
            return
        names = [objective.metric for objective in self._task.objectives]
        values = {name: observation.metrics[name] for name in names}
        self._client.complete_trial(self._trial, raw_data=values)


def _parameter(name: str, levels: tuple[Value, ...]) -> ChoiceParameterConfig:
    kind = type(levels[0]).__name__
    return ChoiceParameterConfig(
        name=name, values=list(levels), parameter_type=kind, is_ordered=is_ordered(levels)
    )
