"""`optimize --estimate`: what a study will take, against a calculation by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command import codesign
from tests.support.predicted_task import RATE
from tests.support.toy_spec import write_spec

# Eight designs, all feasible; training sees 10 × depth examples, at 10,000 / (width × depth) a
# second within a factor of 2.
SECTIONS: dict[str, Any] = {
    "model": {"name": "tests.support.predicted_task"},
    "hardware": {"name": "abacus", "devices": 4, "price_per_hour": 2.5},
    "space": {"width": [100, 300, 500, 900], "depth": [1, 3]},
    "budgets": {"study_gpu_hours": 0.01},
    "search": {"trials": 7, "proposer": "random", "confirm": {"top": 2, "seeds": 3}},
    "launch": {"workers": 3, "processes": 4},
}
SECONDS = [10 * depth * width * depth / RATE for width in (100, 300, 500, 900) for depth in (1, 3)]


def test_it_is_what_a_calculation_by_hand_says(tmp_path: Path) -> None:
    done = codesign("optimize", write_spec(tmp_path, **SECTIONS), "--estimate", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["trials"], found["confirming"]) == (13, 6)
    assert found["examples_per_trial"] == 20
    hours = 13 * np.mean(SECONDS) * 4 / 3600

    def assert_within_a_factor_of_2(prediction: dict[str, Any], value: float) -> None:
        ends = [prediction[end] for end in ("low", "value", "high")]
        assert ends == pytest.approx([value / 2, value, value * 2])
        assert prediction["label"] == "law of abacus"

    assert_within_a_factor_of_2(found["seconds_per_trial"], float(np.median(SECONDS)))
    assert_within_a_factor_of_2(found["gpu_hours"], hours)
    assert_within_a_factor_of_2(found["hours"], hours / 4 / 3)
    assert_within_a_factor_of_2(found["money"], hours * 2.5)
    tenths = np.quantile(SECONDS, [0.1, 0.9])
    assert [found["fast_s"], found["slow_s"]] == pytest.approx(tenths)
    assert found["affordable"] == int(0.01 / (hours / 13))
    assert not (tmp_path / "studies").exists()


def test_the_terminal_shows_every_figure_with_interval_label_and_what_is_left_out(
    tmp_path: Path,
) -> None:
    shown = codesign("optimize", write_spec(tmp_path, **SECTIONS), "--estimate").stdout
    for said in (
        "predicted, nothing has run",
        "trials     13, 6 of them confirming runs; at most 20 examples each",
        "3 at a time, 12 devices",
        "label: law of abacus",
        "each end holds with confidence 0.9, all trials alike",
        "budgets.study_gpu_hours is enough for about",
        "start, compiling, reading data, evaluations and checkpoints come on top",
    ):
        assert said in shown, said
    unpriced = {**SECTIONS, "hardware": "abacus"}
    shown = codesign("optimize", write_spec(tmp_path, **unpriced), "--estimate").stdout
    assert "money      unknown: hardware.price_per_hour is not given" in shown


def test_without_hardware_it_says_what_is_missing(tmp_path: Path) -> None:
    done = codesign("optimize", write_spec(tmp_path), "--estimate")
    assert done.returncode == 2
    assert "nothing is predicted without the section hardware" in done.stderr
    assert "--set hardware=h100-sxm" in done.stderr


def test_wukong_counts_the_examples_of_all_its_passes(tmp_path: Path) -> None:
    spec = write_spec(
        tmp_path,
        data={"source": "movielens-100k"},
        model={"name": "wukong", "layers": 1},
        train={"batch_size": 1024},
        hardware="cpu",
        space={"passes": [2], "d": [8, 16]},
        budgets={},
    )
    done = codesign("optimize", spec, "--estimate", "--json")
    assert done.returncode == 0, done.stderr
    valid = json.loads(done.stdout)
    from wukong.task import make

    rows = make(model={}, train={}, source="movielens-100k", path=None).facts()["rows"]["train"]
    assert valid["examples_per_trial"] == 2 * rows
