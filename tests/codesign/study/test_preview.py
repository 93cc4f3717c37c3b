from __future__ import annotations

from pathlib import Path
from typing import Any

from codesign import api
from tests.support.command import codesign
from tests.support.studies import run, state_of
from tests.support.toy_spec import write_spec

SLURM: dict[str, Any] = {"executor": "slurm", "workers": 3, "slurm": {"partition": "main"}}
BASELINE = {"width": 2, "depth": 2, "lr": 0.01}


def previewed(folder: Path, trials: int, **sections: Any) -> dict[int, Any]:
    """Return the designs by trial that a dry run of launching shows."""
    spec = write_spec(folder, launch=SLURM, baseline=BASELINE, **sections)
    scripts = api.preview_launch(spec, study=folder / "study", trials=trials)
    return {
        number: design
        for script in scripts
        for number, design in zip(script.trials, script.designs, strict=True)
    }


def test_a_dry_run_shows_the_trials_that_the_study_then_launches(tmp_path: Path) -> None:
    search = {"trials": 5, "proposer": "random"}
    shown = previewed(tmp_path, 5, search=search)
    assert not (tmp_path / "study").exists()
    state = run(tmp_path, search=search, baseline=BASELINE)
    assert shown == {number: dict(trial.design) for number, trial in state.trials.items()}
    assert shown[0] == BASELINE


def test_a_dry_run_of_a_study_that_has_begun_shows_what_comes_next(tmp_path: Path) -> None:
    run(tmp_path, search={"trials": 3, "proposer": "random"}, baseline=BASELINE)
    more = {"trials": 5, "proposer": "random"}
    before = state_of(tmp_path / "study").events
    shown = previewed(tmp_path, 9, search=more)
    assert state_of(tmp_path / "study").events == before
    state = run(tmp_path, search=more, baseline=BASELINE)
    assert shown == {number: dict(state.trials[number].design) for number in (3, 4)}


def test_only_a_cluster_runs_loops(tmp_path: Path) -> None:
    done = codesign("launch", write_spec(tmp_path), "--dry-run")
    assert done.returncode == 6
    assert "launch.executor: is 'local', which runs no loops" in done.stderr
