from dataclasses import replace

import numpy as np
import pytest

from codesign.contracts import Objective, Observation
from codesign.designs import as_columns, as_designs
from codesign.errors import ConfigError
from codesign.pareto import hypervolume
from codesign.search import known_cost, random
from codesign.search.known_cost.problem import build
from codesign.table import TableSet
from tests.support.suites.proposer import (
    COMPUTE,
    LOSS,
    RATE,
    SIZE,
    ProposerSuite,
    succeeded,
    trials,
)
from tests.support.toy_space import ToySpace


def search(objectives=(LOSS, COMPUTE), **options):
    """The search alone, without the Ax experiment around it."""
    options = {"initial": 5, "candidates": 64, "mc_samples": 32} | options
    return known_cost.KnownCostSearch(
        objectives=tuple(objectives), options=known_cost.Options(**options)
    )


def run(proposer, space, count, *, seed):
    observed = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        observed += [succeeded(d) for d in proposer.ask(space, observed, [], 1, rng)]
    return observed


def volume(space, observed) -> float:
    compute = space.costs(as_columns([o.design for o in observed]))["gflop_per_example"]
    values = np.stack([[o.metrics["log_loss"] for o in observed], np.log10(compute)], axis=1)
    return hypervolume(values, [0.9, np.log10(0.05)], ["minimize", "minimize"])


