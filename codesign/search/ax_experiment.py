"""The study as an Ax experiment. Importing ax takes seconds.

Ax holds trials, data and a generation strategy of one node, and that node asks one of our own
proposers, which knows the lattice and its budgets. Ax's own generators see neither and are never
used. Nothing is saved: the experiment follows the trials that come with each call.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ax.core.arm import Arm
from ax.core.data import Data, DataRow
from ax.core.experiment import Experiment
from ax.core.objective import Objective as AxObjective
from ax.core.optimization_config import MultiObjectiveOptimizationConfig, OptimizationConfig
from ax.core.outcome_constraint import OutcomeConstraint
from ax.core.parameter import (
    ChoiceParameter,
    FixedParameter,
    Parameter,
    ParameterType,
)
from ax.core.search_space import SearchSpace
from ax.exceptions.core import SearchSpaceExhausted
from ax.generation_strategy.external_generation_node import ExternalGenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy

from codesign.designs import Key, as_columns, key_of
from codesign.search.candidates import final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ax.core.trial import Trial
    from ax.core.types import TParameterization

    from codesign.contracts import (
        Design,
        Feasible,
        Objective,
        Observation,
        Proposer,
        Value,
    )

for _handler in logging.getLogger("ax").handlers:
    _handler.setLevel(logging.WARNING)


@dataclass(frozen=True, kw_only=True)
class _Call:
    """The arguments of one `ask`."""

    feasible: Feasible
    observed: Sequence[Observation]
    pending: Sequence[Design]
    n: int
    rng: np.random.Generator


class LatticeNode(ExternalGenerationNode):
    """A generation node that passes the question on to a proposer."""

    def __init__(self, inner: Proposer) -> None:
        # Ax would answer repeated points, like some errors, by a Sobol point of its own that may
        # break the budgets. Proposers never repeat a point, and errors have to surface.
        super().__init__(name="feasible_lattice", should_deduplicate=False)
        self.fallback_specs = {}
        self._inner = inner
        self._call: _Call | None = None
        self._answers: deque[Design] = deque()

    def prepare(self, call: _Call) -> None:
        """Set what the next candidates answer."""
        self._call = call
        self._answers.clear()

    def update_generator_state(self, experiment: Experiment, data: Data) -> None:
        """Do nothing: the proposer takes all it may know from the call."""

    def get_next_candidate(
        self,
        pending_parameters: list[TParameterization],  # noqa: ARG002 (those of the call are meant)
    ) -> TParameterization:
        """Return the next design of the proposer's answer to the prepared call.

        Raises:
            SearchSpaceExhausted: the proposer has none left.
        """
        if self._call is not None:
            call, self._call = self._call, None
            self._answers.extend(
                self._inner.ask(call.feasible, call.observed, call.pending, call.n, call.rng)
            )
        if not self._answers:
            raise SearchSpaceExhausted("no feasible design is left")
        return dict(self._answers.popleft())


class AxExperiment:
    """A proposer that keeps an Ax experiment in step with the study.

    The experiment is a cache: it grows with the trials of each call, and is built again where
    they do not continue those it holds, so a new process proposes what the old one would have.

    Attributes:
        experiment: as of the last call, one trial a distinct design, observed or pending.
    """

    experiment: Experiment

    def __init__(self, inner: Proposer, objectives: Sequence[Objective]) -> None:
        self._objectives = tuple(objectives)
        self._node = LatticeNode(inner)
        self._levels: Mapping[str, tuple[Value, ...]] = {}
        self._held: dict[Key, Observation | None] = {}
        self._trials: dict[Key, Trial] = {}

    def ask(
        self,
        feasible: Feasible,
        observed: Sequence[Observation],
        pending: Sequence[Design],
        n: int,
        rng: np.random.Generator,
    ) -> list[Design]:
        """See `Proposer.ask`."""
        self._follow(feasible, final(observed), pending)
        self._node.prepare(
            _Call(feasible=feasible, observed=observed, pending=pending, n=n, rng=rng)
        )
        proposed: list[Design] = []
        for _ in range(n):
            try:
                run = self._strategy.gen_single_trial(self.experiment)
            except SearchSpaceExhausted:
                break
            proposed.append(run.arms[0].parameters)  # type: ignore[arg-type]
        return proposed

    def _follow(
        self, feasible: Feasible, observed: Sequence[Observation], pending: Sequence[Design]
    ) -> None:
        """Bring the experiment to exactly these trials."""
        designs = {key_of(design): design for design in pending}
        designs |= {key_of(o.design): o.design for o in observed}
        now: dict[Key, Observation | None] = dict.fromkeys(designs)
        now |= {key_of(o.design): o for o in observed}
        continues = feasible.levels == self._levels and all(
            key in now and was in (None, now[key]) for key, was in self._held.items()
        )
        if not continues:
            self._start(feasible.levels)
        fresh = {key: designs[key] for key in now if key not in self._trials}
        for key, design in fresh.items():
            self._trials[key] = self._new_trial(design)
        ended = [o for key, o in now.items() if o is not None and self._held.get(key) is None]
        self._finish(feasible, ended)
        self._held = now

    def _start(self, levels: Mapping[str, tuple[Value, ...]]) -> None:
        parameters = [lattice_parameter(name, values) for name, values in levels.items()]
        self.experiment = Experiment(
            name="codesign",
            search_space=SearchSpace(parameters=parameters),
            optimization_config=optimization_config(self._objectives),
        )
        self._strategy = GenerationStrategy(nodes=[self._node], name="codesign")
        self._levels = dict(levels)
        self._held = {}
        self._trials = {}

    def _new_trial(self, design: Design) -> Trial:
        space = self.experiment.search_space
        parameters = {name: space[name].cast(value) for name, value in design.items()}
        trial = self.experiment.new_trial()
        trial.add_arm(Arm(parameters=parameters))
        trial.mark_running(no_runner_required=True)
        return trial

    def _finish(self, feasible: Feasible, ended: Sequence[Observation]) -> None:
        """Attach the results of trials that ended; Ax never proposes abandoned ones again."""
        if not ended:
            return
        columns = as_columns([o.design for o in ended])
        costs, predicted = feasible.costs(columns), feasible.predicted(columns)
        rows: list[DataRow] = []
        for at, observation in enumerate(ended):
            trial = self._trials[key_of(observation.design)]
            known = {name: float(values[at]) for name, values in costs.items()}
            error = dict.fromkeys(known, 0.0)
            for name, found in predicted.items():
                known[name] = float(found.median[at])
                error[name] = float(found.median[at] * found.log_sd[at])
            values = {
                o.metric: known.get(o.metric, observation.metrics.get(o.metric, np.nan))
                for o in self._objectives
            }
            if observation.failure is not None or not np.isfinite(list(values.values())).all():
                trial.mark_abandoned(reason=observation.failure or "a metric is not finite")
                continue
            rows += [_row(trial, n, v, error.get(n, np.nan)) for n, v in values.items()]
            trial.mark_completed()
        if rows:
            self.experiment.attach_data(Data(data_rows=rows))


def lattice_parameter(name: str, levels: tuple[Value, ...]) -> Parameter:
    """Describe one knob to Ax by its levels."""
    kind = _parameter_type(levels)
    if len(levels) == 1:
        return FixedParameter(name=name, parameter_type=kind, value=levels[0])
    ordered = kind is not ParameterType.STRING
    return ChoiceParameter(
        name=name,
        parameter_type=kind,
        values=list(levels),
        is_ordered=ordered,
        sort_values=ordered,
        bypass_cardinality_check=True,
    )


def _parameter_type(levels: tuple[Value, ...]) -> ParameterType:
    if all(isinstance(level, bool) for level in levels):
        return ParameterType.BOOL
    if all(isinstance(level, int) for level in levels):
        return ParameterType.INT
    if all(isinstance(level, int | float) for level in levels):
        return ParameterType.FLOAT
    return ParameterType.STRING


def optimization_config(objectives: Sequence[Objective]) -> OptimizationConfig:
    """Describe objectives and their reference point to Ax."""
    signature = {o.metric: o.metric for o in objectives}
    signs = {"minimize": "-", "maximize": ""}
    aim = AxObjective(
        expression=", ".join(signs[o.goal] + o.metric for o in objectives),
        metric_name_to_signature=signature,
    )
    if len(objectives) == 1:
        return OptimizationConfig(objective=aim)
    relations = {"minimize": "<=", "maximize": ">="}
    return MultiObjectiveOptimizationConfig(
        objective=aim,
        objective_thresholds=[
            OutcomeConstraint(
                expression=f"{o.metric} {relations[o.goal]} {o.reference}",
                metric_name_to_signature={o.metric: o.metric},
                relative=False,
            )
            for o in objectives
            if o.reference is not None
        ],
    )


def _row(trial: Trial, metric: str, mean: float, se: float) -> DataRow:
    """Report one value; the error of a measured one is unknown (NaN), of an exact one 0."""
    return DataRow(
        trial_index=trial.index,
        arm_name=trial.arms[0].name,
        metric_name=metric,
        metric_signature=metric,
        mean=mean,
        se=se,
    )
