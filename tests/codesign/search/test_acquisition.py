from dataclasses import replace

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective import logei

from codesign.search import acquisition
from codesign.search.acquisition import choose
from codesign.search.problem import Problem


def problem(*, known: bool, seed: int = 0) -> Problem:
    """Ten trials of a curve over one feature, and with it, if asked, a known second gain."""
    x = np.linspace(0.0, 1.0, 10)[:, None]
    candidates = np.linspace(0.0, 1.0, 41)[:, None] + 0.001
    learned = np.sin(5.0 * x[:, 0])

    def with_known(x_N1):
        return np.concatenate([x_N1, -2.0 * x_N1 + 1.0], axis=1)

    if not known:
        return Problem(
            features=1,
            trained_NX=x,
            candidates_CX=candidates,
            pending_PX=np.zeros((0, 1)),
            gains_NO=learned[:, None],
            known_column=[None],
            reference_O=np.zeros(1),
        )
    return Problem(
        features=1,
        trained_NX=with_known(x),
        candidates_CX=with_known(candidates),
        pending_PX=np.zeros((0, 2)),
        gains_NO=np.stack([learned, with_known(x)[:, 1]], axis=1),
        known_column=[None, 1],
        reference_O=np.array([-1.5, -1.5]),
    )


def test_a_known_objective_is_its_own_column_without_uncertainty():
    model = acquisition._model(problem(known=True))
    inputs = torch.tensor([[0.3, 0.4], [0.7, -7.0]], dtype=torch.float64)
    posterior = model.posterior(inputs)
    assert posterior.mean[:, 1].tolist() == [0.4, -7.0]
    assert posterior.variance[:, 1].tolist() == [0.0, 0.0]


def test_the_learned_model_does_not_see_the_known_column():
    model = acquisition._model(problem(known=True))
    inputs = torch.tensor([[0.3, 0.4], [0.3, -7.0]], dtype=torch.float64)
    mean = model.posterior(inputs).mean[:, 0]
    assert mean[0].item() == pytest.approx(mean[1].item(), rel=1e-12)
    assert mean[0].item() == pytest.approx(np.sin(1.5), abs=0.1)


def test_one_objective_is_refined_at_its_peak():
    (row,) = choose(problem(known=False), 1, mc_samples=64, seed=0)
    assert problem(known=False).candidates_CX[row, 0] == pytest.approx(np.pi / 10, abs=0.08)


def test_what_is_both_worse_and_dearer_is_not_chosen():
    # Past its peak at pi / 10 the curve falls while the known gain falls too.
    rows = choose(problem(known=True), 4, mc_samples=64, seed=0)
    assert len(set(rows)) == 4
    assert (problem(known=True).candidates_CX[rows, 0] < 0.5).all()


def test_a_pending_trial_lowers_the_score_of_its_neighbours():
    free = problem(known=False)
    (row,) = choose(free, 1, mc_samples=64, seed=0)
    held = replace(free, pending_PX=free.candidates_CX[row : row + 1])
    assert choose(held, 1, mc_samples=64, seed=0) == choose(free, 2, mc_samples=64, seed=0)[1:]


def test_no_more_is_chosen_than_there_is():
    few = replace(problem(known=True), candidates_CX=problem(known=True).candidates_CX[:3])
    assert sorted(choose(few, 9, mc_samples=16, seed=0)) == [0, 1, 2]


def test_no_kernel_is_compiled_for_the_machine_at_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert choose(problem(known=True), 1, mc_samples=16, seed=0)
    assert logei._C is None
    assert list(tmp_path.iterdir()) == []
