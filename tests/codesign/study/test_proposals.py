"""What a study tells its proposer of trials that ended, one way or another."""

from __future__ import annotations

from pathlib import Path

from codesign import api
from tests.support.recorder import told
from tests.support.studies import rewind, run
from tests.support.toy_spec import write_spec

FAILURES = {
    "completes": None,
    "diverges": "diverged",
    "out_of_memory": "out_of_memory",
    "dies": "node",
    "bug": "bug",
}
SECTIONS = {
    "space": {"width": 2, "depth": 1, "fate": list(FAILURES)},
    "search": {"trials": len(FAILURES), "proposer": "random"},
    "launch": {"workers": 1, "attempts": 1},
}


def test_each_failure_is_told_by_its_kind_and_without_metrics(tmp_path: Path) -> None:
    state = run(tmp_path, **SECTIONS)
    found = told(tmp_path / "toy.yaml", tmp_path / "study")
    assert {str(o.design["fate"]): o.failure for o in found.observed} == FAILURES
    measured = {str(o.design["fate"]): set(o.metrics) for o in found.observed if o.metrics}
    assert measured == {"completes": {"log_loss", "auc", "gflop_per_example", "parameters"}}
    assert found.pending == ()
    status = api.status(tmp_path / "study")
    kinds = [failure for failure in FAILURES.values() if failure is not None]
    assert status.failed == dict.fromkeys(kinds, 1)
    assert len(state.trials) == len(FAILURES)


def test_a_trial_that_runs_is_pending_and_not_observed(tmp_path: Path) -> None:
    state = run(tmp_path, search={"trials": 3, "proposer": "random"})
    rewind(tmp_path / "study", lambda event: (event.kind, event.trial) != ("completed", 2))
    found = told(write_spec(tmp_path), tmp_path / "study")
    designs = [trial.design for trial in state.trials.values()]
    assert [o.design for o in found.observed] == designs[:2]
    assert list(found.pending) == designs[2:]
