import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.pareto import hypervolume
from codesign.search.known_cost.gain import log_expected_gain, log_h, log_sum_exp


def exact_log_h(z: float) -> float:
    """The same with fifty digits and more, from the textbook's formula."""
    with mpmath.workdps(60 + int(z * z / 2)):
        z = mpmath.mpf(z)
        return float(mpmath.log(mpmath.npdf(z) + z * mpmath.ncdf(z)))


@pytest.mark.parametrize("z", [-40.0, -9.0, -1.0000001, -1.0, -0.3, 0.0, 2.5, 30.0])
def test_log_h_has_all_its_digits_in_the_tail_and_elsewhere(z):
    assert log_h(np.array([z]))[0] == pytest.approx(exact_log_h(z), rel=1e-12)


def test_log_h_never_falls_and_stays_finite():
    z = np.concatenate([-np.logspace(9, -3, 4000), np.logspace(-3, 3, 1000)])
    values = log_h(z)
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()


def integrated(mean, sd, known_K, values_F, known_FK, reference, reference_K):
    """The mean hypervolume improvement by quadrature over the learned value."""
    goals = ["maximize"] * (1 + len(reference_K))
    front = np.concatenate([values_F[:, None], known_FK], axis=1)
    corner = [reference, *reference_K]
    nodes = np.linspace(-7.0, 7.0, 141)
    weights = np.exp(-0.5 * nodes**2)
    before = hypervolume(front, corner, goals)
    gains = [
        hypervolume(np.vstack([front, [mean + sd * node, *known_K]]), corner, goals) - before
        for node in nodes
    ]
    return float(weights @ np.array(gains) / weights.sum())


@pytest.mark.parametrize("known", [0, 1, 2, 3])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), designs=st.integers(0, 6), sd=st.floats(0.1, 1.5))
def test_the_expected_gain_is_the_mean_hypervolume_improvement(known, seed, designs, sd):
    rng = np.random.default_rng(seed)
    values_F = rng.normal(size=max(designs, int(known == 0)))
    # Some known gains are equal, some beyond the reference.
    known_FK = rng.integers(-4, 4, size=(len(values_F), known)) / 2.0
    known_K = rng.integers(-3, 5, size=known) / 2.0
    mean, reference, reference_K = rng.normal(), -1.5, np.full(known, -1.75)
    if known == 0:  # expected improvement has no reference
        reference = values_F.max()
    expected = integrated(mean, sd, known_K, values_F, known_FK, reference, reference_K)
    found = log_expected_gain(
        np.array([mean]),
        np.array([sd]),
        known_K[None, :],
        values_F=values_F,
        known_FK=known_FK,
        reference=reference,
        reference_K=reference_K,
    )
    assert np.exp(found[0]) == pytest.approx(expected, rel=0.02, abs=2e-3)


def test_candidates_far_below_the_front_still_differ():
    mean_C = np.array([-60.0, -50.0, -50.0])
    found = log_expected_gain(
        mean_C,
        np.array([0.1, 0.1, 0.2]),
        np.array([[0.5], [0.5], [0.5]]),
        values_F=np.array([0.0]),
        known_FK=np.array([[1.0]]),
        reference=-1.0,
        reference_K=np.array([-1.0]),
    )
    assert np.isfinite(found).all()
    assert found[0] < found[1] < found[2]


def test_a_sum_of_nothing_is_minus_infinity():
    terms = np.array([[-np.inf, -np.inf], [0.0, -np.inf], [-2000.0, -2000.0]])
    assert log_sum_exp(terms) == pytest.approx([-np.inf, 0.0, np.log(2.0) - 2000.0])
