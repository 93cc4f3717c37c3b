"""The measurements that are shipped: readable, whole, and each with its line in the README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cost_models.profile.record import read

FOLDER = Path(__file__).parents[2] / "cost_models/measurements"
FILES = sorted(FOLDER.glob("*.csv"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_file_says_where_and_with_what_it_was_measured(path: Path) -> None:
    rows = read(path)
    runs = [json.loads(result.note) for case, result in rows if case.section == "run"]
    assert runs
    for run in runs:
        assert {"device", "torch", "python", "commit", "clocks"} <= run.keys()
        assert not run["commit"].endswith("dirty")
    assert sum(case.section == "ceiling" for case, _ in rows) >= 3
    assert len({case for case, _ in rows}) == len(rows)
    ok = [(case, result) for case, result in rows if result.status == "ok"]
    measured = [result for case, result in ok if case.section in ("op", "step", "table")]
    assert len(measured) > 100
    assert all(0 < r.low_ms <= r.median_ms <= r.high_ms and r.samples >= 3 for r in measured)


def test_every_shipped_file_has_its_line_in_the_readme() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert FILES
    assert [path.name for path in FILES if f"| `{path.name}` |" not in text] == []
