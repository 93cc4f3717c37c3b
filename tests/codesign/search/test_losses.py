from dataclasses import replace

import numpy as np
import pytest

from codesign.contracts import Objective
from codesign.errors import ConfigError
from codesign.search.losses import observed_losses
from tests.support.suites.proposer import AUC, COMPUTE, LOSS, RATE, failed, succeeded, trials
from tests.support.toy_space import ToySpace

SPACE = ToySpace()
DESIGNS = [o.design for o in trials(SPACE, 6)]


def gflop(design):
    return 6e-7 * design["depth"] * design["width"] ** 2


def test_less_is_better_costs_are_logarithms_and_the_order_stays():
    observed = [succeeded(design) for design in DESIGNS[:3]]
    told, losses = observed_losses(SPACE, (LOSS, AUC, COMPUTE), observed)
    assert told == observed
    for row, o in zip(losses, observed, strict=True):
        expected = [o.metrics["log_loss"], -o.metrics["auc"], np.log10(gflop(o.design))]
        assert row == pytest.approx(expected)


def test_a_predicted_objective_is_its_prediction_whatever_a_trial_measured():
    _, losses = observed_losses(SPACE, (RATE,), [succeeded(DESIGNS[0])])
    size = DESIGNS[0]["depth"] * DESIGNS[0]["width"] ** 2
    assert losses == pytest.approx(-np.log10([[1e6 / np.sqrt(100.0 + size)]]))


def test_designs_that_fail_by_themselves_are_as_bad_as_the_worst_at_their_own_cost():
    good, bad = succeeded(DESIGNS[0]), succeeded(DESIGNS[1])
    observed = [good, failed(DESIGNS[2], "diverged"), bad, failed(DESIGNS[3], "node")]
    observed += [replace(succeeded(DESIGNS[4]), metrics={"log_loss": np.nan})]
    told, losses = observed_losses(SPACE, (LOSS, COMPUTE), observed)
    assert told == [good, observed[1], bad]
    worst = max(good.metrics["log_loss"], bad.metrics["log_loss"])
    assert losses[1] == pytest.approx([worst, np.log10(gflop(DESIGNS[2]))])


def test_curves_and_other_studies_are_left_out():
    own = succeeded(DESIGNS[0])
    others = [replace(own, fidelity=0.5), replace(succeeded(DESIGNS[1]), task="earlier")]
    assert observed_losses(SPACE, (LOSS,), [*others, own])[0] == [own]
    assert observed_losses(SPACE, (LOSS,), others)[0] == []


def test_nothing_is_told_where_nothing_succeeded():
    told, losses = observed_losses(SPACE, (LOSS, AUC), [failed(DESIGNS[0], "diverged")])
    assert told == []
    assert losses.shape == (0, 2)


def test_a_completed_trial_without_the_objective_is_refused():
    gain = Objective(metric="gain", goal="maximize")
    with pytest.raises(ConfigError, match="reports no gain"):
        observed_losses(SPACE, (gain,), [succeeded(DESIGNS[0])])
