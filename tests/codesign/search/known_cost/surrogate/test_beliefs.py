"""Whole beliefs: from observations to what is expected of unseen designs."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import spearmanr

from codesign.contracts import Objective, Observation
from codesign.designs import as_columns, as_designs
from codesign.search.gains import Scale
from codesign.search.known_cost.problem import build
from codesign.search.known_cost.related import related_gains
from codesign.search.known_cost.surrogate import learn
from codesign.search.known_cost.surrogate.feasibility import Feasibility
from tests.support.toy_space import ToySpace

LOSS = Objective(metric="log_loss", goal="minimize")
SPACE = ToySpace()


def designs(n, seed):
    return as_designs(SPACE.sample(n, np.random.default_rng(seed)))


def loss(design, seed=0):
    """A valley in width and learning rate, with noise."""
    noise = 0.01 * np.random.default_rng([seed, design["width"], design["depth"]]).normal()
    slope = 0.1 * abs(np.log(design["lr"] / 0.01)) - 0.05 * design["depth"]
    return 0.6 + slope + 0.004 * abs(design["width"] - 72) + noise


def trained(n, *, seed=0, of=loss, scale=1.0, **about):
    return [
        Observation(design=d, metrics={"log_loss": scale * of(d)}, **about)
        for d in designs(n, seed)
    ]


def predicted(own, related=(), failed=()):
    """The rank correlation with the truth over unseen designs."""
    unseen = designs(150, 99)
    problem, inputs = build(
        SPACE, [LOSS], trained=own, others=unseen, failed=failed, related=related
    )
    (process,) = learn(problem).processes
    return spearmanr(process.mean(inputs.of(unseen)), [-loss(d) for d in unseen])[0]


def test_a_related_study_helps_from_the_first_trials():
    earlier = trained(40, seed=5, scale=3.0, task="earlier")
    for seed in range(3):
        own = trained(3, seed=seed)
        assert predicted(own, earlier) > max(predicted(own), 0.8)


def test_a_misleading_study_hurts_little_after_ten_trials():
    misleading = trained(60, seed=5, of=lambda d: 3.0 - loss(d), task="earlier")
    alone = np.mean([predicted(trained(10, seed=seed)) for seed in range(4)])
    misled = np.mean([predicted(trained(10, seed=seed), misleading) for seed in range(4)])
    assert misled > alone - 0.1


def test_partial_curves_help_though_their_level_and_spread_differ():
    points = trained(40, seed=5, of=lambda d: 2.0 + 3.0 * loss(d), fidelity=0.25)
    for seed in range(3):
        own = trained(6, seed=seed)
        linked = [
            Observation(
                design=o.design, metrics={"log_loss": 2.0 + 3.0 * loss(o.design)}, fidelity=0.25
            )
            for o in own
        ]
        assert predicted(own, [*linked, *points]) > max(predicted(own), 0.8)


def test_rows_beside_the_study_stay_bounded_and_tell_each_design_once():
    points = [
        Observation(design=d, metrics={"log_loss": loss(d) / share}, fidelity=share, task=task)
        for task in ("", "earlier")
        for d in designs(300, 5)
        for share in (0.25, 0.5)
    ]
    problem, _ = build(SPACE, [LOSS], trained=trained(5), others=designs(2, 1), related=points)
    assert np.bincount(problem.related.task_E).tolist() == [128, 128]
    assert set(problem.related.fidelity_E) == {0.5}


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_neither_scale_nor_a_nearly_diverged_run_hides_the_differences(scale):
    own = trained(20, scale=scale)
    clean = predicted(own)
    seen = [o.design for o in own]
    worst = max((d for d in designs(60, 1) if d not in seen), key=loss)
    wild = Observation(design=worst, metrics={"log_loss": 1e3 * scale})
    assert predicted([*own, wild]) > clean - 0.15


def test_where_nothing_failed_success_is_certain():
    problem, inputs = build(SPACE, [LOSS], trained=trained(5), others=designs(3, 1))
    assert learn(problem).log_success(inputs.of(designs(3, 1))).tolist() == [0.0, 0.0, 0.0]


def test_failures_make_designs_like_them_improbable_to_train():
    everything = designs(60, 3)
    own = [
        Observation(design=d, metrics={"log_loss": loss(d)}) for d in everything if d["lr"] < 0.03
    ]
    failed = [d for d in everything if d["lr"] == 0.03]
    unseen = designs(200, 99)
    problem, inputs = build(SPACE, [LOSS], trained=own, others=unseen, failed=failed)
    log_success = learn(problem).log_success(inputs.of(unseen))
    high = np.array(as_columns(unseen)["lr"]) == 0.03
    assert log_success[high].max() < np.log(0.5) < np.median(log_success[~high])


def test_one_failure_among_few_trials_forbids_nothing():
    problem, inputs = build(
        SPACE, [LOSS], trained=trained(4), others=designs(9, 1), failed=designs(30, 7)[-1:]
    )
    assert (learn(problem).log_success(inputs.of(designs(100, 99))) > np.log(0.05)).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_weights_are_the_mode_another_optimizer_finds(seed):
    rng = np.random.default_rng(seed)
    features_NM, success_N = rng.random((30, 4)), rng.random(30) < 0.7
    found = Feasibility(features_NM, success_N)
    design_NW = np.hstack([features_NM - features_NM.mean(axis=0), np.ones((30, 1))])

    def loss_of(weights_W):
        from_prior_W = (weights_W - [0, 0, 0, 0, 3.0]) / [5.0, 5.0, 5.0, 5.0, 2.0]
        probability_N = expit(design_NW @ weights_W)
        likely_N = np.where(success_N, probability_N, 1.0 - probability_N)
        return -np.log(likely_N).sum() + 0.5 * from_prior_W @ from_prior_W

    expected = minimize(loss_of, np.zeros(5), options={"gtol": 1e-8}).x
    np.testing.assert_allclose(found._weights_W, expected, atol=1e-4)


@pytest.mark.parametrize("success", [True, False])
def test_one_kind_of_outcome_only_leaves_numbers(success):
    found = Feasibility(np.random.default_rng(0).random((20, 3)), np.full(20, success))
    log_success = found.log_success(np.random.default_rng(1).random((5, 3)))
    assert ((log_success > np.log(0.5)) == success).all()


def test_designs_that_looked_best_on_the_way_do_not_make_the_others_look_better():
    """Only they end, and what they showed on the way is partly luck."""
    off = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        final = rng.normal(size=40)
        on_the_way = 1.5 * final + 0.7 + 0.5 * rng.normal(size=40)
        ended, others = np.split(np.argsort(on_the_way), [13])
        own = [Observation(design={"x": int(i)}, metrics={"log_loss": final[i]}) for i in ended]
        points = [
            Observation(design={"x": i}, metrics={"log_loss": loss}, fidelity=0.3)
            for i, loss in enumerate(on_the_way)
        ]
        scale = Scale(objective=LOSS, log10=False).standardised(final[ended])
        gains_E = related_gains(scale, own, points)
        off.append((gains_E[others] - scale.gains(final[others])).mean() * scale.spread)
    assert abs(np.mean(off)) < 0.15


def test_few_designs_alike_at_the_end_do_not_tear_the_scale_of_all_others():
    points = trained(30, seed=5, of=lambda d: 2.0 + loss(d), fidelity=0.25)
    best = sorted(points, key=lambda o: o.metrics["log_loss"])[:2]
    own = [
        Observation(design=o.design, metrics={"log_loss": 0.55 + 1e-5 * at})
        for at, o in enumerate(best)
    ]
    assert predicted(own, points) > 0.8


def test_designs_that_pause_are_no_failures():
    points = trained(30, seed=5, fidelity=0.25)
    failed = designs(60, 7)[-3:]
    unseen = designs(60, 99)
    chances = []
    for related in ([], points):
        problem, inputs = build(
            SPACE, [LOSS], trained=trained(2), others=unseen, failed=failed, related=related
        )
        chances.append(np.exp(learn(problem).log_success(inputs.of(unseen))).mean())
    assert chances[1] > 0.75 > chances[0]
