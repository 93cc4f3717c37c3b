"""The whole path on real data: MovieLens-100k, real workers, Ax, a kill, the best design again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import codesign

SPEC: dict[str, Any] = {
    "data": {"source": "movielens-100k"},
    "model": {"name": "wukong", "head_depth": 1, "head_width": 8, "bottom_depth": 0},
    "train": {"batch_size": 4096, "passes": 1, "dense_lr": 0.01, "table_lr": 0.01},
    "space": {
        "layers": [1, 2],
        "n_F": [2, 4],
        "n_L": [2, 4],
        "k": [2, 4],
        "mlp_width": [8, 16],
        "mlp_depth": 1,
        "d": [2, 4],
    },
    "budgets": {"gflop_per_example": 1e-4},
    "objectives": [{"metric": "log_loss"}, {"metric": "gflop_per_example"}],
    "search": {"trials": 5, "options": {"initial": 3, "candidates": 32, "mc_samples": 16}},
    "launch": {"workers": 1},
    "seed": 1,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was killed once in the middle of a trial and then continued to its end."""
    folder = tmp_path_factory.mktemp("movielens")
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    command = [sys.executable, "-m", "codesign", "optimize", folder / "spec.yaml", "--study",
               folder / "study"]  # fmt: skip
    loop = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    assert loop.stderr is not None
    for line in loop.stderr:
        if line.startswith("[2/5]"):  # the third trial has just been handed to its worker
            loop.send_signal(signal.SIGKILL)
            break
    loop.wait()
    loop.stderr.close()
    assert loop.returncode == -signal.SIGKILL
    done = codesign("optimize", folder / "spec.yaml", "--study", folder / "study", "--json")
    assert done.returncode == 0, done.stderr
    (folder / "front.json").write_text(done.stdout)
    return folder / "study"


def test_every_trial_ends_once_and_within_the_budget(study: Path) -> None:
    front = json.loads((study.parent / "front.json").read_text())
    assert 1 <= len(front["front"]) <= 5
    trials = sorted(path.name for path in (study / "trials").iterdir())
    assert trials == ["0000", "0001", "0002", "0003", "0004"]
    for trial in front["front"]:
        assert trial["exact"]["gflop_per_example"] <= 1e-4


def test_the_same_study_undisturbed_gives_the_same_designs_and_results(
    study: Path, tmp_path: Path
) -> None:
    done = codesign("optimize", study.parent / "spec.yaml", "--study", tmp_path / "s", "--json")
    undisturbed = json.loads(done.stdout)["front"]
    killed = json.loads((study.parent / "front.json").read_text())["front"]
    for ours, theirs in zip(undisturbed, killed, strict=True):
        assert ours["design"] == theirs["design"]
        assert ours["measured"]["log_loss"] == theirs["measured"]["log_loss"]


def test_the_best_design_trains_again_to_the_same_result(study: Path, tmp_path: Path) -> None:
    best = yaml.safe_load((study / "best.yaml").read_text())
    done = codesign("train", study / "best.yaml", "--folder", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    for name in ("log_loss", "auc", "test_log_loss", "test_auc"):
        assert metrics[name] == best["measured_with_this_seed"][name]
    assert (tmp_path / "run/curve.jsonl").exists()


def test_the_cost_of_the_best_design_is_explained_to_the_last_flop(study: Path) -> None:
    best = yaml.safe_load((study / "best.yaml").read_text())
    found = json.loads(codesign("cost", study / "best.yaml", "--json").stdout)
    assert found["costs"]["gflop_per_example"] == best["costs"]["gflop_per_example"]
    flop = sum(part["flop_per_example"] for part in found["parts"])
    assert flop == pytest.approx(found["costs"]["gflop_per_example"] * 1e9)
    weights = sum(part["parameters"] for part in found["parts"])
    assert weights == best["costs"]["parameters"]
    printed = codesign("cost", study / "best.yaml").stdout
    assert "FMB MLP" in printed
    assert "GFLOP/example" in printed


def test_the_page_names_the_baseline_and_the_noise(study: Path) -> None:
    page = (study / "report.html").read_text()
    assert "item mean" in page
    assert "±" in page


def test_the_front_is_compared_on_its_test_examples_with_its_cheapest_design(study: Path) -> None:
    found = json.loads((study.parent / "front.json").read_text())
    reference = min(found["front"], key=lambda trial: trial["exact"]["gflop_per_example"])
    others = [trial for trial in found["front"] if trial != reference]
    assert found["reference"] == reference["trial"]
    assert others
    for trial in others:
        ratio = trial["measured"]["test_log_loss"] / reference["measured"]["test_log_loss"]
        compared = trial["comparison"]
        assert compared["percent"] == pytest.approx(100 * (ratio - 1), abs=1e-4)
        assert compared["verdict"] in (study / "report.html").read_text()
        assert compared["verdict"] in (study / "report.md").read_text()
