import logging
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from ax.core.base_trial import TrialStatus
from ax.core.parameter import ChoiceParameter, FixedParameter, ParameterType

from codesign.contracts import Objective, Observation
from codesign.designs import key_of
from codesign.search import known_cost, random
from codesign.search.ax_experiment import AxExperiment
from tests.support.suites.proposer import (
    COMPUTE,
    LOSS,
    SMALL,
    ProposerSuite,
    failed,
    succeeded,
    trials,
)
from tests.support.toy_space import ToySpace


def make(objectives=(LOSS, COMPUTE)):
    return AxExperiment(random.make(objectives, random.Options()), objectives)


def made_of(experiment):
    """What an Ax experiment holds, without its order."""
    data = experiment.lookup_data().df
    return {
        key_of(trial.arm.parameters): (
            trial.status.name,
            tuple(
                sorted(
                    (row.metric_name, row.mean, str(row.sem))
                    for row in data.itertuples()
                    if row.trial_index == trial.index
                )
            ),
        )
        for trial in experiment.trials.values()
    }


class TestAxExperiment(ProposerSuite):
    def make(self, objectives):
        return make(objectives)


class TestKnownCostInAx:
    def test_it_proposes_what_the_search_alone_would(self):
        options = known_cost.Options(initial=4, candidates=64, mc_samples=16)
        alone = known_cost.KnownCostSearch(objectives=(LOSS, COMPUTE), options=options)
        held = known_cost.make([LOSS, COMPUTE], options)
        space, observed = ToySpace(), trials(ToySpace(), 12)
        pending = [o.design for o in trials(space, 14)[12:]]
        answer = alone.ask(space, observed, pending, 2, np.random.default_rng(0))
        assert held.ask(space, observed, pending, 2, np.random.default_rng(0)) == answer

    def test_a_killed_process_is_replaced_by_one_that_proposes_the_same(self):
        options = known_cost.Options(initial=4, candidates=64, mc_samples=16)
        space, unbroken = ToySpace(), known_cost.make([LOSS, COMPUTE], options)
        observed, pending, proposed = [], [], []
        for i in range(8):
            proposed = unbroken.ask(space, observed, pending, 1, np.random.default_rng([5, i]))
            observed += [succeeded(d) for d in pending]
            pending = proposed
        resumed = known_cost.make([LOSS, COMPUTE], options)
        again = resumed.ask(space, observed, pending, 1, np.random.default_rng([5, 8]))
        assert again == unbroken.ask(space, observed, pending, 1, np.random.default_rng([5, 8]))
        assert made_of(resumed.experiment) == made_of(unbroken.experiment)


def test_there_is_one_trial_for_each_observed_or_pending_design():
    space, proposer = ToySpace(), make()
    observed, pending = [], []
    for i in range(6):
        proposed = proposer.ask(space, observed, pending, 2, np.random.default_rng(i))
        assert len(proposer.experiment.trials) == len(observed) + len(pending)
        observed += [succeeded(d) for d in pending]
        pending = proposed


def test_trials_carry_their_status_and_their_figures():
    space, proposer = ToySpace(), make()
    done, lost, running = (o.design for o in trials(space, 3))
    observed = [succeeded(done), failed(lost, "diverged")]
    proposer.ask(space, observed, [running], 1, np.random.default_rng(0))
    held = made_of(proposer.experiment)
    gflop = 6e-7 * done["depth"] * done["width"] ** 2
    figures = (
        ("gflop_per_example", pytest.approx(gflop), "0.0"),
        ("log_loss", observed[0].metrics["log_loss"], "nan"),
    )
    assert held == {
        key_of(done): ("COMPLETED", figures),
        key_of(lost): ("ABANDONED", ()),
        key_of(running): ("RUNNING", ()),
    }


def test_an_experiment_that_grew_equals_one_built_at_once():
    space, grown, built = ToySpace(), make(), make()
    observed = trials(space, 12)
    for i in range(0, 13, 3):
        pending = [o.design for o in observed[i : i + 2]]
        grown.ask(space, observed[:i], pending, 1, np.random.default_rng(i))
    before = grown.experiment
    grown.ask(space, observed, [], 1, np.random.default_rng(0))
    built.ask(space, observed, [], 1, np.random.default_rng(0))
    assert grown.experiment is before
    assert made_of(grown.experiment) == made_of(built.experiment)


