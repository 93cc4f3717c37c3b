"""Ax as it comes: its own generation strategy, for comparison with ours.

The first point is the middle of the lattice, the next ones are quasi-random, all others come from
Ax's default model (Balandat et al., BoTorch, 2020) and its default acquisition function. Ax sees
the lattice as choices and every objective as something to learn. It knows no budgets, so each
point is answered by the nearest feasible design that is not taken. The experiment is built anew
at each call; the quasi-random points after the second trial belong to one sequence all the same,
as its scrambling follows from that trial's design (the first one's is the same in all studies).
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ax.adapter.registry import Generators
from ax.api.utils.generation_strategy_dispatch import choose_generation_strategy
from ax.api.utils.structs import GenerationStrategyDispatchStruct
from ax.core.arm import Arm
from ax.core.data import Data, DataRow
from ax.core.experiment import Experiment
from ax.core.search_space import SearchSpace
from ax.exceptions.core import SearchSpaceExhausted
from ax.utils.common.random import with_rng_seed

from codesign.designs import as_columns, key_of
from codesign.errors import ConfigError
from codesign.search.ax_experiment import lattice_parameter, optimization_config
from codesign.search.candidates import final, sample_unseen, seed_of, taken_designs
from codesign.search.projection import nearest_untaken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ax.core.generator_run import GeneratorRun

    from codesign.contracts import Design, Feasible, Objective, Observation, Proposer

_LOG = logging.getLogger(__name__)
_FALLBACK = "Fallback_Sobol"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of Ax.

    Attributes:
        initial: trials before the first model, ≥ 1; None: Ax's own default, 5.
    """

    initial: int | None = None

    def __post_init__(self) -> None:
        if self.initial is not None and (type(self.initial) is not int or self.initial < 1):
            raise ConfigError(f"initial is {self.initial}; must be a whole number ≥ 1")


@dataclass(kw_only=True)
class StockAx:
    """See the module.

    Attributes:
        fallbacks: points so far that Ax drew from a Sobol sequence, as its model had proposed
            points again that were tried before.
    """

    objectives: tuple[Objective, ...]
    options: Options
    fallbacks: int = 0

    def ask(
        self,
        feasible: Feasible,
        observed: Sequence[Observation],
        pending: Sequence[Design],
        n: int,
        rng: np.random.Generator,
    ) -> list[Design]:
        """See `Proposer.ask`.

        Raises:
            ConfigError: a completed trial lacks an objective.
        """
        taken = taken_designs(observed, pending)
        if n < 1 or not sample_unseen(feasible, taken, 1, rng):
            return []
        experiment = _experiment(feasible, self.objectives, final(observed), taken)
        with with_rng_seed(int(rng.integers(2**31))), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawn = int(rng.integers(2**31))
            seed = seed_of(taken[1]) if len(taken) > 1 else drawn
            runs = self._generate(experiment, n, seed=seed)
        wishes: list[Design] = [run.arms[0].parameters for run in runs]  # type: ignore[misc]
        answers = nearest_untaken(feasible, wishes, taken, n, rng)
        left = n - len(answers)
        return answers + (sample_unseen(feasible, [*taken, *answers], left, rng) if left else [])

    def _generate(self, experiment: Experiment, n: int, *, seed: int) -> list[GeneratorRun]:
        """Let Ax propose up to `n` points: fewer where it finds none that was not tried."""
        strategy = choose_generation_strategy(
            GenerationStrategyDispatchStruct(
                initialization_budget=self.options.initial,
                # A proposer has to answer, however many trials still run.
                allow_exceeding_initialization_budget=True,
                initialization_random_seed=seed,
            )
        )
        strategy.experiment = experiment
        for node in strategy._nodes:
            for spec in node.generator_specs:
                if spec.generator_enum is Generators.SOBOL:
                    spec.generator_kwargs["init_position"] = len(experiment.trials)
        # Else a new strategy would go on by one of its nodes at each point, from the first.
        strategy.current_generator_run_limit()
        runs: list[GeneratorRun] = []
        try:
            for _ in range(n):
                runs.append(strategy.gen_single_trial(experiment))
                experiment.new_trial(runs[-1]).mark_running(no_runner_required=True)
        except SearchSpaceExhausted:
            _LOG.warning("Ax finds no point that was not tried; designs are drawn at random")
        fell_back = sum(run._generator_key == _FALLBACK for run in runs)
        if fell_back:
            self.fallbacks += fell_back
            _LOG.warning(
                "Ax's model repeats points that were tried: Ax drew %d from a Sobol sequence "
                "instead (%d in all)",
                fell_back,
                self.fallbacks,
            )
        return runs


def make(objectives: Sequence[Objective], options: Options) -> Proposer:
    """Make a search by Ax alone.

    Raises:
        ConfigError: no objective is given.
    """
    if not objectives:
        raise ConfigError("ax needs at least one objective; none is given")
    return StockAx(objectives=tuple(objectives), options=options)


def _experiment(
    feasible: Feasible,
    objectives: Sequence[Objective],
    ended: Sequence[Observation],
    taken: Sequence[Design],
) -> Experiment:
    """Build the experiment: a trial for each design taken, with data where it ended well.

    Failed trials, and those with a metric that is not finite, are abandoned.
    """
    parameters = [lattice_parameter(name, values) for name, values in feasible.levels.items()]
    space = SearchSpace(parameters=parameters)
    experiment = Experiment(
        name="stock_ax", search_space=space, optimization_config=optimization_config(objectives)
    )
    results = _results(feasible, objectives, ended)
    rows: list[DataRow] = []
    for design in taken:
        trial = experiment.new_trial()
        trial.add_arm(Arm(parameters={name: space[name].cast(v) for name, v in design.items()}))
        trial.mark_running(no_runner_required=True)
        if key_of(design) not in results:
            continue
        values = results[key_of(design)]
        if not values or not np.isfinite(list(values.values())).all():
            trial.mark_abandoned(reason="it failed, or a metric is not finite")
            continue
        rows += [
            DataRow(
                trial_index=trial.index,
                arm_name=trial.arms[0].name,
                metric_name=metric,
                metric_signature=metric,
                mean=value,
                se=np.nan,
            )
            for metric, value in values.items()
        ]
        trial.mark_completed()
    if rows:
        experiment.attach_data(Data(data_rows=rows))
    return experiment


def _results(
    feasible: Feasible, objectives: Sequence[Objective], ended: Sequence[Observation]
) -> Mapping[frozenset[tuple[str, object]], Mapping[str, float]]:
    """Collect the objectives of trials that ended: none of those that failed."""
    if not ended:
        return {}
    columns = as_columns([o.design for o in ended])
    known = {name: np.asarray(values) for name, values in feasible.costs(columns).items()}
    known |= {name: found.median for name, found in feasible.predicted(columns).items()}
    return {
        key_of(o.design): {}
        if o.failure is not None
        else {
            each.metric: float(known[each.metric][at])
            if each.metric in known
            else o.metrics.get(each.metric, np.nan)
            for each in objectives
        }
        for at, o in enumerate(ended)
    }