class TestKnownCost(ProposerSuite):
    def make(self, objectives):
        return search(objectives)

    def test_it_beats_random_search_on_the_front(self):
        space, drawn = ToySpace(), random.make([], random.Options())
        ours = [volume(space, run(search(), space, 11, seed=s)) for s in range(3)]
        theirs = [volume(space, run(drawn, space, 11, seed=s)) for s in range(3)]
        best = volume(space, [succeeded(d) for d in space.all_designs()])
        # Of what random search leaves to the best front, at least a quarter more is found.
        assert best - np.median(ours) < 0.75 * (best - np.median(theirs))

    def test_what_trials_measured_of_a_predicted_objective_changes_no_proposal(self):
        space, observed = ToySpace(), trials(ToySpace(), 14)
        elsewhere = [
            replace(o, metrics={**o.metrics, "rate": float(at)} if o.metrics else {})
            for at, o in enumerate(observed)
        ]
        answers = [self.ask(space, seen, objectives=(LOSS, RATE)) for seen in (observed, elsewhere)]
        assert answers[0] == answers[1]

    def test_it_beats_random_search_on_one_objective(self):
        space, drawn = ToySpace(), random.make([], random.Options())
        ours = [
            min(o.metrics["log_loss"] for o in run(search([LOSS]), space, 11, seed=s))
            for s in range(3)
        ]
        theirs = [
            min(o.metrics["log_loss"] for o in run(drawn, space, 11, seed=s)) for s in range(3)
        ]
        best = min(succeeded(d).metrics["log_loss"] for d in space.all_designs())
        assert np.median(ours) - best < 0.75 * (np.median(theirs) - best)

    def test_a_maximized_metric_is_searched_like_its_minimized_mirror(self):
        # Of both signs: a positive loss alone is learned by its logarithm.
        space = ToySpace()
        observed = trials(space, 14)
        middle = np.median([o.metrics["log_loss"] for o in observed if o.metrics])

        def shifted(name, sign):
            return [
                replace(o, metrics={name: sign * (o.metrics["log_loss"] - middle)})
                if o.metrics
                else o
                for o in observed
            ]

        gain = Objective(metric="gain", goal="maximize")
        answers = [
            search([objective]).ask(space, values, [], 2, np.random.default_rng(0))
            for objective, values in [
                (LOSS, shifted("log_loss", 1.0)),
                (gain, shifted("gain", -1.0)),
            ]
        ]
        assert answers[0] == answers[1]

    def test_the_unit_of_a_metric_does_not_matter(self):
        space = ToySpace()
        observed = trials(space, 14)
        scaled = [
            Observation(
                design=o.design,
                metrics={"log_loss": 1024.0 * o.metrics["log_loss"]} if o.metrics else {},
                failure=o.failure,
            )
            for o in observed
        ]
        proposed = search().ask(space, observed, [], 2, np.random.default_rng(0))
        assert proposed == search().ask(space, scaled, [], 2, np.random.default_rng(0))

    def test_a_design_next_to_a_pending_one_loses_its_appeal(self):
        space = ToySpace()
        observed = [o for o in trials(space, 14) if not o.failure]
        first = search([LOSS]).ask(space, observed, [], 1, np.random.default_rng(0))
        second = search([LOSS]).ask(space, observed, first, 1, np.random.default_rng(0))
        both = search([LOSS]).ask(space, observed, [], 2, np.random.default_rng(0))
        assert first == both[:1]
        assert first != second

    def test_divergence_keeps_the_search_away(self):
        space = ToySpace(budget_gflop_per_example=10.0)
        observed = [succeeded(o.design) for o in trials(space, 24)]
        narrow = [o for o in observed if o.design["width"] <= 64]
        diverged = [
            replace(o, metrics={}, failure="diverged") for o in observed if o.design["width"] > 64
        ]

        def wide(seen):
            proposed = [
                design
                for seed in range(4)
                for design in search([LOSS]).ask(space, seen, [], 6, np.random.default_rng(seed))
            ]
            return sum(design["width"] > 64 for design in proposed)

        assert wide(narrow) >= 16
        assert wide([*narrow, *diverged]) <= wide(narrow) / 2

    def test_an_island_of_divergence_around_the_optimum_is_left_alone(self):
        # No linear bound sets it apart.
        table = TableSet(
            [{"a": a, "b": b, "c": c} for a in range(8) for b in range(8) for c in (1, 2)]
        )
        proposer, failures = search([LOSS]), []
        for seed in range(3):
            observed = []
            for i in range(24):
                rng = np.random.default_rng([seed, i])
                (d,) = proposer.ask(table, observed, [], 1, rng)
                off_a, off_b = abs(d["a"] - 4), abs(d["b"] - 3)
                if max(off_a, off_b) < 2:
                    observed.append(Observation(design=d, metrics={}, failure="diverged"))
                else:
                    loss = 0.3 + 0.01 * (off_a**2 + off_b**2) + 0.01 * d["c"]
                    observed.append(Observation(design=d, metrics={"log_loss": loss}))
            failures.append(sum(o.failure is not None for o in observed))
        assert np.median(failures) <= 6

    def test_a_broken_node_says_nothing_of_its_design(self):
        space = ToySpace()
        observed = [o for o in trials(space, 16) if o.failure is None]
        absent = Observation(design=trials(space, 30)[-1].design, metrics={}, failure="node")
        proposed = search().ask(space, observed, [], 1, np.random.default_rng(0))
        assert proposed[0] != absent.design
        again = search().ask(space, [*observed, absent], [], 1, np.random.default_rng(0))
        assert again == proposed

    def test_nothing_to_learn_is_refused(self):
        with pytest.raises(ConfigError, match=r"gflop_per_example, parameters.*nothing to learn"):
            search([COMPUTE, SIZE]).ask(ToySpace(), [], [], 1, np.random.default_rng(0))

    def test_a_completed_trial_without_the_objective_is_refused(self):
        observed = [Observation(design=trials(ToySpace(), 1)[0].design, metrics={"auc": 0.7})]
        with pytest.raises(ConfigError, match="reports no log_loss; it reports auc"):
            search().ask(ToySpace(), observed, [], 1, np.random.default_rng(0))

    def test_a_reference_that_has_no_logarithm_is_refused(self):
        cost = Objective(metric="gflop_per_example", goal="minimize", reference=0.0)
        with pytest.raises(
            ConfigError, match=r"reference of gflop_per_example is 0.0; must be > 0"
        ):
            search([LOSS, cost]).ask(
                ToySpace(), trials(ToySpace(), 14), [], 1, np.random.default_rng(0)
            )

    @pytest.mark.parametrize("name", ["initial", "candidates", "mc_samples"])
    def test_settings_below_one_are_refused(self, name):
        with pytest.raises(ConfigError, match=f"{name} is 0; must be a whole number ≥ 1"):
            known_cost.Options(**{name: 0})

    def test_no_objective_is_refused(self):
        with pytest.raises(ConfigError, match="at least one objective"):
            known_cost.make([], known_cost.Options())


