"""A study whose objective is predicted: what it proposes, records and shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from codesign import api
from codesign.designs import as_columns
from codesign.errors import SpecError
from codesign.spec.problem import load_problem
from tests.support.command import codesign
from tests.support.predicted_task import LOG_SD, RATE
from tests.support.studies import essence, rewind, run, state_of
from tests.support.toy_spec import write_spec

SECTIONS: dict[str, Any] = {
    "model": {"name": "tests.support.predicted_task"},
    "train": {"bias": 3.0},
    "hardware": {"name": "abacus"},
    "budgets": {},
    "objectives": [{"metric": "log_loss"}, {"metric": "examples_per_s"}],
    "search": {"trials": 6, "options": {"initial": 3, "candidates": 64, "mc_samples": 32}},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predicted")
    run(folder, **SECTIONS)
    return folder / "study"


def test_the_front_is_of_predicted_values_though_other_ones_were_measured(study: Path) -> None:
    trials = state_of(study).trials.values()
    points = {
        t.number: (t.metrics["log_loss"], -RATE / (t.design["width"] * t.design["depth"]))
        for t in trials
    }
    front = {
        n
        for n, mine in points.items()
        if not any(o != mine and o[0] <= mine[0] and o[1] <= mine[1] for o in points.values())
    }
    shown = json.loads(codesign("report", study, "--json").stdout)
    assert {trial["trial"] for trial in shown["front"]} == front
    assert [o["metric"] for o in shown["objectives"]] == ["log_loss", "predicted_examples_per_s"]
    for trial in shown["front"]:
        rate = RATE / (trial["design"]["width"] * trial["design"]["depth"])
        assert trial["predicted"]["examples_per_s"]["value"] == pytest.approx(rate)
        assert trial["measured"]["examples_per_s"] == pytest.approx(3 * rate)


def test_predicted_and_measured_stand_side_by_side_each_with_its_label(study: Path) -> None:
    columns = {c.name: c for c in api_columns(study)}
    assert columns["predicted_examples_per_s"].group == "predicted"
    assert columns["examples_per_s"].group == "measured"
    assert "law of abacus" in columns["predicted_examples_per_s"].meaning
    best = yaml.safe_load((study / "best.yaml").read_text())
    assert best["selected_by"] == "minimize log_loss (validation)"
    predicted, measured = best["predicted"], best["measured_with_this_seed"]
    assert measured["examples_per_s"] == pytest.approx(3 * predicted["examples_per_s"]["value"])
    front = codesign("report", study).stdout
    assert "predicted examples / s" in front
    page, text = ((study / name).read_text() for name in ("report.html", "report.md"))
    assert "predicted examples / s" in page
    assert "examples / s (1/s, predicted)" in text
    assert "predicted_examples_per_s" in codesign("status", study).stdout


def api_columns(study: Path) -> list[Any]:
    from codesign.report.columns import trial_columns

    return trial_columns(api.report(study).content)


@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.99])
def test_what_is_believed_does_not_depend_on_the_confidence_that_budgets_ask_for(
    tmp_path: Path, confidence: float
) -> None:
    spec = write_spec(tmp_path, **{**SECTIONS, "budgets": {"confidence": confidence}})
    found = load_problem(spec).feasible.predicted(as_columns([{"width": 4, "depth": 2}] * 3))
    np.testing.assert_allclose(found["examples_per_s"].median, [RATE / 8] * 3)
    np.testing.assert_allclose(found["examples_per_s"].log_sd, [LOG_SD] * 3)


def test_a_study_cut_off_proposes_what_it_would_have(study: Path, tmp_path: Path) -> None:
    run(tmp_path, **SECTIONS)
    rewind(tmp_path / "study", lambda event: (event.trial or 0) < 4)
    assert essence(run(tmp_path, **SECTIONS)) == essence(state_of(study))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hardware": None}, "objectives[1].metric is predicted for a device; must have"),
        (
            {"objectives": [{"metric": "examples_per_s"}, {"metric": "parameters"}]},
            "objectives are all costs known before training, so nothing would be learned",
        ),
        (
            {"objectives": [{"metric": "auc"}, {"metric": "examples_per_s", "reference": 0}]},
            "objectives[1].reference is 0 for a cost; must be > 0",
        ),
    ],
)
def test_objectives_that_cannot_be_are_refused(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError) as error:
        load_problem(write_spec(tmp_path, **{**SECTIONS, **changed}))
    assert said in str(error.value)
