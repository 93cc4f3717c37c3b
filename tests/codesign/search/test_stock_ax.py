import logging

import numpy as np
import pytest
import torch

from codesign.errors import ConfigError
from codesign.search import stock_ax
from tests.support.suites.proposer import (
    LOSS,
    PAIRS,
    ProposerSuite,
    seen,
    trials,
)
from tests.support.toy_space import ToySpace


class TestAx(ProposerSuite):
    """Before there is a model: with one, a proposal takes a second."""

    def make(self, objectives):
        return stock_ax.make(objectives, stock_ax.Options(initial=40))


def by_model(objectives):
    return stock_ax.make(objectives, stock_ax.Options(initial=2))


def test_its_model_is_fitted_alike_by_any_process_and_leaves_random_states_alone():
    space, observed = ToySpace(), trials(ToySpace(), 8)
    pending = [trials(ToySpace(), 10)[-1].design]
    old = by_model((LOSS,))
    old.ask(space, observed[:7], pending, 1, np.random.default_rng(0))
    answers, states = [], []
    for seed, proposer in ((1, old), (2, by_model((LOSS,)))):
        np.random.seed(seed)  # noqa: NPY002 (the state that must not matter)
        torch.manual_seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
        answers += proposer.ask(space, observed, pending, 1, np.random.default_rng(1))
        after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
        states.append(bool(torch.equal(before[0], after[0])) and before[1] == after[1])
    assert states == [True, True]
    assert answers[0] == answers[1]
    TestAx().assert_new(space, answers[:1], [*(o.design for o in observed), *pending])


def test_its_model_proposes_for_three_objectives():
    space, observed = ToySpace(), trials(ToySpace(), 8)
    proposed = by_model(PAIRS["three with references"]).ask(
        space, observed, [], 1, np.random.default_rng(0)
    )
    assert len(proposed) == 1
    TestAx().assert_new(space, proposed, [o.design for o in observed])


def test_the_middle_of_the_lattice_comes_first_and_its_own_model_after_five_trials():
    space, default = ToySpace(), stock_ax.make((LOSS,), stock_ax.Options())
    (first,) = default.ask(space, [], [], 1, np.random.default_rng(0))
    assert abs(first["width"] - 68) <= 8
    assert abs(first["depth"] - 3.5) <= 1
    observed = [o for o in trials(space, 9) if o.failure is None][:6]
    # A Sobol point is drawn whatever was seen; what the model proposes follows from it.
    others = seen(space, [o.design for o in observed[::-1]])
    for count, differ in ((4, False), (6, True)):
        answers = [
            default.ask(space, told, [], 1, np.random.default_rng(3))
            for told in (observed[:count], [o for o in others if o.failure is None][:count])
        ]
        assert len(answers[0]) == 1
        assert (answers[0] != answers[1]) >= differ


def test_its_quasi_random_points_are_those_of_one_sequence():
    """Of a Sobol sequence, two points that follow an even number of others lie in both halves."""
    levels = {"width": tuple(range(8, 8 * 65, 8)), "depth": (1,), "norm": ("none",)}
    line = ToySpace(levels=levels, budget_gflop_per_example=1e9)
    designs = line.all_designs()
    assert len(designs) == 64
    default = stock_ax.make((LOSS,), stock_ax.Options(initial=9))
    opposite, firsts = 0, set()
    for study in range(8):
        taken = [designs[i] for i in np.random.default_rng(study).permutation(64)[:4]]
        for trial in (4, 5):
            rng = np.random.default_rng([study, trial])
            taken += default.ask(line, seen(line, taken), [], 1, rng)
        halves = [design["width"] > 256 for design in taken[-2:]]
        opposite += halves[0] != halves[1]
        firsts.add(taken[4]["width"])
    assert opposite >= 7
    assert len(firsts) > 4


def test_points_that_ax_draws_instead_of_its_model_are_counted_and_said(caplog):
    levels = {"width": tuple(range(8, 129, 8)), "depth": (1,), "norm": ("none",)}
    line = ToySpace(levels=levels, budget_gflop_per_example=1.0)
    designs = line.all_designs()
    observed = [o for design in designs[:9] for o in seen(line, [design])]
    search = by_model((LOSS,))
    with caplog.at_level(logging.WARNING, logger=stock_ax.__name__):
        proposed = search.ask(line, observed, [], 1, np.random.default_rng(0))
    TestAx().assert_new(line, proposed, [o.design for o in observed])
    assert search.fallbacks == 1
    assert "Ax drew 1 from a Sobol sequence instead (1 in all)" in caplog.text


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="initial is 0; must be a whole number ≥ 1"):
        stock_ax.Options(initial=0)
    with pytest.raises(ConfigError, match="ax needs at least one objective"):
        stock_ax.make([], stock_ax.Options())
