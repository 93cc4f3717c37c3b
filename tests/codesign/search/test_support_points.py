import numpy as np
import pytest

from codesign.designs import as_columns
from codesign.errors import ConfigError
from codesign.search import random, support_points
from tests.support.suites.proposer import ProposerSuite
from tests.support.toy_space import ToySpace, distance_to_nearest, fill


def energy_distance(space, designs) -> float:
    """Twice the mean distance between the two sets, less the mean distances within each."""
    everything = space.encode(as_columns(space.all_designs()))
    chosen = space.encode(as_columns(designs))

    def mean_distance(left, right):
        return np.linalg.norm(left[:, None] - right[None], axis=2).mean()

    within = mean_distance(everything, everything) + mean_distance(chosen, chosen)
    return float(2.0 * mean_distance(everything, chosen) - within)


class TestSupportPoints(ProposerSuite):
    def make(self, objectives):
        return support_points.make(objectives, support_points.Options(candidates=128))

    def test_it_covers_the_feasible_set_better_than_random_search(self):
        space, drawn = ToySpace(), random.make([], random.Options())
        ours, theirs = (
            [distance_to_nearest(space, fill(p, space, 10, seed=s)) for s in range(4)]
            for p in (self.make([]), drawn)
        )
        assert np.median(ours) < 0.9 * np.median(theirs)

    def test_each_design_is_the_one_that_lowers_the_energy_distance_most(self):
        space = ToySpace(levels={"width": (8, 16, 40, 64), "depth": (1, 2, 5), "lr": (0.01, 0.03)})
        everything = support_points.make([], support_points.Options(candidates=1000))
        taken = space.all_designs()[:3]
        (proposed,) = everything.ask(space, [], taken, 1, np.random.default_rng(0))
        left = [d for d in space.all_designs() if d not in taken]
        best = min(energy_distance(space, [*taken, d]) for d in left)
        assert energy_distance(space, [*taken, proposed]) == pytest.approx(best)

    def test_a_batch_is_what_one_by_one_would_be(self):
        space = ToySpace(levels={"width": (8, 24, 40, 56), "depth": (1, 2, 4), "lr": (0.01, 0.03)})
        everything = support_points.make([], support_points.Options(candidates=1000))
        at_once = everything.ask(space, [], [], 6, np.random.default_rng(0))
        one_by_one = fill(everything, space, 6, seed=0)
        assert energy_distance(space, at_once) == pytest.approx(
            energy_distance(space, one_by_one), rel=0.1
        )

    def test_no_candidates_are_refused(self):
        with pytest.raises(ConfigError, match="candidates is 0"):
            support_points.Options(candidates=0)
