"""The trial table: where each figure comes from stands above its column."""

from __future__ import annotations

import dataclasses
import json

from codesign.contracts import Metric, Prediction
from codesign.report.columns import trial_columns
from codesign.report.terminal import front_as_json
from tests.support.report_example import example_content

LABEL = "roofline of a100, fp32: uncalibrated"
RATE = Metric(name="examples_per_s", unit="1/s", goal="maximize", source="predicted",
              meaning="throughput")  # fmt: skip


def test_predicted_and_measured_figures_of_one_metric_stand_in_columns_of_their_own() -> None:
    content = example_content(30)
    predicted = {"examples_per_s": Prediction(value=5e4, low=25e3, high=1e5, label=LABEL)}
    first, *others = content.trials
    content = dataclasses.replace(
        content,
        metrics={**content.metrics, "examples_per_s": RATE},
        trials=(first, *(dataclasses.replace(t, predictions=predicted) for t in others)),
    )
    columns = {(c.group, c.name): c for c in trial_columns(content)}
    measured = columns["measured", "examples_per_s"]
    column = columns["predicted", "predicted_examples_per_s"]
    assert measured.values == tuple(t.metrics.get("examples_per_s") for t in content.trials)
    assert column.values == (None, *[5e4] * len(others))
    assert column.texts == ("-", *["50,000 (25,000 to 100,000)"] * len(others))
    assert column.meaning == f"throughput; {LABEL}"
    assert column.label == "predicted examples / s"
    best = json.loads(json.dumps(front_as_json(content)))["front"][0]
    assert best["predicted"]["examples_per_s"]["low"] == 25e3
    assert best["measured"]["examples_per_s"] != 5e4
