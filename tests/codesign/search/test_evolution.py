import zlib

import nevergrad as ng
import numpy as np
import pytest

from codesign.errors import ConfigError
from codesign.search import evolution, random
from tests.support.suites.proposer import COMPUTE, LOSS, ProposerSuite, seen, succeeded
from tests.support.toy_space import ToySpace

FREE = ToySpace(budget_gflop_per_example=1.0)


def run(search, space, count, *, seed=0):
    observed = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        observed += [succeeded(d) for d in search.ask(space, observed, [], 1, rng)]
    return observed


class TestNevergrad(ProposerSuite):
    def make(self, objectives):
        return evolution.make(objectives, evolution.Options())


@pytest.mark.parametrize("objectives", [(LOSS,), (LOSS, COMPUTE)], ids=len)
def test_a_new_process_proposes_what_an_old_one_does_at_each_of_thirty_trials(objectives):
    space, old = ToySpace(), evolution.make(objectives, evolution.Options(budget=20))
    observed = []
    for i in range(30):
        answer = old.ask(space, observed, [], 1, np.random.default_rng([1, i]))
        fresh = evolution.make(objectives, evolution.Options(budget=20))
        assert answer == fresh.ask(space, observed, [], 1, np.random.default_rng([1, i]))
        observed += seen(space, answer)


@pytest.mark.parametrize(
    "optimizer", ["OnePlusOne", "TwoPointsDE", "PSO", "CMA", "Cobyla", "ScrHammersleySearch"]
)
def test_optimizers_of_every_family_propose_alike_in_a_new_process(optimizer):
    options = evolution.Options(optimizer=optimizer, budget=8)
    space, old = ToySpace(), evolution.make((LOSS, COMPUTE), options)
    observed = run(old, space, 10)
    assert len({str(o.design) for o in observed}) == 10
    for pending in ([], [space.all_designs()[0]]):
        answers = [
            search.ask(space, observed, pending, 2, np.random.default_rng(0))
            for search in (old, evolution.make((LOSS, COMPUTE), options))
        ]
        assert answers[0] == answers[1]


def test_where_all_is_feasible_it_proposes_what_nevergrad_asks_for():
    widths = tuple(range(8, 8 * 201, 8))
    levels = {"width": widths, "depth": (1,), "norm": ("none",)}
    space = ToySpace(levels=levels, budget_gflop_per_example=10.0)
    search = evolution.make((LOSS,), evolution.Options(optimizer="OnePlusOne", budget=50))
    observed = seen(space, [space.all_designs()[100]])
    # The random state follows from the first design.
    numbers = ng.p.Array(init=[99.5], lower=[-0.49], upper=[199.49]).set_integer_casting()
    by_hand = ng.p.Dict(words=ng.p.Dict(), numbers=numbers)
    seed = zlib.crc32(repr(sorted(observed[0].design.items())).encode())
    by_hand.random_state = np.random.RandomState(seed)
    optimizer = ng.optimizers.OnePlusOne(by_hand, budget=50)
    wish = optimizer.ask()
    optimizer.tell(wish, observed[0].metrics["log_loss"])
    granted = 0
    for i in range(20):
        wish = optimizer.ask()
        (design,) = search.ask(space, observed, [], 1, np.random.default_rng(i))
        wished = widths[round(float(wish.value["numbers"][0]))]
        if wished not in {o.design["width"] for o in observed}:
            assert design["width"] == wished
            granted += 1
        observed += seen(space, [design])
        optimizer.tell(wish, observed[-1].metrics["log_loss"])
    assert granted > 10


def test_it_beats_random_search():
    searches = evolution.make((LOSS,), evolution.Options()), random.make([], random.Options())
    found, drawn = (
        [min(o.metrics["log_loss"] for o in run(s, ToySpace(), 40, seed=seed)) for seed in range(3)]
        for s in searches
    )
    assert np.median(found) < np.median(drawn)


def test_studies_of_other_seeds_go_other_ways():
    search = evolution.make((LOSS,), evolution.Options())
    ways = [[str(o.design) for o in run(search, FREE, 4, seed=seed)] for seed in range(4)]
    assert len({way[1] for way in ways}) > 1
    assert all(len(set(way)) == 4 for way in ways)


def test_an_unknown_optimizer_names_the_nearest():
    with pytest.raises(ConfigError, match=r"optimizer is 'NGOpr'.*did you mean 'NGOpt'"):
        evolution.Options(optimizer="NGOpr")
    with pytest.raises(ConfigError, match="budget is 0; must be a whole number ≥ 1"):
        evolution.Options(budget=0)
    with pytest.raises(ConfigError, match="nevergrad needs at least one objective"):
        evolution.make([], evolution.Options())


def test_every_name_of_the_registry_is_allowed():
    assert all(evolution.Options(optimizer=name) for name in ng.optimizers.registry)
