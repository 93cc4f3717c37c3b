from dataclasses import replace

import numpy as np
import pytest

from codesign.errors import ConfigError
from codesign.search import random, sobol
from tests.support.suites.proposer import ProposerSuite
from tests.support.toy_space import ToySpace, distance_to_nearest, fill

WIDE = ToySpace(
    levels={"width": tuple(range(8, 257, 8)), "depth": tuple(range(1, 17))},
    budget_gflop_per_example=1.0,
)


class TestSobol(ProposerSuite):
    def make(self, objectives):
        return sobol.make(objectives, sobol.Options(candidates=256))

    def test_it_covers_the_feasible_set_better_than_random_search(self):
        random_search, filling, drawn = random.make([], random.Options()), [], []
        for seed in range(6):
            sequence = sobol.make([], sobol.Options(scramble_seed=seed))
            filling.append(distance_to_nearest(WIDE, fill(sequence, WIDE, 16, seed=seed)))
            drawn.append(distance_to_nearest(WIDE, fill(random_search, WIDE, 16, seed=seed)))
        assert np.median(filling) < 0.9 * np.median(drawn)

    def test_marginals_follow_the_feasible_set(self):
        space = replace(WIDE, budget_gflop_per_example=0.05)
        chosen = fill(self.make([]), space, 32, seed=0)
        for knob in space.levels:
            everywhere = np.mean([float(d[knob]) for d in space.all_designs()])
            assert np.mean([float(d[knob]) for d in chosen]) == pytest.approx(everywhere, rel=0.15)

    def test_a_batch_follows_the_same_sequence_as_trials_one_by_one(self):
        everything = sobol.make([], sobol.Options(candidates=1000))
        one_by_one = fill(everything, WIDE, 8, seed=0)
        at_once = everything.ask(WIDE, [], [], 8, np.random.default_rng(1))
        for left, right in zip(one_by_one, at_once, strict=True):
            # Designs equally near to a point of the sequence are drawn from.
            assert abs(left["width"] - right["width"]) <= 8
            assert abs(left["depth"] - right["depth"]) <= 1

    def test_no_candidates_are_refused(self):
        with pytest.raises(ConfigError, match="candidates is 0"):
            sobol.Options(candidates=0)
