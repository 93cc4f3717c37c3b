"""Reading recorded tables, and the tasks made of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search.frappe import lattice_task, recorded_task
from benchmarks.search.recorded import CurvePoint, read_runs
from codesign.contracts import Observation
from codesign.designs import as_columns, design_at
from codesign.errors import DataError
from tests.benchmarks.recorded_runs import run_lines, write_table

LINES = run_lines(30)


def test_runs_are_read_in_the_order_of_their_numbers(tmp_path):
    path = write_table(tmp_path, [LINES[i] for i in (2, 0, 1, 5)])
    runs = read_runs(path)
    assert [run.number for run in runs] == [0, 1, 2]
    assert runs[1].design == LINES[1]["design"]
    assert runs[1].curve[0] == CurvePoint(
        examples=100, train_log_loss=0.5, validation_log_loss=0.4, validation_auc=0.8
    )
    assert len(read_runs(path, rows=2)) == 2


def test_more_rows_than_are_complete_are_refused(tmp_path):
    path = write_table(tmp_path, [LINES[0], LINES[2]])
    with pytest.raises(DataError, match="2 rows are asked for; the table has all numbers below 1"):
        read_runs(path, rows=2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"number": 1, "des', r":2: is no JSON"),
        ("[1, 2]", r":2: is \[1, 2\]; must be an object"),
        ({"seed": ...}, r":2: has no seed; must have number, design"),
        ({"number": "1"}, r":2: has the number '1', of another type"),
        ({"number": 0}, r":2: number 0 stands in the table twice"),
        ({"metrics": {}}, r":2: has no metrics\.log_loss, though the run completed"),
        ({"curve": [[1, 2]]}, r":2: has the curve point \[1, 2\]; must be \[examples, train_log"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    if isinstance(line, dict):
        changed = {**LINES[1], **line}
        line = json.dumps({name: value for name, value in changed.items() if value is not ...})
    path = write_table(tmp_path, [LINES[0]])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=message):
        read_runs(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match="there is no such table"):
        read_runs(tmp_path / "none.jsonl")


def test_the_table_answers_with_what_was_recorded(tmp_path):
    task = recorded_task(write_table(tmp_path, LINES))
    for line in LINES[3:6]:
        found = task.answer(line["design"])
        expected = {**line["metrics"], **line["costs"]} if line["failure"] is None else {}
        assert found == Observation(
            design=line["design"], metrics=expected, failure=line["failure"]
        )
    assert np.isnan(task.values_RO[:, 0]).tolist() == [line["number"] == 4 for line in LINES]


def test_a_fit_answers_the_whole_lattice_alike_each_time_and_near_what_was_recorded(tmp_path):
    path = write_table(tmp_path, LINES)
    task, fit = lattice_task(path)
    assert len(task.values_RO) >= 50_000
    for row in (12_345, 6_789, 12_345):
        answer = task.answer(design_at(task.designs, row))
        assert task.values(answer) == pytest.approx(task.values_RO[row].tolist())
    recorded = [line for line in LINES if line["failure"] is None]
    columns = as_columns([line["design"] for line in recorded])
    gflop = task.feasible.costs(columns)["gflop_per_example"]
    assert gflop.tolist() == [line["costs"]["gflop_per_example"] for line in recorded]
    errors = [
        task.answer(line["design"]).metrics["log_loss"] - line["metrics"]["log_loss"]
        for line in recorded
    ]
    losses = [line["metrics"]["log_loss"] for line in recorded]
    assert np.std(errors) < 0.3 * np.std(losses)
    assert set(fit.held_out) == {"gaussian process", "boosted trees"}


def test_the_example_of_the_tables_page_runs(tmp_path, monkeypatch, capsys):
    page = Path("benchmarks/tables/README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    write_table(tmp_path / "benchmarks" / "tables", LINES)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    best = min(line["metrics"].get("log_loss", 1.0) for line in LINES)
    assert f"{best:.4f}" in capsys.readouterr().out
