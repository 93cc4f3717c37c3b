from __future__ import annotations

import dataclasses

import pytest

from codesign.report.units import in_readable_units
from tests.support.report_example import example_content


def test_small_counts_are_shown_in_mflop_everywhere() -> None:
    content = example_content(12)
    shown = in_readable_units(content)
    assert [o.metric for o in shown.objectives] == ["auc", "mflop_per_example"]
    assert shown.objectives[1].reference == 20.0
    assert shown.budgets == {"mflop_per_example": 20.0}
    assert shown.metrics["mflop_per_example"].unit == "MFLOP"
    for before, after in zip(content.trials, shown.trials, strict=True):
        gflop = before.costs["gflop_per_example"]
        assert after.costs["mflop_per_example"] == pytest.approx(1000 * gflop)
        assert "gflop_per_example" not in after.costs
    assert shown.hypervolume == tuple(1000 * v for v in content.hypervolume)


def test_large_counts_stay_in_gflop() -> None:
    content = example_content(3)
    large = dataclasses.replace(content.trials[1], costs={"gflop_per_example": 22.2})
    content = dataclasses.replace(content, trials=(content.trials[0], large, content.trials[2]))
    assert in_readable_units(content) is content
