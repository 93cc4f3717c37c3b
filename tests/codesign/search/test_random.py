import numpy as np

from codesign.search import random
from tests.support.suites.proposer import LOSS, ProposerSuite
from tests.support.toy_space import ToySpace


class TestRandom(ProposerSuite):
    def make(self, objectives):
        return random.make(objectives, random.Options())

    def test_every_feasible_design_is_as_likely(self):
        space = ToySpace(levels={"width": (8, 16), "depth": (1, 2), "norm": ("none",)})
        designs = space.all_designs()
        counts = np.zeros(len(designs))
        for seed in range(400):
            counts[designs.index(self.ask(space, n=1, seed=seed)[0])] += 1
        # Chi-square with 3 degrees of freedom: 16.3 is passed once in a thousand.
        assert (np.square(counts - 100) / 100).sum() < 16.3

    def test_results_do_not_matter(self):
        space = ToySpace()
        first = self.ask(space, n=8, objectives=[LOSS])
        assert first == self.ask(space, n=8, objectives=[])
