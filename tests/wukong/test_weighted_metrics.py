"""Weights, groups, calibration and names of figures, against brute force and scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from codesign.errors import DataError
from wukong import metrics

Array = np.ndarray[Any, Any]

# Label, logit (many ties), weight, group.
EXAMPLE = st.tuples(
    st.booleans(), st.integers(-3, 3), st.just(0.0) | st.floats(0.125, 8), st.integers(0, 4)
)


def has_both(rows: list[Any]) -> bool:
    return len({label for label, _, weight, _ in rows if weight}) == 2


examples = st.lists(EXAMPLE, min_size=2, max_size=40).filter(has_both)


def columns(rows: list[Any]) -> tuple[Array, Array, Array, Array]:
    label, logit, weight, group = (np.array(column) for column in zip(*rows, strict=True))
    return label.astype(np.float32), logit.astype(np.float32), weight.astype(np.float32), group


def weighted_pairs(label: Array, logit: Array, weight: Array) -> float:
    won = total = 0.0
    rows = list(zip(label, logit, weight.astype(float), strict=True))
    for y, z, w in rows:
        for other_y, other_z, other_w in rows:
            if y and not other_y:
                won += w * other_w * ((z > other_z) + (z == other_z) / 2)
                total += w * other_w
    return won / total if total else math.nan


@settings(max_examples=80, deadline=None)
@given(examples)
def test_weighted_auc_and_log_loss_are_those_of_weighted_pairs_and_scikit_learn(
    rows: list[Any],
) -> None:
    label, logit, weight, _ = columns(rows)
    found = metrics.auc(label, logit, weight)
    assert found == pytest.approx(weighted_pairs(label, logit, weight), abs=1e-9)
    exact = weight.astype(float)
    assert found == pytest.approx(roc_auc_score(label, logit, sample_weight=exact), abs=1e-9)
    expected = log_loss(label, expit(logit.astype(float)), sample_weight=exact)
    assert metrics.log_loss(label, logit, weight) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=80, deadline=None)
@given(examples, st.booleans())
def test_the_grouped_auc_is_the_mean_of_the_groups_aucs_by_their_weights(
    rows: list[Any], weighted: bool
) -> None:
    label, logit, weight, group = columns(rows)
    weights = weight if weighted else np.ones(len(weight))
    aucs, heaviness = [], []
    for one in set(group.tolist()):
        of = group == one
        auc = weighted_pairs(label[of], logit[of], weights[of])
        if not math.isnan(auc):
            aucs.append(auc)
            heaviness.append(weights[of].sum(dtype=float))
    arguments = (label, logit, group, weight if weighted else None)
    if not aucs:
        with pytest.raises(DataError, match="groups has both labels"):
            metrics.grouped_auc(*arguments)
        return
    expected = np.average(aucs, weights=heaviness)
    assert metrics.grouped_auc(*arguments) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(-9, 9), st.integers(0, 4), st.integers(0, 2)),
                min_size=2, max_size=30).filter(has_both))  # fmt: skip
def test_a_weight_of_three_counts_as_three_examples(rows: list[Any]) -> None:
    label, logit, weight, _ = columns(rows)
    times = weight.astype(int)
    copies = [np.repeat(column, times) for column in (label, logit)]
    for measure in (metrics.auc, metrics.log_loss, metrics.calibration):
        assert measure(label, logit, weight) == pytest.approx(measure(*copies), rel=1e-6)
    assert metrics.calibration(*copies) == pytest.approx(
        expit(copies[1].astype(float)).mean() / copies[0].mean()
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=4, max_size=40),
       st.sampled_from([0.25, 1.0, 7.0]))  # fmt: skip
def test_equal_weights_change_no_figure(rows: list[tuple[bool, int]], weight: float) -> None:
    label, logit = np.array(rows, dtype=np.float32).T
    label[:4] = 0, 1, 0, 1
    weights, group = np.full(len(label), weight), np.arange(len(label)) % 2
    group[:4] = 0
    for measure in (
        metrics.auc,
        metrics.auc_standard_deviation,
        metrics.log_loss,
        metrics.log_loss_standard_deviation,
        metrics.calibration,
    ):
        plain = pytest.approx(measure(label, logit), rel=1e-9, abs=1e-9)
        assert measure(label, logit, weights) == plain
    plain = pytest.approx(metrics.grouped_auc(label, logit, group))
    assert metrics.grouped_auc(label, logit, group, weights) == plain


def test_the_deviations_of_weighted_figures_agree_with_a_bootstrap() -> None:
    rng = np.random.default_rng(0)
    label = (rng.random(1200) < 0.3).astype(float)
    logit = np.round(rng.normal(size=1200) + label, 1)
    weight = rng.choice([0.0, 0.5, 1.0, 10.0], 1200)
    drawn = []
    for _ in range(600):
        rows = rng.integers(1200, size=1200)
        sample = label[rows], logit[rows], weight[rows]
        drawn.append((metrics.auc(*sample), metrics.log_loss(*sample)))
    auc_sd, log_loss_sd = np.std(drawn, axis=0, ddof=1)
    # 600 draws know a deviation to 3%; four of those, and some for what is left out in 1/n².
    found = metrics.auc_standard_deviation(label, logit, weight)
    assert found == pytest.approx(auc_sd, rel=0.13)
    found = metrics.log_loss_standard_deviation(label, logit, weight)
    assert found == pytest.approx(log_loss_sd, rel=0.13)
    # Weights matter: with all alike the noise is far smaller.
    assert metrics.auc_standard_deviation(label, logit) < 0.8 * auc_sd


def test_one_class_and_nothing_but_weights_of_zero_are_refused() -> None:
    label, logit, weight = np.array([1.0, 1, 0]), np.zeros(3), np.array([1.0, 1, 0])
    with pytest.raises(DataError, match="all 2 labels are equal"):
        metrics.auc(label, logit, weight)
    with pytest.raises(DataError, match="2 positive and 1 negative"):
        metrics.auc_standard_deviation(label, logit, np.ones(3))
    with pytest.raises(DataError, match="none of 3 labels is positive"):
        metrics.calibration(np.zeros(3), logit)


def test_a_certain_prediction_keeps_the_calibration_finite_and_above_zero() -> None:
    found = metrics.calibration(np.array([0.0, 1.0]), np.array([-1e6, -1e6]))
    assert found == pytest.approx(2e-15)


def test_figures_of_several_tasks_have_their_names_and_the_means_the_plain_ones() -> None:
    ctr, cvr = {"auc": 0.7, "grouped_auc": 0.6}, {"auc": 0.9}
    assert metrics.over_tasks({"ctr": ctr}) == ctr
    assert metrics.over_tasks({"ctr": ctr, "cvr": cvr}) == {
        "auc": pytest.approx(0.8),
        "auc.ctr": 0.7,
        "auc.cvr": 0.9,
        "grouped_auc.ctr": 0.6,
    }
