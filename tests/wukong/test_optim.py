"""Optimizers against float64 NumPy, and the schedule against its formula."""

import numpy as np
import pytest
import torch
from torch import nn

from codesign.errors import ConfigError
from wukong.optim import OPTIMIZERS, LearningRateSchedule, RowWiseAdagrad, build_optimizer

STEPS = 5


def run_steps(optimizer, weight, grads):
    for grad in grads:
        optimizer.zero_grad()
        weight.grad = torch.tensor(grad, dtype=weight.dtype)
        optimizer.step()
    return weight.detach().numpy()


def reference(name, weight, grads, lr, l2):
    """The textbook updates in float64, coupled weight decay."""
    first, second, total = (np.zeros_like(weight) for _ in range(3))
    for t, raw in enumerate(grads, start=1):
        grad = raw + l2 * weight
        if name == "sgd":
            weight = weight - lr * grad
        elif name == "rowwise_adagrad":
            total = total + (grad**2).mean(axis=1, keepdims=True)
            weight = weight - lr * grad / (np.sqrt(total) + 1e-8)
        else:
            first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
            scale = np.sqrt(second / (1 - 0.999**t)) + 1e-8
            weight = weight - lr * first / (1 - 0.9**t) / scale
    return weight


@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_an_optimizer_follows_its_formula_with_l2_on_rows_that_have_no_gradient_too(name, l2):
    rng = np.random.default_rng(1)
    start = rng.normal(size=(6, 3))
    grads = rng.normal(size=(STEPS, 6, 3))
    grads[:, 4:] = 0.0
    weight = nn.Parameter(torch.tensor(start))
    found = run_steps(build_optimizer(name, [weight], lr=0.05, l2=l2), weight, grads)
    np.testing.assert_allclose(found, reference(name, start, grads, 0.05, l2), rtol=1e-9)
    assert (found[4:] == start[4:]).all() == (l2 == 0)


def test_row_wise_adagrad_leaves_parameters_without_a_gradient_alone():
    weight = nn.Parameter(torch.ones(2, 2))
    RowWiseAdagrad([weight], lr=0.1, l2=1.0).step()
    assert (weight == 1).all()


def test_row_wise_adagrad_continues_from_its_saved_state():
    rng = np.random.default_rng(2)
    grads = rng.normal(size=(4, 3, 2)).astype(np.float32)
    whole = nn.Parameter(torch.ones(3, 2))
    run_steps(RowWiseAdagrad([whole], lr=0.1), whole, grads)
    parted = nn.Parameter(torch.ones(3, 2))
    first = RowWiseAdagrad([parted], lr=0.1)
    run_steps(first, parted, grads[:2])
    second = RowWiseAdagrad([parted], lr=0.7)
    second.load_state_dict(first.state_dict())
    run_steps(second, parted, grads[2:])
    assert torch.equal(parted, whole)


def test_an_unknown_optimizer_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match="'adagrad' is unknown; one of adam, rowwise_adagrad, sgd"
    ):
        build_optimizer("adagrad", [], lr=0.1)


def schedule_of(*rates, **settings):
    groups = [nn.Parameter(torch.zeros(1, 1)) for _ in rates]
    optimizers = [
        build_optimizer("sgd", [group], lr=lr) for group, lr in zip(groups, rates, strict=True)
    ]
    return LearningRateSchedule(optimizers, **settings), optimizers


def rates_at(schedule, optimizers, step):
    schedule.before_step(step)
    return [o.param_groups[0]["lr"] for o in optimizers]


def test_the_warm_up_grows_every_rate_linearly_to_its_own_full_value():
    schedule, optimizers = schedule_of(0.1, 0.4, steps=6, warmup_steps=4)
    found = [rates_at(schedule, optimizers, step) for step in range(6)]
    shares = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert found == pytest.approx(np.outer(shares, [0.1, 0.4]))


def test_the_decay_falls_linearly_to_zero_one_step_after_the_run():
    schedule, optimizers = schedule_of(0.1, steps=6, decay_steps=4)
    found = [rates_at(schedule, optimizers, step)[0] for step in range(7)]
    assert found == pytest.approx([0.1, 0.1, 0.08, 0.06, 0.04, 0.02, 0.0])


def test_without_warm_up_and_decay_all_steps_run_at_the_full_rate():
    schedule, optimizers = schedule_of(0.1, steps=3)
    assert [rates_at(schedule, optimizers, step) for step in range(3)] == [[0.1]] * 3


def test_a_plateau_lowers_the_rates_after_as_many_stale_evaluations_as_patience():
    schedule, optimizers = schedule_of(1.0, steps=100, plateau_factor=0.1, plateau_patience=2)
    rates = []
    for improved in [True, False, True, False, False, False, False]:
        schedule.after_evaluation(improved)
        rates += rates_at(schedule, optimizers, 9)
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01])
