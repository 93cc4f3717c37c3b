"""A study of real trainings that pause at rungs, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import small_clicks
from tests.support.command import codesign
from tests.support.studies import state_of

SPEC: dict[str, Any] = {
    "model": {"name": "wukong", "layers": 1, "head_depth": 1, "head_width": 8, "dropout": 0.1},
    "train": {"batch_size": 128, "passes": 2, "threads": 1, "table_lr": 0.01, "device": "cpu"},
    "space": {"n_F": [2, 4], "n_L": [2, 4], "d": [4, 8], "k": 2, "mlp_width": 8, "mlp_depth": 1},
    "objectives": [{"metric": "log_loss"}, {"metric": "gflop_per_example"}],
    "search": {
        "trials": 5, "proposer": "random", "fidelity": {"rungs": [0.25, 0.6], "keep": 0.4}
    },
    "launch": {"workers": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clicks")
    small_clicks.write(folder / "prepared")
    data = {"source": "prepared", "path": str(folder / "prepared")}
    (folder / "spec.yaml").write_text(yaml.safe_dump({"data": data, **SPEC}))
    done = codesign("optimize", folder / "spec.yaml", "--study", folder / "study", "--json")
    assert done.returncode == 0, done.stderr
    (folder / "front.json").write_text(done.stdout)
    assert "paused at 25%" in done.stderr
    return folder / "study"


def test_most_designs_pause_and_the_savings_are_those_of_the_steps_taken(study: Path) -> None:
    state = state_of(study)
    stops = sorted(t.share for t in state.trials.values())
    assert stops[0] == 0.25
    assert stops[-1] == 1.0
    # Of 16 steps of 128 examples, over two passes of 1025 rows.
    steps = {0.25: 4, 0.6: 10, 1.0: 16}
    for trial in state.trials.values():
        assert trial.facts["steps"] == steps[trial.share]
        assert trial.facts["examples_seen"] == 128 * steps[trial.share]
    savings = json.loads((study.parent / "front.json").read_text())["savings"]
    assert savings["full_examples"] == 5 * 2 * 1025
    assert savings["trained_examples"] == pytest.approx(2 * 1025 * sum(stops))
    assert savings["paused"] == sum(share < 1 for share in stops)


def test_a_design_that_paused_twice_measured_what_an_unbroken_training_does(
    study: Path, tmp_path: Path
) -> None:
    best = yaml.safe_load((study / "best.yaml").read_text())
    assert state_of(study).trials[best["trial"]].attempt == 3
    done = codesign("train", study / "best.yaml", "--folder", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "again/result.json").read_text())["metrics"]
    for name in ("log_loss", "auc", "test_log_loss", "test_auc"):
        assert again[name] == best["measured_with_this_seed"][name]


def test_no_checkpoint_is_left_when_the_study_is_over(study: Path) -> None:
    assert list(study.rglob("*checkpoint-*")) == []