class Islands(TableSet):
    """Designs that no step leads to."""

    def neighbours(self, design):
        return {name: values[:0] for name, values in as_columns([design]).items()}


def test_every_design_is_a_candidate_where_few_are_feasible():
    costs = np.linspace(1.0, 2.0, 2000)
    costs[1234] = 0.01
    islands = Islands([{"place": at} for at in range(2000)], {"gflop_per_example": costs})
    observed = [
        Observation(design={"place": at}, metrics={"log_loss": 0.5 + at * 1e-5})
        for at in range(0, 2000, 250)
    ]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        assert search(candidates=2).ask(islands, observed, [], 1, rng) == [{"place": 1234}]


def observed_elsewhere(space, count, **about):
    """Trials whose losses lie and spread elsewhere, but rank designs alike."""
    drawn = as_designs(space.sample(count, np.random.default_rng(9)))
    return [
        Observation(design=d, metrics={"log_loss": 2.0 + 3.0 * loss(d)}, **about) for d in drawn
    ]


def loss(design) -> float:
    return succeeded(design).metrics["log_loss"]


@pytest.mark.parametrize("about", [{"task": "earlier"}, {"fidelity": 0.25}])
@pytest.mark.parametrize("own", [0, 1])
def test_what_is_related_leads_before_own_results_exist(about, own):
    space = ToySpace()
    related = observed_elsewhere(space, 40, **about)
    observed = [*related, *trials(space, own)]
    proposed = [
        search([LOSS]).ask(space, observed, [], 1, np.random.default_rng(seed))[0]
        for seed in range(5)
    ]
    every = sorted(loss(d) for d in space.all_designs())
    assert np.median([loss(d) for d in proposed]) < np.quantile(every, 0.05)


def test_several_learned_objectives_are_led_by_what_is_related():
    space = ToySpace()
    accuracy = Objective(metric="accuracy", goal="maximize")
    related = [
        replace(o, metrics={**o.metrics, "accuracy": 1.0 / o.metrics["log_loss"]})
        for o in observed_elsewhere(space, 40, task="earlier")
    ]
    rng = np.random.default_rng(0)
    (first,) = search([LOSS, accuracy]).ask(space, related, [], 1, rng)
    assert loss(first) < np.quantile([loss(d) for d in space.all_designs()], 0.1)


def test_a_study_that_only_failed_so_far_is_led_by_what_is_related():
    space = ToySpace()
    related = observed_elsewhere(space, 40, task="earlier")
    failed = [
        Observation(design=d, metrics={}, failure="diverged") for d in space.all_designs()[:4]
    ]
    (first,) = search([LOSS]).ask(space, [*related, *failed], [], 1, np.random.default_rng(0))
    assert loss(first) < np.quantile([loss(d) for d in space.all_designs()], 0.05)


def test_the_first_designs_of_a_small_table_follow_from_the_seed():
    table = TableSet([{"width": w, "depth": d} for w in (8, 16, 32) for d in (1, 2, 3)])
    firsts = {
        tuple(search([LOSS]).ask(table, [], [], 1, np.random.default_rng(seed))[0].items())
        for seed in range(8)
    }
    assert len(firsts) > 1


def test_a_cost_that_no_trial_has_reached_yet_still_counts():
    # Loss falls with compute, and only small designs were tried: beyond them the front goes on.
    space = ToySpace()
    by_cost = sorted(space.all_designs(), key=cost)
    observed = [succeeded(d) for d in by_cost[:8]]
    problem, inputs = build(space, [LOSS, COMPUTE], trained=observed, others=by_cost)
    column = problem.known_column[1]
    assert column is not None
    assert (inputs.of(by_cost)[:, column] > problem.reference_O[1]).all()


def cost(design) -> float:
    return float(ToySpace().costs(as_columns([design]))["gflop_per_example"][0])