@pytest.mark.parametrize("change", ["a trial is gone", "a result changed", "the space changed"])
def test_a_history_that_does_not_continue_is_built_anew(change):
    space, proposer = ToySpace(), make()
    observed = [o for o in trials(space, 10) if o.failure is None]
    proposer.ask(space, observed, [], 1, np.random.default_rng(0))
    before = proposer.experiment
    if change == "a trial is gone":
        observed = observed[1:]
    elif change == "a result changed":
        observed[0] = Observation(design=observed[0].design, metrics={"log_loss": 0.1})
    else:
        space = ToySpace(levels={**space.levels, "depth": (1, 2, 3, 4, 5, 6, 7)})
    proposer.ask(space, observed, [], 1, np.random.default_rng(0))
    fresh = make()
    fresh.ask(space, observed, [], 1, np.random.default_rng(0))
    assert proposer.experiment is not before
    assert made_of(proposer.experiment) == made_of(fresh.experiment)


def test_the_search_space_lists_the_levels_of_each_knob():
    proposer = make()
    proposer.ask(ToySpace(), [], [], 1, np.random.default_rng(0))
    found = proposer.experiment.search_space.parameters
    assert {name: type(p) for name, p in found.items()} == {
        **dict.fromkeys(("width", "depth", "lr", "norm", "bias"), ChoiceParameter),
        "loss": FixedParameter,
    }
    levels = {name: tuple(found[name].values) for name in ("width", "depth", "lr", "norm", "bias")}
    assert {**levels, "loss": (found["loss"].value,)} == ToySpace().levels
    assert found["bias"].parameter_type is ParameterType.BOOL
    assert [found["depth"].is_ordered, found["norm"].is_ordered] == [True, False]


def test_ax_knows_the_goals_and_the_references():
    objectives = [
        Objective(metric="auc", goal="maximize", reference=0.5),
        Objective(metric="gflop_per_example", goal="minimize", reference=1e-5),
        LOSS,
    ]
    proposer = make(objectives)
    proposer.ask(ToySpace(), [], [], 1, np.random.default_rng(0))
    config = proposer.experiment.optimization_config
    assert config.objective.metric_names == ["auc", "gflop_per_example", "log_loss"]
    weights = [dict(pairs) for pairs in config.objective._parsed[1]]
    assert weights == [{"auc": 1.0}, {"gflop_per_example": -1.0}, {"log_loss": -1.0}]
    thresholds = {t.metric_names[0]: (t.op.name, t.bound) for t in config.objective_thresholds}
    assert thresholds == {"auc": ("GEQ", 0.5), "gflop_per_example": ("LEQ", 1e-5)}


def test_an_error_of_the_proposer_reaches_the_caller_and_ax_does_not_step_in():
    from ax.exceptions.generation_strategy import GenerationStrategyRepeatedPoints

    class Broken:
        def ask(self, feasible, observed, pending, n, rng):
            raise GenerationStrategyRepeatedPoints("the last straw")

    proposer = AxExperiment(Broken(), [LOSS])
    with pytest.raises(GenerationStrategyRepeatedPoints, match="the last straw"):
        proposer.ask(ToySpace(), [], [], 1, np.random.default_rng(0))


def test_failed_trials_are_never_suggested_again():
    space, proposer = ToySpace(levels=SMALL), make()
    designs = space.all_designs()
    observed = [failed(d, "node") for d in designs[:-1]]
    proposed = proposer.ask(space, observed, [], 3, np.random.default_rng(0))
    assert proposed == designs[-1:]
    statuses = Counter(t.status for t in proposer.experiment.trials.values())
    assert statuses == {TrialStatus.ABANDONED: len(designs) - 1}


def test_ax_keeps_silent(capfd, caplog):
    with caplog.at_level(logging.WARNING):
        make().ask(ToySpace(), trials(ToySpace(), 8), [], 2, np.random.default_rng(0))
    captured = capfd.readouterr()
    assert (captured.out, captured.err, caplog.text) == ("", "", "")


def test_nothing_heavy_is_imported_before_a_search_is_made():
    code = (
        "import sys, codesign.search.known_cost, codesign.search.sobol, codesign.search.random\n"
        "print([m for m in ('ax', 'botorch', 'torch', 'scipy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_importing_ax_says_nothing_with_or_without_sqlalchemy():
    code = "import codesign.search.ax_experiment"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
