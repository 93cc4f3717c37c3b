import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.designs import as_designs, key_of
from codesign.errors import ConfigError
from codesign.search import random, regularized_evolution
from codesign.search.regularized_evolution import Options, ranking
from tests.support.suites.proposer import LOSS, ProposerSuite, failed, succeeded, trials
from tests.support.toy_space import ToySpace


class TestRegularizedEvolution(ProposerSuite):
    def make(self, objectives):
        return regularized_evolution.make(objectives, Options(population=8, sample=3))

    def ask_often(self, space, observed, *, sample, population=8, count=40):
        search = regularized_evolution.make((LOSS,), Options(population=population, sample=sample))
        asked = (
            search.ask(space, observed, [], 1, np.random.default_rng(seed)) for seed in range(count)
        )
        return {key_of(design) for (design,) in asked}

    def test_a_tournament_of_all_mutates_the_best_of_the_youngest(self):
        space = ToySpace()
        designs = sorted((o.design for o in trials(space, 20)), key=lambda d: str(d))
        observed = [succeeded(design) for design in designs]
        youngest = observed[-8:]
        best = min(youngest, key=lambda o: o.metrics["log_loss"]).design
        around = {key_of(d) for d in as_designs(space.neighbours(best))}
        around -= {key_of(d) for d in designs}
        proposed = self.ask_often(space, observed, sample=8)
        assert proposed <= around
        assert len(proposed) > len(around) / 2

    def test_a_tournament_of_one_may_mutate_any_of_the_youngest_and_no_older(self):
        space = ToySpace()
        observed = [succeeded(o.design) for o in trials(space, 20)]
        near = [{key_of(d) for d in as_designs(space.neighbours(o.design))} for o in observed]
        proposed = self.ask_often(space, observed, sample=1)
        assert proposed <= set().union(*near[-8:])
        assert sum(bool(proposed & each) for each in near[-8:]) > 4

    def test_designs_are_drawn_until_there_is_a_population(self):
        space = ToySpace()
        observed = [succeeded(o.design) for o in trials(space, 7)]
        drawn = random.make([], random.Options())
        for seed in range(5):
            rngs = np.random.default_rng(seed), np.random.default_rng(seed)
            design = self.make((LOSS,)).ask(space, observed, [], 1, rngs[0])
            assert design == drawn.ask(space, observed, [], 1, rngs[1])

    def test_a_parent_whose_neighbours_are_all_taken_gives_way_to_a_drawn_design(self):
        levels = {"width": (8, 16, 24, 32, 40), "depth": (1,), "norm": ("none",), "lr": (0.01,)}
        space = ToySpace(levels=levels)
        *begun, left = space.all_designs()
        # All neighbours of the two that completed are taken.
        observed = [succeeded(begun[1]), failed(begun[2], "node"), succeeded(begun[0])]
        search = regularized_evolution.make((LOSS,), Options(population=2, sample=2))
        proposed = search.ask(space, observed, [begun[3]], 1, np.random.default_rng(0))
        assert proposed == [left]

    def test_what_diverged_is_not_mutated(self):
        space = ToySpace()
        observed = [failed(o.design, "diverged") for o in trials(space, 7)]
        survivor = succeeded(trials(space, 8)[-1].design)
        around = {key_of(d) for d in as_designs(space.neighbours(survivor.design))}
        proposed = self.ask_often(space, [*observed[:4], survivor, *observed[4:]], sample=8)
        assert proposed <= around

    def test_it_beats_random_search(self):
        space, drawn = ToySpace(), random.make([], random.Options())
        options = Options(population=8, sample=3)
        best = {"ours": [], "drawn": []}
        for seed in range(5):
            ours = regularized_evolution.make((LOSS,), options)
            for name, search in (("ours", ours), ("drawn", drawn)):
                observed = []
                for i in range(40):
                    rng = np.random.default_rng([seed, i])
                    observed += [succeeded(d) for d in search.ask(space, observed, [], 1, rng)]
                best[name].append(min(o.metrics["log_loss"] for o in observed))
        assert np.median(best["ours"]) < np.median(best["drawn"])


def dominates(left, right):
    return all(a <= b for a, b in zip(left, right, strict=True)) and left != right


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda d: st.lists(st.tuples(*[st.integers(0, 4)] * d), min_size=1, max_size=12)
    )
)
def test_the_ranking_puts_fronts_before_what_they_dominate(rows):
    place = ranking(np.array(rows, dtype=float))
    assert sorted(place) == list(range(len(rows)))
    # Front by front, each what nothing left dominates.
    left, fronts = set(range(len(rows))), []
    while left:
        fronts.append({i for i in left if not any(dominates(rows[j], rows[i]) for j in left)})
        left -= fronts[-1]
    order = sorted(range(len(rows)), key=lambda i: place[i])
    for front in fronts:
        assert set(order[: len(front)]) == front
        order = order[len(front) :]


def test_within_a_front_the_ends_come_first_and_crowded_trials_last():
    losses = np.array([[0.0, 1.0], [0.1, 0.8], [0.15, 0.75], [0.6, 0.3], [1.0, 0.0]])
    # Crowding distances: ends infinite; (.15 + .25), (.5 + .5), (.85 + .75).
    assert ranking(losses).tolist() == [1, 4, 3, 2, 0]


def test_of_equal_trials_the_younger_comes_first():
    assert ranking(np.array([[0.5], [0.5], [0.4]])).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"population": 1}, "population is 1; must be a whole number ≥ 2"),
        ({"sample": 0}, "sample is 0; must be a whole number ≥ 1"),
        ({"population": 4, "sample": 5}, "sample is 5; must be at most population, 4"),
        ({"population": 8.0}, "population is 8.0; must be a whole number"),
    ],
)
def test_options_that_cannot_be_are_refused(options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Options(**options)
