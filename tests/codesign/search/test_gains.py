import numpy as np
import pytest

from codesign.contracts import Objective
from codesign.search.gains import Scale, fenced, known_scale, learned_scale, reference_gains

LOSS = Objective(metric="log_loss", goal="minimize")
AUC = Objective(metric="auc", goal="maximize")


def test_a_bad_outlier_is_drawn_in_to_the_fence_and_a_good_one_is_kept():
    gains = -np.array([0.40, 0.41, 0.42, 0.43, 0.44, 0.45, 9.0, 0.1])
    low, high = np.quantile(gains, [0.25, 0.75])
    expected = gains.copy()
    expected[6] = low - 1.5 * (high - low)
    np.testing.assert_allclose(fenced(gains), expected)


def test_mostly_equal_values_have_no_outliers():
    assert fenced(np.array([0.5] * 8 + [0.4])).tolist() == [0.5] * 8 + [0.4]


@pytest.mark.parametrize(
    ("objective", "values", "log10"),
    [
        (LOSS, [0.1, 0.2], True),
        (LOSS, [0.0, 0.2], False),
        (AUC, [0.8, 0.9], False),
        (Objective(metric="log_loss", goal="minimize", reference=0.0), [0.1, 0.2], False),
    ],
)
def test_a_positive_loss_is_learned_by_its_logarithm(objective, values, log10):
    assert learned_scale(objective, np.array(values)).log10 is log10


@pytest.mark.parametrize(("goal", "sign"), [("minimize", -1.0), ("maximize", 1.0)])
def test_gains_have_mean_zero_and_deviation_one_and_more_is_better(goal, sign):
    values = np.array([1.0, 4.0, 2.0, 9.0])
    scale = Scale(objective=Objective(metric="m", goal=goal), log10=False).standardised(values)
    gains = scale.gains(values)
    assert [gains.mean(), gains.std()] == pytest.approx([0.0, 1.0])
    assert (np.argsort(gains) == np.argsort(sign * values)).all()


def test_equal_values_have_gain_zero():
    scale = Scale(objective=LOSS, log10=False).standardised(np.full(3, 0.7))
    np.testing.assert_allclose(scale.gains(np.full(3, 0.7)), 0.0, atol=1e-12)


def test_positive_costs_are_compared_by_their_logarithm():
    cost = Objective(metric="cost", goal="minimize")
    scale = known_scale(cost, np.array([1.0, 10.0, 100.0]))
    assert scale.gains(np.array([1.0, 10.0, 100.0])).tolist() == [0.0, -1.0, -2.0]
    linear = known_scale(cost, np.array([0.0, 10.0]))
    assert linear.gains(np.array([0.0, 10.0])).tolist() == [0.0, -10.0]


def test_the_reference_is_where_the_user_put_it_else_beyond_the_worst():
    cost = Objective(metric="cost", goal="minimize", reference=1000.0)
    costs = np.array([1.0, 10.0, 100.0])
    scales = [
        Scale(objective=LOSS, log10=False),
        known_scale(cost, costs).standardised(costs),
    ]
    losses = np.array([0.5, 0.4, 0.3])
    gains = np.stack([scales[0].gains(losses), scales[1].gains(costs)], axis=1)
    spread = np.std([0.0, 1.0, 2.0])
    np.testing.assert_allclose(reference_gains(scales, [*gains.T]), [-0.52, -2.0 / spread])
