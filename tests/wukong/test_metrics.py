"""Quality measures against brute force, an independent estimate and hand-made numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from codesign.errors import DataError
from wukong import metrics

ranked = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(label for label, _ in rows) < len(rows)
)


def pair_count_auc(label, logit):
    won = [(p > n) + (p == n) / 2 for p in logit[label == 1] for n in logit[label == 0]]
    return sum(won) / len(won)


@settings(max_examples=60, deadline=None)
@given(ranked)
def test_auc_is_the_share_of_pairs_in_the_right_order_ties_counting_half(rows):
    label = np.array([float(label) for label, _ in rows])
    logit = np.array([logit for _, logit in rows], dtype=np.float32)
    assert metrics.auc(label, logit) == pytest.approx(pair_count_auc(label, logit), abs=1e-12)


@pytest.mark.parametrize("shift", [0.5, 2.0])
def test_the_standard_deviation_of_the_auc_agrees_with_a_bootstrap(shift):
    rng = np.random.default_rng(0)
    label = (rng.random(1500) < 0.3).astype(float)
    logit = np.round(rng.normal(size=1500) + shift * label, 1)
    positive, negative = np.flatnonzero(label), np.flatnonzero(label == 0)
    resampled = []
    for _ in range(600):
        rows = np.concatenate(
            [rng.choice(positive, len(positive)), rng.choice(negative, len(negative))]
        )
        resampled.append(metrics.auc(label[rows], logit[rows]))
    # 600 draws know a deviation to 1 / sqrt(1200), 3%; four of those.
    assert metrics.auc_standard_deviation(label, logit) == pytest.approx(
        np.std(resampled, ddof=1), rel=0.12
    )


def test_the_standard_deviation_of_the_auc_is_delongs_on_four_examples():
    # Placements of the positives among the negatives: 1 and 1/2; of the negatives: 1 and 1/2.
    label, logit = np.array([1.0, 1.0, 0.0, 0.0]), np.array([4.0, 2.0, 3.0, 1.0])
    assert metrics.auc_standard_deviation(label, logit) == pytest.approx(
        math.sqrt(0.125 / 2 + 0.125 / 2)
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(-20, 20)), min_size=1, max_size=30))
def test_log_loss_is_the_mean_negative_log_of_what_the_label_was_given(rows):
    label = np.array([float(label) for label, _ in rows])
    logit = np.array([logit for _, logit in rows])
    expected = -np.mean([math.log(expit(z) if y else expit(-z)) for y, z in rows])
    assert metrics.log_loss(label, logit) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_log_loss_of_a_certain_mistake_is_that_of_a_probability_of_1e_minus_15():
    assert metrics.log_loss(np.array([0.0]), np.array([1e6])) == pytest.approx(-math.log(1e-15))
    assert metrics.log_loss(np.array([1.0]), np.array([-np.inf])) == pytest.approx(-math.log(1e-15))


def test_the_standard_deviation_of_the_log_loss_agrees_with_a_bootstrap():
    rng = np.random.default_rng(1)
    label = (rng.random(1000) < 0.3).astype(float)
    logit = rng.normal(size=1000) + label
    resampled = [
        metrics.log_loss(label[rows], logit[rows]) for rows in rng.integers(1000, size=(800, 1000))
    ]
    expected = pytest.approx(np.std(resampled), rel=0.1)
    assert metrics.log_loss_standard_deviation(label, logit) == expected


def test_log_loss_does_not_lose_digits_over_many_float32_logits():
    logit = np.full(200_000, 3.0, dtype=np.float32)
    expected = math.log1p(math.exp(-3.0))
    assert metrics.log_loss(np.ones(200_000, dtype=np.float32), logit) == pytest.approx(
        expected, rel=1e-12
    )


def test_normalized_entropy_is_one_for_the_constant_at_the_base_rate():
    label = np.array([1.0, 0.0, 0.0, 0.0])
    constant = np.full(4, math.log(0.25 / 0.75))
    log_loss = metrics.log_loss(label, constant)
    assert metrics.normalized_entropy(log_loss, 0.25) == pytest.approx(1.0, abs=1e-12)
    assert metrics.entropy(0.5) == pytest.approx(math.log(2))


@pytest.mark.parametrize("labels", [[], [1.0, 1.0], [0.0]])
def test_the_auc_of_one_class_is_refused(labels):
    with pytest.raises(DataError, match="both classes"):
        metrics.auc(np.array(labels), np.zeros(len(labels)))


def test_the_standard_deviation_of_the_auc_needs_two_of_each_class():
    with pytest.raises(DataError, match="1 positive and 2 negative"):
        metrics.auc_standard_deviation(np.array([1.0, 0.0, 0.0]), np.arange(3.0))


def test_log_loss_refuses_logits_that_are_not_a_number():
    with pytest.raises(DataError, match="1 of 2 logits are not a number"):
        metrics.log_loss(np.array([0.0, 1.0]), np.array([0.0, np.nan]))


@pytest.mark.parametrize("base_rate", [0.0, 1.0, math.nan])
def test_a_base_rate_without_entropy_is_refused(base_rate):
    with pytest.raises(DataError, match="strictly between 0 and 1"):
        metrics.normalized_entropy(0.5, base_rate)
