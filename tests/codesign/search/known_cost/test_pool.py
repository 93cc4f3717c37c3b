import numpy as np
import pytest

from codesign.designs import as_columns, as_designs, key_of
from codesign.search.known_cost.pool import Pool
from tests.support.toy_space import ToySpace, log_loss

SPACE = ToySpace()


def inputs_of(designs):
    """Their quality is all that is known of designs here."""
    return np.array([[-log_loss(d)] for d in designs])


def quality(inputs_CX):
    return inputs_CX[:, 0]


def pool_of(designs, taken=()):
    pool = Pool(SPACE, inputs_of, taken)
    pool.add(designs)
    return pool


@pytest.mark.parametrize("seed", range(5))
def test_climbing_from_two_designs_finds_the_best_of_the_space(seed):
    start = as_designs(SPACE.sample(2, np.random.default_rng(seed)))
    pool = pool_of(start)
    found = pool.designs[pool.best(quality, beam=4, steps=60)]
    assert log_loss(found) == min(log_loss(d) for d in SPACE.all_designs())
    assert len(pool.designs) < len(SPACE.all_designs()) / 3


def test_the_best_is_found_where_no_neighbour_is_better():
    start = as_designs(SPACE.sample(30, np.random.default_rng(0)))
    pool = pool_of(start)
    best = pool.designs[pool.best(quality, beam=3, steps=100)]
    around = as_designs(SPACE.neighbours(best))
    assert all(log_loss(best) <= log_loss(d) for d in around)


def test_without_a_step_the_best_of_those_given_is_found():
    start = as_designs(SPACE.sample(30, np.random.default_rng(0)))
    pool = pool_of(start)
    best = pool.best(quality, beam=8, steps=0)
    assert log_loss(pool.designs[best]) == min(map(log_loss, start))
    assert pool.designs == start


def test_no_design_is_taken_or_twice_there():
    everything = SPACE.all_designs()
    taken = everything[::2]
    pool = pool_of(everything[:3], taken)
    pool.best(quality, beam=8, steps=30)
    keys = [key_of(d) for d in pool.designs]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & {key_of(d) for d in taken}
    np.testing.assert_array_equal(pool.inputs_CX, inputs_of(pool.designs))


def test_what_was_taken_out_does_not_come_back():
    pool = pool_of(as_designs(SPACE.sample(5, np.random.default_rng(0))))
    chosen = [pool.take(pool.best(quality, beam=4, steps=20))[0] for _ in range(20)]
    assert len({key_of(d) for d in chosen}) == 20
    columns = as_columns(chosen)
    assert SPACE.costs(columns)["gflop_per_example"].max() <= SPACE.budget_gflop_per_example
